"""Classes from declarations, nodes and the catalogue, in this order of trust."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from gpu_rightsizer.catalogue import load
from gpu_rightsizer.domain.hardware import Commitment, InstanceClass, Origin, Price, Provisionable, Vendor
from gpu_rightsizer.domain.units import UsdPerHour, gib, mib
from gpu_rightsizer.observe.inventory import Inventory, build_inventory
from tests.unit.observe.manifest_builders import container, node, pod

H100 = "NVIDIA-H100-80GB-HBM3"


def inventory(
    *nodes: dict[str, Any], pods: list[dict[str, Any]] | None = None, declared: list[InstanceClass] | None = None
) -> Inventory:
    return build_inventory(nodes, pods or [], declared or [], load())


def known(found: Inventory, name: str) -> InstanceClass:
    instance = found.named(name)
    assert instance is not None, sorted(each.name for each in found.classes)
    return instance


def without(raw: dict[str, Any], *labels: str) -> dict[str, Any]:
    for label in labels:
        del raw["metadata"]["labels"][label]
    return raw


def test_nodes_extend_the_catalogue() -> None:
    found = inventory(node("n1"), node("n2"))
    instance = known(found, "g6e.xlarge")
    assert (instance.origin, instance.provisionable, instance.nodes) == (Origin.DISCOVERED, Provisionable.YES, 2)
    assert instance.price is not None
    assert instance.price.hourly == Decimal("1.861")
    assert (instance.host.cpu, instance.host.ephemeral_storage) == (4000, gib(100))
    assert instance.zones == ("us-east-1a",)
    assert instance.tolerations == ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},)
    assert known(found, "g5.xlarge").origin is Origin.CATALOGUE
    assert found.by_node["n1", "nvidia.com/gpu"] is instance


def test_allocatable_is_what_daemon_sets_leave_on_the_fullest_node() -> None:
    agent = {
        "containers": [
            {"name": "a", "resources": {"requests": {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "5Gi"}}}
        ]
    }
    pods = [
        pod("agent-x", agent, node="n1", owner=("DaemonSet", "agent")),
        pod("agent-y", agent, node="n2", owner=("DaemonSet", "agent")),
        pod("more-y", agent, node="n2", owner=("DaemonSet", "more")),
        pod("done-y", agent, node="n2", owner=("DaemonSet", "done"), phase="Succeeded"),
        pod("llm-abc-xyz", {"containers": [container()]}, node="n1"),
    ]
    allocatable = known(inventory(node("n1"), node("n2"), pods=pods), "g6e.xlarge").allocatable
    assert allocatable is not None
    assert (allocatable.cpu, allocatable.memory, allocatable.ephemeral_storage) == (2920, gib(28), gib(80))


def test_what_pods_hold_of_each_node() -> None:
    spec = {"containers": [container(gpus=2)]}
    pods = [
        pod("a-b-c", spec, node="n1"),
        pod("d-e-f", spec, node="n1"),
        pod("g-h-i", spec),
        pod("j-k-l", spec, node="n1", phase="Failed"),
    ]
    found = inventory(node("n1", "p5.48xlarge", gpus=8), pods=pods)
    assert found.used == {("n1", "nvidia.com/gpu"): 4}
    assert found.counts == {("n1", "nvidia.com/gpu"): 8}
    assert (known(found, "p5.48xlarge").nodes, known(found, "p5.48xlarge").held) == (1, 4)


def test_a_type_that_cannot_be_provisioned_can_when_nodes_of_it_stand() -> None:
    assert known(inventory(), "p5.4xlarge").provisionable is Provisionable.NO
    found = known(inventory(node("n1", "p5.4xlarge")), "p5.4xlarge")
    assert (found.provisionable, found.caveat) == (Provisionable.YES, "")


def test_a_fractional_type_keeps_its_fraction() -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4"}
    found = known(inventory(node("n1", "g6f.large", labels=labels)), "g6f.large")
    assert found.accelerator.key == "l4-1of8"
    assert found.accelerator_memory == mib(2861)


@pytest.mark.parametrize(
    ("labels", "memory"),
    [
        ({}, 46068),
        ({"nvidia.com/gpu.memory": "45900"}, 45900),
        ({"karpenter.k8s.aws/instance-gpu-memory": "45776"}, 46068),
        ({"nvidia.com/gpu.memory": "unknown"}, 46068),
    ],
)
def test_memory_is_the_drivers(labels: dict[str, str], memory: int) -> None:
    assert known(inventory(node("n1", labels=labels)), "g6e.xlarge").accelerator_memory == mib(memory)


def test_time_slicing_is_seen_and_never_proposed() -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-L40S-SHARED", "nvidia.com/gpu.replicas": "4"}
    found = inventory(node("n1", gpus=4, labels=labels))
    shared = known(found, "g6e.xlarge/shared")
    assert (shared.accelerators, shared.provisionable) == (1, Provisionable.NO)
    assert found.shared == {"n1"}
    assert known(found, "g6e.xlarge").origin is Origin.CATALOGUE


@pytest.mark.parametrize(
    "labels",
    [
        {"nvidia.com/gpu.replicas": "2"},
        {"nvidia.com/gpu.sharing-strategy": "mps"},
        {"cloud.google.com/gke-gpu-sharing-strategy": "time-sharing"},
        {"nvidia.com/gpu.product": "NVIDIA-L40S-SHARED"},
    ],
)
def test_every_sign_of_sharing(labels: dict[str, str]) -> None:
    assert inventory(node("n1", labels=labels)).shared == {"n1"}


def test_replicas_of_one_are_no_sharing() -> None:
    assert inventory(node("n1", labels={"nvidia.com/gpu.replicas": "1"})).shared == frozenset()


def test_mig_single() -> None:
    labels = {"nvidia.com/gpu.product": f"{H100}-MIG-1g.10gb", "nvidia.com/gpu.memory": "9984"}
    found = known(inventory(node("n1", "p5.48xlarge", gpus=56, labels=labels)), "p5.48xlarge/mig-1g.10gb")
    assert (found.accelerator.key, found.mig_profile, found.accelerators) == ("h100-sxm", "1g.10gb", 56)
    assert (found.accelerator_memory, found.resource) == (mib(9984), "nvidia.com/gpu")


def test_mig_mixed_makes_a_class_of_each_profile() -> None:
    labels = {"nvidia.com/gpu.product": H100, "nvidia.com/mig-3g.40gb.memory": "40000"}
    slices = {"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "14", "nvidia.com/mig-3g.40gb": "4"}
    found = inventory(node("n1", "p5.48xlarge", labels=labels, allocatable=slices))
    small, large = known(found, "p5.48xlarge/mig-1g.10gb"), known(found, "p5.48xlarge/mig-3g.40gb")
    assert (small.accelerators, small.resource, small.accelerator_memory) == (14, "nvidia.com/mig-1g.10gb", mib(9856))
    assert (large.accelerators, large.accelerator_memory) == (4, mib(40000))
    assert set(found.by_node) == {("n1", "nvidia.com/mig-1g.10gb"), ("n1", "nvidia.com/mig-3g.40gb")}


def test_spot_has_another_price_that_nobody_told() -> None:
    found = inventory(node("n1", labels={"karpenter.sh/capacity-type": "spot"}))
    assert known(found, "g6e.xlarge/spot").price is None
    assert known(found, "g6e.xlarge").price is not None


def test_a_machine_of_ones_own() -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/gpu.memory": "81920"}
    found = inventory(without(node("n1", gpus=8, labels=labels), "node.kubernetes.io/instance-type"))
    (only,) = found.classes
    assert (only.name, only.price) == ("NVIDIA-A100-SXM4-80GB-x8", None)
    assert only.node_selector == {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
    assert only.accelerator.bandwidth_gbps == 2039


def test_an_unknown_product_is_what_its_labels_say() -> None:
    labels = {
        "nvidia.com/gpu.product": "NVIDIA-Z900",
        "nvidia.com/gpu.memory": "65536",
        "nvidia.com/gpu.compute.major": "13",
        "nvidia.com/gpu.compute.minor": "0",
    }
    found = known(inventory(node("n1", "z9.large", labels=labels)), "z9.large")
    assert (found.accelerator.vendor, found.accelerator.memory) == (Vendor.NVIDIA, gib(64))
    assert (found.accelerator.bandwidth_gbps, found.accelerator.compute_capability) == (None, (13, 0))
    assert (found.price, found.confidence) == (None, None)


def test_a_node_that_tells_nothing_has_no_class() -> None:
    found = inventory(node("n1", "z9.large"))
    assert found.by_node == {}
    assert found.named("z9.large") is None


def test_nodes_without_accelerators_are_left_out() -> None:
    assert inventory(node("n1", "m5.large", gpus=0)).by_node == {}


def test_a_cluster_of_another_cloud_gets_no_aws_types() -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4", "cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert [each.name for each in inventory(node("n1", "g2-standard-8", labels=labels)).classes] == ["g2-standard-8"]


def test_the_catalogue_is_priced_for_the_clusters_region() -> None:
    labels = {"topology.kubernetes.io/region": "eu-central-1"}
    found = inventory(node("n1", "g6.xlarge", labels=labels))
    discovered, listed, unpriced = known(found, "g6.xlarge"), known(found, "g6.2xlarge"), known(found, "g5.xlarge")
    assert discovered.price is not None
    assert discovered.price.hourly == Decimal("1.0064")
    assert listed.price is not None
    assert (listed.region, listed.price.hourly) == ("eu-central-1", Decimal("1.22249"))
    assert (unpriced.region, unpriced.price) == ("eu-central-1", None)


def test_neuron_is_counted_once() -> None:
    neuron = {"nvidia.com/gpu": "0", "aws.amazon.com/neuron": "1", "aws.amazon.com/neuroncore": "2"}
    found = inventory(node("n1", "inf2.xlarge", allocatable=neuron))
    assert set(found.by_node) == {("n1", "aws.amazon.com/neuron")}
    assert known(found, "inf2.xlarge").accelerator.key == "inferentia2"


def declared(name: str, selector: dict[str, str], hourly: str | None = "0.90") -> InstanceClass:
    base = load().instances["g6e.xlarge"]
    price = (
        None
        if hourly is None
        else Price(UsdPerHour(Decimal(hourly)), Commitment.RESERVED, date(2026, 8, 1), "contract")
    )
    return replace(
        base,
        name=name,
        origin=Origin.DECLARED,
        node_selector=selector,
        price=price,
        provisionable=Provisionable.UNKNOWN,
    )


def test_a_declared_class_wins_over_nodes_and_catalogue() -> None:
    mine = declared("g6e.xlarge", {"node.kubernetes.io/instance-type": "g6e.xlarge"})
    found = known(inventory(node("n1"), declared=[mine]), "g6e.xlarge")
    assert (found.origin, found.nodes, found.provisionable) == (Origin.DECLARED, 1, Provisionable.YES)
    assert found.price is not None
    assert (found.price.hourly, found.price.commitment) == (Decimal("0.90"), Commitment.RESERVED)


def test_a_declared_class_takes_the_nodes_it_selects() -> None:
    mine = declared("reserved-l40s", {"pool": "reserved"})
    found = inventory(node("n1", labels={"pool": "reserved"}), node("n2"), declared=[mine])
    assert found.by_node["n1", "nvidia.com/gpu"].name == "reserved-l40s"
    assert found.by_node["n2", "nvidia.com/gpu"].name == "g6e.xlarge"


def test_of_two_declared_classes_the_more_exact_selects() -> None:
    broad = declared("broad", {"pool": "reserved"})
    exact = declared("exact", {"pool": "reserved", "topology.kubernetes.io/zone": "us-east-1a"})
    found = inventory(node("n1", labels={"pool": "reserved"}), declared=[broad, exact])
    assert found.by_node["n1", "nvidia.com/gpu"].name == "exact"
    assert known(found, "broad").nodes == 0


def test_a_declared_class_without_a_price_has_the_catalogues() -> None:
    mine = declared("mine", {"node.kubernetes.io/instance-type": "g6e.xlarge"}, None)
    found = known(inventory(declared=[mine]), "mine")
    assert found.price is not None
    assert found.price.hourly == Decimal("1.861")


def test_a_declared_class_without_nodes_stays_as_said() -> None:
    found = known(inventory(declared=[declared("later", {"pool": "later"})]), "later")
    assert (found.nodes, found.provisionable) == (0, Provisionable.UNKNOWN)
