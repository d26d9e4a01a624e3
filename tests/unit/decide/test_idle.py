"""Scaling to zero: only when enabled, proven and worth it; priced with its cold starts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from gpu_rightsizer.decide import decide
from gpu_rightsizer.decide.idle import parks_after
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.finding import Code, found
from gpu_rightsizer.domain.need import Idleness, IdleState, Need
from gpu_rightsizer.domain.workload import ScaleToZeroRules
from tests.builders import NOW, candidate, need, objective, workload

PRESENT, CHEAPER = candidate("p5.48xlarge"), candidate("g6e.xlarge")
RULES = ScaleToZeroRules(True, timedelta(minutes=30), timedelta(minutes=5))
HERE = workload(scale_to_zero=RULES)
WEEKS = timedelta(days=14)


def idle(
    state: IdleState = IdleState.IDLE, *, share: float | None = 1.0, lasting: timedelta = WEEKS, **more: object
) -> Need:
    return need(idleness=Idleness(state, lasting, share), **more)


def test_proven_idle_is_parked_and_names_what_has_to_wake_it() -> None:
    decision = decide(HERE, idle(), (PRESENT, CHEAPER), NOW)

    assert decision.action is Action.SCALE_TO_ZERO
    assert decision.target is not None
    assert decision.target.configuration.replicas == 0
    assert decision.cost.saved_hourly == Decimal("55.04")
    assert [each.code for each in decision.reasons[:2]] == [Code.PROVEN_IDLE, Code.WAKER_NEEDED]
    assert decision.reasons[1]["cold_start"] == timedelta(minutes=5)
    assert decision.alternatives == (CHEAPER,)


@pytest.mark.parametrize("state", [IdleState.UNKNOWN, IdleState.BUSY])
def test_what_is_not_proven_idle_is_not_parked(state: IdleState) -> None:
    assert decide(HERE, idle(state), (PRESENT, CHEAPER), NOW).action is Action.RESIZE


def test_it_has_to_be_enabled() -> None:
    off = workload(scale_to_zero=replace(RULES, enabled=False))

    assert decide(off, idle(), (PRESENT, CHEAPER), NOW).action is Action.RESIZE


@pytest.mark.parametrize(("cold", "after", "waits"), [(5, 30, 50), (1, 30, 30)])
def test_waits_for_what_a_cold_start_is_worth_and_never_less_than_asked(cold: int, after: int, waits: int) -> None:
    rules = ScaleToZeroRules(True, timedelta(minutes=after), timedelta(minutes=cold))

    assert parks_after(rules) == timedelta(minutes=waits)


def test_a_gap_shorter_than_the_threshold_is_no_idleness() -> None:
    assert decide(HERE, idle(lasting=timedelta(minutes=49)), (PRESENT,), NOW).action is Action.KEEP


def test_work_and_waking_are_paid() -> None:
    # Idle for 90 % of the window, 1.25 wake-ups a day: each runs 5 min to start and 50 min before parking again.
    decision = decide(HERE, idle(share=0.9), (PRESENT,), NOW)

    running = Decimal(str(round(0.1 + 1.25 * 55 / 1440, 4)))
    assert decision.cost.target_hourly == Decimal("55.04") * running


def test_counted_wake_ups_replace_the_typical_ones() -> None:
    busy = need(idleness=Idleness(IdleState.IDLE, WEEKS, 0.9, wakes_per_day=23.0))

    assert decide(HERE, busy, (PRESENT,), NOW).action is Action.KEEP


def test_a_smaller_class_that_saves_more_wins() -> None:
    assert decide(HERE, idle(share=0.5), (PRESENT, CHEAPER), NOW).action is Action.RESIZE


def test_parking_wins_where_it_saves_more() -> None:
    half = candidate("p4d.24xlarge")

    assert decide(HERE, idle(share=0.9), (PRESENT, half), NOW).action is Action.SCALE_TO_ZERO


@pytest.mark.parametrize("code", [Code.HISTORY_TOO_SHORT, Code.ENGINE_METRICS_NEEDED, Code.MODEL_UNKNOWN])
def test_what_sizing_lacks_does_not_matter_to_idleness(code: Code) -> None:
    decision = decide(HERE, idle(shrink_holds=(found(code),)), (PRESENT, CHEAPER), NOW)

    assert decision.action is Action.SCALE_TO_ZERO
    assert decision.alternatives == ()


@pytest.mark.parametrize(
    "code", [Code.METRICS_MISSING, Code.METRICS_INCOMPLETE, Code.SOURCES_DISAGREE, Code.DEVICE_SHARED]
)
def test_nothing_is_idle_on_missing_metrics(code: Code) -> None:
    assert decide(HERE, idle(shrink_holds=(found(code),)), (PRESENT, CHEAPER), NOW).action is Action.UNKNOWN


def test_an_unknown_share_is_not_priced() -> None:
    assert decide(HERE, idle(share=None), (PRESENT,), NOW).action is Action.KEEP


def test_what_has_no_replicas_is_parked_already() -> None:
    parked = workload(scale_to_zero=RULES, replicas=0)
    here = candidate("p5.48xlarge", "0", replicas=0)

    assert decide(parked, idle(), (here,), NOW).action is Action.KEEP


def test_an_autoscaler_that_owns_replicas_is_named() -> None:
    owned = replace(HERE, replicas_owner="ScaledObject/llama")

    decision = decide(owned, idle(), (PRESENT,), NOW)

    assert found(Code.AUTOSCALER_OWNS_REPLICAS, owner="ScaledObject/llama") in decision.reasons


@pytest.mark.parametrize(
    ("wakes_per_day", "attainment", "parked"),
    [
        (4.0, 0.999, False),  # 4 spoiled windows of 72 busy ones a day: 5.6 %, 0.1 % allowed
        (4.0, 0.9, True),
        (0.0, 0.999, True),  # fell silent and was never woken
    ],
)
def test_callers_who_wait_for_a_start_must_stay_within_the_objective(
    wakes_per_day: float, attainment: float, parked: bool
) -> None:
    here = workload(scale_to_zero=RULES, objective=objective(attainment=attainment))
    quiet = need(idleness=Idleness(IdleState.IDLE, WEEKS, 0.5, wakes_per_day))

    decision = decide(here, quiet, (PRESENT,), NOW)

    assert (decision.action is Action.SCALE_TO_ZERO) is parked
