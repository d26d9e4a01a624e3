"""What a user meets at the API server: defaults, refusals, samples, columns, `kubectl explain`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gpu_rightsizer.api.crd import INFERENCE_DEPLOYMENT, KINDS, Kind
from tests.api.documents import NAMESPACE, READERS, REMOVED, SAMPLES, document, refusal, sample
from tests.api.schema import fields, is_item

if TYPE_CHECKING:
    from testbed.cluster.local import LocalCluster

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("local-cluster")]

NOW = "2026-07-20T08:30:00Z"
STATUS = {
    "observedGeneration": 1,
    "conditions": [
        {"type": "Ready", "status": "True", "reason": "CheaperClassHolds", "message": "", "lastTransitionTime": NOW}
    ],
    "current": {"brief": "p5.48xlarge x1", "instanceClass": "p5.48xlarge", "replicas": 1},
    "recommendation": {
        "id": "k3v7q2m9x4t8h1n6b5c0w2r7ya",
        "brief": "g6e.xlarge x1",
        "action": "Resize",
        "confidence": "High",
        "cost": {"savedMonthlyUSD": "38820.67", "realisation": "NodeLeaves"},
        "risk": {"oomProbability": "1.6%", "horizon": "30d", "state": "ModelBased"},
        "basis": {"span": "14d", "coverage": "99%", "tier": "T4"},
    },
}


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


@pytest.mark.parametrize("file", sorted(path.name for path in SAMPLES.glob("*.yaml")))
def test_the_sample_is_taken_and_can_be_read_back(api: LocalCluster, file: str) -> None:
    thing = sample(file)
    api.apply(thing)
    namespace = thing["metadata"].get("namespace")
    stored = api.get(thing["kind"].lower(), thing["metadata"]["name"], namespace=namespace)

    assert READERS[thing["kind"]](stored).lost == ()


def test_every_kind_has_a_sample() -> None:
    assert {sample(path.name)["kind"] for path in SAMPLES.glob("*.yaml")} == {kind.name for kind in KINDS}


def test_the_server_fills_in_the_defaults(api: LocalCluster) -> None:
    api.apply(sample("inferencedeployment-minimal.yaml") | {"metadata": {"name": "least", "namespace": NAMESPACE}})

    assert api.get("infd", "least", namespace=NAMESPACE)["spec"] == {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "my-model"},
        "mode": "Recommend",
        "scaleToZero": {"mode": "Recommend", "idleAfter": "30m", "coldStart": "5m"},
    }


def test_the_server_fills_in_the_defaults_of_classes_and_policies(api: LocalCluster) -> None:
    least = {"accelerator": {"product": "NVIDIA-L4", "count": 1}, "price": {"hourlyUSD": "0.8"}, "host": REMOVED}
    api.apply(document("InstanceClass", least, name="least"))
    policy = document("RightsizingPolicy", name="least")
    policy["spec"] = {}
    api.apply(policy)

    stored = api.get("iclass", "least")["spec"]
    assert stored["accelerator"] == {
        "product": "NVIDIA-L4",
        "count": 1,
        "resource": "nvidia.com/gpu",
        "migProfile": "",
    }
    assert stored["price"] == {"hourlyUSD": "0.8", "commitment": "OnDemand", "overhead": "0%"}
    assert api.get("rsp", "least")["spec"] == {"namespaceSelector": {}, "maxMode": "Recommend"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": "Auto"}, 'spec.mode: Unsupported value: "Auto": supported values: "Off", "Recommend"'),
        (
            {"engine.type": "vllm"},
            (
                'spec.engine.type: Unsupported value: "vllm": supported values: '
                '"VLLM", "SGLang", "TGI", "Triton", "TensorRTLLM", "LlamaCpp", "RayServe", "Custom"'
            ),
        ),
        (
            {"placement.capacityTypes[]": "Preemptible"},
            (
                'spec.placement.capacityTypes[0]: Unsupported value: "Preemptible": supported values: '
                '"OnDemand", "Reserved", "Spot", "Owned"'
            ),
        ),
        (
            {"targetRef.kind": "Job"},
            'spec.targetRef.kind: Unsupported value: "Job": supported values: "Deployment", "StatefulSet"',
        ),
        ({"targetRef.name": REMOVED}, "spec.targetRef.name: Required value"),
        ({"targetRef.name": "x" * 254}, "spec.targetRef.name: Too long: may not be more than 253 bytes"),
        (
            {"placement.replicas.max": 1001},
            (
                "spec.placement.replicas.max: Invalid value: 1001: "
                "spec.placement.replicas.max in body should be less than or equal to 1000"
            ),
        ),
        (
            {"placement.regions": []},
            "spec.placement.regions: Invalid value: 0: spec.placement.regions in body should have at least 1 items",
        ),
        (
            {"placement.regions": ["eu-central-1", "eu-central-1"]},
            'spec.placement.regions[1]: Duplicate value: "eu-central-1"',
        ),
        (
            {"slo.oomCost": 2000},
            'spec.slo.oomCost: Invalid value: "integer": spec.slo.oomCost in body must be of type string: "integer"',
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_refusal_names_the_field_and_what_is_accepted(
    api: LocalCluster, changes: dict[str, object], said: str
) -> None:
    assert refusal(api, document("InferenceDeployment", changes)) == [said]


def test_a_bare_off_is_a_boolean_to_yaml_and_the_answer_says_so(api: LocalCluster) -> None:
    """Why samples and descriptions put the word in quotes."""
    text = json.dumps(document("InferenceDeployment")).replace('"mode": "Recommend"', '"mode": false')

    assert refusal(api, json.loads(text)) == [
        'spec.mode: Invalid value: "boolean": spec.mode in body must be of type string: "boolean"',
        'spec.mode: Unsupported value: false: supported values: "Off", "Recommend"',
    ]


def test_a_misspelt_field_is_refused(api: LocalCluster) -> None:
    thing = json.dumps(document("InferenceDeployment", {"slo.horizion": "30d"}))

    answer = api.kubectl("apply", "-f", "-", input=thing, check=False)

    assert 'strict decoding error: unknown field "spec.slo.horizion"' in answer


def test_get_shows_the_recommendation_in_its_columns(api: LocalCluster) -> None:
    api.apply(document("InferenceDeployment", {"targetRef.name": "llama-8b"}, name="columns"))
    api.kubectl(
        *("patch", "infd", "columns", "-n", NAMESPACE, "--subresource=status", "--type=merge"),
        *("-p", json.dumps({"status": STATUS})),
    )

    header, row = rows(api.kubectl("get", "infd", "columns", "-n", NAMESPACE))
    assert header == ["NAME", "TARGET", "MODE", "CURRENT", "RECOMMENDED", "SAVING/MO", "RISK", "READY", "AGE"]
    shown = ["columns", "llama-8b", "Recommend", "p5.48xlarge", "x1", "g6e.xlarge", "x1", "38820.67", "1.6%", "True"]
    assert row[:-1] == shown

    header, row = rows(api.kubectl("get", "infd", "columns", "-n", NAMESPACE, "-o", "wide"))
    assert header[9:] == ["ACTION", "CONFIDENCE", "TIER", "REASON"]
    assert row[-4:] == ["Resize", "High", "T4", "CheaperClassHolds"]


def test_classes_and_policies_have_columns_and_all_kinds_share_a_category(api: LocalCluster) -> None:
    api.apply(document("InstanceClass", name="columns"))
    api.apply(document("RightsizingPolicy", name="columns"))
    api.apply(document("InferenceDeployment", name="category"))

    header, row = rows(api.kubectl("get", "iclass", "columns"))
    assert header == ["NAME", "ACCELERATOR", "COUNT", "MEMORY", "USD/H", "CAPACITY", "REGION", "NODES", "READY", "AGE"]
    assert row[:-1] == ["columns", "NVIDIA-L40S", "1", "46068Mi", "1.303", "Reserved", "us-east-1"]
    header, row = rows(api.kubectl("get", "rsp", "columns"))
    assert header == ["NAME", "MAX-MODE", "INCLUDE", "EXCLUDE", "REGIONS", "DEPLOYMENTS", "READY", "AGE"]
    assert row[:-1] == ["columns", "Recommend", '["*.metal"]', '["us-east-1","us-east-2"]']
    together = api.kubectl("get", "inference", "-n", NAMESPACE, "-o", "name")
    assert {line.split(".", 1)[0] for line in together.splitlines()} == {kind.name.lower() for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_explain_tells_every_field(api: LocalCluster, kind: Kind) -> None:
    told = " ".join(api.kubectl("explain", kind.plural, "--recursive").split())
    assert "<empty>" not in told

    for path, node in fields(kind):
        if not is_item(path) and path.count(".") == 2:
            told = " ".join(api.kubectl("explain", f"{kind.plural}{path}").replace("[]", "").split())
            assert " ".join(node["description"].split()) in told


def test_explain_teaches_a_newcomer(api: LocalCluster) -> None:
    text = api.kubectl("explain", "infd.spec.mode")

    assert "ENUM:\n    Off\n    Recommend" in text
    assert "it writes what it would" in text
    assert INFERENCE_DEPLOYMENT.short_name == "infd"


def test_the_status_is_written_apart_from_the_spec(api: LocalCluster) -> None:
    """A spec write cannot carry a status, and a status write leaves the generation alone."""
    api.apply(document("InferenceDeployment", name="apart") | {"status": STATUS})
    before = api.get("infd", "apart", namespace=NAMESPACE)
    assert "status" not in before

    patch = json.dumps({"spec": {"mode": "Off"}, "status": STATUS})
    api.kubectl("patch", "infd", "apart", "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", patch)

    after = api.get("infd", "apart", namespace=NAMESPACE)
    assert after["status"] == STATUS
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
