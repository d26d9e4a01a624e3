"""Speed: the roofline against what was measured elsewhere, the queue, and what a workload's own figures change."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gpu_rightsizer.domain.decision import Binding
from gpu_rightsizer.domain.engines import EngineSettings, EngineType
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.domain.readings import Signal
from gpu_rightsizer.explain.words import say
from gpu_rightsizer.predict.case import Case, columns, mean_tpot
from gpu_rightsizer.predict.coefficients import FITTED
from gpu_rightsizer.predict.queue import _waits, flow
from gpu_rightsizer.predict.roofline import decode_step, first_token, prefill, steps
from tests import builders as make
from tests.unit.predict.support import codes, found

if TYPE_CHECKING:
    from gpu_rightsizer.domain.models import ModelArchitecture

LLAMA_3_8B = replace(make.LLAMA_8B, name="meta-llama/Meta-Llama-3-8B-Instruct", max_context=8192)


@pytest.mark.parametrize(
    ("case", "milliseconds", "tolerance"),
    [
        # outside the fit: Llama-3-8B fp16 on A10G at concurrency 1, 30.3 to 30.7 ms (llmperf, stored runs)
        (Case(LLAMA_3_8B, make.A10G, 1, 550, 150), 30.5, 0.06),
        # outside the fit: Llama-3.1-8B on A100-40, about 75 tokens/s
        (Case(make.LLAMA_8B, make.A100_40, 1, 512, 256, EngineType.CUSTOM), 13.3, 0.10),
    ],
)
def test_decode_speed_outside_the_fit(case: Case, milliseconds: float, tolerance: float) -> None:
    assert mean_tpot([case])[0] * 1e3 == pytest.approx(milliseconds, rel=tolerance)


def test_a_mixture_of_experts_reads_more_weights_the_larger_the_batch() -> None:
    """Mixtral 8x7B: two of eight experts at batch 1, nearly all at batch 64; routing has a cost of its own."""
    case = Case(make.MIXTRAL_8X7B, make.H200, prompt=1, output=2)
    work, hardware = columns([case])

    one = decode_step(work, hardware, np.array([[1.0]]))
    many = decode_step(work, hardware, np.array([[64.0]]))
    dense = columns([replace(case, model=replace(make.MIXTRAL_8X7B, experts=0))])
    assert one < 0.45 * decode_step(*dense, np.array([[1.0]]))
    assert many == pytest.approx(decode_step(*dense, np.array([[64.0]])), rel=0.15)


def test_experts_that_are_asked_for_alike_are_all_read_sooner() -> None:
    """Where popularity is even, 1 - (1 - k/E)^(n - 1) of the others' experts are read."""
    work, hardware = columns([Case(make.MIXTRAL_8X7B, make.H200)])
    found = steps(work, hardware, replace(FITTED, routing=1e9))

    even = found.decode(np.array([[16.0]])) - found.decode(np.array([[1.0]]))
    rest = (found.multiply, found.each)
    assert found.expert * (1 - 0.75**15) + 15 * rest[1] == pytest.approx(even, rel=0.02)
    uneven = steps(work, hardware)
    assert uneven.decode(np.array([[16.0]])) < found.decode(np.array([[16.0]]))


def test_layers_with_a_window_read_no_more_than_the_window() -> None:
    """gpt-oss: at 8,256 tokens half the layers read all of them, the others 128: (8256 + 128) / 2 of 8256."""
    full = make.model("plain", layers=36, heads=64, kv_heads=8, head_dim=64)
    windowed = replace(full, sliding_window=128, windowed_layers=18)

    def read(model: ModelArchitecture) -> float:
        work, hardware = columns([Case(model, make.H100, prompt=8192, output=128)])
        idle = replace(work, kv_per_request=np.zeros((1, 1)))
        return float((steps(work, hardware).each - steps(idle, hardware).each)[0, 0])

    assert read(windowed) / read(full) == pytest.approx((8256 + 128) / 2 / 8256)


def test_four_bits_of_a_mixture_are_those_of_its_experts() -> None:
    """One request of Kimi-K2 in int4 reads 10.4e9 x 2 bytes beside 21.3e9 parameters of experts at half a byte."""
    kimi = make.model(
        "kimi", 1026.4, active=32.86, layers=61, hidden=7168, heads=64, kv_heads=64, vocabulary=163840, experts=384,
        experts_per_token=8,
    )  # fmt: skip
    work, hardware = columns([Case(kimi, make.H200, settings=EngineSettings(weight_dtype=WeightDtype.INT4))])
    share = float(work.weights[0, 0]) / 594e9  # of what the published checkpoint takes
    one = float(steps(work, hardware, replace(FITTED, int4=1e12)).read[0, 0]) * 1e12

    assert one / share == pytest.approx(10.4e9 * 2 + 21.1e9 * 0.56, rel=0.03)


def test_fewer_larger_devices_waste_less_bandwidth() -> None:
    """TP 8 of H100 is far from eight times as fast as TP 1."""
    tpot = mean_tpot(
        [
            Case(make.LLAMA_8B, make.H100, 1, 1024, 256, settings=EngineSettings(tensor_parallel=ranks))
            for ranks in (1, 8)
        ]
    )

    assert 1.5 < tpot[0] / tpot[1] < 4


def test_a_first_token_takes_its_prompt_and_what_it_waits_for() -> None:
    work, hardware = columns([Case(make.LLAMA_8B, make.H100, prompt=1000)])
    step = np.array([[0.01]])

    own = first_token(work, hardware, work.prompt, step) - prefill(work, hardware, work.prompt)
    assert own[0, 0] == pytest.approx(FITTED.first_delay[0] + 0.01 * FITTED.first_steps[0])


def test_waiting_agrees_with_an_mmc_queue() -> None:
    """At a batch limit with constant steps the chain is M/M/c: p95 wait by Erlang C, times the burst factor 1.5."""
    places, stay, rate = 16, 2.0, 7.2
    erlangs = rate * stay
    log = np.cumsum(np.log(erlangs) - np.log(np.arange(1, places + 1)))
    blocked = np.exp(log[-1]) / (1 - erlangs / places)
    chance = blocked / (1 + np.exp(log[:-1]).sum() + blocked)
    expected = 1.5 * np.log(chance / 0.05) / (places / stay - rate)

    one = np.array([stay])
    wait = _waits(np.array([rate]), np.array([float(places)]), (np.array([0.0]), one, one))
    assert wait[0] == pytest.approx(expected, rel=1e-6)


def test_no_wait_far_from_the_limit_and_no_end_of_it_beyond_stability() -> None:
    def ttft(rate: float) -> float:
        case = Case(make.LLAMA_8B, make.L4, prompt=500, output=200)
        work, hardware = columns([case])
        loaded = replace(work, rate=np.array([[rate]]))
        return float(flow(loaded, hardware, np.array([[20_000.0]]), np.ones((1, 1))).ttft[0, 0])

    assert ttft(0.01) < 0.6
    assert ttft(0.5) > ttft(0.01)
    assert ttft(50.0) == inf


@pytest.mark.parametrize(
    ("name", "binding"),
    [("g6e.xlarge", Binding.MEMORY), ("p5.4xlarge", Binding.MEMORY), ("g6.xlarge", Binding.BANDWIDTH)],
)
def test_the_binding_resource_is_named(name: str, binding: Binding) -> None:
    assert found(make.world(), name).prediction.binding is binding


def test_light_traffic_holds_on_l40s_and_not_on_l4() -> None:
    """Memory fit is not objective fit: 8B fits a 24 GB L4 and is too slow there for 50 ms."""
    world = make.world()

    assert codes(found(world, "g6e.xlarge")) == []
    small = found(world, "g6.xlarge")
    assert small.prediction.memory_need is not None
    assert small.prediction.memory_available is not None
    assert small.prediction.memory_need < small.prediction.memory_available
    assert Code.TPOT_TOO_SLOW in codes(small)


def test_a_slower_class_holds_more_requests_at_once() -> None:
    world = make.world()
    here, there = found(world, "p5.48xlarge").prediction, found(world, "g6e.xlarge").prediction

    assert here.kv_demand_tokens is not None
    assert there.kv_demand_tokens is not None
    assert there.kv_demand_tokens > 2 * here.kv_demand_tokens


def test_own_measurements_may_slow_a_prediction_but_never_speed_it_up() -> None:
    def predicted(tpot: float) -> float:
        world = make.world(make.observation(tpot=make.flat(tpot)))
        value = found(world, "g6e.xlarge").prediction.tpot
        assert value is not None
        return value

    assert predicted(0.045) > 1.5 * predicted(0.009)
    assert predicted(0.002) == pytest.approx(predicted(0.009))


def test_a_quantile_within_its_histogram_bucket_proves_nothing() -> None:
    """24 ms read from the bucket from 10 to 25 ms is what 13.7 ms looks like there, and so much is predicted."""
    world = make.world(make.observation(requests_per_second=14, tpot=make.flat(0.024)))
    plain = make.world(make.observation(requests_per_second=14, tpot=make.missing(Signal.TPOT)))

    slow, usual = (found(w, "g6e.12xlarge", 4).prediction.tpot for w in (world, plain))

    assert slow is not None
    assert usual is not None
    assert slow == pytest.approx(usual)


@pytest.mark.parametrize(
    ("name", "widening"), [("p5en.48xlarge", 1.150), ("g6e.xlarge", 1.509)], ids=["measured", "not measured"]
)
def test_the_bound_is_wider_where_nothing_was_measured(name: str, widening: float) -> None:
    prediction = found(make.world(), name).prediction

    assert prediction.tpot is not None
    assert prediction.tpot_bound is not None
    assert prediction.tpot_bound / prediction.tpot == pytest.approx(widening, abs=0.01)
    assert prediction.measured_accelerator is (name == "p5en.48xlarge")


def test_prompts_over_pcie_pay_for_tensor_parallelism() -> None:
    """70B over four L40S on PCIe: the collectives of a prompt cost more than its arithmetic saves over NVLink."""

    def seconds(link: float) -> float:
        device = replace(make.L40S, link_gbps=link)
        case = Case(make.LLAMA_70B, device, prompt=2000, settings=EngineSettings(tensor_parallel=4))
        work, hardware = columns([case])
        return float(prefill(work, hardware, work.prompt)[0, 0])

    assert seconds(32) > 1.5 * seconds(450)


@pytest.mark.parametrize(
    ("dtype", "name", "outcome"),
    [
        (WeightDtype.BFLOAT16, "g4dn.xlarge", Code.PRECISION_UNSUPPORTED),
        (WeightDtype.FP8, "g4dn.xlarge", Code.PRECISION_UNSUPPORTED),
        (WeightDtype.FP8, "g5.xlarge", Code.PRECISION_SLOWER),
        (WeightDtype.NVFP4, "p5.4xlarge", Code.PRECISION_SLOWER),
        (WeightDtype.FP8, "g6.xlarge", None),
        (WeightDtype.INT4, "g4dn.xlarge", None),
        (WeightDtype.FLOAT16, "g4dn.xlarge", None),
    ],
)
def test_precision_is_refused_or_slower_and_said(dtype: WeightDtype, name: str, outcome: Code | None) -> None:
    candidate = found(make.world(engine_settings=make.settings(weight_dtype=dtype)), name)

    assert (Code.PRECISION_UNSUPPORTED in codes(candidate)) is (outcome is Code.PRECISION_UNSUPPORTED)
    assert (Code.PRECISION_SLOWER in [n.code for n in candidate.notes]) is (outcome is Code.PRECISION_SLOWER)


def test_tensorrt_does_not_unpack_what_the_device_cannot_compute() -> None:
    world = make.world(engine=EngineType.TENSORRT_LLM, engine_settings=make.settings(weight_dtype=WeightDtype.FP8))

    assert Code.PRECISION_UNSUPPORTED in codes(found(world, "g5.xlarge"))


@pytest.mark.parametrize(
    ("now", "there", "refused"),
    [("p5.4xlarge", "g5.xlarge", True), ("p5.4xlarge", "g6e.xlarge", False), ("g5.xlarge", "p4d.24xlarge", False)],
)
def test_a_byte_wide_cache_needs_fp8_there_unless_it_runs_without_now(now: str, there: str, refused: bool) -> None:
    present = next(each for each in make.LADDER if each.name == now)
    world = make.world(placement=present, engine_settings=make.settings(kv_bytes=1.0))
    candidate = found(world, there)

    assert (Code.PRECISION_UNSUPPORTED in codes(candidate)) is refused
    if refused:
        assert say(candidate.failures[0]).endswith("has no arithmetic for this number format: fp8 KV cache.")
