"""What ties pods to nodes besides the accelerator."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_rightsizer.observe.placement import Volumes, architecture, claim_names, host_constraints


def affinity(*terms: list[dict[str, Any]]) -> dict[str, Any]:
    required = {"nodeSelectorTerms": [{"matchExpressions": list(term)} for term in terms]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    "key",
    [
        "node.kubernetes.io/instance-type",
        "beta.kubernetes.io/instance-type",
        "karpenter.k8s.aws/instance-family",
        "karpenter.k8s.aws/instance-gpu-name",
        "nvidia.com/gpu.product",
        "nvidia.com/gpu.memory",
        "cloud.google.com/gke-accelerator",
        "k8s.amazonaws.com/accelerator",
        "kubernetes.io/arch",
        "kubernetes.io/os",
    ],
)
def test_what_chooses_the_class_is_no_constraint(key: str) -> None:
    assert host_constraints({"nodeSelector": {key: "x"}, **affinity([expression(key, "In", "x", "y")])}) == {}


def test_selectors_and_affinity_are_constraints() -> None:
    spec = {
        "nodeSelector": {"team": "search", "topology.kubernetes.io/zone": "us-east-1a"},
        **affinity([expression("pool", "In", "gpu-a", "gpu-b"), expression("spot", "NotIn", "true")]),
    }
    assert host_constraints(spec) == {
        "pool": ("gpu-a", "gpu-b"),
        "spot": ("!true",),
        "team": ("search",),
        "topology.kubernetes.io/zone": ("us-east-1a",),
    }


def test_of_alternatives_only_what_all_demand_is_kept() -> None:
    spec = affinity(
        [expression("pool", "In", "a"), expression("team", "In", "x")],
        [expression("pool", "In", "b")],
    )
    assert host_constraints(spec) == {"pool": ("a", "b")}


def test_existence_and_preference() -> None:
    spec = affinity([expression("gpu-ready", "Exists")])
    assert host_constraints(spec) == {"gpu-ready": ()}
    preferred = {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}}}
    assert host_constraints(preferred) == {}


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({}, ""),
        ({"nodeSelector": {"kubernetes.io/arch": "arm64"}}, "arm64"),
        (affinity([expression("kubernetes.io/arch", "In", "amd64")]), "amd64"),
        (affinity([expression("kubernetes.io/arch", "In", "amd64", "arm64")]), ""),
        (affinity([expression("kubernetes.io/arch", "NotIn", "arm64")]), ""),
    ],
)
def test_architecture(spec: dict[str, Any], found: str) -> None:
    assert architecture(spec) == found


def claim(name: str, volume: str, namespace: str = "chat") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"volumeName": volume}}


def volume(name: str, *zones: str, key: str = "topology.kubernetes.io/zone") -> dict[str, Any]:
    terms = [{"matchExpressions": [expression(key, "In", *zones)]}]
    return {"metadata": {"name": name}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}}


def test_zones_of_bound_volumes() -> None:
    volumes = Volumes(
        [claim("weights", "pv-1"), claim("cache", "pv-2"), claim("nfs", "pv-3"), claim("unbound", "")],
        [
            volume("pv-1", "us-east-1a", "us-east-1b"),
            volume("pv-2", "us-east-1b", key="topology.ebs.csi.aws.com/zone"),
            {"metadata": {"name": "pv-3"}, "spec": {}},
        ],
    )
    assert volumes.zones("chat", [["weights"]]) == ("us-east-1a", "us-east-1b")
    assert volumes.zones("chat", [["weights"], ["cache"], ["nfs"], ["unbound"], ["absent"]]) == ("us-east-1b",)
    assert volumes.zones("other", [["weights"]]) == ()
    assert volumes.zones("chat", []) == ()


def test_each_replica_of_a_stateful_set_may_have_its_zone() -> None:
    volumes = Volumes(
        [claim("data-llm-0", "pv-0"), claim("data-llm-1", "pv-1"), claim("data-llm-7b-0", "pv-2")],
        [volume("pv-0", "a"), volume("pv-1", "b"), volume("pv-2", "c")],
    )
    names = volumes.names_like("chat", "data-llm-")
    assert sorted(names) == ["data-llm-0", "data-llm-1"]
    assert volumes.zones("chat", [names]) == ("a", "b")


def test_claims_that_a_template_names() -> None:
    spec = {
        "volumes": [{"name": "w", "persistentVolumeClaim": {"claimName": "weights"}}, {"name": "x", "emptyDir": {}}]
    }
    assert claim_names(spec) == [["weights"]]
