"""Whatever the schema allows survives the way in and out of the models, and what it has in excess is dropped."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_rightsizer.api.crd import INFERENCE_DEPLOYMENT, KINDS
from gpu_rightsizer.api.inference_deployment import InferenceDeploymentSpec
from gpu_rightsizer.api.instance_class import InstanceClassSpec, InstanceClassStatus
from gpu_rightsizer.api.policy import RightsizingPolicySpec
from gpu_rightsizer.api.recommendation import Recommendation
from gpu_rightsizer.api.status import InferenceDeploymentStatus
from tests.api.documents import FULL
from tests.api.schema import fields, root
from tests.api.strategies import documents

if TYPE_CHECKING:
    from gpu_rightsizer.api.wire import Wire

MODELS: dict[str, type[Wire]] = {
    "InferenceDeployment.spec": InferenceDeploymentSpec,
    "InferenceDeployment.status": InferenceDeploymentStatus,
    "InstanceClass.spec": InstanceClassSpec,
    "InstanceClass.status": InstanceClassStatus,
    "RightsizingPolicy.spec": RightsizingPolicySpec,
}
SCHEMAS = {f"{kind.name}.{part}": root(kind)["properties"].get(part) for kind in KINDS for part in ("spec", "status")}


def defaulted(value: Any, schema: dict[str, Any]) -> Any:
    """With the defaults that the API server fills in, and without lists and maps that are empty."""
    if isinstance(value, list):
        return [defaulted(item, schema["items"]) for item in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    children = schema["properties"]
    given = {name: copy.deepcopy(child["default"]) for name, child in children.items() if "default" in child} | value
    return {
        name: defaulted(child, children[name])
        for name, child in given.items()
        if child or not {"items", "additionalProperties"} & children[name].keys()
    }


def keep_rules(value: Any) -> Any:
    """Repairs what the rules across fields forbid and single fields cannot know."""
    if isinstance(value, list):
        return [keep_rules(item) for item in value]
    if not isinstance(value, dict):
        return value
    repaired = {key: keep_rules(child) for key, child in value.items()}
    if {"min", "max"} <= repaired.keys():
        repaired["min"], repaired["max"] = sorted((repaired["min"], repaired["max"]))
    if "exclude" in repaired:
        taken = {"*", *repaired.get("include", [])}
        repaired["exclude"] = [glob for glob in repaired["exclude"] if glob not in taken]
    if "tolerations" in repaired:
        repaired["tolerations"] = [{**each, "key": "gpu", "value": ""} for each in repaired["tolerations"]]
    if repaired.get("operator") in ("In", "NotIn"):
        repaired["values"] = repaired.get("values") or ["x"]
    elif "values" in repaired:
        del repaired["values"]
    return repaired


@pytest.mark.parametrize("part", MODELS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_the_schema_allows_survives_the_way_in_and_out(part: str, data: st.DataObject) -> None:
    wire = keep_rules(data.draw(documents(SCHEMAS[part])))

    model = MODELS[part].from_wire(wire)

    assert defaulted(model.to_wire(), SCHEMAS[part]) == defaulted(wire, SCHEMAS[part])
    assert MODELS[part].from_wire(model.to_wire()) == model


def test_a_field_of_a_newer_version_is_dropped() -> None:
    wire = copy.deepcopy(FULL["InferenceDeployment"]["spec"]) | {"budget": {"monthlyUSD": "5000"}}

    assert "budget" not in InferenceDeploymentSpec.from_wire(wire).to_wire()


def test_models_cannot_be_changed() -> None:
    spec = InferenceDeploymentSpec.from_wire(FULL["InferenceDeployment"]["spec"])

    with pytest.raises(ValueError, match="frozen"):
        spec.mode = "Off"  # type: ignore[assignment,misc]  # that is what must fail


def test_the_recommendation_of_the_documentation_is_one() -> None:
    wire = {
        "id": "k3v7q2m9x4t8h1n6b5c0w2r7ya",
        "action": "Resize",
        "confidence": "High",
        "target": {
            "instanceClass": "g6e.xlarge",
            "accelerators": 1,
            "replicas": 1,
            "tensorParallel": 1,
            "engineArgs": {"--max-num-seqs": "64"},
        },
        "cost": {
            "currentHourlyUSD": "55.04",
            "targetHourlyUSD": "1.861",
            "savedHourlyUSD": "53.179",
            "savedMonthlyUSD": "38820.67",
            "realisation": "NodeLeaves",
        },
        "risk": {
            "oomProbability": "1.6%",
            "currentOomProbability": "1.4%",
            "sloMissProbability": "0.4%",
            "horizon": "30d",
            "state": "ModelBased",
            "calibratedUpTo": "7d",
        },
        "predicted": {
            "tpot": "31ms",
            "ttft": "210ms",
            "kvDemandPeak": "11.2Gi",
            "memoryNeed": "29.4Gi",
            "memoryAvailable": "44.5Gi",
            "binding": "Memory",
        },
        "basis": {"span": "14d", "samples": 20160, "coverage": "99%", "tier": "T4"},
    }

    assert Recommendation.from_wire(wire).to_wire() == wire


def test_status_carries_neither_defaults_nor_rules() -> None:
    """What is unknown is absent, and the operator's own writes are not refused for their wording."""
    status = [(path, node) for path, node in fields(INFERENCE_DEPLOYMENT) if path.startswith(".status")]

    assert [path for path, node in status if "default" in node or "x-kubernetes-validations" in node] == []
