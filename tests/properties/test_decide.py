"""Laws of a decision, whatever the workload, the candidates and their order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_rightsizer.decide import decide
from gpu_rightsizer.decide.choice import MOST_ALTERNATIVES, MOST_REJECTED
from gpu_rightsizer.decide.guards import UNDECIDED
from gpu_rightsizer.decide.idle import parks_after
from gpu_rightsizer.decide.money import LEAST_HOURLY, LEAST_SHARE, attributed_hourly, potential_hourly
from gpu_rightsizer.decide.situation import has_less_memory, is_smaller_or_slower
from gpu_rightsizer.decide.verdict import OUTGROWN
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.decision import Candidate, Decision
from gpu_rightsizer.domain.finding import Code, Finding
from gpu_rightsizer.domain.need import Idleness, IdleState, Need
from gpu_rightsizer.domain.readings import Signal
from gpu_rightsizer.domain.workload import ScaleToZeroRules
from tests.builders import LADDER, NOW, candidate, missing, need, prediction, workload

if TYPE_CHECKING:
    from decimal import Decimal

    from gpu_rightsizer.domain.workload import Workload

REJECTIONS = (Code.MEMORY_TOO_SMALL, Code.TPOT_TOO_SLOW, Code.NOT_ALLOWED, Code.FAILED_THERE_BEFORE, Code.OVERLOADED)
HOLDS = (Code.METRICS_MISSING, Code.HISTORY_TOO_SHORT, Code.SHRINK_HELD, Code.DEMAND_CENSORED, Code.CLASS_UNKNOWN)
SYMPTOMS = (Code.QUEUE_STANDS, Code.PREEMPTING, Code.OBJECTIVE_MISSED)
USUAL = need()
RULES = ScaleToZeroRules(True, timedelta(minutes=30), timedelta(minutes=5))
PRICES = st.decimals("0.05", "60", places=3)


def seldom(some: st.SearchStrategy[tuple[Finding, ...]]) -> st.SearchStrategy[tuple[Finding, ...]]:
    return st.one_of(st.just(()), some)


def findings(codes: tuple[Code, ...], most: int = 2) -> st.SearchStrategy[tuple[Finding, ...]]:
    chosen = st.lists(st.sampled_from(codes), max_size=most, unique=True)
    return chosen.map(lambda each: tuple(Finding(code) for code in each))


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    risk = draw(st.none() | st.floats(0, 0.3))
    built = candidate(
        draw(st.sampled_from(LADDER)),
        failures=draw(seldom(findings(REJECTIONS))),
        predicted=prediction(oom_probability=risk, measured_accelerator=draw(st.booleans())),
        replicas=draw(st.sampled_from((1, 1, 1, 2))),
    )
    return replace(built, hourly=draw(st.none() | PRICES) if draw(st.booleans()) else built.hourly)


@st.composite
def needs(draw: st.DrawFn) -> Need:
    idle_for = timedelta(minutes=draw(st.sampled_from((0, 40, 50, 900, 20_000))))
    state = draw(st.sampled_from(tuple(IdleState)))
    changes: dict[str, object] = {
        "shrink_holds": draw(seldom(findings(HOLDS))),
        "memory_holds": draw(st.sampled_from(((), (), (Finding(Code.ENGINE_METRICS_NEEDED),)))),
        "symptoms": draw(seldom(findings(SYMPTOMS))),
        "idleness": Idleness(state, idle_for, draw(st.sampled_from((None, 0.3, 0.9, 1.0)))),
    }
    if draw(st.booleans()):
        changes["memory"] = missing(Signal.KV_DEMAND)
    return replace(USUAL, **changes)  # type: ignore[arg-type]  # fields of Need by name


@st.composite
def cases(draw: st.DrawFn) -> tuple[Workload, Need, list[Candidate]]:
    here = draw(st.sampled_from([each.name for each in LADDER[::-1]]))
    there = workload(on=here, others=draw(st.sampled_from((0, 0, 3))), scale_to_zero=RULES)
    options = draw(st.lists(candidates(), max_size=8))
    present = candidate(
        here,
        failures=draw(seldom(findings((Code.OVERLOADED, Code.NOT_ALLOWED)))),
        predicted=prediction(oom_probability=draw(st.none() | st.floats(0, 0.3))),
    )
    others = [each for each in options if not is_present(each, present)]
    if draw(st.booleans()) and here != "p5en.48xlarge":
        others.append(candidate("p5en.48xlarge", predicted=prediction(measured_accelerator=True)))
    if draw(st.integers(0, 9)):
        others.insert(draw(st.integers(0, len(others))), present)
    return there, draw(needs()), others


def is_present(one: Candidate, present: Candidate) -> bool:
    a, b = one.configuration, present.configuration
    return (a.instance.name, a.replicas) == (b.instance.name, b.replicas)


def made(case: tuple[Workload, Need, list[Candidate]]) -> Decision:
    return decide(*case, NOW)


def is_under_sized(case: tuple[Workload, Need, list[Candidate]], decision: Decision) -> bool:
    failures = decision.current.failures if decision.current else ()
    return decision.current is not None and (bool(case[1].symptoms) or any(each.code in OUTGROWN for each in failures))


def test_the_cases_reach_every_action_on_other_classes_and_growing_with_partial_data() -> None:
    seen: set[object] = set()

    @settings(max_examples=500, database=None, deadline=None, derandomize=True)
    @given(cases())
    def look(case: tuple[Workload, Need, list[Candidate]]) -> None:
        decision = made(case)
        seen.add(decision.action)
        if decision.action is Action.RESIZE and is_under_sized(case, decision):
            seen.add(("grows", bool(case[1].shrink_holds)))

    look()
    assert seen >= {*Action, ("grows", False), ("grows", True)} - {Action.TUNE}


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_changes_nothing(
    case: tuple[Workload, Need, list[Candidate]], dice: object
) -> None:
    there, needed, options = case
    shuffled = list(options)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis' Random

    assert decide(there, needed, options, NOW) == decide(there, needed, shuffled, NOW)


@given(cases())
def test_what_is_proposed_was_offered_and_holds(case: tuple[Workload, Need, list[Candidate]]) -> None:
    decision = made(case)

    for each in (decision.target, *decision.alternatives):
        if each is not None and decision.action is not Action.SCALE_TO_ZERO:
            assert each.holds
            assert each in case[2]
    assert all(each.failures for each in decision.rejected)


@given(cases())
def test_keep_and_unknown_have_no_target_and_the_others_have_one(case: tuple[Workload, Need, list[Candidate]]) -> None:
    decision = made(case)

    assert (decision.target is None) == (decision.action in {Action.KEEP, Action.UNKNOWN})


@given(cases())
def test_nothing_dearer_is_proposed_to_what_is_not_too_small(case: tuple[Workload, Need, list[Candidate]]) -> None:
    decision = made(case)
    if not (decision.action is Action.RESIZE and not is_under_sized(case, decision)):
        return

    assert decision.current is not None
    assert decision.target is not None
    ours = attributed_hourly(case[0], decision.current)
    saved = potential_hourly(case[0], decision.current, decision.target)
    assert saved is not None
    assert ours is not None
    assert saved >= LEAST_HOURLY
    assert saved >= LEAST_SHARE * ours


@given(cases())
def test_unknown_never_shrinks(case: tuple[Workload, Need, list[Candidate]]) -> None:
    decision = made(case)
    if not (case[1].shrink_holds and decision.action is Action.RESIZE):
        return

    assert decision.current is not None
    assert decision.target is not None
    assert is_under_sized(case, decision)
    assert not is_smaller_or_slower(decision.target.configuration, decision.current.configuration)


@given(cases())
def test_no_less_memory_than_the_evidence_holds(case: tuple[Workload, Need, list[Candidate]]) -> None:
    decision = made(case)
    if not (case[1].memory_holds and decision.current is not None):
        return

    assert decision.current is not None
    for each in (decision.target, *decision.alternatives):
        assert each is None or not has_less_memory(each.configuration, decision.current.configuration)


@given(cases())
def test_no_move_adds_more_risk_than_allowed(case: tuple[Workload, Need, list[Candidate]]) -> None:
    decision = made(case)
    if not (decision.target is not None and decision.action is not Action.SCALE_TO_ZERO):
        return

    assert decision.target is not None
    after = decision.target.prediction.oom_probability
    before = decision.current.prediction.oom_probability if decision.current else None
    assert after is None or after - (before or 0.0) <= case[0].objective.max_oom_risk


@given(cases())
def test_unknown_exactly_where_data_are_wanting(case: tuple[Workload, Need, list[Candidate]]) -> None:
    decision = made(case)

    if decision.action is Action.UNKNOWN:
        assert decision.reasons[0].code in UNDECIDED
    if decision.action is Action.KEEP:
        assert decision.reasons[0].code not in UNDECIDED


@given(cases())
def test_only_proven_idleness_is_parked(case: tuple[Workload, Need, list[Candidate]]) -> None:
    decision = made(case)
    if decision.action is not Action.SCALE_TO_ZERO:
        return

    idleness = case[1].idleness
    assert idleness.state is IdleState.IDLE
    assert idleness.idle_for is not None
    assert idleness.idle_for >= parks_after(case[0].scale_to_zero)
    assert not case[1].symptoms
    assert not {each.code for each in case[1].shrink_holds} & {Code.METRICS_MISSING, Code.CLASS_UNKNOWN}


@given(cases())
def test_a_saving_is_never_more_than_what_is_paid(case: tuple[Workload, Need, list[Candidate]]) -> None:
    cost = made(case).cost

    if cost.saved_hourly is not None and cost.current_hourly is not None:
        assert cost.saved_hourly <= cost.current_hourly


@given(cases())
def test_lists_are_bounded_and_reasons_are_never_empty_or_said_twice(
    case: tuple[Workload, Need, list[Candidate]],
) -> None:
    decision = made(case)

    assert len(decision.alternatives) <= MOST_ALTERNATIVES
    assert len(decision.rejected) <= MOST_REJECTED
    assert decision.reasons
    assert len(set(decision.reasons)) == len(decision.reasons)


@given(cases(), PRICES)
def test_what_is_not_chosen_may_become_dearer(case: tuple[Workload, Need, list[Candidate]], more: Decimal) -> None:
    decision = made(case)
    there, needed, options = case
    chosen = (decision.target, decision.current)
    dearer = [
        each if each in chosen or each.hourly is None else replace(each, hourly=each.hourly + more) for each in options
    ]

    assert decide(there, needed, dearer, NOW).target == decision.target


@given(cases())
def test_a_cheaper_target_stays_the_target(case: tuple[Workload, Need, list[Candidate]]) -> None:
    decision = made(case)
    there, needed, options = case
    if not (decision.action is Action.RESIZE and decision.target is not None):
        return
    assert decision.target is not None
    assert decision.target.hourly is not None
    cheaper = replace(decision.target, hourly=decision.target.hourly / 2)

    after = decide(there, needed, [cheaper if each == decision.target else each for each in options], NOW)

    assert after.target == cheaper


@given(cases(), st.sampled_from(HOLDS))
def test_less_evidence_never_shrinks_more(case: tuple[Workload, Need, list[Candidate]], code: Code) -> None:
    there, needed, options = case
    before = made(case)
    if before.action not in {Action.KEEP, Action.UNKNOWN}:
        return

    held = replace(needed, shrink_holds=(*needed.shrink_holds, Finding(code)))

    assert decide(there, held, options, NOW).action not in {Action.RESIZE, Action.SCALE_TO_ZERO}


@given(cases())
def test_what_was_rejected_does_not_matter(case: tuple[Workload, Need, list[Candidate]]) -> None:
    there, needed, options = case
    decision = made(case)
    if decision.action is not Action.RESIZE:
        return

    kept = [each for each in options if each.holds or each == decision.current]

    assert decide(there, needed, kept, NOW).target == decision.target
