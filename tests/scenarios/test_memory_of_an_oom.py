"""The paradox: whoever once ran out of memory stays on the large class for ever. From observation to words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gpu_rightsizer.domain.decision import Action
from gpu_rightsizer.domain.workload import OomKind
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.explain.annotations import RECOMMENDATION, annotations_of
from gpu_rightsizer.explain.fitting import MOST_BYTES
from gpu_rightsizer.explain.status import status
from tests.builders import LADDER, NOW, incident, observation, world

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpu_rightsizer.domain.world import Evaluation, World

LONG_AGO = {"days_ago": 90, "on": "g5.xlarge"}


def evaluated(of: World) -> Evaluation:
    (evaluation,) = evaluate([of], LADDER, NOW)
    return evaluation


def paragraph(told: Mapping[str, object]) -> str:
    advice = told["recommendation"]
    assert isinstance(advice, dict)
    (about,) = (each for each in advice["reasons"] if each.startswith("Out of memory"))
    return str(about)


def chances(of: World) -> dict[tuple[str, int], float]:
    """By class and tensor-parallel degree."""
    return {
        (each.configuration.instance.name, each.configuration.tensor_parallel): each.prediction.oom_probability or 0.0
        for each in evaluated(of).candidates
    }


def test_one_old_event_on_a_small_class_does_not_hold_the_large_one() -> None:
    of = evaluated(world(incidents=(incident(**LONG_AGO, settings_hash="before"),)))

    assert of.decision.action is Action.RESIZE
    assert paragraph(status(of, NOW)) == (
        "Out of memory on 2026-08-27 on g5.xlarge (device memory, while serving). The cause may be gone, the engine's "
        "settings changed since (weight 14%). Chance of another in 30d: 4.5% on g6e.xlarge (3.9% if that had never "
        "been), 4.4% on p5.48xlarge (3.9%), 10% on g5.xlarge (7.7%), 10% on g5.2xlarge (7.7%). Staying costs "
        "$38,820.67 more a month: in 30d as much as 38 out-of-memories at $1,000.00, and moving adds 0.0056%."
    )


def test_what_still_applies_holds_where_the_risk_costs_more_than_is_saved() -> None:
    busy = observation(requests_per_second=1.0, pool=170_000, device_bytes=46068 * 2**20 * 0.98)
    recently = incident(days_ago=20, on="g6.xlarge")

    of = evaluated(world(busy, on="g6e.xlarge", incidents=(recently,)))

    assert of.decision.action is Action.TUNE  # on the class that it has
    assert "The cause still applies (weight 93%)" in paragraph(status(of, NOW))


def test_the_chance_without_it_is_that_of_a_workload_that_it_never_happened_to() -> None:
    """Of the same days seen, which a young event leaves as they are."""
    past = incident(days_ago=2, demand_tokens=20_000.0)

    with_it, never = evaluated(world(incidents=(past,))), chances(world())

    reasons = {each.code.value: dict(each.facts) for each in with_it.decision.reasons}["IncidentWeighed"]
    for place, ranks in (("first", 1), ("second", 1), ("third", 4), ("fourth", 1)):
        assert reasons[f"{place}_without"] == pytest.approx(never[str(reasons[place]), ranks], rel=1e-6)
        assert reasons[f"{place}_chance"] > reasons[f"{place}_without"]  # type: ignore[operator]  # both are floats


def test_host_memory_is_another_thing() -> None:
    host = incident(OomKind.HOST, days_ago=3, on="g6e.xlarge")

    assert chances(world(incidents=(host,))) == chances(world())
    assert paragraph(status(evaluated(world(incidents=(host,))), NOW)) == (
        "Out of memory on 2026-11-22 on g6e.xlarge (host memory). The cause was host memory, no matter of the "
        "accelerator."
    )


def test_sixteen_of_them_fit_the_status_and_the_annotation_tells_the_same() -> None:
    past = tuple(
        incident(days_ago=10 * each + 1, on=name, message="torch.OutOfMemoryError: CUDA out of memory. " + "x" * 200)
        for each, name in enumerate(("g5.xlarge", "g6.xlarge", "g6e.xlarge", "g5.2xlarge") * 4)
    )

    told = status(evaluated(world(incidents=past)), NOW)

    assert len(json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()) <= MOST_BYTES
    assert paragraph(told).startswith("Out of memory 16 times, most telling on 2026-11-24 on g5.xlarge")
    annotation = json.loads(annotations_of(told)[RECOMMENDATION])
    assert paragraph(told) in annotation["reasons"]


def test_quiet_months_make_it_matter_less() -> None:
    by_age = [chances(world(incidents=(incident(days_ago=days),)))["g6e.xlarge", 1] for days in (10, 100, 365)]

    assert by_age[0] > by_age[1] > by_age[2] > 0
