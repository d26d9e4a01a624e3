"""One workload that cannot be evaluated must not silence the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_rightsizer.controller import cycle
from gpu_rightsizer.controller.render import render
from gpu_rightsizer.controller.translate import Asked, Hold, fault
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.evaluate import evaluate
from tests.builders import NOW, world

if TYPE_CHECKING:
    import pytest


def test_the_others_are_evaluated_and_the_fault_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = world(), world()

    def sometimes(worlds: list[object], classes: object, now: object, told: object) -> object:
        if any(each is bad for each in worlds):
            raise ValueError("cannot convert float NaN to integer")
        return evaluate(worlds, classes, now, told)  # type: ignore[arg-type]

    monkeypatch.setattr(cycle, "evaluate", sometimes)
    evaluations, faults = cycle._evaluated([good, bad], [], NOW, {})

    assert [each.world for each in evaluations] == [good]
    assert [each.problems for each in faults.values()] == ["ValueError: cannot convert float NaN to integer"]


def test_a_fault_takes_the_recommendation_back_and_says_so() -> None:
    meta = {"name": "a", "namespace": "chat", "uid": "u", "generation": 3, "resourceVersion": "1"}
    raw = {"metadata": meta, "status": {"recommendation": {"id": "x", "action": "Resize"}}}

    (wanted,) = render([Asked(raw, None)], {}, {"u": fault(ValueError("boom"))}, NOW, "me")

    assert "recommendation" not in wanted.status
    assert wanted.annotations == {}
    ready = next(each for each in wanted.status["conditions"] if each["type"] == "Ready")  # type: ignore[attr-defined]
    assert (ready["status"], ready["reason"]) == ("False", "EvaluationFailed")
    assert ready["message"] == "The evaluation failed: ValueError: boom. Please report it with the operator's log."


def test_a_status_of_a_looser_schema_spoils_nothing() -> None:
    meta = {"name": "a", "namespace": "chat", "uid": "u", "generation": 3, "resourceVersion": "1"}

    (wanted,) = render(
        [Asked({"metadata": meta, "status": "x"}, None, Hold(Code.INVALID_SPEC, "spec"))], {}, {}, NOW, "me"
    )

    assert wanted.status["observedGeneration"] == 3
