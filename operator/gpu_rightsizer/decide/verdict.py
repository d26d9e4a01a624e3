"""The decision about one workload: grow what is too small, park what is idle, shrink what is too large, or say why."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.decide import choice, incidents, tune
from gpu_rightsizer.decide.certainty import certainty, compared_up_to, idle_certainty, risk_state
from gpu_rightsizer.decide.guards import WANT_OF_DATA, Proposal, refusals, verdict
from gpu_rightsizer.decide.idle import Parking, parking
from gpu_rightsizer.decide.ledger import arithmetic
from gpu_rightsizer.decide.money import (
    LEAST_SHARE,
    attributed_hourly,
    cost,
    is_worth_moving_for,
    potential_hourly,
    realisation,
)
from gpu_rightsizer.decide.payback import payback, pays_back
from gpu_rightsizer.decide.rules import leave_nothing
from gpu_rightsizer.decide.rulings import has_room, is_worth_its_risk, judged
from gpu_rightsizer.decide.situation import Situation, situation
from gpu_rightsizer.decide.standing import moves_on, stays
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.decision import Candidate, Certainty, Cost, Decision, Realisation
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.options import mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    import numpy as np
    from numpy.typing import NDArray

    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.workload import Workload

# What a running configuration may fail at by its load. Not being allowed, or not to be had again, is no want of size.
OUTGROWN: Final = frozenset(
    {Code.MEMORY_TOO_SMALL, Code.MEMORY_RISK, Code.TPOT_TOO_SLOW, Code.TTFT_TOO_SLOW, Code.OVERLOADED}
)

LIKELY = 0.5  # within the horizon
_LOOKED_AT: Final = 4
_TOO_RISKY: Final = mask([Code.RISK_OUTWEIGHS_SAVING])


def decide(
    workload: Workload,
    need: Need,
    candidates: Sequence[Candidate],
    now: datetime,
    taken: Mapping[str, Finding] = MappingProxyType({}),
) -> Decision:
    """What should be done, with every reason. The same facts in any order give the same decision.

    Unknown never shrinks: a smaller or slower class needs evidence, a larger one only symptoms (or a prediction that
    the present one fails). A dearer class is proposed to nobody else. `taken` are the classes that others have in full.
    """
    seen = situation(workload, need, candidates, now)
    here = judged(seen.ruled(has_room(seen, taken)))
    if here.current is not None and _is_under_sized(here):
        return _grow(here)
    return _shrink(here)


def _is_under_sized(here: Situation) -> bool:
    failures = here.current.failures if here.current else ()
    return bool(here.need.symptoms) or any(one.code in OUTGROWN and _is_likely(one) for one in failures)


def _is_likely(failure: Finding) -> bool:
    """A class that shows no symptom is called too small only where the overload predicted is likelier than not."""
    probability = dict(failure.facts).get("probability")
    return not isinstance(probability, float) or probability >= LIKELY


def _grow(here: Situation) -> Decision:
    options = choice.larger(here)
    limits = tune.stops_preempting(here)
    why = here.need.symptoms or tuple(one for one in _failures(here) if one.code in OUTGROWN)
    now = _current(here).configuration
    too_small = found(Code.UNDER_SIZED, instance_class=now.instance.name)
    if limits is not None:
        rejected = choice.rejected(here, here.others, limits.hourly)
        tuned = (too_small, tune.tuning(here, limits), *why)
        return _decision(
            here, _Answer(Action.TUNE, tuned, limits, choice.alternatives(here, limits, options), rejected)
        )
    if not options.size:
        ruled_out = leave_nothing(here)
        nothing = (*ruled_out, too_small) if ruled_out else (found(Code.NOTHING_HOLDS, considered=len(here.others)),)
        wanting = tuple(one for one in here.need.shrink_holds if one.code in WANT_OF_DATA)
        reasons = (*nothing, *why, *wanting)
        rejected = choice.rejected(here, here.others, None)
        return _decision(here, _Answer(verdict(nothing[0]), reasons, rejected=rejected))
    target = _larger(here, options)
    alternatives = choice.alternatives(here, target, options)
    rejected = choice.rejected(here, here.others, target.hourly)
    return _decision(here, _Answer(Action.RESIZE, (too_small, *why), target, alternatives, rejected))


def _larger(here: Situation, options: NDArray[np.intp]) -> Candidate:
    """The cheapest that holds; what stands, as long as that is not clearly dearer."""
    cheapest, standing = here.candidate(int(options[0])), stays(here, options)
    if standing is None or standing.hourly is None or cheapest.hourly is None:
        return cheapest
    return standing if cheapest.hourly > (1 - LEAST_SHARE) * standing.hourly else cheapest


def _shrink(here: Situation) -> Decision:
    cheaper = choice.cheaper(here)
    here = here.ruled(is_worth_its_risk(here, cheaper[here.hold[cheaper]]))
    holding = cheaper[here.hold[cheaper]]
    risky = cheaper[here.fail(_TOO_RISKY)[cheaper]]
    best, risk = moves_on(here, _paying(here, holding), stays(here, holding)), _first(here, risky)
    barely = _first(here, holding) if best is None else None
    refused = refusals(Proposal(here, best, choice.withheld(here, cheaper), risk, barely))
    target = None if refused else best
    parked = _worth_parking(here, target)
    if parked is not None:
        instead = choice.alternatives(here, parked.target, holding) if target else ()
        return _decision(here, _Answer(Action.SCALE_TO_ZERO, parked.findings, parked.target, instead))
    rejected = choice.rejected(here, cheaper, _limit(here, target))
    if target is not None:
        alternatives = choice.alternatives(here, target, holding)
        return _decision(here, _Answer(Action.RESIZE, _holds(here, target), target, alternatives, rejected))
    limits = tune.removes_risk(here) if verdict(refused[0]) is Action.KEEP else None
    if limits is not None:
        tuned = (tune.tuning(here, limits), *refused)
        return _decision(here, _Answer(Action.TUNE, tuned, limits, rejected=rejected))
    return _decision(here, _Answer(verdict(refused[0]), refused, rejected=rejected))


def _first(here: Situation, indices: NDArray[np.intp]) -> Candidate | None:
    return here.candidate(int(indices[0])) if indices.size else None


def _paying(here: Situation, holding: NDArray[np.intp]) -> Iterator[Candidate]:
    """Of the first few those for which the change pays for itself, cheapest first; where none does, the cheapest."""
    few, pays = holding[:_LOOKED_AT].tolist(), False
    for each in (here.candidate(index) for index in few):
        back = payback(here, each)
        if back is None or back.is_worth_it:
            pays = True
            yield each
    if few and not pays:
        yield here.candidate(few[0])


def _worth_parking(here: Situation, target: Candidate | None) -> Parking | None:
    """Zero replicas, when that saves enough and more than the smaller class would."""
    parked = parking(here)
    if parked is None or here.current is None or not is_worth_moving_for(here.workload, here.current, parked.target):
        return None
    if target is None or target.hourly is None or parked.target.hourly is None:
        return parked
    return parked if parked.target.hourly < target.hourly else None


def _limit(here: Situation, target: Candidate | None) -> Decimal | None:
    """Only what would be cheaper still than the answer is worth a word."""
    if target is not None:
        return target.hourly
    return attributed_hourly(here.workload, here.current) if here.current else None


def _holds(here: Situation, target: Candidate) -> tuple[Finding, ...]:
    """What it would cost, and how soon the change has paid for itself."""
    now, there = attributed_hourly(here.workload, _current(here)), target.hourly
    name = target.configuration.instance.name
    if now is None or there is None:
        return (found(Code.CHEAPER_CLASS_HOLDS, target=name),)
    back = payback(here, target)
    holds = found(Code.CHEAPER_CLASS_HOLDS, target=name, target_hourly=there, current_hourly=now)
    real = realisation(here.workload) is Realisation.NODE_LEAVES
    return (holds, pays_back(back)) if back and real else (holds,)


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """What each path found: the action with its reasons, the target, what else holds and what does not."""

    action: Action
    why: tuple[Finding, ...]
    target: Candidate | None = None
    alternatives: tuple[Candidate, ...] = ()
    rejected: tuple[Candidate, ...] = ()


def _decision(here: Situation, answer: _Answer) -> Decision:
    action, target = answer.action, answer.target
    bill = cost(here.workload, here.current, target)
    sure, doubts = _certainty(here, action, target)
    details = () if action is Action.UNKNOWN else _details(here, target)
    told = {each.code for each in details}
    reasons = (
        *answer.why,
        *_consequences(here, answer, bill),
        *details,
        *(each for each in doubts if each.code not in told),
        *_remarks(here, target),
    )
    return Decision(
        action=action,
        certainty=sure,
        current=here.current,
        target=target,
        cost=bill,
        alternatives=answer.alternatives,
        rejected=answer.rejected,
        reasons=tuple(dict.fromkeys(reasons)),
        risk_state=risk_state(here.need, here.workload.objective.horizon),
        compared_up_to=compared_up_to(here.need),
    )


def _certainty(here: Situation, action: Action, target: Candidate | None) -> tuple[Certainty, tuple[Finding, ...]]:
    match action:
        case Action.UNKNOWN:
            return Certainty.LOW, ()
        case Action.SCALE_TO_ZERO:
            return idle_certainty(here)
        case _:
            return certainty(here, target)


def _consequences(here: Situation, answer: _Answer, bill: Cost) -> tuple[Finding, ...]:
    """When the saving is real, who else must act, and what the past says about it."""
    target = answer.target
    potential = potential_hourly(here.workload, here.current, target) if target else None
    findings: list[Finding] = []
    if potential is not None and potential > 0:
        findings += _realised(here, bill.realisation, potential)
    if here.workload.replicas_owner and _changes_replicas(here, target):
        findings.append(found(Code.AUTOSCALER_OWNS_REPLICAS, owner=here.workload.replicas_owner))
    findings += _bounds(here)
    nearest = (*answer.rejected, *answer.alternatives)
    return (*findings, *incidents.weighed(here, incidents.Answer(target, nearest)))


def _bounds(here: Situation) -> list[Finding]:
    """The number that runs, where `spec.placement.replicas` does not allow it and nobody else owns it."""
    count, rules = here.workload.replicas, here.workload.rules
    if here.workload.replicas_owner or not count:
        return []
    if rules.max_replicas is not None and count > rules.max_replicas:
        return [found(Code.REPLICAS_OUT_OF_BOUNDS, replicas=count, most=rules.max_replicas)]
    if rules.min_replicas is not None and count < rules.min_replicas:
        return [found(Code.REPLICAS_OUT_OF_BOUNDS, replicas=count, least=rules.min_replicas)]
    return []


def _realised(here: Situation, when: Realisation, potential: Decimal) -> list[Finding]:
    match when:
        case Realisation.NODE_LEAVES:
            return [found(Code.NODE_LEAVES, nodes=len(here.workload.nodes))]
        case Realisation.NODE_STAYS:
            others = sum(node.others for node in here.workload.nodes)
            return [found(Code.NODE_STAYS, others=others, potential=potential)]
        case Realisation.UNKNOWN:
            return []


def _changes_replicas(here: Situation, target: Candidate | None) -> bool:
    return target is not None and target.configuration.replicas != here.workload.replicas


def _details(here: Situation, target: Candidate | None) -> tuple[Finding, ...]:
    """What was computed for where it would run, then for the workload; incidents and rules are told elsewhere."""
    elsewhere = {Code.INCIDENT_WEIGHED, Code.CAVEAT, Code.NOT_ALLOWED}
    notes = (one for one in _notes(here, target) if one.code not in elsewhere)
    where = target or here.current
    return (*(arithmetic(where, here) if where and where.configuration.replicas else ()), *notes)


def _remarks(here: Situation, target: Candidate | None) -> tuple[Finding, ...]:
    caveats = [one for one in _notes(here, target) if one.code is Code.CAVEAT]
    if target is not None and target.configuration.instance.caveat:
        caveats.append(found(Code.CAVEAT, text=target.configuration.instance.caveat))
    return tuple(caveats)


def _notes(here: Situation, target: Candidate | None) -> tuple[Finding, ...]:
    where = target or here.current
    return (*(where.notes if where else ()), *here.need.notes)


def _failures(here: Situation) -> tuple[Finding, ...]:
    return here.current.failures if here.current else ()


def _current(here: Situation) -> Candidate:
    if here.current is None:
        raise ValueError("nothing is resized without knowing where it runs")
    return here.current
