"""Why nothing smaller is proposed: each guard alone, their order, and Unknown against Keep."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gpu_rightsizer.decide import decide
from gpu_rightsizer.decide.guards import GUARDS, UNDECIDED, WANT_OF_DATA, Proposal, refusals, saves_enough, verdict
from gpu_rightsizer.decide.situation import situation
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.decision import Candidate
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.need import DeviceLoad, Need
from gpu_rightsizer.domain.readings import MissingReason, Signal
from tests.builders import NOW, candidate, missing, need, prediction, workload

PRESENT = candidate("p5.48xlarge")
CHEAPER = candidate("g6e.xlarge")


def proposal(target: Candidate | None = CHEAPER, needs: Need | None = None) -> Proposal:
    return Proposal(situation(workload(), needs or need(), (PRESENT, CHEAPER), NOW), target)


def test_a_good_proposal_passes_every_guard() -> None:
    assert refusals(proposal()) == ()


@pytest.mark.parametrize("code", sorted(WANT_OF_DATA - {Code.PRICE_UNKNOWN}))
def test_missing_data_never_shrinks_and_is_unknown(code: Code) -> None:
    decision = decide(workload(), need(shrink_holds=(found(code),)), (PRESENT, CHEAPER), NOW)

    assert decision.action is Action.UNKNOWN
    assert decision.target is None
    assert decision.reasons[0].code is code


def test_evidence_against_it_keeps() -> None:
    decision = decide(workload(), need(shrink_holds=(found(Code.SHRINK_HELD),)), (PRESENT, CHEAPER), NOW)

    assert decision.action is Action.KEEP
    assert decision.reasons[0].code is Code.SHRINK_HELD


def test_every_guard_is_shown_and_the_first_decides() -> None:
    holds = (found(Code.SHRINK_HELD), found(Code.HISTORY_TOO_SHORT), found(Code.METRICS_MISSING))

    decision = decide(workload(), need(shrink_holds=holds), (PRESENT, CHEAPER), NOW)

    assert [each.code for each in decision.reasons[:3]] == [
        Code.METRICS_MISSING,
        Code.HISTORY_TOO_SHORT,
        Code.SHRINK_HELD,
    ]
    assert decision.action is Action.UNKNOWN


def test_guards_are_named_and_explained() -> None:
    assert len({guard.__name__ for guard in GUARDS}) == len(GUARDS)
    assert all(guard.__doc__ for guard in GUARDS)


def test_nothing_cheaper_keeps() -> None:
    decision = decide(workload(on="g6e.xlarge"), need(), (CHEAPER, PRESENT), NOW)

    assert decision.action is Action.KEEP
    assert decision.reasons[0] == found(Code.NOTHING_CHEAPER, considered=1)


@pytest.mark.parametrize(("hourly", "passes"), [("49.536", True), ("49.537", False)])
def test_a_saving_has_to_reach_a_tenth(hourly: str, passes: bool) -> None:
    assert (saves_enough(proposal(candidate("g6e.xlarge", hourly))) == ()) is passes


def test_a_saving_has_to_reach_a_cent_an_hour() -> None:
    decision = decide(
        workload(on="g4dn.xlarge"),
        need(),
        (candidate("g4dn.xlarge", "0.05"), candidate("g6.xlarge", "0.041")),
        NOW,
    )

    assert decision.action is Action.KEEP
    assert decision.reasons[0].code is Code.SAVING_TOO_SMALL


def test_the_refused_saving_is_told() -> None:
    decision = decide(workload(), need(), (PRESENT, candidate("g6e.xlarge", "50.00")), NOW)

    assert decision.reasons[0]["saved"] == Decimal("5.04")


def device_only(**changes: object) -> Need:
    """An engine that preallocates and tells nothing."""
    return need(
        memory=missing(Signal.KV_DEMAND),
        memory_holds=(found(Code.ENGINE_METRICS_NEEDED, engine="VLLM"),),
        **changes,
    )


def test_less_memory_is_withheld_where_the_evidence_does_not_reach() -> None:
    decision = decide(workload(), device_only(), (PRESENT, CHEAPER), NOW)

    assert decision.action is Action.UNKNOWN
    assert decision.reasons[0].code is Code.ENGINE_METRICS_NEEDED
    assert decision.rejected[0].failures[0].code is Code.SMALLER_MEMORY_HELD


def test_the_same_memory_elsewhere_may_be_proposed_all_the_same() -> None:
    same = candidate("p5.4xlarge", predicted=prediction(oom_probability=None))

    decision = decide(workload(), device_only(), (PRESENT, CHEAPER, same), NOW)

    assert decision.action is Action.RESIZE
    assert decision.target == same


def test_nothing_is_withheld_where_nothing_is_cheaper() -> None:
    decision = decide(workload(on="g6e.xlarge"), device_only(), (CHEAPER, PRESENT), NOW)

    assert decision.action is Action.KEEP


def test_unknown_risk_is_not_taken_for_less_memory() -> None:
    unknown = candidate("g6e.xlarge", predicted=prediction(oom_probability=None))
    needs = need(memory=missing(Signal.FB_USED, MissingReason.STALE))

    decision = decide(workload(), needs, (PRESENT, unknown), NOW)

    assert decision.action is Action.UNKNOWN
    assert decision.reasons[0] == found(Code.METRICS_MISSING, signal="FramebufferUsed", why="Stale", detail="")


def test_nothing_slower_without_any_sign_of_load() -> None:
    needs = need(load=missing(Signal.RUNNING), device=DeviceLoad(None, None))

    decision = decide(workload(), needs, (PRESENT, CHEAPER), NOW)

    assert decision.action is Action.UNKNOWN
    assert decision.rejected[0].failures[0].code is Code.SHRINK_HELD


@pytest.mark.parametrize("code", sorted(set(Code) - UNDECIDED))
def test_only_want_of_data_is_unknown(code: Code) -> None:
    assert verdict(Finding(code)) is Action.KEEP
