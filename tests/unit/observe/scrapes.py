"""Series as a cluster would show them, in the terms of a test: a pod's engine, a node's devices, and what goes wrong.

`seen(store, workload, ...)` runs a whole cycle against the fake store, as the operator does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpu_rightsizer.domain.observation import Observation
from gpu_rightsizer.domain.workload import PodRef, Workload
from gpu_rightsizer.observe import samples as window
from gpu_rightsizer.observe.membership import Membership
from gpu_rightsizer.observe.queries import BLOCK_SECONDS, Scope
from gpu_rightsizer.observe.reading import observe
from gpu_rightsizer.ports import Unavailable
from tests import builders
from tests.fakes.metrics import FakeMetrics, Scraped

NOW = datetime(2026, 11, 25, 12, 20, tzinfo=UTC)
EVERY = 60.0
HASH = "5d4f6c7b89"
FIRST, SECOND, THIRD = (f"llm-{HASH}-{suffix}" for suffix in ("bbbbb", "ccccc", "ddddd"))
OLDER = "llm-7c9b5d6f48-zzzzz"  # a pod of the revision before
NAMESPACE = "inference"

Curve: TypeAlias = "float | Callable[[NDArray[np.float64]], NDArray[np.float64]]"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, hours before NOW."""

    since: float = 48.0
    until: float = 0.0
    every: float = EVERY
    gaps: tuple[tuple[float, float], ...] = ()

    def times(self) -> NDArray[np.float64]:
        """When scrapes came: 13 s past the full interval, so that no sample lies on the edge of a range."""
        end = NOW.timestamp() - 30
        grid = np.arange(np.ceil((end - 20 * 86_400) / self.every) * self.every + 13, end, self.every)
        ago = (NOW.timestamp() - grid) / 3600
        kept = (ago <= self.since) & (ago > self.until)
        for begin, finish in self.gaps:
            kept &= ~((ago <= begin) & (ago > finish))
        return grid[kept]


WHOLE = Span()


def gauge(name: str, labels: Mapping[str, str], value: Curve, span: Span = WHOLE) -> Scraped:
    times = span.times()
    values = value(times) if callable(value) else np.full(len(times), float(value))
    return Scraped({"__name__": name, **labels}, times, np.asarray(values, dtype=np.float64))


def counter(name: str, labels: Mapping[str, str], per_second: float, span: Span = WHOLE) -> Scraped:
    times = span.times()
    return Scraped({"__name__": name, **labels}, times, (times - (NOW.timestamp() - 20 * 86_400)) * per_second)


def at_hour(ago: float, high: float, low: float) -> Curve:
    """`low`, but `high` for the minutes around so many hours before NOW."""
    middle = NOW.timestamp() - ago * 3600
    return lambda times: np.where(np.abs(times - middle) < 90, high, low)


@dataclass(frozen=True, slots=True)
class Engine:
    """What one vLLM pod shows. Requests a second, tokens a request; `pool` None prints no block count."""

    pod: str = FIRST
    kv: Curve = 0.25
    running: Curve = 2.0
    waiting: Curve = 0.0
    requests: float = 0.1
    prompt: float = 600.0
    output: float = 200.0
    blocks: str = "1000"
    names: str = "new"
    engine: str | None = "0"
    span: Span = WHOLE
    namespace: str = NAMESPACE
    more: Mapping[str, str] = field(default_factory=dict)

    def series(self) -> list[Scraped]:
        target = {"namespace": self.namespace, "pod": self.pod, "job": "vllm", "instance": self.pod, **self.more}
        labels = {**target, "model_name": "m"} | ({"engine": self.engine} if self.engine is not None else {})
        usage = "vllm:kv_cache_usage_perc" if self.names == "new" else "vllm:gpu_cache_usage_perc"
        config = {"num_gpu_blocks": self.blocks, "block_size": "16"}
        engine = {"engine": self.engine} if self.engine is not None else {}
        span, rate = self.span, self.requests
        return [
            gauge(usage, labels, self.kv, span),
            gauge("vllm:num_requests_running", labels, self.running, span),
            gauge("vllm:num_requests_waiting", labels, self.waiting, span),
            gauge("vllm:cache_config_info", {**target, **engine, **config}, 1.0, span),
            counter("vllm:request_success_total", {**labels, "finished_reason": "stop"}, rate, span),
            counter("vllm:request_prompt_tokens_sum", labels, rate * self.prompt, span),
            counter("vllm:request_generation_tokens_sum", labels, rate * self.output, span),
            counter("vllm:prompt_tokens_total", labels, rate * self.prompt, span),
            counter("vllm:generation_tokens_total", labels, rate * self.output, span),
            counter("vllm:num_preemptions_total", labels, 0.0, span),
        ]


@dataclass(frozen=True, slots=True)
class Device:
    """What dcgm-exporter shows of one device. MiB and shares."""

    pod: str = FIRST
    uuid: str = "GPU-1"
    used: Curve = 70_000.0
    free: float = 11_000.0
    activity: Curve = 0.5
    direct: bool = False
    span: Span = WHOLE
    namespace: str = NAMESPACE
    activity_metric: str = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
    more: Mapping[str, str] = field(default_factory=dict)

    def labels(self) -> dict[str, str]:
        device = {"job": "dcgm", "UUID": self.uuid, **self.more}
        if self.direct:
            return {**device, "namespace": self.namespace, "pod": self.pod}
        exporter = {"namespace": "gpu-operator", "pod": "nvidia-dcgm-exporter-abcde"}
        return {**device, **exporter, "exported_namespace": self.namespace, "exported_pod": self.pod}

    def series(self) -> list[Scraped]:
        labels = self.labels()
        return [
            gauge("DCGM_FI_DEV_FB_USED", labels, self.used, self.span),
            gauge("DCGM_FI_DEV_FB_FREE", labels, self.free, self.span),
            gauge(self.activity_metric, labels, self.activity, self.span),
            gauge("DCGM_FI_PROF_DRAM_ACTIVE", labels, 0.3, self.span),
        ]


def up(job: str = "vllm", span: Span = WHOLE, instance: str = "any") -> Scraped:
    """The target answers."""
    return gauge("up", {"job": job, "instance": instance}, 1.0, span)


def store(*shown: Engine | Device | Scraped, ups: bool = True) -> FakeMetrics:
    """A store with all this, and `up` of both jobs."""
    stored: list[Scraped] = [up("vllm"), up("dcgm")] if ups else []
    for each in shown:
        stored += [each] if isinstance(each, Scraped) else each.series()
    return FakeMetrics(stored, (SCOPE,))


SCOPE = Scope((), (NAMESPACE,))


def workload(
    *pods: str, ready: bool = True, started: timedelta = timedelta(days=14), accelerators: int = 1
) -> Workload:
    """The Deployment `llm` with these pods now."""
    made = builders.workload()
    return replace(
        made,
        key=replace(made.key, namespace=NAMESPACE, name="llm"),
        target=replace(made.target, kind="Deployment", name="llm"),
        pods=tuple(PodRef(pod, pod, "node", ready, NOW - started, 0, HASH) for pod in pods or (FIRST,)),
        replicas=len(pods) or 1,
        pod=replace(made.pod, accelerators=accelerators),
    )


def membership(*names: str) -> Membership:
    """The cluster's Deployments, in our namespace."""
    return Membership([(NAMESPACE, "Deployment", name) for name in names or ("llm",)], [], [])


def seen(
    metrics: FakeMetrics, of: Workload | None = None, scope: Scope = SCOPE, members: Membership | None = None
) -> Observation:
    """One cold cycle."""
    (observation,) = fleet_seen(metrics, [of or workload()], scope, members or membership())
    return observation


def fleet_seen(
    metrics: FakeMetrics, workloads: Sequence[Workload], scope: Scope, members: Membership
) -> Iterable[Observation]:
    metrics.scopes = (scope,)
    return asyncio.run(_cycle(metrics, workloads, scope, members))


async def _cycle(
    metrics: FakeMetrics, workloads: Sequence[Workload], scope: Scope, members: Membership
) -> list[Observation]:
    samples = window.advanced(window.empty(NOW), NOW, scope.namespaces)
    for ask in window.plan(samples, NOW, pods=len(workloads)):
        promql, start, end = ask.query.promql(scope), _moment(ask.start), _moment(ask.end)
        try:
            if ask.query.instant:
                answer = await metrics.instant(promql, end)
            else:
                answer = await metrics.between(promql, start, end, BLOCK_SECONDS)
        except Unavailable as error:
            samples = window.failed(samples, ask.query, str(error))
            continue
        samples = window.merged(samples, ask, [(each.labels, each.times, each.values) for each in answer.series])
        if answer.warnings:
            samples = window.warned(samples, ask.query, answer.warnings)
    return observe(workloads, members, samples, NOW)


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
