"""How far the evidence reaches (tiers T0 to T5) and what it forbids; unknown never shrinks anything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.need import Tier
from gpu_rightsizer.domain.readings import BlockSeries, Measured, Missing, MissingReason, Signal
from gpu_rightsizer.domain.units import MIB
from gpu_rightsizer.estimate.censoring import aligned
from gpu_rightsizer.estimate.memory import device_total, offered, pool_tokens
from gpu_rightsizer.observe.queries import LATENCY_DAYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.readings import History
    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.estimate.overview import Coverage, Overview

LEAST_COVERAGE = 0.9
_STALE = timedelta(hours=1)
_AHEAD = timedelta(minutes=5)  # samples newer than our own clock by more: one of the two clocks is wrong
_ENDED = timedelta(hours=3)  # a history whose last known block ended before that tells of the past alone
DEVICE_BUSY = 0.05  # activity at which the device contradicts an engine that reports nothing
_LEAST_HOURS = 96
_LONG_HOURS = 336
_PEERS = 100
_FLAT = 0.01  # coefficient of variation of framebuffer use under which it is an allocation, not a use
_FLAT_HOURS = 24
_ACTIVITY_RANGE = 0.2
_SHARE_TOLERANCE = 0.03
_USUAL_SHARES = (0.9, 0.92)  # gpu_memory_utilization defaults of vLLM up to 0.24 and from 0.25

_ESSENTIAL = frozenset(  # where an engine tells
    {
        *(Signal.KV_USAGE, Signal.KV_POOL, Signal.KV_DEMAND, Signal.RUNNING, Signal.WAITING),
        *(Signal.PROMPT_RATE, Signal.GENERATION_RATE, Signal.HISTORY, Signal.PROMPT_TOKENS, Signal.OUTPUT_TOKENS),
    }
)
_IDENTITY = {
    Signal.CONTAINER: Code.CONTAINER_UNKNOWN,
    Signal.ENGINE: Code.ENGINE_UNKNOWN,
    Signal.MODEL: Code.MODEL_UNKNOWN,
    Signal.INSTANCE_CLASS: Code.CLASS_UNKNOWN,
    Signal.TARGET: Code.TARGET_MISSING,
}
_CONTEXT = 100 * MIB  # less than any CUDA context takes


@dataclass(frozen=True, slots=True)
class Evidence:
    """The tier, and the findings that forbid a smaller class or less memory."""

    tier: Tier
    shrink_holds: tuple[Finding, ...]
    memory_holds: tuple[Finding, ...]


def weigh(seen: Overview, now: datetime) -> Evidence:
    """What one workload's evidence allows, fleet size aside (see `promote`)."""
    observation, workload = seen.observation, seen.workload
    if (absent := _absent(workload)) is not None:
        return Evidence(Tier.T0, (absent,), ())
    engine_seen = isinstance(observation.kv_demand, BlockSeries)
    device_seen = isinstance(observation.fb_used, BlockSeries)
    preallocates = reserves_memory(workload, observation)
    enough = _has_enough_history(seen.coverage)
    holds = [
        *_identity(workload),
        *_gaps(seen, now, engine_seen=_engine_tells(observation)),
        *(() if enough else _history(seen)),
    ]
    memory = list(_memory_holds(workload, engine_seen=engine_seen, preallocates=preallocates))
    if not engine_seen and not device_seen:
        return Evidence(Tier.T0, _distinct(holds), _distinct(memory))
    if not engine_seen:
        return Evidence(Tier.T1 if preallocates else Tier.T2, _distinct(holds), _distinct(memory))
    return Evidence(Tier.T4 if enough else Tier.T3, _distinct(holds), _distinct(memory))


def _engine_tells(observation: Observation) -> bool:
    """Any engine metric at all: then the others are missing, and not simply an engine without metrics."""
    told = (observation.kv_demand, observation.running, observation.generation_rate, observation.prompt_rate)
    return any(isinstance(history, BlockSeries) for history in told)


def promote(evidence: list[Evidence], fleet: Sequence[Overview]) -> list[Evidence]:
    """T5 for those with 14 days when the fleet has a hundred peers."""
    peers = sum(e.tier is Tier.T4 for e in evidence)
    if peers < _PEERS:
        return evidence
    return [
        Evidence(Tier.T5, e.shrink_holds, e.memory_holds)
        if e.tier is Tier.T4 and seen.coverage.hours >= _LONG_HOURS * LEAST_COVERAGE
        else e
        for e, seen in zip(evidence, fleet, strict=True)
    ]


def reserves_memory(workload: Workload, observation: Observation) -> bool:
    """Whether framebuffer use says nothing of need: by the engine's kind, else by the signature of a preallocation.

    llama.cpp allocates its whole context at start and truly needs it, flat as it is.
    """
    engine = workload.engine
    if isinstance(engine, EngineType) and engine.preallocates:
        return True
    if engine is EngineType.LLAMA_CPP:
        return False
    return _looks_reserved(workload, observation)


def _looks_reserved(workload: Workload, observation: Observation) -> bool:
    fb = observation.fb_used
    if not isinstance(fb, BlockSeries):
        return False
    used = fb.values[fb.known()]
    if used.size * fb.block < _FLAT_HOURS * 3600 or used.mean() <= 0:
        return False
    if (total := device_total(observation)) is not None:
        share = float(np.median(used)) / total
        shares = (*_USUAL_SHARES, workload.settings.gpu_memory_utilization)
        if any(abs(share - usual) <= _SHARE_TOLERANCE for usual in shares):
            return True
    return bool(used.std() / used.mean() < _FLAT) and _activity_varies(observation.gpu_activity)


def _activity_varies(activity: History) -> bool:
    if not isinstance(activity, BlockSeries):
        return True  # unknown: the careful answer
    known = activity.values[activity.known()]
    return bool(known.size and known.max() - known.min() > _ACTIVITY_RANGE)


def _memory_holds(workload: Workload, *, engine_seen: bool, preallocates: bool) -> Iterator[Finding]:
    if (preallocates and not engine_seen) or (
        preallocates and isinstance(workload.engine, EngineType) and not workload.engine.preallocates
    ):
        yield found(Code.ENGINE_METRICS_NEEDED, engine=_engine_name(workload))


def _absent(workload: Workload) -> Finding | None:
    """Why there is no workload to speak of: then nothing else about it is worth a word."""
    gone = workload.engine
    if not isinstance(gone, Missing) or gone.what is not Signal.TARGET:
        return None
    if gone.why is MissingReason.CONTRADICTORY:
        return found(Code.TARGET_CLAIMED_TWICE, others=gone.detail)
    return found(Code.TARGET_MISSING, kind=workload.target.kind, name=workload.target.name)


def _identity(workload: Workload) -> Iterator[Finding]:
    """What is not known about the workload itself."""
    if isinstance(workload.engine, Missing) and workload.engine.what is Signal.CONTAINER:
        yield found(Code.CONTAINER_UNKNOWN, container=workload.target.container, containers=workload.engine.detail)
        return  # what it runs cannot be read: of that nothing else is worth a word
    if isinstance(workload.engine, Missing):
        yield found(Code.ENGINE_UNKNOWN, image=workload.engine.detail)
    if isinstance(workload.placement, Missing):
        yield found(Code.CLASS_UNKNOWN, instance_class=workload.placement.detail)
    needs_model = isinstance(workload.engine, Missing) or workload.engine.preallocates
    if isinstance(workload.model, Missing) and needs_model:
        yield found(Code.MODEL_UNKNOWN, model=workload.model.detail)
    if workload.shared_device:
        yield found(Code.DEVICE_SHARED)
    if workload.settings.unread:
        yield found(Code.SETTINGS_UNREAD, arguments=", ".join(workload.settings.unread))


def _gaps(seen: Overview, now: datetime, *, engine_seen: bool) -> Iterator[Finding]:
    """Missing, partial, stale and contradictory observation, each by name."""
    observation = seen.observation
    essential = _essential(observation, engine_seen=engine_seen)
    if not engine_seen and not isinstance(observation.fb_used, BlockSeries):
        signal = Signal.KV_DEMAND if isinstance(observation.kv_demand, Missing) else Signal.FB_USED
        yield found(Code.METRICS_MISSING, signal=signal.value, why=MissingReason.NO_SERIES.value)
    impossible = _impossible_device(seen)
    for missing in _missing(observation, impossible):
        if missing == impossible or (missing.what in essential and missing.what not in _IDENTITY):
            yield _gap(missing)
    if engine_seen and _works_lately(observation) and not seen.peak("tpot") > 0:
        yield _gap(_unmeasured(observation.tpot))  # how fast it serves today is what any other speed is scaled by
    if observation.attribution.pods_seen < observation.attribution.pods_expected:
        share = observation.attribution.pods_seen / observation.attribution.pods_expected
        yield found(Code.METRICS_INCOMPLETE, signal="pods", coverage=share, needed=1.0)
    coverage = min(observation.coverage, seen.coverage.share)
    if coverage < LEAST_COVERAGE and isinstance(seen.main, BlockSeries):
        yield found(Code.METRICS_INCOMPLETE, coverage=coverage, needed=LEAST_COVERAGE)
    if observation.newest is not None and observation.newest - now > _AHEAD:
        yield _gap(Missing(_main_signal(observation), MissingReason.CONTRADICTORY, "samples from the future"))
    if _is_stale(seen, now):
        yield _gap(Missing(_main_signal(observation), MissingReason.STALE))
    else:
        yield from _ended(observation, now, engine_seen=engine_seen)
    yield from _contradictions(seen)


def _works_lately(observation: Observation) -> bool:
    """Tokens were generated in the days of which latencies are asked."""
    rate = observation.generation_rate
    if not isinstance(rate, BlockSeries):
        return False
    return bool((rate.values[-(LATENCY_DAYS * 86_400 // rate.block) :] > 0).any())


def _unmeasured(history: History) -> Missing:
    return history if isinstance(history, Missing) else Missing(Signal.TPOT, MissingReason.INVALID)


def _is_stale(seen: Overview, now: datetime) -> bool:
    """Nothing tells when the newest sample was, although there is history, or it was long ago."""
    if seen.observation.newest is None:
        return isinstance(seen.main, BlockSeries)
    return now - seen.observation.newest > _STALE


def _missing(observation: Observation, impossible: Missing | None) -> Iterator[Missing]:
    yield from observation.problems
    engine = (observation.kv_demand, observation.running, observation.waiting, observation.kv_pool)
    rates = (observation.prompt_rate, observation.generation_rate, observation.prompt_tokens, observation.output_tokens)
    fields = (*engine, *rates, observation.fb_used)
    yield from (value for value in fields if isinstance(value, Missing))
    if isinstance(observation.kv_pool, Measured) and pool_tokens(observation) is None:
        yield Missing(Signal.KV_POOL, MissingReason.INVALID, f"{observation.kv_pool.value:g} tokens")
    if impossible is not None:
        yield impossible


def _impossible_device(seen: Overview) -> Missing | None:
    """A device total that can be none. One that the exporter leaves blank is no harm: then the class tells it."""
    total = seen.observation.fb_total
    if not isinstance(total, Measured) or offered(total, seen.peak("fb_used")) is not None:
        return None
    return Missing(Signal.FB_TOTAL, MissingReason.INVALID, f"{total.value / MIB:g} MiB")


def _ended(observation: Observation, now: datetime, *, engine_seen: bool) -> Iterator[Finding]:
    """Histories without any late figure although the pod shows samples: its exporter dropped them, or says NaN."""
    engine = (
        (Signal.KV_DEMAND, observation.kv_demand), (Signal.RUNNING, observation.running),
        (Signal.PROMPT_RATE, observation.prompt_rate), (Signal.GENERATION_RATE, observation.generation_rate),
    )  # fmt: skip
    for signal, history in engine if engine_seen else ((Signal.FB_USED, observation.fb_used),):
        end = history.known_until() if isinstance(history, BlockSeries) else None
        if end is not None and now.timestamp() - end > _ENDED.total_seconds():
            yield _gap(Missing(signal, MissingReason.STALE))


def _contradictions(seen: Overview) -> Iterator[Finding]:
    """What cannot be at once in more than a tenth of the time: sequences without KV, work without memory."""
    observation, running, used = seen.observation, seen.observation.running, seen.observation.fb_used
    if isinstance(used, BlockSeries) and seen.least("fb_used") < _CONTEXT:
        activity = aligned(observation.gpu_activity, used)
        if activity is not None and _often(used.values < _CONTEXT, activity > DEVICE_BUSY, used.values, activity):
            yield found(Code.SOURCES_DISAGREE, signal=Signal.FB_USED.value, detail="the device works without memory")
    if not isinstance(running, BlockSeries):
        return
    demand = aligned(observation.kv_demand, running) if seen.least("kv_demand") <= 0 else None
    if demand is not None and _often(demand == 0, running.values > 0, demand, running.values):
        yield found(Code.SOURCES_DISAGREE, signal=Signal.KV_USAGE.value, detail="requests run without any")
    if not seen.least("running") <= 0:
        return
    requests, activity = aligned(observation.requests, running), aligned(observation.gpu_activity, running)
    if requests is not None and activity is not None:
        silent = (running.values == 0) & (requests == 0)
        if _often(silent, activity > DEVICE_BUSY, running.values, requests, activity):
            yield found(Code.SOURCES_DISAGREE, signal=Signal.RUNNING.value, detail="the device works without requests")


def _often(one: NDArray[np.bool_], other: NDArray[np.bool_], *figures: NDArray[np.floating]) -> bool:
    both = one & other
    if not both.any():
        return False
    known = np.logical_and.reduce([np.isfinite(each) for each in figures])
    return bool(known.any() and float(both[known].mean()) > 1 - LEAST_COVERAGE)


def _essential(observation: Observation, *, engine_seen: bool) -> frozenset[Signal]:
    """The signals without which nothing may shrink."""
    if engine_seen:
        return _ESSENTIAL
    device = {Signal.FB_USED, Signal.HISTORY}
    blind = all(isinstance(h, Missing) for h in (observation.dram_activity, observation.gpu_activity))
    return frozenset(device | ({Signal.DRAM_ACTIVITY, Signal.GPU_ACTIVITY} if blind else set()))


def _gap(missing: Missing) -> Finding:
    signal, why = missing.what.value, missing.why.value
    match missing.why:
        case MissingReason.CONTRADICTORY:
            return found(Code.SOURCES_DISAGREE, signal=signal, detail=missing.detail)
        case MissingReason.SHARED:
            return found(Code.DEVICE_SHARED)
        case MissingReason.TOO_SHORT:
            return found(Code.HISTORY_TOO_SHORT, needed=timedelta(hours=_LEAST_HOURS))
        case MissingReason.PARTIAL:
            return found(Code.METRICS_INCOMPLETE, signal=signal)
        case MissingReason.NO_SERIES | MissingReason.NOT_FOUND | MissingReason.STALE | MissingReason.INVALID:
            return found(Code.METRICS_MISSING, signal=signal, why=why, detail=missing.detail)
        case MissingReason.SOURCE_FAILED | MissingReason.UNRECOGNISED:
            return found(Code.METRICS_MISSING, signal=signal, why=why, detail=missing.detail)


def _main_signal(observation: Observation) -> Signal:
    return Signal.KV_DEMAND if isinstance(observation.kv_demand, BlockSeries) else Signal.FB_USED


def _has_enough_history(known: Coverage) -> bool:
    """At least four days, of them two business days and one of a weekend."""
    return known.hours >= _LEAST_HOURS * LEAST_COVERAGE and known.business >= 2 and known.weekend >= 1


def _history(seen: Overview) -> Iterator[Finding]:
    if isinstance(seen.main, BlockSeries):
        span, needed = timedelta(hours=seen.coverage.hours), timedelta(hours=_LEAST_HOURS)
        yield found(Code.HISTORY_TOO_SHORT, span=span, needed=needed)


def _engine_name(workload: Workload) -> str:
    return "" if isinstance(workload.engine, Missing) else workload.engine.value


def _distinct(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(dict.fromkeys(findings))
