"""Fixed or elastic: bounds where an autoscaler owns the replicas, elsewhere what one would save."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.decide.money import LEAST_HOURLY, LEAST_SHARE, attributed_hourly
from gpu_rightsizer.decide.situation import same_place
from gpu_rightsizer.decide.verdict import decide
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.finding import Code, Fact, Finding, found

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

    from gpu_rightsizer.decide.offers import Offers
    from gpu_rightsizer.domain.decision import Candidate, Decision, Elastic
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.workload import Workload

_SETTLED: Final = frozenset({Action.RESIZE, Action.KEEP})


def owned(need: Need, offers: Offers, now: datetime, taken: Mapping[str, Finding]) -> Decision:
    """Of a workload whose replicas an autoscaler owns: a class with bounds, at what it costs on average."""
    here = offers.here
    as_it_is = next((each for each in offers.elastic if _same_size(each.at, here)), None)
    limit = (1 - LEAST_SHARE) * as_it_is.hourly if as_it_is else None  # better bounds alone are the smaller change
    others = [each.at for each in offers.elastic if limit is None or each is as_it_is or each.hourly <= limit]
    choices = (here, *(each for each in others if not same_place(each.configuration, here.configuration)))
    workload = replace(offers.workload, replicas_owner=offers.owner)
    decision = decide(workload, need, choices, now, taken)
    where = decision.target or here
    bounds = next((each for each in offers.elastic if _same_size(each.at, where)), None)
    if decision.action not in _SETTLED:
        return decision
    instead = attributed_hourly(offers.workload, here)
    owner = found(Code.AUTOSCALER_OWNS_REPLICAS, owner=offers.owner)
    if bounds is None or instead is None or (decision.target is None and not _saves(bounds, instead)):
        unknown = found(Code.ELASTIC_UNKNOWN, block=offers.block)
        return replace(decision, reasons=_with(decision, (owner, unknown)))
    bounds = replace(bounds, instead=instead)
    told = _told(bounds, offers)
    if decision.target is not None and told and _same_size(decision.target, here):  # no other class: only its number
        reasons = tuple(dict.fromkeys((*told, owner, *decision.reasons[1:])))
        return replace(decision, elastic=bounds, reasons=reasons)
    return replace(decision, elastic=bounds, reasons=_with(decision, (owner, *told)))


def _saves(bounds: Elastic, instead: Decimal) -> bool:
    return min(bounds.least) < bounds.most and bounds.hourly <= instead


def unbounded(decision: Decision, workload: Workload) -> Decision:
    """The same, where an autoscaler owns the replicas and nothing tells which bounds it needs."""
    if decision.action is not Action.RESIZE:
        return decision
    owner = found(Code.AUTOSCALER_OWNS_REPLICAS, owner=workload.replicas_owner)
    return replace(decision, reasons=_with(decision, (owner, found(Code.ELASTIC_UNKNOWN))))


def optional(decision: Decision, workload: Workload, offers: Offers, taken: Mapping[str, Finding]) -> Decision:
    """The same, with what an autoscaler would save where nobody set one up: at least a tenth of what is recommended."""
    fixed = decision.target or decision.current
    cost = decision.target.hourly if decision.target else attributed_hourly(workload, offers.here)
    if decision.action not in _SETTLED or fixed is None or cost is None:
        return decision
    names = {each.at.configuration.instance.name for each in offers.elastic} & set(taken)
    free = (each for each in offers.elastic if each.at.configuration.instance.name not in names)
    best = next((each for each in free if min(each.least) < each.most), None)
    if best is None or cost - best.hourly < max(LEAST_HOURLY, LEAST_SHARE * cost):
        return decision
    best = replace(best, instead=cost)
    told = (*_told(best, offers), found(Code.AUTOSCALER_NEEDED))
    return replace(decision, elastic=best, reasons=_with(decision, told))


def _told(elastic: Elastic, offers: Offers) -> tuple[Finding, ...]:
    least, where = min(elastic.least), elastic.at.configuration.instance.name
    if elastic.most == 1:
        return ()
    if least == elastic.most:
        return (found(Code.ELASTIC_UNKNOWN, instance_class=where, replicas=elastic.most, block=offers.block),)
    facts: dict[str, Fact] = {
        "instance_class": where,
        "least": least,
        "most": elastic.most,
        "hourly": elastic.hourly,
        "instead": elastic.instead,
        "minutes": elastic.late_minutes,
        "lead": elastic.lead,
    }
    windows = {"windows": _windows(elastic.least)} if len(elastic.least) > 1 else {}
    setting = found(
        Code.ELASTIC_SETTING, usage=elastic.kv_usage, hold=elastic.hold, step=elastic.step, lead=elastic.lead, **windows
    )
    return (found(Code.ELASTIC_HOLDS, **facts), setting)


def _windows(least: tuple[int, ...]) -> str:
    """`1, 4, 4, 2 on working days and 1, 1, 2, 1 on weekends`."""
    half = len(least) // 2
    working, weekend = (", ".join(map(str, part)) for part in (least[:half], least[half:]))
    return f"{working} on working days, {weekend} on weekends"


def _with(decision: Decision, more: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """After what is decided."""
    return tuple(dict.fromkeys((*decision.reasons[:1], *more, *decision.reasons[1:])))


def _same_size(one: Candidate, other: Candidate) -> bool:
    a, b = one.configuration, other.configuration
    return (a.instance.name, a.accelerators, a.tensor_parallel) == (b.instance.name, b.accelerators, b.tensor_parallel)
