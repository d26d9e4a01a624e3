"""What past failures say about the move: when, where, whether the cause still applies, and what staying costs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.finding import Code, Fact, Finding, found
from gpu_rightsizer.domain.readings import Missing
from gpu_rightsizer.domain.units import HOURS_PER_MONTH
from gpu_rightsizer.domain.workload import OomKind

if TYPE_CHECKING:
    from decimal import Decimal

    from gpu_rightsizer.decide.situation import Situation
    from gpu_rightsizer.domain.decision import Candidate
    from gpu_rightsizer.domain.workload import Incident

MOST: Final = 3  # the latest; all stand in `status.incidents`


class Cause(StrEnum):
    """Whether what caused it then is still there."""

    APPLIES = "Applies"
    SETTINGS_CHANGED = "SettingsChanged"
    OTHER_MODEL = "OtherModel"
    HOST_MEMORY = "HostMemory"


def weighed(situation: Situation, target: Candidate | None, staying_hourly: Decimal | None) -> tuple[Finding, ...]:
    """The latest incidents, each with the chance of another one as recommended (or as it stays)."""
    latest = sorted(situation.workload.incidents, key=lambda each: each.time, reverse=True)[:MOST]
    there, findings = target or situation.current, []
    for each in latest:
        device = each.kind is not OomKind.HOST
        findings.append(_weighed(each, situation, there, staying_hourly if device else None))
        staying_hourly = None if device else staying_hourly  # said once
    return tuple(findings)


def cause(incident: Incident, situation: Situation) -> Cause:
    """Host memory is another matter; another model or other settings make the cause less likely to be there still."""
    workload = situation.workload
    if incident.kind is OomKind.HOST:
        return Cause.HOST_MEMORY
    if incident.model and not isinstance(workload.model, Missing) and incident.model != workload.model.name:
        return Cause.OTHER_MODEL
    read = not isinstance(workload.engine, Missing)
    if read and incident.settings_hash and incident.settings_hash != workload.settings_hash:
        return Cause.SETTINGS_CHANGED
    return Cause.APPLIES


def _weighed(
    incident: Incident, situation: Situation, there: Candidate | None, staying_hourly: Decimal | None
) -> Finding:
    facts: dict[str, Fact] = {
        "time": incident.time,
        "instance_class": incident.instance_class,
        "kind": incident.kind.value,
        "cause": cause(incident, situation).value,
        "horizon": situation.workload.objective.horizon,
    }
    weight = _weight(incident, situation)
    if weight is not None:
        facts["weight"] = weight
    chance = there.prediction.oom_probability if there else None
    if incident.demand_tokens is not None:
        facts["demand"] = incident.demand_tokens
    if chance is not None and incident.kind is not OomKind.HOST:
        facts["chance"] = chance
    if staying_hourly is not None and staying_hourly > 0:
        facts["staying"] = staying_hourly * HOURS_PER_MONTH
    return found(Code.INCIDENT_WEIGHED, **facts)


def _weight(incident: Incident, situation: Situation) -> float | None:
    """What the estimate gave it: the chance that the cause still applies, times its decay with age."""
    same = (
        each.weight
        for each in situation.need.hazard.incidents
        if (each.time, each.kind, each.instance_class) == (incident.time, incident.kind, incident.instance_class)
    )
    return next(same, None)
