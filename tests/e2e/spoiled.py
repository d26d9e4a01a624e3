"""Twins to be shown badly, and the ways to spoil what the store keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from testbed.remote_write import Series
from testbed.twin.arrivals import Diurnal, Family, Lengths
from testbed.twin.deployment import TwinSpec
from testbed.twin.judge import Objective
from testbed.twin.knobs import Knobs
from testbed.twin.physics import EngineArgs
from tests.e2e.on_paper import (
    DAY,
    EVER,
    SPAN,
    STEP_S,
    Change,
    Shown,
    Situation,
    milliseconds,
    name_of,
    nothing,
    relabelled,
    spliced,
    without,
)

Labels = Mapping[str, str]
Figures = NDArray[np.float64]

KV, RUNNING, WAITING = "vllm:kv_cache_usage_perc", "vllm:num_requests_running", "vllm:num_requests_waiting"
POOL, FINISHED = "vllm:cache_config_info", "vllm:request_success_total"
TOKENS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
FB_USED = "DCGM_FI_DEV_FB_USED"

LLM = TwinSpec(
    "llm", "paper", "meta-llama/Llama-3.1-8B-Instruct", "p4de.24xlarge", seed=11, span_s=SPAN,
    args=EngineArgs(max_model_len=8192), objective=Objective(ttft_p95_s=2.0, tpot_p95_s=0.1, attainment=0.99),
    family=Family(Diurnal(0.3), Lengths(700, 0.8, 180, 0.7)),
)  # fmt: skip
TWO = replace(LLM, replicas=2)
IMAGES = TwinSpec(
    "images", "paper", "stabilityai/stable-diffusion-xl-base-1.0", "p4de.24xlarge", seed=20, span_s=SPAN,
    objective=Objective(60.0, 10.0, 0.99), family=Family(Diurnal(0.01), Lengths(4096, 0.2, 30, 0.2, 8192)),
    knobs=Knobs(engine_metrics=False),
)  # fmt: skip


def llm(
    name: str, change: Change = nothing, *, spec: TwinSpec = LLM, shown: Shown = (), step_s: float = STEP_S,
    **knobs: object,
) -> Situation:  # fmt: skip
    """A preallocating engine, shown with those knobs all the time."""
    all_the_time = ((EVER, replace(spec.knobs, **knobs)),)  # type: ignore[arg-type]  # the names are the knobs'
    return Situation(name, spec, shown or all_the_time, change, step_s)


def images(name: str, change: Change = nothing, *, shown: Shown = (), **knobs: object) -> Situation:
    """An engine that does not preallocate, seen by DCGM alone."""
    return llm(name, change, spec=IMAGES, shown=shown or ((EVER, replace(IMAGES.knobs, **knobs)),))  # type: ignore[arg-type]


def restarted(name: str, *at_days: float) -> Situation:
    """The counters of its one pod begin anew."""
    return llm(name, spec=replace(LLM, knobs=Knobs(restarts_s=tuple(day * DAY for day in at_days))))


def rolled_out(name: str, *at_days: float, before: Knobs | None = None) -> Situation:
    """Pods follow pods; those of before the first rollout may be shown with other knobs."""
    knobs = Knobs(rollouts_s=tuple(day * DAY for day in at_days))
    shown: Shown = ()
    if before is not None:
        shown = ((at_days[0] * DAY, replace(before, rollouts_s=knobs.rollouts_s)), (EVER, knobs))
    return llm(name, spec=replace(LLM, knobs=knobs), shown=shown)


# -- changes ---------------------------------------------------------------------------------------------------------


def between(begin_s: float, end_s: float, change: Change) -> Change:
    """The change from then until then, the series as they are before and after."""

    def changed(series: list[Series]) -> list[Series]:
        return spliced(spliced(series, change(series), milliseconds(begin_s)), series, milliseconds(end_s))

    return changed


def valued(change: Callable[[Figures], Figures], *names: str) -> Change:
    """Other values for the metrics of those names."""

    def changed(series: list[Series]) -> list[Series]:
        return [
            Series(each.labels, each.times_ms, change(each.values)) if name_of(each) in names else each
            for each in series
        ]

    return changed


def always(value: float, *names: str) -> Change:
    """One value for ever."""
    return valued(lambda values: np.full_like(values, value), *names)


def often_nan(share: float, *names: str) -> Change:
    """NaN in place of so many samples."""
    rng = np.random.default_rng(1)
    return valued(lambda values: np.where(rng.random(len(values)) < share, np.nan, values), *names)


def lacking(*names: str) -> Change:
    """Without the metrics of those names."""
    return lambda series: without(series, *names)


def every_nth(stride: int, prefix: str) -> Change:
    """One sample in so many of the metrics that begin so; `up` goes on."""

    def changed(series: list[Series]) -> list[Series]:
        return [
            Series(each.labels, each.times_ms[::stride], each.values[::stride])
            if name_of(each).startswith(prefix)
            else each
            for each in series
        ]

    return changed


def beginning(at_s: float) -> Change:
    """A store that knows nothing from before."""
    return lambda series: spliced([], series, milliseconds(at_s))


def engine_at_zero(series: list[Series]) -> list[Series]:
    """An exporter that says 0 for everything."""
    names = {name_of(each) for each in series if name_of(each).startswith("vllm:")} - {POOL}
    return always(0.0, *names)(series)


def silent_replica(series: list[Series]) -> list[Series]:
    """The first of the pods is not scraped."""
    first = min(each.labels["pod"] for each in series if name_of(each) == KV)
    return [each for each in series if each.labels.get("pod") != first]


def beside(others: Change, own: Change = nothing) -> Change:
    """A second set of series in the same store."""
    return lambda series: [*own(series), *others(series)]


def labelled(**more: str) -> Change:
    """With more labels."""
    return lambda series: relabelled(series, lambda labels: {**labels, **more})


def of_another_job(series: list[Series]) -> list[Series]:
    """The same pods, scraped by a second job."""
    return relabelled(series, lambda labels: {**labels, "job": f"{labels['job']}-again"})


def idler_elsewhere(series: list[Series]) -> list[Series]:
    """The same Deployment in another cluster: pods and devices of its own, a tenth of the load."""

    def elsewhere(labels: Labels) -> Labels:
        moved = {key: _other_pod(value) if key.endswith("pod") else value for key, value in labels.items()}
        return moved | ({"UUID": f"GPU-b{labels['UUID'][5:]}"} if "UUID" in labels else {})

    return valued(lambda values: values * 0.1, KV, RUNNING)(relabelled(series, elsewhere))


def _other_pod(name: str) -> str:
    return f"{name[:-5]}zzzzz" if name.startswith("llm-") else name


def time_sliced(series: list[Series]) -> list[Series]:
    """Another team's pod on the same devices."""
    devices = [each for each in series if name_of(each).startswith("DCGM")]
    other = {"exported_pod": "training-0", "exported_namespace": "research"}
    return [*series, *relabelled(devices, lambda labels: {**labels, **other})]


def pool_untold(series: Sequence[Series]) -> list[Series]:
    """cache_config_info as some versions print it before they have profiled."""
    return relabelled(
        series, lambda labels: {**labels, "num_gpu_blocks": "None"} if labels["__name__"] == POOL else labels
    )
