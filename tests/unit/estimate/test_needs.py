"""What a workload needs, and what its evidence forbids."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from gpu_rightsizer import catalogue
from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.finding import Code, Finding
from gpu_rightsizer.domain.finding import found as finding
from gpu_rightsizer.domain.models import ModelArchitecture, WeightDtype
from gpu_rightsizer.domain.need import (
    FramebufferMemory,
    IdleState,
    Load,
    Need,
    OverheadSource,
    PreallocatedMemory,
    Tier,
)
from gpu_rightsizer.domain.observation import Attribution, Observation
from gpu_rightsizer.domain.readings import Measured, Missing, MissingReason, Signal
from gpu_rightsizer.domain.units import GIB, MIB
from gpu_rightsizer.domain.workload import OomKind, TargetRef
from gpu_rightsizer.domain.world import World
from gpu_rightsizer.estimate import estimate
from gpu_rightsizer.estimate.incidents import probability
from gpu_rightsizer.estimate.memory import weight_bytes
from tests import builders as make


def need(observed: Observation | None = None, **changes: Any) -> Need:
    return estimate([make.world(observed, **changes)], make.NOW)[0]


def codes(findings: tuple[Finding, ...]) -> set[Code]:
    return {finding.code for finding in findings}


# tiers ----------------------------------------------------------------------------------------------------------------


def test_complete_data_of_two_weeks_allow_everything() -> None:
    found = need()

    assert found.tier is Tier.T4
    assert not found.shrink_holds
    assert not found.memory_holds


def test_a_hundred_peers_make_the_highest_tier() -> None:
    fleet = estimate([make.world() for _ in range(100)], make.NOW)

    assert {each.tier for each in fleet} == {Tier.T5}


@pytest.mark.parametrize(("days", "enough"), [(1.0, False), (3.0, False), (4.0, True), (7.0, True)], ids=str)
def test_four_days_with_business_days_and_a_weekend_day_are_needed(days: float, enough: bool) -> None:
    """NOW is a Wednesday noon: four days back reach into the weekend."""
    found = need(make.observation(days=days))

    assert (Code.HISTORY_TOO_SHORT not in codes(found.shrink_holds)) is enough
    assert (found.tier is Tier.T4) is enough


def test_a_weekend_alone_is_not_enough() -> None:
    """Five known days, of them no weekend day."""
    series = make.flat(1000.0, 14)
    weekday = np.array([(int(t) // 86_400 + 3) % 7 < 5 for t in series.times()])
    known = np.where(weekday, series.values, np.nan)

    assert Code.HISTORY_TOO_SHORT in codes(need(make.observation(kv_demand=make.series(known))).shrink_holds)


def test_device_metrics_alone_of_a_preallocating_engine_forbid_less_memory_only() -> None:
    found = need(make.no_engine())

    assert found.tier is Tier.T1
    assert codes(found.memory_holds) == {Code.ENGINE_METRICS_NEEDED}
    assert not found.shrink_holds


def test_device_metrics_of_an_engine_that_does_not_preallocate_are_its_demand() -> None:
    used = make.diurnal(20 * GIB, low=0.6)
    found = need(make.no_engine(fb_used=used), engine=EngineType.TRITON)

    assert found.tier is Tier.T2
    assert isinstance(found.memory, FramebufferMemory)
    assert not isinstance(found.memory.demand, Missing)
    assert found.memory.demand.peak == pytest.approx(used.peak())
    assert not found.memory_holds


@pytest.mark.parametrize("share", [0.9, 0.905, 0.92])
def test_framebuffer_at_the_usual_share_looks_preallocated(share: float) -> None:
    total = 80 * GIB
    observed = make.no_engine(fb_used=make.flat(share * total), fb_total=Measured(total))

    found = need(observed, engine=EngineType.CUSTOM)

    assert codes(found.memory_holds) == {Code.ENGINE_METRICS_NEEDED}
    assert isinstance(found.memory, Missing)


def test_flat_framebuffer_under_varying_work_looks_preallocated() -> None:
    observed = make.no_engine(fb_used=make.flat(30 * GIB), fb_total=Measured(80 * GIB))

    assert codes(need(observed, engine=EngineType.CUSTOM).memory_holds) == {Code.ENGINE_METRICS_NEEDED}
    assert not need(observed, engine=EngineType.LLAMA_CPP).memory_holds


# gaps -----------------------------------------------------------------------------------------------------------------


def test_nothing_observed_is_unknown_and_nothing_else() -> None:
    found = need(make.nothing_observed())

    assert found.tier is Tier.T0
    assert Code.METRICS_MISSING in codes(found.shrink_holds)
    assert found.idleness.state is IdleState.UNKNOWN


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"coverage": 0.8}, Code.METRICS_INCOMPLETE),
        ({"newest": make.NOW - timedelta(hours=3)}, Code.METRICS_MISSING),
        ({"generation_rate": make.missing(Signal.GENERATION_RATE)}, Code.METRICS_MISSING),
        ({"running": make.missing(Signal.RUNNING, MissingReason.PARTIAL)}, Code.METRICS_INCOMPLETE),
        ({"kv_pool": make.missing(Signal.KV_POOL, MissingReason.CONTRADICTORY)}, Code.SOURCES_DISAGREE),
        ({"problems": (make.missing(Signal.KV_DEMAND, MissingReason.SOURCE_FAILED),)}, Code.METRICS_MISSING),
        ({"waiting": make.missing(Signal.WAITING)}, Code.METRICS_MISSING),
        ({"newest": make.NOW + timedelta(hours=1)}, Code.SOURCES_DISAGREE),
        ({"attribution": Attribution("pod", (), 1, 2)}, Code.METRICS_INCOMPLETE),
        ({"newest": None}, Code.METRICS_MISSING),
        ({"tpot": make.missing(Signal.TPOT)}, Code.METRICS_MISSING),
        ({"tpot": make.flat(0.0)}, Code.METRICS_MISSING),
        ({"tpot": make.flat(float("nan"))}, Code.METRICS_MISSING),
        ({"kv_pool": Measured(0.0)}, Code.METRICS_MISSING),
        ({"fb_total": Measured(0.0)}, Code.METRICS_MISSING),
        ({"fb_total": Measured(1.0 * MIB)}, Code.METRICS_MISSING),
        ({"fb_total": Measured(20.0 * GIB)}, Code.METRICS_MISSING),
    ],
)
def test_each_gap_forbids_shrinking_by_its_name(changes: dict[str, Any], code: Code) -> None:
    assert code in codes(need(make.observation(**changes)).shrink_holds)


@pytest.mark.parametrize("signal", [Signal.DRAM_ACTIVITY, Signal.HOST_CPU, Signal.TTFT])
def test_a_gap_in_what_is_not_needed_forbids_nothing(signal: Signal) -> None:
    assert not need(make.observation(problems=(make.missing(signal),))).shrink_holds


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"engine": make.missing(Signal.ENGINE)}, Code.ENGINE_UNKNOWN),
        ({"engine": make.missing(Signal.CONTAINER, MissingReason.NOT_FOUND, "proxy, vllm")}, Code.CONTAINER_UNKNOWN),
        ({"model": make.missing(Signal.MODEL)}, Code.MODEL_UNKNOWN),
        ({"on": make.missing(Signal.INSTANCE_CLASS)}, Code.CLASS_UNKNOWN),
        ({"shared_device": True}, Code.DEVICE_SHARED),
        ({"engine_settings": make.settings(unread=("--kv-transfer-config",))}, Code.SETTINGS_UNREAD),
    ],
)
def test_not_knowing_what_runs_forbids_shrinking(changes: dict[str, Any], code: Code) -> None:
    assert code in codes(need(**changes).shrink_holds)


# censoring ------------------------------------------------------------------------------------------------------------


def test_saturation_without_a_queue_metric_hides_demand() -> None:
    pool = make.pool_tokens()
    demand = make.diurnal(1.3 * pool)
    full = replace(demand, values=np.minimum(demand.values, pool))
    observed = make.observation(kv_demand=full, waiting=make.missing(Signal.WAITING))

    assert Code.DEMAND_CENSORED in codes(need(observed).shrink_holds)


def test_a_queue_metric_makes_saturated_demand_visible() -> None:
    pool = make.pool_tokens()
    observed = make.observation(kv_demand=make.diurnal(1.3 * pool))

    assert Code.DEMAND_CENSORED not in codes(need(observed).shrink_holds)


def test_a_queue_that_stands_for_hours_hides_demand_again() -> None:
    running, waiting = make.flat(20.0), make.diurnal(60.0)

    found = need(make.observation(running=running, waiting=waiting))

    assert Code.DEMAND_CENSORED in codes(found.shrink_holds)
    assert Code.QUEUE_STANDS in codes(found.symptoms)


# memory ---------------------------------------------------------------------------------------------------------------


def test_overhead_is_solved_from_the_running_pod() -> None:
    found = need(make.observation(pool=make.pool_tokens(overhead_gib=2.7))).memory

    assert isinstance(found, PreallocatedMemory)
    assert found.overhead_source is OverheadSource.SOLVED
    assert found.overhead / GIB == pytest.approx(2.7, abs=0.01)
    assert found.overhead_error == GIB // 2


def test_overhead_is_solved_per_rank() -> None:
    pool = make.pool_tokens(architecture=make.LLAMA_70B, ranks=8, overhead_gib=3.0)
    found = need(make.observation(pool=pool), model=make.LLAMA_70B, tensor_parallel=8).memory

    assert isinstance(found, PreallocatedMemory)
    assert found.overhead / GIB == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("overhead", [-1.0, 30.0])
def test_an_impossible_overhead_is_assumed_and_said(overhead: float) -> None:
    found = need(make.observation(pool=make.pool_tokens(overhead_gib=overhead)))

    assert isinstance(found.memory, PreallocatedMemory)
    assert found.memory.overhead_source is OverheadSource.ASSUMED
    assert found.memory.overhead_error > GIB // 2
    assert Code.OVERHEAD_ASSUMED in codes(found.notes)
    assert bool(found.memory_holds) is (overhead < 0)  # weights and pool cannot exceed the memory they are in


def test_framebuffer_below_weights_and_pool_is_a_contradiction() -> None:
    found = need(make.observation(fb_used=make.flat(20 * GIB)))

    assert codes(found.memory_holds) == {Code.SOURCES_DISAGREE}


@pytest.mark.parametrize(
    ("model", "dtype", "gigabytes"),
    [
        (make.LLAMA_8B, WeightDtype.BFLOAT16, 16.06),
        (make.LLAMA_8B, WeightDtype.FP8, 9.08),  # neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8
        (make.LLAMA_8B, WeightDtype.INT4, 5.74),  # hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4
        (make.LLAMA_70B, WeightDtype.INT4, 39.8),  # hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4
    ],
)
def test_weights_are_those_of_published_checkpoints_or_a_little_more(
    model: ModelArchitecture, dtype: WeightDtype, gigabytes: float
) -> None:
    assert 0.99 * gigabytes <= weight_bytes(model, make.settings(weight_dtype=dtype)) / 1e9 <= 1.08 * gigabytes


@pytest.mark.parametrize(
    ("name", "dtype", "gigabytes"),
    [("moonshotai/Kimi-K2.5", WeightDtype.INT4, 595), ("openai/gpt-oss-120b", WeightDtype.MXFP4, 65.3)],
)
def test_mixtures_in_four_bits_keep_the_rest_in_sixteen(name: str, dtype: WeightDtype, gigabytes: float) -> None:
    model = replace(catalogue.load().models[name], checkpoint_bytes=None)

    assert weight_bytes(model, make.settings(weight_dtype=dtype)) / 1e9 == pytest.approx(gigabytes, rel=0.01)


def test_a_checkpoint_of_mixed_types_has_the_size_it_has() -> None:
    mixed = replace(make.LLAMA_8B, default_dtype=WeightDtype.MXFP4, checkpoint_bytes=13_800_000_000)

    assert weight_bytes(mixed, make.settings()) == 13.8e9
    assert weight_bytes(mixed, make.settings(weight_dtype=WeightDtype.BFLOAT16)) == pytest.approx(16.06e9)


# load, host, idleness, symptoms ---------------------------------------------------------------------------------------


def test_load_is_the_peak_of_the_token_rates() -> None:
    observed = make.observation(generation_rate=make.flat(400.0), prompt_rate=make.flat(4000.0), prompt=800, output=200)

    found = need(observed).load

    assert isinstance(found, Load)
    assert found.requests_per_second == pytest.approx(2.0)
    assert found.prompt_tokens == pytest.approx(2000.0)  # as long as the prompt rate asks
    assert found.kv_tokens_per_request == pytest.approx(900.0)


def test_host_use_counts_more_after_the_kernel_killed_it() -> None:
    killed = need(incidents=(make.incident(OomKind.HOST),)).host.memory_used

    assert killed == round(1.2 * 6 * GIB)
    assert need().host.memory_used == 6 * GIB


def idle_observation(**changes: Any) -> Observation:
    still = {name: make.flat(0.0) for name in ("requests", "running", "prompt_rate", "generation_rate", "gpu_activity")}
    return make.observation(**(still | changes))


def test_two_silent_engine_sources_prove_idleness() -> None:
    found = need(idle_observation()).idleness

    assert found.state is IdleState.IDLE
    assert found.idle_for == timedelta(days=14)
    assert found.idle_share == 1.0


@pytest.mark.parametrize(
    "changes",
    [
        {"requests": make.missing(Signal.REQUESTS)},
        {"running": make.missing(Signal.RUNNING)},
        {"requests": make.series(np.where(np.arange(336) % 5 == 0, np.nan, 0.0))},
        {"gpu_activity": make.flat(0.4)},
        {"attribution": Attribution("pod", (), 0, 1)},
        {"requests": make.series(np.zeros(24)), "running": make.series(np.zeros(24))},
    ],
    ids=["no requests", "no running", "holes", "device at work", "pods unseen", "one day"],
)
def test_absence_of_evidence_is_not_idleness(changes: dict[str, Any]) -> None:
    assert need(idle_observation(**changes)).idleness.state is IdleState.UNKNOWN


def test_a_request_within_the_window_is_work() -> None:
    requests = np.zeros(336)
    requests[-3] = 1.0

    found = need(idle_observation(requests=make.series(requests))).idleness

    assert found.state is IdleState.BUSY
    assert found.wakes_per_day == pytest.approx(1 / 14)


def test_missed_objectives_and_preemptions_are_symptoms() -> None:
    late, preempting = make.flat(0.09), make.flat(3.0)

    found = need(make.observation(tpot=late, preemptions=preempting, requests=make.flat(100.0)))

    assert codes(found.symptoms) == {Code.OBJECTIVE_MISSED, Code.PREEMPTING}
    assert not need().symptoms


# incidents ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "days", "chance"), [(0.2, 425, 0.014), (1.2, 425, 0.079), (0.4, 425, 0.027), (1.2, 150, 0.197)]
)
def test_past_events_are_weighed_as_published(events: float, days: float, chance: float) -> None:
    """0 or 1 event in 365 d, the cause fixed (0.2), 1 in 90 d; all with the prior of 60 days."""
    assert probability(events, days, 30.0) == pytest.approx(chance, abs=0.001)


@pytest.mark.parametrize(
    ("changes", "weight"),
    [
        ({}, 1.0),
        ({"settings_hash": "before"}, 0.2),
        ({"model": "another/model"}, 0.1),
    ],
)
def test_an_incident_weighs_by_whether_its_cause_still_applies(changes: dict[str, Any], weight: float) -> None:
    found = need(incidents=(make.incident(days_ago=180, **changes),)).hazard

    assert found.incidents[0].weight == pytest.approx(weight / 2)  # half-life 180 days


def test_settings_that_could_not_be_read_are_not_known_to_have_changed() -> None:
    unread = {"engine": make.missing(Signal.CONTAINER, MissingReason.NOT_FOUND, "vllm"), "settings_hash": "nothing"}

    found = need(incidents=(make.incident(days_ago=180),), **unread).hazard

    assert found.incidents[0].weight == pytest.approx(1 / 2)


def test_a_container_that_does_not_exist_is_said_and_nothing_else_about_it() -> None:
    unread = make.missing(Signal.CONTAINER, MissingReason.NOT_FOUND, "proxy, vllm")
    target = TargetRef("apps/v1", "Deployment", "chat", "vlm")

    found = need(make.nothing_observed(), engine=unread, model=make.missing(Signal.MODEL), target=target)

    assert found.shrink_holds[0] == finding(Code.CONTAINER_UNKNOWN, container="vlm", containers="proxy, vllm")
    assert not codes(found.shrink_holds) & {Code.ENGINE_UNKNOWN, Code.MODEL_UNKNOWN}


def test_host_out_of_memory_is_no_device_out_of_memory() -> None:
    assert not need(incidents=(make.incident(OomKind.HOST),)).hazard.incidents


@pytest.mark.parametrize(
    ("why", "code"),
    [
        (MissingReason.NOT_FOUND, Code.TARGET_MISSING),
        (MissingReason.CONTRADICTORY, Code.TARGET_CLAIMED_TWICE),
    ],
)
def test_where_there_is_no_workload_nothing_else_is_said(why: MissingReason, code: Code) -> None:
    there_is_none = make.missing(Signal.TARGET, why, "llama-8b-old")
    nowhere = make.workload(engine=there_is_none, model=there_is_none, placement=there_is_none)

    (found,) = estimate([World(nowhere, make.nothing_observed())], make.NOW)

    assert codes(found.shrink_holds) == {code}
