"""What counts as a sign that the present class does not hold."""

from __future__ import annotations

import pytest

from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.estimate.symptoms import symptoms
from tests.builders import flat, observation, series, world


@pytest.mark.parametrize(("waiting", "running", "stands"), [(2.0, 4.0, False), (3.0, 4.0, True), (5.0, 80.0, False)])
def test_one_or_two_requests_at_the_peak_of_an_hour_are_no_standing_queue(
    waiting: float, running: float, stands: bool
) -> None:
    seen = observation(waiting=flat(waiting), running=flat(running))

    assert (Code.QUEUE_STANDS in {each.code for each in symptoms(world(seen))}) is stands


@pytest.mark.parametrize(
    ("judged", "late", "missed"), [(22, 22, True), (22, 11, True), (22, 10, False), (5, 5, False), (24, 1, True)]
)
def test_few_judged_hours_tell_when_most_of_them_are_late(judged: int, late: int, missed: bool) -> None:
    """Of three days of latencies a quiet service has fewer than a day of hours with enough requests to judge."""
    hours = [0.08] * late + [0.02] * (judged - late) + [float("nan")] * (72 - judged)
    seen = observation(tpot=series(hours))

    assert (Code.OBJECTIVE_MISSED in {each.code for each in symptoms(world(seen))}) is missed
