"""Why nothing smaller is proposed: a checklist. Every guard is asked and shown, the first that holds decides.

A guard that holds for want of data makes the verdict `Unknown`; one that holds by evidence makes it `Keep`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.decide.money import LEAST_SHARE, attributed_hourly, is_worth_moving_for, potential_hourly
from gpu_rightsizer.decide.payback import payback, too_long
from gpu_rightsizer.decide.rules import leave_nothing
from gpu_rightsizer.decide.standing import last_change
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.readings import Missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_rightsizer.decide.situation import Situation
    from gpu_rightsizer.domain.decision import Candidate

_UNSEEN: Final = frozenset({Code.METRICS_MISSING, Code.METRICS_INCOMPLETE, Code.SOURCES_DISAGREE})
_UNNAMED: Final = frozenset(
    {Code.CONTAINER_UNKNOWN, Code.ENGINE_UNKNOWN, Code.MODEL_UNKNOWN, Code.CLASS_UNKNOWN, Code.SETTINGS_UNREAD}
)
_YOUNG: Final = frozenset({Code.HISTORY_TOO_SHORT, Code.RECENT_REVISION})
_OBSCURED: Final = frozenset(
    {Code.DEMAND_CENSORED, Code.DEVICE_SHARED, Code.ENGINE_METRICS_NEEDED, Code.OBJECTIVE_UNCHECKED}
)

WANT_OF_DATA: Final = (
    _UNSEEN | _UNNAMED | _YOUNG | _OBSCURED | {Code.TARGET_MISSING, Code.TARGET_CLAIMED_TWICE, Code.PRICE_UNKNOWN}
)
COOLS_DOWN: Final = timedelta(hours=72)  # holds three daily peaks of what runs now
# `Unknown` is the answer: data are missing, or data or rules contradict each other.
UNDECIDED: Final = WANT_OF_DATA | {Code.RULES_ALLOW_NOTHING}
HELD: Final = frozenset({Code.SMALLER_MEMORY_HELD, Code.SHRINK_HELD}) | WANT_OF_DATA - {Code.PRICE_UNKNOWN}


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A move that would save: `target` is the cheapest that survived, if any.

    `withheld` is the cheapest that only the evidence holds back, `risky` the cheapest whose risk costs too much,
    `barely` the cheapest that holds without room to spare, where another recommendation stands.
    """

    situation: Situation
    target: Candidate | None
    withheld: Candidate | None = None
    risky: Candidate | None = None
    barely: Candidate | None = None


def has_a_target(proposal: Proposal) -> tuple[Finding, ...]:
    """The workload exists."""
    return _holds(proposal, frozenset({Code.TARGET_MISSING, Code.TARGET_CLAIMED_TWICE}))


def sees_metrics(proposal: Proposal) -> tuple[Finding, ...]:
    """Metrics are there, whole, and agree."""
    return _holds(proposal, _UNSEEN)


def knows_what_runs(proposal: Proposal) -> tuple[Finding, ...]:
    """Engine, model, settings and the present class are known."""
    held = _holds(proposal, _UNNAMED)
    if proposal.situation.current is not None or any(finding.code is Code.CLASS_UNKNOWN for finding in held):
        return held
    placement = proposal.situation.workload.placement
    if isinstance(placement, Missing):
        return (*held, found(Code.CLASS_UNKNOWN, instance_class=placement.detail))
    return (*held, found(Code.CLASS_UNKNOWN, instance_class=placement.name))


def finds_a_class_allowed(proposal: Proposal) -> tuple[Finding, ...]:
    """The user's rules, taken together, allow some class at all."""
    return tuple(one for one in leave_nothing(proposal.situation) if one.code is Code.RULES_ALLOW_NOTHING)


def knows_history(proposal: Proposal) -> tuple[Finding, ...]:
    """Enough of the past was seen under the present revision."""
    return _holds(proposal, _YOUNG)


def sees_whole_demand(proposal: Proposal) -> tuple[Finding, ...]:
    """What was wanted is visible, not cut off and not mixed with others'."""
    return _holds(proposal, _OBSCURED)


def may_shrink(proposal: Proposal) -> tuple[Finding, ...]:
    """No other evidence forbids a smaller or slower class."""
    holds = proposal.situation.need.shrink_holds
    return tuple(finding for finding in holds if finding.code not in WANT_OF_DATA)


def knows_the_price(proposal: Proposal) -> tuple[Finding, ...]:
    """The present class has a price, so that a saving can be stated."""
    current = proposal.situation.current
    if current is None or current.hourly is not None:
        return ()
    return (found(Code.PRICE_UNKNOWN, instance_class=current.configuration.instance.name),)


def may_have_less_memory(proposal: Proposal) -> tuple[Finding, ...]:
    """Nothing cheaper is held back by the evidence on memory or speed alone."""
    if proposal.target is not None or proposal.withheld is None:
        return ()
    need = proposal.situation.need
    unchecked = tuple(one for one in proposal.withheld.failures if one.code is Code.OBJECTIVE_UNCHECKED)
    told = (*need.memory_holds, *unchecked)
    return told or (() if need.shrink_holds else (_unseen_need(proposal.situation),))


def is_worth_the_risk(proposal: Proposal) -> tuple[Finding, ...]:
    """Not every cheaper class costs more in risk than it saves."""
    if proposal.target is not None or proposal.risky is None:
        return ()
    return tuple(finding for finding in proposal.risky.failures if finding.code is Code.RISK_OUTWEIGHS_SAVING)[:1]


def finds_something_cheaper(proposal: Proposal) -> tuple[Finding, ...]:
    """There is a cheaper class that holds; where some are only held back, that is not known."""
    if any(each is not None for each in (proposal.target, proposal.withheld, proposal.risky, proposal.barely)):
        return ()
    pinned = tuple(one for one in leave_nothing(proposal.situation) if one.code is Code.RULES_ALLOW_NO_OTHER)
    return pinned or (found(Code.NOTHING_CHEAPER, considered=len(proposal.situation.others)),)


def holds_clearly(proposal: Proposal) -> tuple[Finding, ...]:
    """What is recommended anew holds with room to spare, so that noise does not take it back."""
    if proposal.barely is None:
        return ()
    return (found(Code.HOLDS_BARELY, target=proposal.barely.configuration.instance.name),)


def has_cooled_down(proposal: Proposal) -> tuple[Finding, ...]:
    """It has run for three days where it runs now."""
    here = proposal.situation
    changed = last_change(here.workload, here.now)
    if proposal.target is None or changed is None or here.now - changed >= COOLS_DOWN:
        return ()
    return (found(Code.CHANGED_RECENTLY, since=changed, needed=COOLS_DOWN),)


def saves_enough(proposal: Proposal) -> tuple[Finding, ...]:
    """At least 10 % and one cent an hour."""
    current, target, workload = proposal.situation.current, proposal.target, proposal.situation.workload
    if current is None or target is None or is_worth_moving_for(workload, current, target):
        return ()
    saved, ours = potential_hourly(workload, current, target), attributed_hourly(workload, current)
    if saved is None or not ours:
        return ()
    return (found(Code.SAVING_TOO_SMALL, saved=saved, share=saved / ours, least=LEAST_SHARE),)


def pays_back(proposal: Proposal) -> tuple[Finding, ...]:
    """What changing costs comes back while the load is likely to be what it is."""
    back = payback(proposal.situation, proposal.target) if proposal.target is not None else None
    return () if back is None or back.is_worth_it else (too_long(back),)


GUARDS: Final[tuple[Callable[[Proposal], tuple[Finding, ...]], ...]] = (
    has_a_target,
    finds_a_class_allowed,
    sees_metrics,
    knows_what_runs,
    knows_history,
    sees_whole_demand,
    may_shrink,
    knows_the_price,
    may_have_less_memory,
    is_worth_the_risk,
    finds_something_cheaper,
    holds_clearly,
    has_cooled_down,
    saves_enough,
    pays_back,
)


def refusals(proposal: Proposal) -> tuple[Finding, ...]:
    """Every guard's findings in order; empty lets the proposal pass."""
    return tuple(finding for guard in GUARDS for finding in guard(proposal))


def verdict(refusal: Finding) -> Action:
    """`Unknown` where data or rules are missing or contradict each other, `Keep` where the evidence says no."""
    return Action.UNKNOWN if refusal.code in UNDECIDED else Action.KEEP


def _unseen_need(situation: Situation) -> Finding:
    """What would have to be measured to tell whether the withheld classes hold."""
    for unknown in (situation.need.memory, situation.need.load):
        if isinstance(unknown, Missing):
            return found(Code.METRICS_MISSING, signal=unknown.what.value, why=unknown.why.value, detail=unknown.detail)
    return found(Code.METRICS_INCOMPLETE)


def _holds(proposal: Proposal, codes: frozenset[Code]) -> tuple[Finding, ...]:
    return tuple(finding for finding in proposal.situation.need.shrink_holds if finding.code in codes)
