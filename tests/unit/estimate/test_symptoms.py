"""What counts as a sign that the present class does not hold."""

from __future__ import annotations

import pytest

from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.estimate.symptoms import symptoms
from tests.builders import flat, observation, world


@pytest.mark.parametrize(("waiting", "running", "stands"), [(2.0, 4.0, False), (3.0, 4.0, True), (5.0, 80.0, False)])
def test_one_or_two_requests_at_the_peak_of_an_hour_are_no_standing_queue(
    waiting: float, running: float, stands: bool
) -> None:
    seen = observation(waiting=flat(waiting), running=flat(running))

    assert (Code.QUEUE_STANDS in {each.code for each in symptoms(world(seen))}) is stands
