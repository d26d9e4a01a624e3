"""What runs and what was seen of it: `status.current`, `status.usage` and `status.incidents`."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.decide.standing import last_change
from gpu_rightsizer.domain.need import IdleState
from gpu_rightsizer.domain.readings import BlockSeries, Measured, Missing, Signal
from gpu_rightsizer.estimate.memory import device_total, pool_tokens
from gpu_rightsizer.explain import numbers
from gpu_rightsizer.explain.text import safe
from gpu_rightsizer.explain.words import say_missing
from gpu_rightsizer.observe.queries import QUERIES, Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.readings import History, Reading
    from gpu_rightsizer.domain.workload import Incident, Workload
    from gpu_rightsizer.domain.world import Evaluation

MOST_INCIDENTS: Final = 16
MOST_MESSAGES: Final = 3  # the latest incidents' only: they are for people, and long
LONGEST_MESSAGE: Final = 160
_MOST_CONTEXT: Final = 100_000_000  # as the schema has it
_MOST_TOKENS: Final = 1e15
MOST_MISSING: Final = 8
_EXPORTERS: Final = (("DCGM_", "dcgm"), ("container_", "host"))
# Which series tell what sizes it; the others come from the same exporters.
_SHOWN: Final = frozenset(
    {
        Signal.KV_USAGE,
        Signal.KV_POOL,
        Signal.RUNNING,
        Signal.TTFT,
        Signal.TPOT,
        Signal.FB_USED,
        Signal.GPU_ACTIVITY,
        Signal.HOST_MEMORY,
    }
)

_SIGNALS: Final[Mapping[Slot, Signal]] = MappingProxyType(
    {
        Slot.KV_USAGE: Signal.KV_USAGE,
        Slot.RUNNING: Signal.RUNNING,
        Slot.WAITING: Signal.WAITING,
        Slot.PROMPT_RATE: Signal.PROMPT_RATE,
        Slot.GENERATION_RATE: Signal.GENERATION_RATE,
        Slot.REQUESTS: Signal.REQUESTS,
        Slot.PREEMPTIONS: Signal.PREEMPTIONS,
        Slot.PROMPT_SUM: Signal.PROMPT_TOKENS,
        Slot.OUTPUT_SUM: Signal.OUTPUT_TOKENS,
        Slot.TTFT: Signal.TTFT,
        Slot.TPOT: Signal.TPOT,
        Slot.POOL: Signal.KV_POOL,
        Slot.FB_USED: Signal.FB_USED,
        Slot.GPU_ACTIVITY: Signal.GPU_ACTIVITY,
        Slot.DRAM_ACTIVITY: Signal.DRAM_ACTIVITY,
        Slot.HOST_MEMORY: Signal.HOST_MEMORY,
        Slot.HOST_CPU: Signal.HOST_CPU,
        Slot.FB_FREE_NOW: Signal.FB_TOTAL,
    }
)


def _signals_by_metric() -> dict[str, Signal]:
    told: dict[str, Signal] = {}
    for query in QUERIES:
        for part in query.parts:
            if part.slot in _SIGNALS:
                told |= {metric: _SIGNALS[part.slot] for metric in part.metrics if metric not in told}
    return told


_TOLD_BY: Final[Mapping[str, Signal]] = MappingProxyType(_signals_by_metric())


def current(evaluation: Evaluation, now: datetime) -> dict[str, object]:
    """Where it runs now and what that costs; what is unknown is absent."""
    workload, decision = evaluation.world.workload, evaluation.decision
    hourly = decision.cost.current_hourly
    place: dict[str, object] = {"brief": present(workload)}
    if not isinstance(workload.placement, Missing):
        price = workload.placement.price
        place |= {
            "instanceClass": safe(workload.placement.name, 253),
            "accelerator": safe(workload.placement.accelerator.product, 63),
        }
        place |= {"capacityType": price.commitment.value} if price else {}
    place |= {
        "accelerators": workload.pod.accelerators,
        "replicas": workload.replicas,
        "tensorParallel": workload.settings.tensor_parallel,
    }
    if (changed := last_change(workload, now)) is not None:
        place["changedAt"] = numbers.instant(changed)
    if hourly is not None:
        place |= {"hourlyUSD": numbers.usd(hourly), "monthlyUSD": numbers.cents(numbers.monthly(hourly))}
    return place


def present(workload: Workload) -> str:
    """`p5.48xlarge x1`: the class and the number of replicas."""
    name = "unknown class" if isinstance(workload.placement, Missing) else safe(workload.placement.name, 100)
    return f"{name} x{workload.replicas}"


def usage(evaluation: Evaluation) -> dict[str, object]:
    """Figures with their series; every key whose figure is unknown is absent."""
    workload, seen = evaluation.world.workload, evaluation.world.observation
    found = {**_span(seen), **_identity(workload), **_figures(seen)}
    idleness = evaluation.need.idleness
    if idleness.state is IdleState.IDLE and idleness.idle_for is not None:
        found["idleFor"] = numbers.at_least(idleness.idle_for)
    found |= {"podsSeen": seen.attribution.pods_seen, "podsExpected": seen.attribution.pods_expected}
    found |= {"series": _series(seen), "missing": _missing(seen)}
    return {key: value for key, value in found.items() if value not in (None, "", [])}


def incidents(workload: Workload) -> list[dict[str, object]]:
    """What is remembered, oldest first, at most the latest 16; the last three with their message."""
    latest = sorted(workload.incidents, key=lambda each: (each.time, each.pod, each.kind))[-MOST_INCIDENTS:]
    silent = len(latest) - MOST_MESSAGES
    return [_incident(each, LONGEST_MESSAGE if place >= silent else 0) for place, each in enumerate(latest)]


def series_span(seen: Observation, now: datetime) -> tuple[str, str, str]:
    """Length, begin and end of the history; begin and end empty when nothing was seen."""
    length = numbers.span(seen.span)
    if seen.newest is None:
        return length, "", ""
    end = min(now, seen.newest)
    return length, numbers.instant(end - seen.span), numbers.instant(end)


def main_history(seen: Observation) -> History:
    """The history that sizes: KV demand, else framebuffer use."""
    return seen.kv_demand if isinstance(seen.kv_demand, BlockSeries) else seen.fb_used


def _span(seen: Observation) -> dict[str, object]:
    return {"span": numbers.span(seen.span), "coverage": numbers.share(seen.coverage)}


def _identity(workload: Workload) -> dict[str, object]:
    told: dict[str, object] = {}
    if not isinstance(workload.engine, Missing):
        told["engine"] = workload.engine.value
    if not isinstance(workload.model, Missing):
        told["model"] = safe(workload.model.name, 253)
        told["weightDtype"] = (workload.settings.weight_dtype or workload.model.default_dtype).value
    context = workload.settings.max_model_len
    if context is not None and context <= _MOST_CONTEXT:
        told["maxContextLength"] = context
    return told


def _figures(seen: Observation) -> dict[str, object]:
    return {
        "kvPoolTokens": _shown(pool_tokens(seen), _count),
        "kvDemandPeakTokens": _peak(seen.kv_demand, _count),
        "runningPeak": _peak(seen.running, _count),
        "waitingPeak": _peak(seen.waiting, _count),
        "promptTokens": _now(seen.prompt_tokens, _count),
        "outputTokens": _now(seen.output_tokens, _count),
        "ttft": _peak(seen.ttft, numbers.latency),
        "tpot": _peak(seen.tpot, numbers.latency),
        "memoryUsedPeak": _peak(seen.fb_used, numbers.memory),
        "memoryTotal": _shown(device_total(seen), numbers.memory),
        "gpuActivityPeak": _peak(seen.gpu_activity, numbers.share),
        "dramActivityPeak": _peak(seen.dram_activity, numbers.share),
        "hostCpuPeak": _peak(seen.host_cpu, _count),
        "hostMemoryPeak": _peak(seen.host_memory, numbers.memory),
    }


def _count(figure: float) -> str:
    return numbers.plain(numbers.two_digits(figure))


def _peak(history: History, show: Callable[[float], str]) -> str | None:
    if isinstance(history, Missing) or not history.known().any():
        return None
    return show(history.peak())


def _shown(figure: float | None, show: Callable[[float], str]) -> str | None:
    return show(figure) if figure is not None and math.isfinite(figure) else None


def _now(reading: Reading, show: Callable[[float], str]) -> str | None:
    return _shown(reading.value, show) if isinstance(reading, Measured) else None


def _series(seen: Observation) -> list[dict[str, object]]:
    """The metric that told each signal that sizes; names that fit no signal of ours are left out."""
    by_signal: dict[Signal, str] = {}
    for metric in seen.attribution.metrics:
        if _TOLD_BY.get(metric) in _SHOWN:
            by_signal.setdefault(_TOLD_BY[metric], metric)
    return [
        {"signal": signal.value, "metric": metric, **_labels(metric, seen.attribution.scheme)}
        for signal, metric in sorted(by_signal.items())
    ]


def _labels(metric: str, scheme: str) -> dict[str, object]:
    """Those of the metric's own exporter, where the scheme tells them apart (`engine: pod, dcgm: exported_pod`)."""
    exporter = next((name for prefix, name in _EXPORTERS if metric.startswith(prefix)), "engine")
    pairs = dict(each.split(": ", 1) for each in scheme.split(", ") if ": " in each)
    labels = safe(pairs.get(exporter, "" if pairs else scheme), 253)
    return {"labels": labels} if labels else {}


def _missing(seen: Observation) -> list[dict[str, object]]:
    """The worst first, one entry a signal."""
    first: dict[Signal, Missing] = {}
    for each in seen.problems:
        first.setdefault(each.what, each)
    return [
        {"signal": each.what.value, "reason": each.why.value, "message": say_missing(each)}
        for each in list(first.values())[:MOST_MISSING]
    ]


def _incident(each: Incident, longest: int) -> dict[str, object]:
    told = {
        "occurredAt": numbers.instant(each.time),
        "cause": each.kind.value,
        "instanceClass": safe(each.instance_class, 253),
        "pod": safe(each.pod, 253),
        "container": safe(each.container, 63),
        "model": safe(each.model, 253),
        "settingsHash": safe(each.settings_hash, 64),
        "message": safe(each.message, longest) if longest else "",
    }
    if each.demand_tokens is not None and 0 <= each.demand_tokens <= _MOST_TOKENS:
        # Exact: it is read back as evidence.
        told["demandTokens"] = str(round(each.demand_tokens))
    return {key: value for key, value in told.items() if value}
