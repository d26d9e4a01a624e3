"""What an Observation says of what was scraped: demand, gaps, the present, and everything that is missing."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from gpu_rightsizer.domain.readings import BlockSeries, History, Measured, Missing, MissingReason, Reading, Signal
from gpu_rightsizer.domain.units import MIB
from gpu_rightsizer.observe import samples as window
from gpu_rightsizer.observe.reading import observe
from gpu_rightsizer.ports import Unavailable
from tests.fakes.metrics import Scraped
from tests.unit.observe.scrapes import (
    FIRST,
    NAMESPACE,
    NOW,
    OLDER,
    SECOND,
    THIRD,
    Device,
    Engine,
    Span,
    at_hour,
    counter,
    gauge,
    membership,
    seen,
    store,
    up,
    workload,
)

POOL = 16_000.0  # tokens: 1000 blocks of 16


def series(history: History) -> BlockSeries:
    assert isinstance(history, BlockSeries), history
    return history


def ago(history: History, hours: int) -> float:
    """The figure of the block that was running so many hours before NOW, without single precision's noise."""
    return float(str(np.float32(series(history).values[-1 - hours])))


def measured(reading: Reading) -> float:
    assert isinstance(reading, Measured), reading
    return reading.value


def problems(*found: Missing) -> list[tuple[Signal, MissingReason, str]]:
    return [(each.what, each.why, each.detail) for each in found]


# -- demand ---------------------------------------------------------------------------------------------------------


def test_demand_is_what_is_in_use_and_what_waits() -> None:
    observation = seen(store(Engine(kv=0.25, waiting=3, prompt=600, output=200)))

    assert ago(observation.kv_demand, 5) == pytest.approx(0.25 * POOL + 3 * (600 + 200 / 2), rel=1e-3)
    assert measured(observation.prompt_tokens) == pytest.approx(600, rel=1e-3)
    assert measured(observation.output_tokens) == pytest.approx(200, rel=1e-3)
    assert measured(observation.kv_pool) == POOL


def test_the_engines_of_one_pod_are_added() -> None:
    both = store(Engine(engine="0", kv=0.25, running=2), Engine(engine="1", kv=0.5, running=3, blocks="2000"))

    observation = seen(both)

    assert ago(observation.kv_demand, 5) == 0.25 * POOL + 0.5 * 2 * POOL
    assert ago(observation.running, 5) == 5
    assert measured(observation.kv_pool) == 3 * POOL


def test_the_busiest_replica_counts() -> None:
    observation = seen(store(Engine(FIRST, kv=0.1), Engine(SECOND, kv=0.6)), workload(FIRST, SECOND))

    assert ago(observation.kv_demand, 5) == 0.6 * POOL


def test_replicas_are_those_that_served_in_each_block() -> None:
    for_a_day = Engine(SECOND, span=Span(since=30, until=6))

    observation = seen(store(Engine(FIRST), for_a_day), workload(FIRST, SECOND))

    assert [ago(observation.replicas, hours) for hours in (40, 20, 2)] == [1, 2, 1]


def test_without_an_engine_the_number_of_the_past_is_unknown() -> None:
    observation = seen(store(Device()))

    assert observation.replicas == Missing(Signal.REPLICAS, MissingReason.NO_SERIES)


def test_a_peak_of_a_minute_stands_in_its_block_alone() -> None:
    observation = seen(store(Engine(kv=at_hour(5.0, 0.9, 0.1))))

    values = series(observation.kv_demand).values
    assert np.flatnonzero(values > 0.5 * POOL).tolist() == [len(values) - 6]
    assert ago(observation.kv_demand, 5) == 0.9 * POOL


def test_requests_of_all_replicas_are_added() -> None:
    two = store(Engine(FIRST, requests=0.1), Engine(SECOND, requests=0.2))

    observation = seen(two, workload(FIRST, SECOND))

    assert ago(observation.requests, 5) == pytest.approx(0.3 * 3600, rel=1e-3)
    assert ago(observation.generation_rate, 5) == pytest.approx(0.2 * 200, rel=1e-3)


def test_a_pod_of_an_earlier_revision_counts_with_its_own_pool() -> None:
    before = Engine(OLDER, kv=0.5, blocks="4000", span=Span(since=48, until=20))
    after = Engine(FIRST, kv=0.5, blocks="1000", span=Span(since=20))

    observation = seen(store(before, after))

    assert ago(observation.kv_demand, 30) == 0.5 * 4 * POOL
    assert ago(observation.kv_demand, 5) == 0.5 * POOL
    assert measured(observation.kv_pool) == POOL


def test_a_restart_with_another_pool_counts_from_then_on() -> None:
    small = Engine(blocks="1000", span=Span(since=48, until=24), kv=0.5)
    large = Engine(blocks="2000", span=Span(since=24), kv=0.5)

    observation = seen(store(small, large))

    assert ago(observation.kv_demand, 40) == 0.5 * POOL
    assert ago(observation.kv_demand, 5) == 0.5 * 2 * POOL
    assert measured(observation.kv_pool) == 2 * POOL


@pytest.mark.parametrize("blocks", ["None", "0", "", "nan", "-5", "inf", "1e300"])
def test_a_pool_that_the_engine_does_not_tell_leaves_demand_unknown(blocks: str) -> None:
    observation = seen(store(Engine(blocks=blocks)))

    assert isinstance(observation.kv_demand, Missing)
    assert observation.kv_pool == Missing(
        Signal.KV_POOL, MissingReason.INVALID, "vllm:cache_config_info without num_gpu_blocks"
    )


def test_a_queue_of_unknown_lengths_leaves_demand_unknown() -> None:
    engine = Engine(waiting=at_hour(5.0, 4.0, 0.0)).series()
    without_lengths = [
        each
        for each in engine
        if "tokens_sum" not in each.labels["__name__"] and "tokens_total" not in each.labels["__name__"]
    ]

    observation = seen(store(*without_lengths))

    assert np.isnan(ago(observation.kv_demand, 5))
    assert ago(observation.kv_demand, 6) == 0.25 * POOL


# -- names and labels ------------------------------------------------------------------------------------------------


def test_old_and_new_names_side_by_side_are_one_fleet() -> None:
    mixed = store(Engine(FIRST, kv=0.3, names="new"), Engine(SECOND, kv=0.7, names="old", engine=None))

    observation = seen(mixed, workload(FIRST, SECOND))

    assert ago(observation.kv_demand, 5) == 0.7 * POOL
    assert {"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"} <= set(observation.attribution.metrics)


def test_a_pod_that_shows_both_names_counts_once() -> None:
    doubled = gauge(
        "vllm:gpu_cache_usage_perc",
        {"namespace": "inference", "pod": FIRST, "job": "vllm", "instance": FIRST, "model_name": "m", "engine": "0"},
        0.9,
    )

    observation = seen(store(Engine(kv=0.3), doubled))

    assert ago(observation.kv_demand, 5) == 0.3 * POOL


def test_an_upgrade_of_the_names_leaves_no_gap() -> None:
    before = Engine(OLDER, names="old", engine=None, span=Span(since=48, until=24))
    after = Engine(FIRST, names="new", span=Span(since=24))

    observation = seen(store(before, after))

    assert series(observation.kv_demand).known()[-48:].all()


def test_labels_that_flip_leave_no_gap() -> None:
    before = Device(direct=False, used=60_000, span=Span(since=48, until=24.32))
    after = Device(direct=True, used=70_000, span=Span(since=24.32))

    observation = seen(store(Engine(), before, after))

    assert series(observation.fb_used).known()[-48:].all()
    assert observation.attribution.scheme == "device: exported_pod and pod, engine: pod"


@pytest.mark.parametrize("direct", [True, False])
def test_both_label_schemes_of_dcgm_are_read(direct: bool) -> None:
    observation = seen(store(Engine(), Device(direct=direct, used=70_000, free=11_000)))

    assert ago(observation.fb_used, 5) == 70_000 * MIB
    assert measured(observation.fb_total) == 81_000 * MIB
    assert ago(observation.gpu_activity, 5) == 0.5
    assert ago(observation.dram_activity, 5) == 0.3


def test_a_second_replica_of_prometheus_changes_nothing() -> None:
    def of_replica(name: str) -> list[Engine | Device]:
        more = {"prometheus_replica": name}
        return [Engine(more=more, running=4, waiting=1), Device(more=more)]

    once, twice = seen(store(*of_replica("a"))), seen(store(*of_replica("a"), *of_replica("b")))

    for name in ("kv_demand", "running", "requests", "fb_used", "prompt_rate"):
        np.testing.assert_array_equal(series(getattr(once, name)).values, series(getattr(twice, name)).values)
    assert twice.problems == once.problems == ()


def test_percent_becomes_a_share() -> None:
    observation = seen(store(Engine(), Device(activity=40.0, activity_metric="DCGM_FI_DEV_GPU_UTIL")))

    assert ago(observation.gpu_activity, 5) == 0.4


@pytest.mark.parametrize(("value", "share"), [(40.0, 0.4), (1.0, 1.0), (0.3, 0.3)])
def test_a_ratio_that_may_be_percent_is_never_read_as_idler_than_it_can_be(value: float, share: float) -> None:
    observation = seen(store(Engine(), Device(activity=value, activity_metric="DCGM_FI_DEV_GPU_UTIL_RATIO")))

    assert ago(observation.gpu_activity, 5) == share


# -- gaps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pods", [(FIRST,), (FIRST, SECOND), (FIRST, SECOND, THIRD)])
def test_a_block_with_a_gap_is_unknown_however_many_replicas_there_are(pods: tuple[str, ...]) -> None:
    holed = Span(gaps=((10.2, 9.8),))  # 24 minutes, all within one block
    metrics = store(*(Engine(pod, span=holed) for pod in pods), up(span=holed), up("dcgm"), ups=False)

    observation = seen(metrics, workload(*pods))

    known = series(observation.kv_demand).known()[-47:]
    assert np.flatnonzero(~known).tolist() == [47 - 11]
    assert series(observation.kv_demand).coverage[-11] == pytest.approx(0.6, abs=0.02)
    assert np.isnan(ago(observation.requests, 10))


def test_one_replica_of_two_out_of_sight_for_an_hour_makes_it_unknown() -> None:
    observation = seen(store(Engine(FIRST), Engine(SECOND, span=Span(gaps=((10.4, 9.2),)))), workload(FIRST, SECOND))

    assert np.isnan(ago(observation.kv_demand, 10))
    assert ago(observation.kv_demand, 12) == 0.25 * POOL


def test_a_peak_within_a_gap_still_raises_demand() -> None:
    holed = Span(gaps=((10.2, 9.8),))

    peak = seen(store(Engine(kv=at_hour(9.7, 0.8, 0.2), span=holed)))
    no_peak = seen(store(Engine(kv=at_hour(9.7, 0.2, 0.8), span=holed)))

    assert ago(peak.kv_demand, 10) == 0.8 * POOL
    assert series(peak.kv_demand).coverage[-11] < 0.9
    assert np.isnan(ago(no_peak.kv_demand, 10))


def test_a_thin_history_that_looks_idle_is_unknown() -> None:
    thin = Engine(kv=0.0, running=0.0, requests=0.0, span=Span(every=720.0))  # 5 of 60 samples

    observation = seen(store(thin))

    assert observation.kv_demand == Missing(Signal.KV_DEMAND, MissingReason.PARTIAL, "10 % of samples")
    assert observation.coverage < 0.2
    assert isinstance(observation.requests, Missing)


def test_a_rollout_within_a_block_is_no_gap() -> None:
    before, after = Engine(OLDER, span=Span(since=48, until=10.5)), Engine(FIRST, span=Span(since=10.5))

    observation = seen(store(before, after))

    assert series(observation.kv_demand).known()[-48:].all()
    assert observation.coverage > 0.98


def test_another_scrape_interval_is_no_gap() -> None:
    before, after = Span(since=48, until=24.32, every=60), Span(since=24.32, every=15)
    metrics = store(Engine(span=before), Engine(span=after), up(span=before), up(span=after), ups=False)

    observation = seen(metrics)

    assert series(observation.kv_demand).known()[-48:].all()


def test_without_up_the_interval_is_learned_from_the_series() -> None:
    observation = seen(store(Engine(span=Span(gaps=((10.2, 9.8),))), ups=False))

    assert np.flatnonzero(~series(observation.kv_demand).known()[-47:]).tolist() == [47 - 11]


def test_the_span_is_that_of_the_engines_history() -> None:
    observation = seen(store(Engine(span=Span(since=30)), Device()))

    assert observation.span == timedelta(hours=31)  # whole blocks
    assert observation.coverage > 0.97


# -- the present -----------------------------------------------------------------------------------------------------


def test_everything_seen_is_no_problem() -> None:
    observation = seen(store(Engine(), Device()))

    assert observation.problems == ()
    assert (observation.attribution.pods_seen, observation.attribution.pods_expected) == (1, 1)
    assert observation.newest is not None
    assert NOW - observation.newest < timedelta(seconds=120)


def test_one_replica_of_two_without_series_is_told() -> None:
    observation = seen(store(Engine(FIRST), Device()), workload(FIRST, SECOND))

    assert (Signal.KV_DEMAND, MissingReason.PARTIAL, "1/2 pods") in problems(*observation.problems)
    assert (observation.attribution.pods_seen, observation.attribution.pods_expected) == (1, 2)


def test_a_pod_that_has_just_started_is_not_expected_yet() -> None:
    observation = seen(store(Device(), ups=True), workload(FIRST, started=timedelta(minutes=1)))

    assert observation.attribution.pods_expected == 0


def test_series_that_ended_are_stale_and_their_past_remains() -> None:
    observation = seen(store(Engine(span=Span(until=0.4)), Device(span=Span(until=0.4))))

    assert (Signal.KV_DEMAND, MissingReason.STALE, "") in problems(*observation.problems)
    assert ago(observation.kv_demand, 5) == 0.25 * POOL
    assert observation.attribution.pods_seen == 0
    assert observation.newest is not None
    assert timedelta(0) <= NOW - observation.newest <= timedelta(hours=1)


def test_no_series_although_the_target_answers_is_told() -> None:
    observation = seen(store())

    assert observation.kv_demand == Missing(Signal.KV_DEMAND, MissingReason.NO_SERIES)
    assert (Signal.FB_USED, MissingReason.NO_SERIES, "") in problems(*observation.problems)
    assert (Signal.KV_USAGE, MissingReason.NO_SERIES, "") in problems(*observation.problems)
    assert observation.newest is None
    assert observation.span == timedelta(0)


def test_with_dcgm_alone_the_devices_history_counts() -> None:
    observation = seen(store(Device(used=at_hour(5.0, 60_000, 30_000))))

    assert ago(observation.fb_used, 5) == 60_000 * MIB
    assert (Signal.KV_USAGE, MissingReason.NO_SERIES, "") in problems(*observation.problems)
    assert observation.span > timedelta(hours=47)
    assert observation.attribution.pods_seen == 1


def test_fewer_devices_than_the_pod_asks_for_are_told() -> None:
    observation = seen(store(Engine(), Device(uuid="GPU-1"), Device(uuid="GPU-2")), workload(accelerators=4))

    assert (Signal.FB_USED, MissingReason.PARTIAL, "2/4 devices") in problems(*observation.problems)


def test_a_device_of_several_pods_is_shared() -> None:
    observation = seen(store(Engine(), Device(FIRST), Device("training-0")))

    assert (Signal.KV_DEMAND, MissingReason.SHARED, "") in problems(*observation.problems)


def test_slices_of_one_device_are_not_shared() -> None:
    slices = (Device(FIRST, more={"GPU_I_ID": "1"}), Device("training-0", more={"GPU_I_ID": "2"}))

    assert seen(store(Engine(), *slices)).problems == ()


def test_the_largest_of_several_devices_counts() -> None:
    two = store(Engine(), Device(uuid="GPU-1", used=60_000), Device(uuid="GPU-2", used=61_000, free=9_000))

    observation = seen(two, workload(accelerators=2))

    assert ago(observation.fb_used, 5) == 61_000 * MIB
    assert measured(observation.fb_total) == 70_000 * MIB  # the smallest


# -- figures that cannot be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1.5, -0.2, float("inf"), float("-inf")])
def test_an_impossible_usage_is_no_usage(value: float) -> None:
    observation = seen(store(Engine(kv=value)))

    assert isinstance(observation.kv_demand, Missing)
    assert any(each.what is Signal.KV_USAGE and each.why is MissingReason.INVALID for each in observation.problems)


def test_nan_is_no_usage() -> None:
    assert isinstance(seen(store(Engine(kv=float("nan")))).kv_demand, Missing)


@pytest.mark.parametrize("blank", [9223372036854775794.0, 140737488355328.0, 2147483632.0, -1.0])
def test_a_blank_of_dcgm_spoils_its_block_alone(blank: float) -> None:
    observation = seen(store(Engine(), Device(used=at_hour(5.0, blank, 70_000) if blank > 0 else blank)))

    if blank > 0:
        assert np.isnan(ago(observation.fb_used, 5))
        assert ago(observation.fb_used, 6) == 70_000 * MIB
        assert observation.problems == ()
    else:
        assert isinstance(observation.fb_used, Missing)


# -- sources that fail ------------------------------------------------------------------------------------------------


def test_a_query_that_fails_makes_its_signals_unknown_and_no_others() -> None:
    metrics = store(Engine(), Device())
    metrics.failing["engine"] = Unavailable("no answer")

    observation = seen(metrics)

    assert observation.kv_demand == Missing(Signal.KV_DEMAND, MissingReason.SOURCE_FAILED, "no answer")
    assert observation.running == Missing(Signal.RUNNING, MissingReason.SOURCE_FAILED, "no answer")
    assert ago(observation.fb_used, 5) == 70_000 * MIB
    assert (Signal.KV_USAGE, MissingReason.SOURCE_FAILED, "no answer") in problems(*observation.problems)


@pytest.mark.parametrize("name", ["now", "coverage"])
def test_what_tells_of_freshness_and_gaps_is_missed_by_all(name: str) -> None:
    metrics = store(Engine(), Device())
    metrics.failing[name] = Unavailable("no answer")

    observation = seen(metrics)

    assert any(
        each.why is MissingReason.SOURCE_FAILED and each.what in {Signal.KV_DEMAND, Signal.FB_USED}
        for each in observation.problems
    )


def test_a_partial_answer_is_told() -> None:
    metrics = store(Engine(), Device())
    metrics.warning["engine"] = ("store-1 timed out",)

    observation = seen(metrics)

    assert (Signal.KV_USAGE, MissingReason.PARTIAL, "store-1 timed out") in problems(*observation.problems)
    assert ago(observation.kv_demand, 5) == 0.25 * POOL  # what was seen may still raise


# -- latency and the host ---------------------------------------------------------------------------------------------


def latency(pod: str, requests: float, seconds: float) -> list[Scraped]:
    labels = {"namespace": "inference", "pod": pod, "job": "vllm", "model_name": "m", "engine": "0"}
    name = "vllm:time_to_first_token_seconds_bucket"
    below, above = f"{seconds / 2:g}", f"{seconds:g}"
    buckets = [
        counter(name, {**labels, "le": bound}, rate)
        for bound, rate in ((below, 0.0), (above, requests), ("+Inf", requests))
    ]
    return [*Engine(pod, requests=requests).series(), *buckets]


def test_the_slowest_replica_with_enough_requests_is_the_latency() -> None:
    metrics = store(*latency(FIRST, 0.1, 0.4), *latency(SECOND, 0.1, 0.8), *latency(THIRD, 0.001, 20.0))

    observation = seen(metrics, workload(FIRST, SECOND, THIRD))

    assert ago(observation.ttft, 5) == pytest.approx(0.4 + 0.95 * 0.4, rel=1e-3)


def test_the_containers_of_a_pod_are_added() -> None:
    labels = {"namespace": "inference", "pod": FIRST, "job": "kubelet"}
    host = [
        gauge("container_memory_working_set_bytes", {**labels, "container": "vllm"}, 8e9),
        gauge("container_memory_working_set_bytes", {**labels, "container": "proxy"}, 1e9),
        gauge("container_memory_working_set_bytes", {**labels, "container": ""}, 9.5e9),
        counter("container_cpu_usage_seconds_total", {**labels, "container": "vllm"}, 1.5),
    ]

    observation = seen(store(Engine(), *host))

    assert ago(observation.host_memory, 5) == 9e9
    assert ago(observation.host_cpu, 5) == pytest.approx(1.5, rel=1e-3)


def test_a_series_that_lost_the_label_we_gave_it_is_nobodys() -> None:
    samples = window.advanced(window.empty(NOW), NOW)
    (ask,) = (each for each in window.plan(samples, NOW, pods=1) if each.query.name == "engine")
    stripped = {"namespace": NAMESPACE, "pod": FIRST}
    read = window.merged(samples, ask, [(stripped, np.array([float(ask.end)]), np.array([0.5]))])

    (observation,) = observe([workload()], membership(), read, NOW)

    assert isinstance(observation.running, Missing)


def test_nothing_was_sampled_in_the_future() -> None:
    """The store's clock runs ahead."""
    samples = window.advanced(window.empty(NOW), NOW)
    (ask,) = (each for each in window.plan(samples, NOW, pods=1) if each.query.instant)
    newest = {"namespace": NAMESPACE, "pod": FIRST, "signal": "devnewest|DCGM_FI_DEV_FB_USED"}
    read = window.merged(samples, ask, [(newest, np.array([float(ask.end)]), np.array([1e15]))])

    (observation,) = observe([workload()], membership(), read, NOW)

    assert observation.newest == NOW
