"""`gpu-rightsizer predict` from the outside: what it answers, what it refuses, with which exit code."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_rightsizer.cli import main
from gpu_rightsizer.cli.points import point
from gpu_rightsizer.cli.predict import answers
from gpu_rightsizer.ports import Rejected

LLAMA = ("--model", "meta-llama/Llama-3.1-8B-Instruct")
KEYS = ["point_id", "tpot_ms", "tpot_ms_p05", "tpot_ms_p95", "ttft_ms", "fits", "max_context", "why"]  # the contract


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main.cli, ["predict", *map(str, arguments)])


def _rows(path: Path, text: str) -> list[dict[str, object]]:
    path.write_text(text, encoding="utf-8")
    answer = _run(path, "--json")
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.output)
    assert isinstance(found, list)
    return found


def test_one_case_is_answered_in_words_with_its_interval() -> None:
    answer = _run(*LLAMA, "--gpu", "h100_sxm", "--concurrency", 8, "--input", 1000, "--output", 200)

    assert answer.exit_code == 0
    assert "1 x NVIDIA" in answer.output
    assert "with 90 % chance" in answer.output
    assert "no measured point" not in answer.output


def test_where_nothing_was_measured_it_says_so_and_the_interval_is_wider() -> None:
    def width(gpu: str) -> float:
        (answer,) = json.loads(_run(*LLAMA, "--gpu", gpu, "-o", "json").output)
        assert (answer["why"] is None) == (gpu == "h100")
        return float(answer["tpot_ms_p95"] / answer["tpot_ms_p05"])

    assert width("l40s") > 1.4 * width("h100")
    assert "no measured point covers l40s" in _run(*LLAMA, "--gpu", "l40s").output


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--model", "llama-3.1-8b-instuct", "--gpu", "l4"), 1, "--model: 'llama-3.1-8b-instuct' is not in the "),
        ((*LLAMA, "--gpu", "h100sxm"), 1, "--gpu: 'h100sxm' is not in the catalogue; did you mean h100-sxm"),
        ((*LLAMA, "--gpu", "l4", "--weights", "fp9"), 1, "--weights: 'fp9' is no known type; did you mean fp8"),
        ((*LLAMA, "--gpu", "l4", "--engine", "vlm"), 1, "--engine: 'vlm' is not modelled; did you mean vllm"),
        ((*LLAMA, "--gpu", "l4", "--tp", 3), 1, "--tp: 32 heads and 8 KV heads do not split over 3 ranks"),
        ((*LLAMA, "--gpu", "v100-16", "--weights", "fp8"), 1, "--weights: VLLM cannot run fp8 weights"),
        (("--model", "BAAI/bge-m3", "--gpu", "l4"), 1, "generates no tokens"),
        (("--gpu", "l4"), 2, "--model is missing"),
        ((*LLAMA, "--gpu", "l4", "--tp", 0), 2, "--tp"),
        ((*LLAMA, "--gpu", "l4", "--concurrency", "many"), 2, "--concurrency"),
        (("nowhere.csv",), 2, "nowhere.csv"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_option_and_the_fix(options: tuple[object, ...], code: int, said: str) -> None:
    """Exit code 1 where it cannot be answered, 2 where it was asked wrongly."""
    answer = _run(*options)

    assert (2 if answer.exit_code == 2 else 1) == code
    assert said in (str(answer.exception) if code == 1 else answer.output)
    assert code == 2 or isinstance(answer.exception, Rejected)


def test_a_misspelt_name_is_answered_with_the_nearest_ones() -> None:
    answer = _run("--model", "llama-3.1-8b-instuct", "--gpu", "l4")

    assert "did you mean meta-llama/Llama-3.1-8B-Instruct" in str(answer.exception)


def test_every_row_answers_or_says_why(tmp_path: Path) -> None:
    rows = _rows(
        tmp_path / "points.csv",
        "point_id,model,gpu,tp,engine,weight_quant,concurrency,isl,osl,extra\n"
        "good,meta-llama/Llama-3.1-8B-Instruct,h100_sxm,1,vllm,bf16,8,1024,256,x\n"
        "lost,no/such-model,h100_sxm,1,vllm,bf16,8,1024,256,x\n"
        "idle,Llama 3.1 8B,H100 80GB SXM,1,vllm,bf16,,1024,256,x\n"
        "odd,Llama-3.1-8B,h100,1,vllm,bf16,eight,1024,256,x\n"
        "wide,Llama-3.1-8B,h100,1,vllm,bf16,8,1,024,256,x\n"
        "short,Llama-3.1-8B\n"
        "large,meta-llama/Llama-3.1-70B-Instruct,h100,1,vllm,bf16,8,1024,256,x\n"
        ",Llama-3.1-8B,h100,1,vllm,bf16,1e400,1024,256,x\n",
    )

    by = {str(row["point_id"]): row for row in rows}
    assert all(list(row)[:5] == KEYS[:5] and set(KEYS) <= set(row) for row in rows)
    assert by["good"]["fits"] is True
    assert by["good"]["why"] is None
    assert by["lost"]["tpot_ms"] is None
    assert "no/such-model" in str(by["lost"]["why"])
    assert (by["idle"]["tpot_ms"], by["idle"]["fits"]) == (None, True)
    assert "concurrency missing" in str(by["idle"]["why"])
    assert "concurrency: 'eight' is not a number" in str(by["odd"]["why"])
    assert by["wide"]["why"] == "11 cells, and the header has 10; quote a cell that holds a comma"
    assert by["wide"]["tpot_ms"] is None
    assert by["short"]["why"] == "gpu is missing"
    assert (by["large"]["tpot_ms"], by["large"]["fits"], by["large"]["max_context"]) == (None, False, 0)
    assert "must be more than 0" in str(by["row 8"]["why"])


@pytest.mark.parametrize("text", ["", "\n\n", "a,b\n1,2\n", "model\nx\n"])
def test_a_file_that_is_no_such_table_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "points.csv"
    path.write_text(text)

    answer = _run(path)

    assert isinstance(answer.exception, Rejected)
    assert "the header lacks" in str(answer.exception)


def test_a_header_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("model,gpu\n")

    assert "no row below the header" in str(_run(path, "--json").exception)


def test_a_long_queue_is_told_without_an_exponent() -> None:
    answer = _run(*LLAMA, "--gpu", "l4", "--concurrency", 1_000_000, "--input", 1000, "--output", 20_000)

    assert "at 1,000,000 requests at once" in answer.output
    assert "e+" not in answer.output


def test_no_speed_where_the_memory_given_does_not_hold_the_model() -> None:
    (answer,) = json.loads(_run(*LLAMA, "--gpu", "l4", "--memory-share", 0.5, "--json").output)

    assert (answer["tpot_ms"], answer["ttft_ms"], answer["output_tok_s"]) == (None, None, None)
    assert answer["fits"] is False
    assert "no context fits for sure at a memory share of 0.5" in answer["why"]


def test_bytes_that_are_no_text_and_quotes_that_never_close_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_bytes(b'\xef\xbb\xbfmodel,gpu\nLlama-3.1-8B,h100\n\xff\xfe,\x00l4\n"Llama,l4\n')

    found = json.loads(_run(path, "--json").output)

    assert found[0]["fits"] is True
    assert all(row["why"] for row in found)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["model", "gpu", "tp", "pp", "engine", "weight_quant", "concurrency", "isl", "osl", "kv_dtype",
                         "engine_version", "max_model_len", "gpu_memory_utilization", "dp_attn", "moe_ep", "n_gpus"]),
        st.one_of(
            st.text(max_size=8),
            st.sampled_from(["Llama-3.1-8B", "DeepSeek-R1", "h100", "l4", "t4", "vllm", "trtllm", "fp8", "nvfp4", "1",
                             "2", "8", "0.5.4", "1e9", "0.9", "-1", "nan", "inf", "0"]),
        ),
    )
)  # fmt: skip
def test_no_row_whatever_is_in_it_breaks_the_answer(row: dict[str, str]) -> None:
    asked = point({"model": "Llama-3.1-8B", "gpu": "h100"} | row, "row 1")

    (answer,) = answers([asked])

    for value in (answer.tpot_ms, answer.tpot_ms_p05, answer.tpot_ms_p95, answer.ttft_ms):
        assert value is None or (math.isfinite(value) and value > 0)
    assert answer.tpot_ms is not None or answer.why


def test_vllm_before_v1_profiles_a_whole_context_at_once() -> None:
    """Mixtral-8x22B on four A100-80: 16,384 tokens start in vLLM 0.5.4 and 32,768 do not (Lambda's table)."""
    row = {"model": "mistralai/Mixtral-8x22B-Instruct-v0.1", "gpu": "a100_80_sxm", "tp": "4", "weight_quant": "bf16"}

    old, new = answers([point(row | {"engine_version": version}, version) for version in ("0.5.4", "0.15.1")])

    assert old.max_context is not None
    assert new.max_context is not None
    assert 16_384 <= old.max_context < 32_768 < new.max_context
