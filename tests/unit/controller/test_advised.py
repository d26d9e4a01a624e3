"""What was recommended last is read off the status, while the status is about the spec as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gpu_rightsizer.controller.guides import Guides
from gpu_rightsizer.controller.look import LISTS, Lists
from gpu_rightsizer.controller.translate import asked
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.workload import Advised, SeenRunning

PLACE = {"instanceClass": "g6e.xlarge", "accelerators": 2, "replicas": 3, "tensorParallel": 2}
RESIZE = {"id": "a", "action": "Resize", "confidence": "High", "target": PLACE}


def remembered(status: dict[str, Any] | None) -> Advised | None:
    meta = {"name": "llm", "namespace": "chat", "uid": "u", "generation": 4, "resourceVersion": "1"}
    lists = Lists({name: [] for name in LISTS}, frozenset())
    told = {} if status is None else {"status": status}
    lists.objects["inference_deployments"] = [{"metadata": meta, "spec": {"targetRef": {"name": "llm"}}, **told}]
    lists.objects["namespaces"] = [{"metadata": {"name": "chat", "labels": {}}}]
    (only,) = asked(lists, Guides(lists), [])
    assert only.request is not None
    return only.request.advised


def test_a_place_is_remembered() -> None:
    told = remembered({"observedGeneration": 4, "recommendation": RESIZE})

    assert told == Advised(Action.RESIZE, "g6e.xlarge", 2, 3, 2)


def test_so_is_that_nothing_was_to_be_done() -> None:
    keep = {"id": "a", "action": "Keep", "confidence": "High"}

    assert remembered({"observedGeneration": 4, "recommendation": keep}) == Advised(Action.KEEP)


@pytest.mark.parametrize(
    "status", [None, {}, {"observedGeneration": 4}, {"observedGeneration": 3, "recommendation": RESIZE}]
)
def test_nothing_stands_without_one_or_for_another_spec(status: dict[str, Any] | None) -> None:
    assert remembered(status) is None


def test_where_it_ran_and_since_when_is_remembered_too() -> None:
    here = {"accelerator": "NVIDIA-L40S", "accelerators": 2, "changedAt": "2026-11-20T10:00:00Z"}
    meta = {"name": "llm", "namespace": "chat", "uid": "u", "generation": 4, "resourceVersion": "1"}
    lists = Lists({name: [] for name in LISTS}, frozenset())
    lists.objects["inference_deployments"] = [
        {"metadata": meta, "spec": {"targetRef": {"name": "llm"}}, "status": {"current": here}}
    ]
    lists.objects["namespaces"] = [{"metadata": {"name": "chat", "labels": {}}}]

    (only,) = asked(lists, Guides(lists), [])

    assert only.request is not None
    assert only.request.ran == SeenRunning("NVIDIA-L40S", 2, datetime(2026, 11, 20, 10, tzinfo=UTC))
