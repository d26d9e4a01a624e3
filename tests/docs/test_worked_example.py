"""docs/explanation/how-it-decides.md: the product gives the figures that its worked example works out by hand."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest

from gpu_rightsizer import catalogue
from gpu_rightsizer.cli.points import point
from gpu_rightsizer.cli.predict import Options, run
from gpu_rightsizer.domain.decision import Candidate
from gpu_rightsizer.domain.need import DemandTail, Hazard, OverheadSource, PreallocatedMemory
from gpu_rightsizer.domain.readings import Measured
from gpu_rightsizer.domain.units import GIB
from gpu_rightsizer.domain.workload import Objective
from gpu_rightsizer.domain.world import World
from gpu_rightsizer.estimate import estimate
from gpu_rightsizer.estimate.exceedance import exceedance
from gpu_rightsizer.observe.queries import LATENCY_DAYS, WINDOW_SECONDS
from gpu_rightsizer.predict import predict
from gpu_rightsizer.predict.case import columns, mean_tpot, mean_ttft
from gpu_rightsizer.predict.coefficients import FITTED
from gpu_rightsizer.predict.hazard import configuration_oom
from gpu_rightsizer.predict.roofline import (
    SIGMA_ENGINES,
    SIGMA_ENGINES_EXPERTS,
    SIGMA_EXPERTS,
    SIGMA_FIRST,
    SIGMA_FITTED,
    SIGMA_UNMEASURED,
    decode_step,
    prefill,
)
from tests import builders as make
from tests.docs.pages import ROOT

PAGE = " ".join((ROOT / "docs/explanation/how-it-decides.md").read_text().split())
CATALOGUE = catalogue.load()
HERE, THERE = CATALOGUE.instances["p5.48xlarge"], CATALOGUE.instances["g6e.xlarge"]
RATE, PROMPT, OUTPUT = 118.0 / 180, 699.5, 180.0


def example() -> World:
    """The workload of the table, at its peak all the time."""
    seen = make.observation(
        kv_demand=make.flat(6800.0), running=make.flat(5.0), prompt_rate=make.flat(RATE * PROMPT),
        generation_rate=make.flat(RATE * OUTPUT), requests=make.flat(RATE * 3600), tpot=make.flat(0.009),
        kv_pool=Measured(440864.0), fb_total=Measured(79.11 * GIB), fb_used=make.flat(71.2 * GIB),
        prompt_tokens=Measured(PROMPT), output_tokens=Measured(OUTPUT),
    )  # fmt: skip
    return make.world(
        seen,
        on=HERE,
        model=CATALOGUE.models["meta-llama/Llama-3.1-8B-Instruct"],
        engine_settings=make.settings(
            max_model_len=16384,
            max_num_seqs=1024,
            max_num_batched_tokens=8192,
            by_device=frozenset({"max_num_seqs", "max_num_batched_tokens"}),
        ),
        objective=Objective(1.0, 0.075, 0.999, 0.01, timedelta(days=30), Decimal(2000)),
    )


@pytest.fixture(scope="module")
def on_l40s() -> Candidate:
    world = example()
    (candidates,) = predict([world], estimate([world], make.NOW), [HERE, THERE])
    return next(each for each in candidates if each.configuration.instance is THERE)


def said(text: str) -> None:
    assert text in PAGE, text


def test_the_memory_of_the_example(on_l40s: Candidate) -> None:
    world = example()
    memory = estimate([world], make.NOW)[0].memory
    assert isinstance(memory, PreallocatedMemory)
    assert memory.overhead_source is OverheadSource.SOLVED
    there = on_l40s.prediction

    said(f"W = 8.03e9 x 2 bytes = {memory.weights / GIB:.2f} GiB")
    said(f"= {memory.kv_bytes_per_token:,.0f} bytes")
    said(f"= {memory.overhead / GIB:.2f} GiB, give or take {memory.overhead_error / GIB:.1f}")
    said(f"= {(there.memory_available or 0) / GIB:.2f} GiB can be used")
    said(f"= {int((there.kv_capacity_tokens or 0) // 100 * 100):,} tokens, more than the longest request")
    said(f"= {(there.memory_need or 0) / GIB:.1f} GiB of 39.7")
    tokens = there.kv_demand_tokens or 0.0
    said(f"= {int(tokens // 100 * 100):,} tokens, {tokens * memory.kv_bytes_per_token / GIB:.2f} GiB")


def test_the_speed_of_the_example(on_l40s: Candidate) -> None:
    there = on_l40s.prediction

    said(f"= {(there.tpot or 0) * 1e3:.1f} ms. Its bound, with sigma {SIGMA_UNMEASURED}")
    said(f"x 1.509 = {(there.tpot_bound or 0) * 1e3:.1f} ms")
    assert on_l40s.holds


def test_the_risk_of_the_example() -> None:
    one_point = DemandTail(
        peak=1.0, seasonal=np.ones(12), threshold=0.0, shape=np.array([0.1]), scale=np.array([0.3]),
        weight=np.ones(1), exceedances=12.5, exposure_hours=336.0, cap=None,
    )  # fmt: skip
    at_two, at_five = exceedance(one_point, [2.0, 5.0], 720.0)
    said(f"^-12.5 = {at_two:.0%}".replace("%", " %"))
    said(f"at 5 above it, {at_five * 100:.2f} %")

    quiet = configuration_oom([Hazard(60 + 13.6, ())], np.array([48e9]), {}, 30.0)
    said(f"^-0.2 = {quiet[0, 0] * 100:.1f} %")


def test_how_far_it_looks_back_is_that_of_the_queries() -> None:
    said(f"The last {WINDOW_SECONDS // 86_400} days in blocks of one hour (latencies: {LATENCY_DAYS} days)")


def test_the_constants_of_the_speed_model_are_those_of_the_code() -> None:
    columns = (FITTED.layer, FITTED.expert_layer, FITTED.request, FITTED.collective, FITTED.prefill_layer)
    for place, name in enumerate(("vLLM", "TensorRT-LLM", "any other")):
        said(f"| {name} | {' | '.join(f'{column[place] * 1e6:.1f}' for column in columns)} |")
    for name, share, attention in zip(
        ("Hopper", "Blackwell", "any other"), FITTED.bandwidth, FITTED.attention, strict=True
    ):
        said(f"| {name} | {share:.2f} | {attention:.2f} |")
    shares = (FITTED.flops16, FITTED.flops8, FITTED.flops4)
    said(f"{', '.join(f'{each:.2f}' for each in shares)} in 16, 8 and 4 bits")
    said(f"1 - {FITTED.interference:.2f} x rho")
    said(f"{SIGMA_FITTED} for dense models on vLLM and {SIGMA_ENGINES} on other engines")
    said(f"{SIGMA_EXPERTS} and {SIGMA_ENGINES_EXPERTS} for mixtures of experts")
    said(f"{SIGMA_UNMEASURED} on all other accelerators")
    said(f"TTFT has a sigma of {SIGMA_FIRST}")
    for place, name in enumerate(("dense", "mixture of experts")):
        said(f"| {name} | {FITTED.first_delay[place] * 1e3:.1f} ms | {FITTED.first_steps[place]:.1f} |")


def test_the_example_of_the_physical_model_is_what_the_code_says() -> None:
    page = (ROOT / "docs/explanation/the-physical-model.md").read_text()
    asked = {"model": "meta-llama/Llama-3.1-70B", "gpu": "h100_sxm", "tp": "2", "engine": "vllm", "weight_quant": "fp8"}
    load = {"concurrency": "16", "isl": "922", "osl": "922", "kv_dtype": "fp8"}
    case = point(asked | load, "example").case
    assert case is not None
    work, hardware = columns([case])

    assert f"T = {decode_step(work, hardware, np.array([[16.0]]))[0, 0] * 1e3:.1f} ms." in page
    assert f"= {prefill(work, hardware, work.prompt)[0, 0] * 1e3:.0f} ms;" in page
    assert f"TPOT = {mean_tpot([case])[0] * 1e3:.1f} ms;" in page
    assert f"= {mean_ttft([case])[0] * 1e3:.0f} ms to the first token" in page


def test_the_sample_of_the_how_to_is_what_is_printed() -> None:
    page = (ROOT / "docs/how-to/predict.md").read_text()
    asked = {
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "gpu": "l40s",
        "concurrency": "8",
        "isl": "1000",
        "osl": "200",
    }

    for line in run(Options(None, asked, as_json=False)).splitlines():
        assert line in page
