"""After a move to other accelerators nothing cheaper is proposed for three days; what was seen is remembered."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gpu_rightsizer.decide import decide
from gpu_rightsizer.decide.standing import last_change
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.readings import MissingReason, Signal
from gpu_rightsizer.domain.workload import SeenRunning
from gpu_rightsizer.explain.words import say
from tests.builders import NOW, candidate, missing, need, too_slow, workload

if TYPE_CHECKING:
    from datetime import datetime

    from gpu_rightsizer.domain.decision import Decision
    from gpu_rightsizer.domain.workload import Workload

HERE = workload(on="p5.4xlarge")


def after(hours: float) -> Workload:
    return replace(HERE, ran=SeenRunning("NVIDIA H100", 1, NOW - timedelta(hours=hours)))


def decided(there: Workload) -> Decision:
    return decide(there, need(), (candidate("p5.4xlarge"), candidate("g6e.xlarge")), NOW)


def test_what_moved_yesterday_is_not_moved_again() -> None:
    decision = decided(after(20))

    assert (decision.action, decision.reasons[0].code) == (Action.KEEP, Code.CHANGED_RECENTLY)
    assert say(decision.reasons[0]) == (
        "It moved to other accelerators on 2026-11-24: nothing cheaper is proposed for 3d after that."
    )


@pytest.mark.parametrize("there", [HERE, after(72), replace(HERE, ran=SeenRunning("NVIDIA H100", 1, None))])
def test_three_days_later_or_without_a_move_it_is(there: Workload) -> None:
    assert decided(there).action is Action.RESIZE


def test_growing_does_not_wait() -> None:
    here = replace(workload(on="g6.xlarge"), ran=SeenRunning("NVIDIA L4", 1, NOW))

    assert decide(here, need(), (too_slow("g6.xlarge"), candidate("g6e.xlarge")), NOW).action is Action.RESIZE


BEFORE = NOW - timedelta(days=9)


@pytest.mark.parametrize(
    ("ran", "changed"),
    [
        (None, None),  # the first look
        (SeenRunning("NVIDIA H100", 1, None), None),
        (SeenRunning("NVIDIA H100", 1, BEFORE), BEFORE),
        (SeenRunning("NVIDIA L4", 1, BEFORE), NOW),
        (SeenRunning("NVIDIA H100", 2, BEFORE), NOW),
        (SeenRunning("", 1, None), None),  # its pods were not scheduled
        (SeenRunning("", 1, BEFORE), BEFORE),  # a move was under way
    ],
)
def test_a_move_is_seen_from_one_look_to_the_next(ran: SeenRunning | None, changed: datetime | None) -> None:
    assert last_change(replace(HERE, ran=ran), NOW) == changed


@pytest.mark.parametrize(("why", "changed"), [(MissingReason.CONTRADICTORY, NOW), (MissingReason.NOT_FOUND, BEFORE)])
def test_pods_on_two_kinds_of_accelerators_are_a_move_and_none_at_all_is_not(
    why: MissingReason, changed: datetime
) -> None:
    mixed = workload(on=missing(Signal.INSTANCE_CLASS, why), ran=SeenRunning("NVIDIA L4", 1, BEFORE))

    assert last_change(mixed, NOW) == changed
