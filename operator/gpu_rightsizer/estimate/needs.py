"""What each workload of a fleet needs: the composition of the estimators."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.need import (
    DemandKind,
    DemandTail,
    FramebufferMemory,
    Group,
    Hazard,
    Load,
    MemoryNeed,
    Need,
    PreallocatedMemory,
    Recalibration,
)
from gpu_rightsizer.domain.readings import BlockSeries, Missing, MissingReason, Signal
from gpu_rightsizer.domain.units import Bytes
from gpu_rightsizer.estimate import incidents
from gpu_rightsizer.estimate.backlog import without_backlog
from gpu_rightsizer.estimate.censoring import censored_blocks, censoring_hold
from gpu_rightsizer.estimate.evidence import Evidence, promote, reserves_memory, weigh
from gpu_rightsizer.estimate.idleness import idleness
from gpu_rightsizer.estimate.load import device_load, host_need, load
from gpu_rightsizer.estimate.memory import LARGE_DEVICE_SEQUENCES, Overhead, overhead, weight_bytes
from gpu_rightsizer.estimate.recalibration import WINDOW_HOURS, group, recalibrated
from gpu_rightsizer.estimate.symptoms import symptoms
from gpu_rightsizer.estimate.tail import Peaks, fit_tails

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.world import World

_SHORT_REQUEST_SECONDS = 30.0  # requests shorter than a scrape interval come and go unseen
_RECENT_REVISION = timedelta(hours=24)


def estimate(
    worlds: Sequence[World], now: datetime, recalibrations: Mapping[Group, Recalibration] = MappingProxyType({})
) -> list[Need]:
    """The need of each workload, in the order given. The demand tails are fitted over the fleet at once."""
    evidence = promote([weigh(w, now) for w in worlds], [w.observation for w in worlds])
    hazards = [incidents.hazard(w.workload, _days(w.observation.span), now) for w in worlds]
    loads = [load(w.observation) for w in worlds]
    censored = [censored_blocks(w.observation) for w in worlds]
    tails = _tails(worlds, hazards, loads, censored, recalibrations)
    parts = [_Parts(*p) for p in zip(evidence, hazards, loads, censored, tails, strict=True)]
    return [_need(world, now, part) for world, part in zip(worlds, parts, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """What was estimated over the fleet, for one workload."""

    evidence: Evidence
    hazard: Hazard
    load: Load | Missing
    censored: NDArray[np.bool_] | None
    tail: DemandTail | Missing


def _need(world: World, now: datetime, parts: _Parts) -> Need:
    memory, ledger = _memory(world, parts.tail)
    hold = censoring_hold(world.observation, parts.censored)
    shrink = (*parts.evidence.shrink_holds, *(() if hold is None else (hold,)))
    return Need(
        tier=parts.evidence.tier,
        memory=memory,
        load=parts.load,
        device=device_load(world.observation),
        host=host_need(world.workload, world.observation),
        idleness=idleness(world, now),
        shrink_holds=shrink,
        memory_holds=(*parts.evidence.memory_holds, *(ledger.holds if ledger else ())),
        symptoms=symptoms(world),
        notes=(*(ledger.notes if ledger else ()), *_demand_note(world, parts.tail), *_revision_note(world, now)),
        hazard=parts.hazard,
    )  # fmt: skip


def _memory(world: World, tail: DemandTail | Missing) -> tuple[MemoryNeed, Overhead | None]:
    workload = world.workload
    if isinstance(workload.engine, Missing):
        return workload.engine, None
    if not workload.engine.preallocates:
        reserved = reserves_memory(workload, world.observation)
        hidden = Missing(Signal.FB_USED, MissingReason.UNRECOGNISED, "preallocated")
        return (hidden if reserved else FramebufferMemory(tail)), None
    if isinstance(workload.model, Missing):
        return workload.model, None
    ledger = overhead(world, workload.model)
    need = PreallocatedMemory(
        weights=Bytes(round(weight_bytes(workload.model, workload.settings))),
        kv_bytes_per_token=workload.model.kv_bytes_per_token * workload.settings.kv_bytes / 2,
        overhead=ledger.value,
        overhead_error=ledger.error,
        overhead_source=ledger.source,
        demand=tail,
    )
    return need, ledger


def _tails(
    worlds: Sequence[World],
    hazards: list[Hazard],
    loads: list[Load | Missing],
    censored: list[NDArray[np.bool_] | None],
    recalibrations: Mapping[Group, Recalibration],
) -> list[DemandTail | Missing]:
    """The tail of KV demand, or of framebuffer use where the engine does not preallocate."""
    peaks = [_peaks(*each) for each in zip(worlds, hazards, loads, censored, strict=True)]
    fitted = iter(fit_tails([p for p in peaks if isinstance(p, Peaks)]))
    tails = [next(fitted) if isinstance(p, Peaks) else p for p in peaks]
    if not recalibrations:
        return tails
    return [
        replace(tail, recalibration=recalibrations.get(group(_kind(world), seen.series)))
        if isinstance(tail, DemandTail) and isinstance(seen, Peaks)
        else tail
        for world, tail, seen in zip(worlds, tails, peaks, strict=True)
    ]


def recalibrate(worlds: Sequence[World], now: datetime) -> dict[Group, Recalibration]:
    """What the fleet's last week says of probabilities stated a week ago; empty while too few have both weeks.

    A workload that was changed meanwhile says nothing of its model, and neither does one whose demand was cut off.
    """
    fleet, kinds = [], []
    for world in worlds:
        hazard = incidents.hazard(world.workload, _days(world.observation.span), now)
        cut = censored_blocks(world.observation)
        peaks = _peaks(world, hazard, load(world.observation), cut)
        settled = world.workload.since is None or now - world.workload.since >= 2 * timedelta(hours=WINDOW_HOURS)
        if isinstance(peaks, Peaks) and settled and censoring_hold(world.observation, cut) is None:
            fleet.append(peaks)
            kinds.append(_kind(world))
    return recalibrated(fleet, kinds)


def _kind(world: World) -> DemandKind:
    engine = world.workload.engine
    return DemandKind.TOKENS if not isinstance(engine, Missing) and engine.preallocates else DemandKind.BYTES


def _peaks(world: World, hazard: Hazard, work: Load | Missing, censored: NDArray[np.bool_] | None) -> Peaks | Missing:
    workload, observation = world.workload, world.observation
    if isinstance(workload.engine, Missing):
        return workload.engine
    demand = observation.kv_demand if workload.engine.preallocates else observation.fb_used
    if isinstance(demand, Missing):
        return demand
    if not demand.peak() >= 0:
        return Missing(Signal.KV_DEMAND, MissingReason.INVALID)
    past = incidents.past_exceedances(hazard, demand)
    if not workload.engine.preallocates:
        return Peaks(demand, past=past)
    per_request = work.kv_tokens_per_request if isinstance(work, Load) else 0.0
    kept_up = without_backlog(demand, observation, work, workload.objective)
    seen = _unseen_corrected(kept_up, observation, work)
    return Peaks(seen, censored, per_request, past, _cap(world))


def _unseen_corrected(demand: BlockSeries, observation: Observation, work: Load | Missing) -> BlockSeries:
    """Peaks between two scrapes, where requests are shorter than half a minute: raised by one standard deviation.

    Var(D) of a Poisson stream of requests is r x D with r the tokens one request holds.
    """
    if not isinstance(work, Load) or work.requests_per_second <= 0:
        return demand
    running = observation.running
    batch = running.peak() if isinstance(running, BlockSeries) else math.nan
    if not batch / work.requests_per_second < _SHORT_REQUEST_SECONDS:
        return demand
    raised = demand.values + np.sqrt(np.maximum(work.kv_tokens_per_request * demand.values, 0.0))
    return replace(demand, values=raised)


def _cap(world: World) -> float | None:
    """Tokens beyond which a KV pool can never be the limit: a full batch of the longest requests, on any device."""
    settings = world.workload.settings
    if settings.max_num_seqs is None or settings.max_model_len is None:
        return None
    batch = LARGE_DEVICE_SEQUENCES if "max_num_seqs" in settings.by_device else settings.max_num_seqs
    return float(batch * settings.max_model_len)


def _demand_note(world: World, tail: DemandTail | Missing) -> tuple[Finding, ...]:
    """The largest demand: tokens where the engine reserves its memory, bytes where it does not."""
    engine = world.workload.engine
    if isinstance(tail, Missing) or isinstance(engine, Missing):
        return ()
    demand = world.observation.kv_demand if engine.preallocates else world.observation.fb_used
    if isinstance(demand, Missing):
        return ()
    when = datetime.fromtimestamp(demand.start + demand.block * _largest(demand.values), UTC)
    fact = {"tokens": tail.peak} if engine.preallocates else {"bytes": tail.peak}
    return (found(Code.DEMAND_PEAK, **fact, time=when),)


def _largest(values: NDArray[np.floating]) -> int:
    """The index of the largest value, unknown ones aside."""
    at = int(np.argmax(values))  # of the first NaN, if there is one
    return int(np.nanargmax(values)) if math.isnan(values[at]) else at


def _revision_note(world: World, now: datetime) -> tuple[Finding, ...]:
    since = world.workload.since
    if since is None or now - since >= _RECENT_REVISION:
        return ()
    return (found(Code.RECENT_REVISION, since=since, needed=_RECENT_REVISION),)


def _days(span: timedelta) -> float:
    return span.total_seconds() / 86_400
