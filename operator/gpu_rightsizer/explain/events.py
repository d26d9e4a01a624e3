"""What happened, for `kubectl describe`: few, only on a change, and the same thing always under the same key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.explain.annotations import summary
from gpu_rightsizer.explain.conditions import OBSERVED
from gpu_rightsizer.explain.text import shortened_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BYTES: Final = 900  # of the note: 1 KiB, the limit of events.k8s.io, less the other fields
_QUIET: Final = frozenset({Action.KEEP.value, Action.UNKNOWN.value})


class EventType(StrEnum):
    """The two types Kubernetes knows."""

    NORMAL = "Normal"
    WARNING = "Warning"


class Category(StrEnum):
    """The reason of an Event: what kind of thing happened."""

    RECOMMENDATION_CHANGED = "RecommendationChanged"
    METRICS_LOST = "MetricsLost"
    METRICS_RETURNED = "MetricsReturned"


@dataclass(frozen=True, slots=True)
class Announcement:
    """One Event. `key` is a hash of the object and the content: a repeat is counted, not written again."""

    type: EventType
    reason: Category
    note: str
    key: str


def announcements(
    uid: str, status: Mapping[str, object], previous: Mapping[str, object] | None
) -> tuple[Announcement, ...]:
    """What changed between two statuses of one object; nothing for the first that has nothing to propose."""
    events = (_recommended(status, previous), _observed(status, previous))
    return tuple(_announcement(uid, *event) for event in events if event is not None)


def _recommended(
    status: Mapping[str, object], previous: Mapping[str, object] | None
) -> tuple[EventType, Category, str] | None:
    new, old = _advice(status), _advice(previous)
    if not new or new.get("id") == old.get("id"):
        return None
    if new.get("action") in _QUIET and old.get("action") in {None, *_QUIET}:
        return None
    return EventType.NORMAL, Category.RECOMMENDATION_CHANGED, summary(status)


def _observed(
    status: Mapping[str, object], previous: Mapping[str, object] | None
) -> tuple[EventType, Category, str] | None:
    new, old = _condition(status), _condition(previous)
    if not old or new.get("status") == old.get("status"):
        return None
    if new.get("status") == "True":
        return EventType.NORMAL, Category.METRICS_RETURNED, str(new.get("message", ""))
    if old.get("status") == "True":
        return EventType.WARNING, Category.METRICS_LOST, str(new.get("message", ""))
    return None


def _announcement(uid: str, kind: EventType, reason: Category, note: str) -> Announcement:
    short = shortened_bytes(note, MOST_BYTES)
    content = f"{uid}\x00{kind}\x00{reason}\x00{short}"
    return Announcement(kind, reason, short, hashlib.sha256(content.encode()).hexdigest()[:16])


def _advice(status: Mapping[str, object] | None) -> Mapping[str, object]:
    advice = status.get("recommendation") if status else None
    return advice if isinstance(advice, dict) else {}


def _condition(status: Mapping[str, object] | None) -> Mapping[str, object]:
    listed = status.get("conditions") if status else None
    if not isinstance(listed, list):
        return {}
    return next((each for each in listed if isinstance(each, dict) and each.get("type") == OBSERVED), {})
