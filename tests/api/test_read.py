"""Objects stored under another schema: refused in words that name field and fix, or read as far as they can be."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gpu_rightsizer.api.read import InvalidSpec, Problem, read_inference_deployment, read_instance_class
from tests.api.documents import REMOVED, document

INCIDENT = {"occurredAt": "2026-07-01T10:00:00Z", "cause": "CudaServing", "demandTokens": "51200"}


def problems(changes: dict[str, Any]) -> list[str]:
    with pytest.raises(InvalidSpec) as refused:
        read_inference_deployment(document("InferenceDeployment", changes))
    return [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"targetRef": REMOVED}, "`spec.targetRef` must be given"),
        ({"targetRef": "llama"}, "`spec.targetRef` must be an object"),
        ({"targetRef.name": ""}, "`spec.targetRef.name` may not be empty"),
        ({"targetRef.name": "x" * 254}, "`spec.targetRef.name` may have at most 253 characters"),
        ({"targetRef.kind": "Job"}, "`spec.targetRef.kind` must be one of `Deployment`, `StatefulSet`"),
        ({"mode": "Auto"}, "`spec.mode` must be one of `Off`, `Recommend`"),
        ({"mode": False}, "`spec.mode` must be one of `Off`, `Recommend`"),
        (
            {"slo.horizon": "30 days"},
            (
                "`spec.slo.horizon` must be a duration greater than zero and less than `1000d`, for example `90s`, "
                "`1h30m` or `30d`"
            ),
        ),
        ({"slo.oomCost": 2000}, "`spec.slo.oomCost` must be a string; put it in quotes"),
        (
            {"slo.maxOomRisk": "0.01"},
            "`spec.slo.maxOomRisk` must be a percentage from `0%` to `100%`, for example `1%` or `99.9%`",
        ),
        ({"placement.regions": []}, "`spec.placement.regions` must hold at least 1 entries"),
        ({"placement.regions": ["r"] * 17}, "`spec.placement.regions` may hold at most 16 entries"),
        ({"placement.regions[]": "us east"}, "`spec.placement.regions[0]` must match `^[A-Za-z0-9][A-Za-z0-9_-]*$`"),
        ({"placement.replicas.max": 0}, "`spec.placement.replicas.max` must be greater than or equal to 1"),
        ({"placement.replicas.max": 1001}, "`spec.placement.replicas.max` must be less than or equal to 1000"),
        ({"placement.replicas.max": "many"}, "`spec.placement.replicas.max` must be a whole number"),
        (
            {"placement.replicas": {"min": 3, "max": 2}},
            "`spec.placement.replicas`: `min` must be less than or equal to `max`",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_spec_that_does_not_hold_names_the_field_and_the_fix(changes: dict[str, Any], said: str) -> None:
    assert problems(changes) == [said]


def test_all_problems_are_told_at_once_and_in_a_stable_order() -> None:
    changes = {"slo.maxOomRisk": "1", "engine.type": "vllm", "mode": "Auto"}

    said = problems(changes)

    assert [text.split("`")[1] for text in said] == ["spec.engine.type", "spec.mode", "spec.slo.maxOomRisk"]
    with pytest.raises(
        InvalidSpec, match=r"^`spec.engine.type` must .*; `spec.mode` must .*; `spec.slo.maxOomRisk` must"
    ):
        read_inference_deployment(document("InferenceDeployment", changes))


def test_a_status_of_another_version_is_kept_as_far_as_it_can_be_read() -> None:
    thing = document("InferenceDeployment")
    thing["status"] = {
        "observedGeneration": 3,
        "recommendation": {"id": "k3v7", "action": "Teleport", "confidence": "High"},
        "incidents": [INCIDENT, INCIDENT | {"cause": "Moonlight"}, INCIDENT | {"occurredAt": "yesterday"}],
        "forecast": {"ours": "a field of a newer version"},
    }

    stored = read_inference_deployment(thing)

    assert stored.object.status.observed_generation == 3
    assert stored.object.status.recommendation is None
    assert [each.to_wire() for each in stored.object.status.incidents] == [INCIDENT]
    assert stored.lost == (
        Problem(
            "status.incidents[1].cause",
            "must be one of `CudaStartup`, `CudaServing`, `Host`, `Unclassified`",
        ),
        Problem(
            "status.incidents[2].occurredAt", "`yesterday` is not a time; write for example `2026-07-20T08:30:00Z`"
        ),
        Problem("status.recommendation.action", "must be one of `Resize`, `ScaleToZero`, `Tune`, `Keep`, `Unknown`"),
    )


def test_a_status_that_is_no_object_is_lost_whole() -> None:
    stored = read_inference_deployment(document("InferenceDeployment") | {"status": "fine"})

    assert stored.object.status.incidents == ()
    assert stored.lost == (Problem("status", "must be an object"),)


def test_a_list_that_is_no_list_is_lost_alone() -> None:
    stored = read_inference_deployment(
        document("InferenceDeployment") | {"status": {"observedGeneration": 2, "incidents": "none"}}
    )

    assert stored.object.status.observed_generation == 2
    assert stored.lost == (Problem("status.incidents", "must be a list"),)


def test_an_object_without_a_status_has_an_empty_one() -> None:
    stored = read_inference_deployment(document("InferenceDeployment"))

    assert stored.lost == ()
    assert stored.object.status.to_wire() == {}


def test_a_day_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="`2026-02-30` is not a day; write for example `2026-07-20`"):
        read_instance_class(document("InstanceClass", {"price.asOf": "2026-02-30"}))


def test_reading_leaves_the_raw_object_alone() -> None:
    thing = document("InferenceDeployment") | {"status": {"incidents": [INCIDENT | {"cause": "Moonlight"}]}}
    before = copy.deepcopy(thing)

    read_inference_deployment(thing)

    assert thing == before
