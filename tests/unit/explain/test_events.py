"""Events: few, only on a change, the same under the same key."""

from __future__ import annotations

from datetime import timedelta

from gpu_rightsizer.domain.finding import Code, found
from gpu_rightsizer.explain.events import Category, EventType, announcements
from gpu_rightsizer.explain.status import status
from tests.builders import NOW, candidate, need, nothing_observed, world
from tests.unit.explain.examples import evaluated, grow, keep, resize, unknown

RESIZE, KEEP, GROW, UNKNOWN = (status(build(), NOW) for build in (resize, keep, grow, unknown))
BLIND = status(
    evaluated(
        world(nothing_observed(), on="g6.xlarge"),
        need(shrink_holds=(found(Code.METRICS_MISSING),)),
        candidate("g6.xlarge"),
    ),
    NOW,
)


def reasons(new: object, old: object) -> list[str]:
    return [each.reason for each in announcements("uid", new, old)]  # type: ignore[arg-type]  # both are statuses


def test_the_first_proposal_is_announced_with_its_summary() -> None:
    (event,) = announcements("uid", RESIZE, None)

    assert (event.type, event.reason) == (EventType.NORMAL, Category.RECOMMENDATION_CHANGED)
    assert event.note.startswith("p5.48xlarge x1 -> g5.xlarge x1, saves $54.03/h (98%)")


def test_nothing_to_propose_is_no_event() -> None:
    assert announcements("uid", KEEP, None) == ()
    assert announcements("uid", UNKNOWN, None) == ()


def test_unchanged_is_silent() -> None:
    later = status(resize(), NOW + timedelta(minutes=5), RESIZE)

    assert announcements("uid", later, RESIZE) == ()


def test_another_proposal_is_announced() -> None:
    assert reasons(GROW, RESIZE) == [Category.RECOMMENDATION_CHANGED]


def test_a_proposal_that_is_withdrawn_is_announced() -> None:
    assert reasons(KEEP, GROW) == [Category.RECOMMENDATION_CHANGED]


def test_metrics_that_go_missing_and_return() -> None:
    lost = announcements("uid", BLIND, KEEP)
    back = announcements("uid", KEEP, BLIND)

    assert [(each.type, each.reason) for each in lost] == [(EventType.WARNING, Category.METRICS_LOST)]
    assert lost[0].note.startswith("No usable metrics")
    assert [(each.type, each.reason) for each in back] == [(EventType.NORMAL, Category.METRICS_RETURNED)]


def test_the_key_is_of_the_object_and_the_content() -> None:
    (one,), (again,), (other,) = (announcements(uid, RESIZE, None) for uid in ("a", "a", "b"))

    assert one.key == again.key
    assert one.key != other.key


def test_a_note_keeps_within_a_kibibyte() -> None:
    long = dict(RESIZE) | {"current": {"brief": "ü" * 3000}}

    (event,) = announcements("uid", long, None)

    assert len(event.note.encode()) < 1024
