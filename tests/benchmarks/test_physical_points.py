"""Published points become what was run, and what is left out is left out by its description."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.physical_points import read_points

_SAMPLE = "aiconfigurator silicon_sample.csv id=2026_03_25_sample_1024x1024_c4_cfg1"


def row(**changes: str) -> dict[str, str]:
    """A dense model measured by InferenceX, with other columns as named."""
    plain = {
        "model": "meta-llama/Llama-3.1-70B", "gpu": "h100_sxm", "tp": "2", "engine": "vllm", "engine_version": "",
        "weight_quant": "fp8", "moe_ep": "1", "concurrency": "4", "isl": "1024", "osl": "1024", "ttft_ms": "80",
        "tpot_ms": "17.4", "trust": "A", "source": _SAMPLE,
    }  # fmt: skip
    return plain | changes


def test_lengths_and_kv_are_those_of_the_run() -> None:
    (case,) = read_points([row()]).cases

    assert (case.prompt, case.output) == pytest.approx((921.6, 921.6))
    assert (case.settings.kv_bytes, case.kv_doubt) == (1.0, 1.0)


def test_other_sources_are_taken_at_their_word() -> None:
    (case,) = read_points([row(source="a blog")]).cases

    assert (case.prompt, case.settings.kv_bytes) == (1024.0, 2.0)


def test_gpt_oss_in_fp4_is_its_own_checkpoint() -> None:
    (case,) = read_points([row(model="openai/gpt-oss-120b", gpu="b200_sxm", weight_quant="nvfp4")]).cases

    assert case.settings.weight_dtype == "mxfp4"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"weight_quant": "unspecified(bf16?)"}, "precision not stated"),
        ({"model": "Qwen/Qwen3-235B-A22B", "tp": "1"}, "weights larger than the memory"),
        ({"tpot_ms": ""}, "no TPOT"),
        ({"concurrency": ""}, "concurrency missing"),
    ],
)
def test_what_cannot_be_fitted_is_counted(changes: dict[str, str], why: str) -> None:
    points = read_points([row(**changes)])

    assert points.cases == []
    assert [said.split(":")[0] for said in points.skipped] == [why]


def test_the_same_measurement_counts_once() -> None:
    points = read_points([row(), row(source="id=2026_04_06_again"), row(tpot_ms="17.5")])

    assert (len(points.cases), points.skipped) == (2, {"the same again": 1})


@pytest.mark.parametrize(
    ("version", "speculative"), [("1.2.0rc6.post2", False), ("1.2.0rc6.post3", True), ("1.1.0rc2.post2", True)]
)
def test_what_may_be_speculative_is_told_by_the_version(version: str, *, speculative: bool) -> None:
    run = {"model": "deepseek-ai/DeepSeek-R1", "gpu": "b200_sxm", "tp": "8", "engine": "trtllm"}
    points = read_points([row(**run, engine_version=version), row()])

    assert points.speculative.tolist() == [speculative, False]


def test_prompts_that_an_engine_holds_back_are_marked() -> None:
    trt = row(engine="trtllm")
    points = read_points([trt, row(engine="trtllm", tp="8"), row(engine="trtllm", osl="8192"), row()])

    assert np.flatnonzero(points.held).tolist() == [0]
