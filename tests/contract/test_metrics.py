"""The fake store and a real Prometheus, asked alike, answer alike: every query of ours, on series with every oddity."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from gpu_rightsizer.adapters.prometheus import PrometheusMetrics, PrometheusSettings
from gpu_rightsizer.observe.queries import BLOCK_SECONDS, QUERIES, SIGNAL_LABEL, Query, Scope, Slot
from gpu_rightsizer.ports import Answer, Metrics, Rejected
from testbed.prometheus import PrometheusServer
from testbed.remote_write import STALE
from testbed.remote_write import Series as Pushed
from tests.fakes.metrics import FakeMetrics, Scraped

CLUSTER = "contract"
SCOPE = Scope((("cluster", CLUSTER),), ("chat", "code"))
HOURS = 6
EVERY = 30.0
BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, math.inf)
NOW = datetime.fromtimestamp(math.floor(datetime.now(UTC).timestamp() / EVERY) * EVERY, UTC)  # 13 s past a scrape

CLOSE = {"rel_tol": 1e-6, "abs_tol": 1e-9}  # rounding in the JSON


def grid() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Scrapes never lie on the edge of a range: versions disagree about whose it is."""
    end = NOW.timestamp() - 13
    return np.arange(end - HOURS * 3600, end + 1, EVERY)


def gauge(name: str, labels: Mapping[str, str], seed: int, high: float = 1.0, **spoil: Any) -> Scraped:
    times = grid()
    values = np.random.default_rng(seed).uniform(0, high, len(times))
    if spoil.get("nan"):
        values[:: spoil["nan"]] = np.nan
    keep = np.ones(len(times), dtype=bool)
    if "gap" in spoil:
        first, last = spoil["gap"]
        keep[first:last] = False
    if "ends" in spoil:
        keep[spoil["ends"] + 1 :] = False
        values[spoil["ends"]] = STALE
    return Scraped({"__name__": name, "cluster": CLUSTER, **labels}, times[keep], values[keep])


def counter(name: str, labels: Mapping[str, str], seed: int, restart: int = 0) -> Scraped:
    times = grid()
    steps = np.random.default_rng(seed).poisson(3.0, len(times)).astype(np.float64)
    values = np.cumsum(steps) + 100
    if restart:
        values[restart:] -= values[restart]
    return Scraped({"__name__": name, "cluster": CLUSTER, **labels}, times, values)


def histogram(name: str, labels: Mapping[str, str], seed: int) -> list[Scraped]:
    rng = np.random.default_rng(seed)
    times = grid()
    new = np.array([rng.poisson(rate, len(times)) for rate in (1, 3, 2, 1, 0.3, 0.05)])
    cumulative = np.cumsum(np.cumsum(new, axis=0), axis=1).astype(np.float64)
    return [
        Scraped(
            {"__name__": name, "cluster": CLUSTER, **labels, "le": "+Inf" if math.isinf(bound) else f"{bound:g}"},
            times,
            row,
        )
        for bound, row in zip(BOUNDS, cumulative, strict=True)
    ]


def stored() -> list[Scraped]:
    a = {"namespace": "chat", "pod": "llm-0", "job": "vllm", "instance": "10.0.0.1:8000"}
    b = {"namespace": "chat", "pod": "llm-1", "job": "vllm", "instance": "10.0.0.2:8000"}
    model = {"model_name": "m"}
    exporter = {"namespace": "gpu", "pod": "dcgm-exporter-x", "job": "dcgm", "instance": "10.0.0.9:9400"}
    device = {**exporter, "exported_namespace": "chat", "exported_pod": "llm-0", "UUID": "GPU-1", "gpu": "0"}
    second = {**device, "UUID": "GPU-2", "gpu": "1"}
    host = {"namespace": "chat", "pod": "llm-0", "job": "kubelet", "instance": "node-1"}
    return [
        # names of both generations: one pod shows both, the other the old one alone; two engines in one pod
        gauge("vllm:kv_cache_usage_perc", {**a, **model, "engine": "0"}, 1, nan=7),
        gauge("vllm:gpu_cache_usage_perc", {**a, **model, "engine": "0"}, 2),
        gauge("vllm:kv_cache_usage_perc", {**a, **model, "engine": "1"}, 3),
        gauge("vllm:gpu_cache_usage_perc", {**b, **model}, 4, gap=(100, 300)),
        gauge("vllm:num_requests_running", {**a, **model, "engine": "0"}, 5, 30),
        gauge("vllm:num_requests_running", {**a, **model, "engine": "1"}, 6, 30),
        gauge("vllm:num_requests_running", {**b, **model}, 7, 30, ends=500),
        # the same pod seen by another replica of Prometheus: folded, not added
        gauge("vllm:num_requests_running", {**a, **model, "engine": "0", "prometheus_replica": "1"}, 5, 30),
        gauge("vllm:num_requests_waiting", {**a, **model, "engine": "0"}, 8, 5),
        counter("vllm:prompt_tokens_total", {**a, **model, "engine": "0"}, 9),
        counter("vllm:prompt_tokens_total", {**a, **model, "engine": "1"}, 10, restart=333),
        counter("vllm:generation_tokens_total", {**a, **model, "engine": "0"}, 11),
        counter("vllm:request_success_total", {**a, **model, "engine": "0", "finished_reason": "stop"}, 12),
        counter("vllm:request_success_total", {**a, **model, "engine": "0", "finished_reason": "length"}, 13),
        counter("vllm:num_preemptions_total", {**a, **model, "engine": "0"}, 14, restart=400),
        counter("vllm:request_prompt_tokens_sum", {**a, **model, "engine": "0"}, 15),
        counter("vllm:generation_tokens_total", {**b, **model}, 16),
        *histogram("vllm:time_to_first_token_seconds_bucket", {**a, **model, "engine": "0"}, 17),
        *histogram("vllm:inter_token_latency_seconds_bucket", {**a, **model, "engine": "0"}, 18),
        *histogram("vllm:time_per_output_token_seconds_bucket", {**a, **model, "engine": "0"}, 19),
        *histogram("vllm:time_per_output_token_seconds_bucket", {**b, **model}, 20),
        gauge("vllm:cache_config_info", {**a, "engine": "0", "num_gpu_blocks": "1000", "block_size": "16"}, 21),
        gauge("DCGM_FI_DEV_FB_USED", device, 22, 80000),
        gauge("DCGM_FI_DEV_FB_USED", second, 23, 80000),
        gauge("DCGM_FI_DEV_FB_FREE", device, 24, 80000),
        gauge("DCGM_FI_DEV_GPU_UTIL", device, 25, 100),
        gauge("DCGM_FI_PROF_GR_ENGINE_ACTIVE", second, 26),
        gauge("DCGM_FI_PROF_DRAM_UTIL_RATIO", device, 27),
        gauge("container_memory_working_set_bytes", {**host, "container": "vllm"}, 28, 1e10),
        gauge("container_memory_working_set_bytes", {**host, "container": "proxy"}, 29, 1e8),
        gauge("container_memory_working_set_bytes", {**host, "container": ""}, 30, 1e11),
        gauge("container_memory_working_set_bytes", {**host, "namespace": "other", "container": "vllm"}, 31, 1e10),
        counter("container_cpu_usage_seconds_total", {**host, "container": "vllm", "cpu": "total"}, 32),
        gauge("up", {"job": "vllm", "instance": "10.0.0.1:8000"}, 33),
        gauge("up", {"job": "vllm", "instance": "10.0.0.2:8000"}, 34, gap=(200, 260)),
        gauge("up", {"job": "vllm", "instance": "elsewhere", "cluster": "another"}, 35),
    ]


@pytest.fixture(scope="module")
def real(prometheus: PrometheusServer) -> Iterator[PrometheusMetrics]:
    prometheus.push(
        [Pushed(each.labels, np.rint(each.times * 1000).astype(np.int64), each.values) for each in stored()]
    )
    metrics = PrometheusMetrics(PrometheusSettings(prometheus.url))
    yield metrics
    metrics.close()


@pytest.fixture(scope="module")
def fake(prometheus: PrometheusServer) -> FakeMetrics:
    """Of the version that is there: up to 2.x a range includes its very begin."""
    version = prometheus._json("/api/v1/status/buildinfo")["data"]["version"]
    return FakeMetrics(stored(), (SCOPE,), closed=version.startswith("2."))


async def answered(metrics: Metrics, query: Query) -> Answer:
    """The running block included: its end lies ahead."""
    promql = query.promql(SCOPE)
    if query.instant:
        return await metrics.instant(promql, NOW)
    end = datetime.fromtimestamp(math.ceil(NOW.timestamp() / BLOCK_SECONDS) * BLOCK_SECONDS, UTC)
    return await metrics.between(promql, end - timedelta(hours=HOURS + 2), end, BLOCK_SECONDS)


def by_labels(answer: Answer) -> dict[frozenset[tuple[str, str]], dict[int, float]]:
    return {
        frozenset(each.labels.items()): {
            round(when): float(value) for when, value in zip(each.times, each.values, strict=True)
        }
        for each in answer.series
    }


@pytest.mark.parametrize("query", QUERIES, ids=[query.name for query in QUERIES])
async def test_a_real_prometheus_answers_as_the_fake_does(
    query: Query, real: PrometheusMetrics, fake: FakeMetrics
) -> None:
    from_real, from_fake = await asyncio.gather(answered(real, query), answered(fake, query))

    assert from_real.warnings == ()
    left, right = by_labels(from_real), by_labels(from_fake)
    assert left.keys() == right.keys()
    for key, points in left.items():
        assert points.keys() == right[key].keys(), dict(key)
        for when, value in points.items():
            expected = right[key][when]
            assert math.isclose(value, expected, **CLOSE) or (math.isnan(value) and math.isnan(expected)), (
                dict(key),
                when,
                value,
                expected,
            )


async def test_every_slot_has_been_asked_for_and_answered(fake: FakeMetrics) -> None:
    answers = [await answered(fake, query) for query in QUERIES]

    slots = {each.labels[SIGNAL_LABEL].partition("|")[0] for answer in answers for each in answer.series}
    assert slots == {str(slot) for slot in Slot}


@pytest.mark.parametrize("store", ["real", "fake"])
async def test_what_is_no_query_is_rejected(store: str, request: pytest.FixtureRequest) -> None:
    metrics: Metrics = request.getfixturevalue(store)

    with pytest.raises(Rejected, match="parse error"):
        await metrics.instant("sum(", NOW)


async def test_the_stores_clock_is_ours(real: PrometheusMetrics) -> None:
    assert abs((await real.server_time() - datetime.now(UTC)).total_seconds()) < 5
