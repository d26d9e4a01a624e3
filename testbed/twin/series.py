"""A run as Prometheus would hold it: history for remote write, and the live part as pages for the exporter."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.remote_write import STALE, Series
from testbed.twin.dcgm_series import SENTINEL, Activity, Occupant, activity_of, node_metrics
from testbed.twin.deployment import TwinRun
from testbed.twin.exporter import Page, Recording
from testbed.twin.identity import Pod, address, former, letters, pods_of
from testbed.twin.knobs import DcgmLabels, Knobs, Spans
from testbed.twin.metric import Floats, Mask, Metric, Spoiler, Target
from testbed.twin.vllm_series import engine_metrics

SPOILED_BY_NAN = frozenset({"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "vllm:num_requests_running"})
SPOILED_BY_SENTINEL = frozenset({"DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_GPU_UTIL"})
_PROCESS_START = "process_start_time_seconds"


def targets(run: TwinRun, pods: Sequence[Pod] | None = None) -> tuple[Target, ...]:
    """Every scrape target of the deployment over its whole run; `pods` are those of today, one a replica."""
    current = tuple(pods) if pods is not None else default_pods(run)
    generations = _generations(run, current)
    shows_engine = run.spec.knobs.engine_metrics and not run.spec.architecture.is_eager
    found = list(_engine_targets(run, generations)) if shows_engine else []
    if run.spec.knobs.dcgm:
        found += _dcgm_targets(run, current, generations)
    return tuple(found)


def default_pods(run: TwinRun) -> tuple[Pod, ...]:
    """Today's pods when no cluster names them."""
    spec = run.spec
    return pods_of(spec.name, spec.namespace, spec.replicas, len(spec.knobs.rollouts_s))


def history(
    run: TwinRun, end_unix_s: float, pods: Sequence[Pod] | None = None, *, step_s: float = 60.0
) -> list[Series]:
    """All series up to `end_unix_s`, sampled every `step_s` (a multiple of 60), ready for remote_write.push.

    Where a series ends although scraping went on, a stale marker stands, as Prometheus would have put it.
    """
    stride = max(1, round(step_s / 60.0))
    chosen = np.arange((run.history_samples - 1) % stride, run.history_samples, stride)
    started = end_unix_s - run.spec.span_s
    times_ms = np.rint((started + run.sample_times[chosen]) * 1000).astype(np.int64)
    scraped = ~_within(run.sample_times[chosen], run.spec.knobs.scrape_gaps)
    grid = _Grid(chosen, times_ms, scraped)
    return [series for target in targets(run, pods) for series in _target_history(target, grid, started)]


def recording(runs: Iterable[tuple[TwinRun, Sequence[Pod] | None]], end_unix_s: float) -> Recording:
    """The live part of several runs as pages for the exporter; it goes on where `history(run, end_unix_s)` ends."""
    pages: dict[str, Page] = {}
    step = 0.0
    for run, pods in runs:
        live = np.arange(run.history_samples - 1, len(run.sample_times))
        step = float(run.sample_times[live[-1]] - run.sample_times[live[-2]])
        started = end_unix_s - run.spec.span_s
        for target in targets(run, pods):
            if target.exists[live].any():
                page = _page(target, live, started)
                pages[target.path] = pages[target.path].joined(page) if target.path in pages else page
    return Recording(started_at=end_unix_s, step_s=step, pages=pages)


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """The pods between two rollouts and when they existed."""

    pods: tuple[Pod, ...]
    exists: Mask


def _generations(run: TwinRun, current: tuple[Pod, ...]) -> tuple[Generation, ...]:
    bounds = [-np.inf, *sorted(run.spec.knobs.rollouts_s), np.inf]
    last = len(bounds) - 2
    return tuple(
        Generation(
            current if index == last else former(current, run.spec.name, index),
            (run.sample_times >= bounds[index]) & (run.sample_times < bounds[index + 1]),
        )
        for index in range(last + 1)
    )


def _engine_targets(run: TwinRun, generations: tuple[Generation, ...]) -> Iterator[Target]:
    spec, knobs = run.spec, run.spec.knobs
    lost = _within(run.sample_times, knobs.target_loss)
    hidden = _within(run.sample_times, knobs.engine_loss)
    spoiler = Spoiler(knobs.nan_share, np.nan, spec.seed, SPOILED_BY_NAN)
    for index, replica in enumerate(run.replicas):
        shown = [
            spoiler.applied(Metric(metric.name, metric.labels, metric.values, ~hidden))
            for metric in engine_metrics(replica, spec.args, spec.model, knobs)
        ]
        answers = (replica.column("up") > 0) & ~lost
        for generation in generations:
            pod = generation.pods[index]
            yield Target(
                path=f"/pods/{pod.namespace}/{pod.name}/metrics",
                labels=_engine_target_labels(pod, knobs),
                metrics=tuple(shown),
                exists=generation.exists,
                answers=answers,
            )


def _engine_target_labels(pod: Pod, knobs: Knobs) -> dict[str, str]:
    return {
        "job": knobs.engine_job,
        "instance": f"{pod.ip}:8000",
        "namespace": pod.namespace,
        "pod": pod.name,
        "container": pod.container,
    }


def _dcgm_targets(run: TwinRun, current: tuple[Pod, ...], generations: tuple[Generation, ...]) -> Iterator[Target]:
    spec, knobs = run.spec, run.spec.knobs
    activities = [activity_of(replica, spec.seed + index) for index, replica in enumerate(run.replicas)]
    hidden = _within(run.sample_times, knobs.dcgm_loss)
    spoiler = Spoiler(knobs.sentinel_share, SENTINEL, spec.seed, SPOILED_BY_SENTINEL)
    for host in dict.fromkeys(pod.node for pod in current):
        occupants = tuple(_occupants(run, host, current, generations, activities))
        metrics = tuple(
            spoiler.applied(_masked(metric, ~hidden))
            for metric in node_metrics(spec.node, host, occupants, knobs, spec.seed)
        )
        always = np.ones(len(run.sample_times), dtype=np.bool_)
        yield Target(f"/dcgm/{host}/metrics", _dcgm_target_labels(host, knobs), metrics, always, always)


def _masked(metric: Metric, mask: Mask) -> Metric:
    present = mask if metric.present is None else metric.present & mask
    return Metric(metric.name, metric.labels, metric.values, present)


def _occupants(
    run: TwinRun, host: str, current: tuple[Pod, ...], generations: tuple[Generation, ...], activities: list[Activity]
) -> Iterator[Occupant]:
    replicas = [index for index, pod in enumerate(current) if pod.node == host]
    for place, index in enumerate(replicas):
        first = place * run.spec.tp
        devices = tuple(range(first, first + run.spec.tp))
        for generation in generations:
            yield Occupant(generation.pods[index], activities[index], devices, generation.exists)


def _dcgm_target_labels(host: str, knobs: Knobs) -> dict[str, str]:
    labels = {"job": knobs.dcgm_job, "instance": f"{address(host, '10.0')}:9400"}
    if knobs.dcgm_labels is DcgmLabels.DIRECT:
        return labels
    return labels | {
        "namespace": knobs.dcgm_namespace,
        "pod": f"nvidia-dcgm-exporter-{letters(host, 5)}",
        "container": "nvidia-dcgm-exporter",
    }


def _within(times: Floats, spans: Spans) -> Mask:
    inside = np.zeros(len(times), dtype=np.bool_)
    for begin, end in spans:
        inside |= (times >= begin) & (times < end)
    return inside


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """The history samples: their indexes in the run, times in ms since 1970, and where Prometheus scraped at all."""

    chosen: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    scraped: Mask

    def laid(self, labels: dict[str, str], values: Floats, shown: Mask) -> Series:
        """One series where it is shown, with a stale marker after each end that Prometheus noticed."""
        here = shown[self.chosen] & self.scraped
        ended = np.zeros_like(here)
        ended[1:] = here[:-1] & ~here[1:] & self.scraped[1:]
        kept = here | ended
        found = values[self.chosen]
        found[ended] = STALE
        return Series(labels, self.times_ms[kept], found[kept])


def _target_history(target: Target, grid: _Grid, started_at: float) -> Iterator[Series]:
    """`up` and every metric of the target that ever showed."""
    up = target.answers.astype(np.float64)
    yield grid.laid({"__name__": "up", **target.labels}, up, target.exists)
    reachable = target.exists & target.answers
    for metric in target.metrics:
        shown = reachable if metric.present is None else reachable & metric.present
        if shown.any():
            yield grid.laid(stored_labels(metric, target), _in_unix_time(metric, started_at), shown)


def stored_labels(metric: Metric, target: Target) -> dict[str, str]:
    """Labels as Prometheus stores them without honorLabels: the target's win, the metric's become exported_*."""
    clashing = {f"exported_{name}": value for name, value in metric.labels.items() if name in target.labels}
    own = {name: value for name, value in metric.labels.items() if name not in target.labels}
    return {"__name__": metric.name, **own, **clashing, **target.labels}


def _in_unix_time(metric: Metric, started_at: float) -> Floats:
    return metric.values + started_at if metric.name == _PROCESS_START else metric.values


def _page(target: Target, live: NDArray[np.int64], started_at: float) -> Page:
    """The target's live part. States: 0 no answer, 1 an answer without metrics, 2 all of them."""
    shown = [metric for metric in target.metrics if metric.present is None or metric.present[live].any()]
    state = np.where(target.exists[live] & target.answers[live], 1, 0)
    visible = np.zeros(len(live), dtype=np.bool_)
    for metric in shown:
        visible |= True if metric.present is None else metric.present[live]
    return Page(
        target_labels=target.labels,
        lines=[metric.line for metric in shown],
        families=[(metric.family, metric.kind) for metric in shown],
        columns=[array("d", _in_unix_time(metric, started_at)[live].tolist()) for metric in shown],
        state=array("b", (state * np.where(visible, 2, 1)).tolist()),
    )
