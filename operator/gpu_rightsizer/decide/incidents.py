"""What past failures say about the move, in one paragraph: when, where, whether the cause is still there, the chances.

The paradox it answers: whoever once ran out of memory pays for the large class ever after. What happened is evidence
with a weight; the move is worth it where the risk it adds, times what an out-of-memory costs, is below what it saves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.decide.money import potential_hourly
from gpu_rightsizer.domain.finding import Code, Fact, Finding, found
from gpu_rightsizer.domain.need import DemandTail, PreallocatedMemory
from gpu_rightsizer.domain.options import Change
from gpu_rightsizer.domain.readings import Missing
from gpu_rightsizer.domain.units import HOURS_PER_MONTH
from gpu_rightsizer.domain.workload import OomKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpu_rightsizer.decide.situation import Situation
    from gpu_rightsizer.domain.decision import Candidate
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.workload import Incident

_PLACES: Final = ("first", "second", "third", "fourth")  # as the facts name them: recommended, present, nearest
_BY_RISK: Final = frozenset({Code.MEMORY_RISK, Code.RISK_OUTWEIGHS_SAVING})
_SECONDS_PER_HOUR: Final = Decimal(3600)


class Cause(StrEnum):
    """Whether what caused it then is still there."""

    APPLIES = "Applies"
    SETTINGS_CHANGED = "SettingsChanged"
    PREFILL_CHUNKED = "PrefillChunked"
    OTHER_MODEL = "OtherModel"
    HOST_MEMORY = "HostMemory"


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the paragraph is about: what is recommended (None: to stay), and the nearest others, nearest first."""

    target: Candidate | None
    nearest: Sequence[Candidate]


def weighed(situation: Situation, answer: Answer) -> tuple[Finding, ...]:
    """One finding about all incidents, of device memory if there is any; none where none is remembered."""
    incidents = situation.workload.incidents
    if not incidents:
        return ()
    device = [each for each in incidents if each.kind is not OomKind.HOST]
    host = [each for each in incidents if each.kind is OomKind.HOST]
    if not device:
        return (found(Code.INCIDENT_WEIGHED, **_what_happened(host, situation)),)
    facts = _what_happened(device, situation) | _chances(situation, answer) | _worth(situation, answer)
    if host:
        facts["host_time"] = max(each.time for each in host)
    return (found(Code.INCIDENT_WEIGHED, **facts),)


def cause(incident: Incident, situation: Situation) -> Cause:
    """Host memory is another matter; another model or other settings make the cause less likely to be there still."""
    workload = situation.workload
    if incident.kind is OomKind.HOST:
        return Cause.HOST_MEMORY
    if incident.model and not isinstance(workload.model, Missing) and incident.model != workload.model.name:
        return Cause.OTHER_MODEL
    read = not isinstance(workload.engine, Missing)
    if not (read and incident.settings_hash and incident.settings_hash != workload.settings_hash):
        return Cause.APPLIES
    told = workload.settings.chunked_prefill and "chunked_prefill" in workload.settings.explicit
    return Cause.PREFILL_CHUNKED if told and incident.kind is OomKind.CUDA_SERVING else Cause.SETTINGS_CHANGED


def _what_happened(incidents: Sequence[Incident], situation: Situation) -> dict[str, Fact]:
    """The one that weighs most, of equals the latest, and how many there were."""
    weights = [_weight(each, situation) for each in incidents]
    weight, incident = max(
        zip(weights, incidents, strict=True), key=lambda pair: (pair[0] or 0.0, pair[1].time, pair[1].pod)
    )
    facts: dict[str, Fact] = {
        "time": incident.time,
        "instance_class": incident.instance_class,
        "kind": incident.kind.value,
        "cause": cause(incident, situation).value,
    }
    if len(incidents) > 1:
        facts["times"] = len(incidents)
    if weight is not None:
        facts["weight"] = weight
    if incident.demand_tokens is not None:
        facts["demand"] = incident.demand_tokens
    return facts


def _chances(situation: Situation, answer: Answer) -> dict[str, Fact]:
    """P(out of memory) where it would run, where it runs, and on the nearest two; and each without what happened."""
    told = dict(_places(situation, answer))
    changes = [
        Change(replace(situation.workload, incidents=()), _unremembered(situation.need), each.configuration)
        for each in told.values()
    ]
    facts: dict[str, Fact] = {"horizon": situation.workload.objective.horizon} if told else {}
    for (name, there), without in zip(told.items(), situation.options.otherwise(changes), strict=True):
        facts[name] = there.configuration.instance.name
        facts[f"{name}_chance"] = there.prediction.oom_probability or 0.0
        if without is not None and without.prediction.oom_probability is not None:
            facts[f"{name}_without"] = without.prediction.oom_probability
    return facts


def _places(situation: Situation, answer: Answer) -> Iterator[tuple[str, Candidate]]:
    """At most four, each class once: where it happened comes first among the nearest."""
    runs = answer.target if answer.target and answer.target.configuration.replicas else None
    where_it_happened = {each.instance_class for each in situation.workload.incidents}
    nearest = sorted(answer.nearest, key=lambda each: each.configuration.instance.name not in where_it_happened)
    names, classes = iter(_PLACES), set[str]()
    for each in (runs or situation.current, situation.current, *nearest):
        if each is None or each.prediction.oom_probability is None or each.configuration.instance.name in classes:
            continue
        classes.add(each.configuration.instance.name)
        name = next(names, None)
        if name is None:
            return
        yield name, each


def _unremembered(need: Need) -> Need:
    """The same days seen, without the events."""
    memory = need.memory
    if isinstance(memory, PreallocatedMemory) and isinstance(memory.demand, DemandTail) and memory.demand.unremembered:
        forgotten = replace(memory.demand.unremembered, recalibration=memory.demand.recalibration)
        memory = replace(memory, demand=forgotten)
    return replace(need, memory=memory, hazard=replace(need.hazard, incidents=()))


def _worth(situation: Situation, answer: Answer) -> dict[str, Fact]:
    """What staying costs a month, and up to which added risk moving is worth it: saving over the horizon / cost."""
    current, objective = situation.current, situation.workload.objective
    case = answer.target or next(filter(_is_out_by_risk_alone, answer.nearest), None)
    saved = potential_hourly(situation.workload, current, case) if current and case else None
    if current is None or case is None or saved is None or saved <= 0:
        return {}
    facts: dict[str, Fact] = {"staying": saved * HOURS_PER_MONTH}
    if case is not answer.target:
        facts["instead"] = case.configuration.instance.name
    now, there = current.prediction.oom_probability, case.prediction.oom_probability
    if objective.oom_cost_usd <= 0 or now is None or there is None or not case.configuration.replicas:
        return facts
    hours = Decimal(str(objective.horizon.total_seconds())) / _SECONDS_PER_HOUR
    break_even = float(saved * hours / objective.oom_cost_usd)
    facts["pays_for" if break_even >= 1 else "break_even"] = break_even
    return facts | {"oom_cost": objective.oom_cost_usd, "added": max(0.0, there - now)}


def _is_out_by_risk_alone(candidate: Candidate) -> bool:
    return {each.code for each in candidate.failures} <= _BY_RISK


def _weight(incident: Incident, situation: Situation) -> float | None:
    """What the estimate gave it: the chance that the cause still applies, times its decay with age."""
    same = (
        each.weight
        for each in situation.need.hazard.incidents
        if (each.time, each.kind, each.instance_class) == (incident.time, incident.kind, incident.instance_class)
    )
    return next(same, None)
