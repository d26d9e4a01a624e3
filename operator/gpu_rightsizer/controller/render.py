"""From evaluations to what should stand on each object: status, annotations and the Events between two statuses."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpu_rightsizer.controller.carry_out import OURS, Wanted
from gpu_rightsizer.controller.translate import Hold, fault
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.explain.annotations import annotations_of
from gpu_rightsizer.explain.events import announcements
from gpu_rightsizer.explain.status import status, status_without_evaluation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from gpu_rightsizer.controller.translate import Asked
    from gpu_rightsizer.domain.world import Evaluation
    from gpu_rightsizer.explain.events import Announcement

log = logging.getLogger(__name__)

REPORTER = "gpu-rightsizer.dev/operator"


def render(
    everyone: Sequence[Asked],
    evaluations: Mapping[str, Evaluation],
    holds: Mapping[str, Hold],
    now: datetime,
    reporter: str,
) -> list[Wanted]:
    """One Wanted per object; both maps by uid. What has no evaluation is Off or held."""
    wanted: list[Wanted] = []
    for each in everyone:
        uid = each.raw["metadata"]["uid"]
        try:
            wanted.append(_wanted(each, evaluations.get(uid), each.hold or holds.get(uid), now, reporter))
        except Exception as error:  # whatever it is: one object must not silence the others
            log.exception("%s/%s could not be told", each.raw["metadata"]["namespace"], each.raw["metadata"]["name"])
            bare = replace(each, raw={**each.raw, "status": None})
            wanted.append(_wanted(bare, None, fault(error), now, reporter))
    return wanted


def _wanted(each: Asked, evaluation: Evaluation | None, hold: Hold | None, now: datetime, reporter: str) -> Wanted:
    meta = each.raw["metadata"]
    stored = each.raw.get("status")
    previous = stored if isinstance(stored, dict) and stored else None
    if evaluation is not None:
        new = status(evaluation, now, previous)
    else:
        why = hold or Hold(Code.MODE_OFF)
        new = status_without_evaluation(why.code, meta["generation"], now, previous, why.problems)
    others = {key: value for key, value in (meta.get("annotations") or {}).items() if key not in OURS}
    taken = sum(len(key.encode()) + len(str(value).encode()) for key, value in others.items())
    events = tuple(_event(each.raw, one, now, reporter) for one in announcements(meta["uid"], new, previous))
    return Wanted(each.raw, new, annotations_of(new, taken), events)


def _event(raw: Mapping[str, Any], announcement: Announcement, now: datetime, reporter: str) -> dict[str, object]:
    """An Event of events.k8s.io/v1; its name is its content, so that a repeat is the same object."""
    meta = raw["metadata"]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name'][:200]}.{announcement.key}", "namespace": meta["namespace"]},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": REPORTER,
        "reportingInstance": reporter[:128],
        "action": "Evaluate",
        "reason": announcement.reason.value,
        "type": announcement.type.value,
        "note": announcement.note,
        "regarding": {
            "apiVersion": raw.get("apiVersion", "gpu-rightsizer.dev/v1alpha1"),
            "kind": "InferenceDeployment",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
    }
