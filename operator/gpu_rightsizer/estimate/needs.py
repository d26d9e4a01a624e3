"""What each workload of a fleet needs: the composition of the estimators."""

from __future__ import annotations

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
    Idleness,
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
from gpu_rightsizer.estimate.idleness import idlenesses
from gpu_rightsizer.estimate.load import device_load, host_need, load
from gpu_rightsizer.estimate.memory import LARGE_DEVICE_SEQUENCES, Overhead, overhead, weight_bytes
from gpu_rightsizer.estimate.overview import overview
from gpu_rightsizer.estimate.recalibration import WINDOW_HOURS, group, recalibrated
from gpu_rightsizer.estimate.symptoms import may_show, symptoms
from gpu_rightsizer.estimate.tail import Peaks, fit_tails

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.domain.world import World
    from gpu_rightsizer.estimate.overview import Name, Overview

_SHORT_REQUEST_SECONDS = 30.0  # requests shorter than a scrape interval come and go unseen
_RECENT_REVISION = timedelta(hours=24)


def estimate(
    worlds: Sequence[World], now: datetime, recalibrations: Mapping[Group, Recalibration] = MappingProxyType({})
) -> list[Need]:
    """The need of each workload, in the order given. The demand tails are fitted over the fleet at once."""
    fleet = overview(worlds)
    evidence = promote([weigh(seen, now) for seen in fleet], fleet)
    demands = [_demand(seen, now) for seen in fleet]
    tails = _tails(fleet, demands, recalibrations)
    idle = idlenesses(worlds, now)
    return [_need(now, _Parts(*each)) for each in zip(fleet, evidence, demands, tails, idle, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class _Demand:
    """What one workload was seen to ask for."""

    hazard: Hazard
    load: Load | Missing
    censored: NDArray[np.bool_] | None
    peaks: Peaks | Missing


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """What was estimated over the fleet, for one workload."""

    seen: Overview
    evidence: Evidence
    demand: _Demand
    tail: DemandTail | Missing
    idleness: Idleness


def _demand(seen: Overview, now: datetime) -> _Demand:
    hazard = incidents.hazard(seen.workload, _days(seen.observation.span), now)
    work, censored = load(seen), censored_blocks(seen)
    return _Demand(hazard, work, censored, _peaks(seen, hazard, work, censored))


def _need(now: datetime, parts: _Parts) -> Need:
    seen, evidence = parts.seen, parts.evidence
    memory, ledger = _memory(seen, parts.tail)
    hold = censoring_hold(seen.observation, parts.demand.censored)
    return Need(
        tier=evidence.tier,
        memory=memory,
        load=parts.demand.load,
        device=device_load(seen),
        host=host_need(seen),
        idleness=parts.idleness,
        shrink_holds=evidence.shrink_holds if hold is None else (*evidence.shrink_holds, hold),
        memory_holds=(*evidence.memory_holds, *(ledger.holds if ledger else ())),
        symptoms=symptoms(seen.world) if may_show(seen) else (),
        notes=(*(ledger.notes if ledger else ()), *_demand_note(seen, parts.tail), *_revision_note(seen, now)),
        hazard=parts.demand.hazard,
    )  # fmt: skip


def _memory(seen: Overview, tail: DemandTail | Missing) -> tuple[MemoryNeed, Overhead | None]:
    workload = seen.workload
    if isinstance(workload.engine, Missing):
        return workload.engine, None
    if not workload.engine.preallocates:
        reserved = reserves_memory(workload, seen.observation)
        hidden = Missing(Signal.FB_USED, MissingReason.UNRECOGNISED, "preallocated")
        return (hidden if reserved else FramebufferMemory(tail)), None
    if isinstance(workload.model, Missing):
        return workload.model, None
    ledger = overhead(seen, workload.model)
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
    fleet: Sequence[Overview], demands: Sequence[_Demand], recalibrations: Mapping[Group, Recalibration]
) -> list[DemandTail | Missing]:
    """The tail of KV demand, or of framebuffer use where the engine does not preallocate."""
    peaks = [each.peaks for each in demands]
    fitted = iter(fit_tails([p for p in peaks if isinstance(p, Peaks)]))
    tails = [next(fitted) if isinstance(p, Peaks) else p for p in peaks]
    if not recalibrations:
        return tails
    return [
        replace(tail, recalibration=recalibrations.get(group(_kind(seen.workload), each.series)))
        if isinstance(tail, DemandTail) and isinstance(each, Peaks)
        else tail
        for seen, tail, each in zip(fleet, tails, peaks, strict=True)
    ]


def recalibrate(worlds: Sequence[World], now: datetime) -> dict[Group, Recalibration]:
    """What the fleet's last week says of probabilities stated a week ago; empty while too few have both weeks.

    A workload that was changed meanwhile says nothing of its model, and neither does one whose demand was cut off.
    """
    fleet, kinds = [], []
    for seen in overview(worlds):
        demand, since = _demand(seen, now), seen.workload.since
        settled = since is None or now - since >= 2 * timedelta(hours=WINDOW_HOURS)
        whole = censoring_hold(seen.observation, demand.censored) is None
        if isinstance(demand.peaks, Peaks) and settled and whole:
            fleet.append(demand.peaks)
            kinds.append(_kind(seen.workload))
    return recalibrated(fleet, kinds)


def _kind(workload: Workload) -> DemandKind:
    engine = workload.engine
    return DemandKind.TOKENS if not isinstance(engine, Missing) and engine.preallocates else DemandKind.BYTES


def _peaks(seen: Overview, hazard: Hazard, work: Load | Missing, censored: NDArray[np.bool_] | None) -> Peaks | Missing:
    workload, observation = seen.workload, seen.observation
    if isinstance(workload.engine, Missing):
        return workload.engine
    name: Name = "kv_demand" if workload.engine.preallocates else "fb_used"
    demand = observation.kv_demand if workload.engine.preallocates else observation.fb_used
    if isinstance(demand, Missing):
        return demand
    if not seen.peak(name) >= 0:
        return Missing(Signal.KV_DEMAND, MissingReason.INVALID)
    past = incidents.past_exceedances(hazard, demand)
    if not workload.engine.preallocates:
        return Peaks(demand, past=past)
    per_request = work.kv_tokens_per_request if isinstance(work, Load) else 0.0
    if seen.peak("waiting") > 0:
        demand = without_backlog(demand, observation, work, workload.objective)
    demand = _unseen_corrected(demand, seen.peak("running"), work)
    return Peaks(demand, censored, per_request, past, most_demand(workload))


def _unseen_corrected(demand: BlockSeries, batch: float, work: Load | Missing) -> BlockSeries:
    """Peaks between two scrapes, where requests are shorter than half a minute: raised by one standard deviation.

    Var(D) of a Poisson stream of requests is r x D with r the tokens one request holds.
    """
    if not isinstance(work, Load) or work.requests_per_second <= 0:
        return demand
    if not batch / work.requests_per_second < _SHORT_REQUEST_SECONDS:
        return demand
    raised = demand.values + np.sqrt(np.maximum(work.kv_tokens_per_request * demand.values, 0.0))
    return BlockSeries(demand.start, demand.block, raised, demand.coverage)


def most_demand(workload: Workload) -> float | None:
    """Tokens beyond which a KV pool can never be the limit: a full batch of the longest requests, on any device."""
    settings = workload.settings
    if settings.max_num_seqs is None or settings.max_model_len is None:
        return None
    batch = LARGE_DEVICE_SEQUENCES if "max_num_seqs" in settings.by_device else settings.max_num_seqs
    return float(batch * settings.max_model_len)


def _demand_note(seen: Overview, tail: DemandTail | Missing) -> tuple[Finding, ...]:
    """The largest demand: tokens where the engine reserves its memory, bytes where it does not."""
    engine = seen.workload.engine
    if isinstance(tail, Missing) or isinstance(engine, Missing):
        return ()
    name: Name = "kv_demand" if engine.preallocates else "fb_used"
    when = seen.peak_time(name)
    if when is None:
        return ()
    fact = {"tokens": tail.peak} if engine.preallocates else {"bytes": tail.peak}
    return (found(Code.DEMAND_PEAK, **fact, time=datetime.fromtimestamp(when, UTC)),)


def _revision_note(seen: Overview, now: datetime) -> tuple[Finding, ...]:
    since = seen.workload.since
    if since is None or now - since >= _RECENT_REVISION:
        return ()
    return (found(Code.RECENT_REVISION, since=since, needed=_RECENT_REVISION),)


def _days(span: timedelta) -> float:
    return span.total_seconds() / 86_400
