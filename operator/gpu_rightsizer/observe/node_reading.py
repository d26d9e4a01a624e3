"""What one node offers: accelerators by resource, their product and memory, sharing, zone and taints."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.catalogue.lookup import is_shared_product, mig_profile
from gpu_rightsizer.domain.hardware import Accelerator, Vendor
from gpu_rightsizer.domain.units import Bytes, mib
from gpu_rightsizer.observe import manifests
from gpu_rightsizer.observe.pod_requests import resources_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpu_rightsizer.catalogue import Catalogue
    from gpu_rightsizer.observe.manifests import Raw

MOST_MIB: Final = 1 << 24  # 16 TiB
INSTANCE_TYPE: Final = "node.kubernetes.io/instance-type"
_OLD_INSTANCE_TYPE: Final = "beta.kubernetes.io/instance-type"
_REGIONS: Final = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
_ZONES: Final = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
_PRODUCTS: Final = (
    "nvidia.com/gpu.product",
    "amd.com/gpu.product-name",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "karpenter.k8s.aws/instance-accelerator-name",
    "k8s.amazonaws.com/accelerator",
)
_SPOT: Final = (
    ("karpenter.sh/capacity-type", "spot"),
    ("eks.amazonaws.com/capacityType", "SPOT"),
    ("cloud.google.com/gke-spot", "true"),
    ("kubernetes.azure.com/scalesetpriority", "spot"),
)
_GKE_SHARING: Final = "cloud.google.com/gke-gpu-sharing-strategy"
_MIG_RESOURCE: Final = re.compile(r"nvidia\.com/mig-(?P<profile>.+)")
_VENDORS: Final = {
    "nvidia.com": Vendor.NVIDIA,
    "aws.amazon.com": Vendor.AWS,
    "amd.com": Vendor.AMD,
    "habana.ai": Vendor.INTEL,
    "gpu.intel.com": Vendor.INTEL,
    "google.com": Vendor.GOOGLE,
}
# Taints that come and go with a node's state, not with its kind.
_PASSING_TAINTS: Final = re.compile(r"(?:node\.kubernetes\.io|node\.cloudprovider\.kubernetes\.io|karpenter\.sh)/.+")


@dataclass(frozen=True, slots=True)
class Offer:
    """Accelerators that a node offers under one resource name; `memory` is per accelerator or MIG slice."""

    class_name: str
    instance_type: str
    resource: str
    count: int
    accelerator: Accelerator
    memory: Bytes
    mig_profile: str
    shared: bool
    spot: bool
    region: str
    zone: str
    architecture: str
    selector: Mapping[str, str]
    tolerations: tuple[Mapping[str, str], ...]


def offers(node: Raw, catalogue: Catalogue) -> list[Offer]:
    """One offer per accelerator resource of a node; none when it has none, or when nothing tells which they are."""
    allocatable = resources_of(manifests.mapping(node, "status", "allocatable"))
    labels = manifests.labels(node, "metadata", "labels")
    found = (_offer(node, labels, name, count, catalogue) for name, count in sorted(allocatable.accelerators.items()))
    return [each for each in found if each is not None and not _counts_twice(each.resource, allocatable.accelerators)]


def _counts_twice(resource: str, offered: Mapping[str, int]) -> bool:
    """Neuron advertises the same devices whole, by core and under an old name: the whole ones count."""
    whole = "aws.amazon.com/neuron"
    return resource.startswith(whole) and resource != whole and whole in offered


def _offer(node: Raw, labels: Mapping[str, str], resource: str, allocatable: int, catalogue: Catalogue) -> Offer | None:
    instance_type = labels.get(INSTANCE_TYPE) or labels.get(_OLD_INSTANCE_TYPE, "")
    product = next((labels[key] for key in _PRODUCTS if labels.get(key)), "")
    slice_of = _MIG_RESOURCE.fullmatch(resource)
    profile = slice_of.group("profile") if slice_of else mig_profile(product)
    accelerator = _accelerator(product, instance_type, resource, labels, catalogue)
    if accelerator is None:
        return None
    shared = _is_shared(product, resource, labels)
    spot = any(labels.get(key) == value for key, value in _SPOT)
    count = _count(allocatable, labels, shared=shared)
    kind = instance_type or f"{accelerator.product}-x{count}"
    return Offer(
        class_name=kind + (f"/mig-{profile}" if profile else "") + "/spot" * spot + "/shared" * shared,
        instance_type=instance_type,
        resource=resource,
        count=count,
        accelerator=accelerator,
        memory=_memory(accelerator, profile, resource, labels),
        mig_profile=profile,
        shared=shared,
        spot=spot,
        region=next((labels[key] for key in _REGIONS if key in labels), ""),
        zone=next((labels[key] for key in _ZONES if key in labels), ""),
        architecture=labels.get("kubernetes.io/arch") or "amd64",
        selector=_selector(labels, instance_type),
        tolerations=_tolerations(node),
    )


def _accelerator(
    product: str, instance_type: str, resource: str, labels: Mapping[str, str], catalogue: Catalogue
) -> Accelerator | None:
    """By the product that nodes name, else by the instance type; an unknown product is what its labels say."""
    known = catalogue.accelerator_by_product(product) if product else None
    listed = catalogue.instance(instance_type)
    if known is not None or listed is not None:
        # Karpenter's short names (`a100`) and fractional types are told apart by the instance type alone.
        return (
            listed.accelerator
            if listed is not None and (known is None or _part_of(listed.accelerator, known))
            else known
        )
    memory = _labelled_memory(labels, "nvidia.com/gpu.memory")
    return _unknown(product, memory, resource, labels) if product and memory is not None else None


def _unknown(product: str, memory: Bytes, resource: str, labels: Mapping[str, str]) -> Accelerator:
    """A product that only nodes tell of: its memory is known, its speed is not."""
    return Accelerator(
        key=product.casefold(),
        product=product,
        vendor=_VENDORS.get(resource.partition("/")[0], Vendor.OTHER),
        architecture=labels.get("nvidia.com/gpu.family", "unknown"),
        compute_capability=_capability(labels),
        memory=memory,
        bandwidth_gbps=None,
        tflops_bf16=None,
        tflops_fp8=None,
        tflops_int8=None,
        tflops_fp4=None,
        link="unknown",
        link_gbps=None,
        gfd_products=(product,),
        source="node labels",
    )


def _part_of(listed: Accelerator, known: Accelerator) -> bool:
    """Whether the instance type carries a fraction of the named product (`l4-1of8` of `l4`)."""
    return listed.key.startswith(f"{known.key}-1of")


def _count(allocatable: int, labels: Mapping[str, str], *, shared: bool) -> int:
    """Devices, not the shares that time-slicing advertises."""
    replicas = _replicas(labels)
    return allocatable if not shared or replicas < 2 else max(1, allocatable // replicas)


def _replicas(labels: Mapping[str, str]) -> int:
    return manifests.count(labels.get("nvidia.com/gpu.replicas", "")) or 0


def _is_shared(product: str, resource: str, labels: Mapping[str, str]) -> bool:
    strategies = (
        labels.get("nvidia.com/gpu.sharing-strategy"),
        labels.get("cloud.google.com/gke-gpu-sharing-strategy"),
    )
    return (
        is_shared_product(product)
        or resource == "nvidia.com/gpu.shared"
        or _replicas(labels) > 1
        or any(strategy in {"time-slicing", "time-sharing", "mps"} for strategy in strategies)
    )


def _memory(accelerator: Accelerator, profile: str, resource: str, labels: Mapping[str, str]) -> Bytes:
    """What the driver reports, else the catalogue's figure. EC2's figure is decimal-based and is not used."""
    mixed = _labelled_memory(labels, f"{resource}.memory") if profile else None
    single = _labelled_memory(labels, "nvidia.com/gpu.memory") if resource == "nvidia.com/gpu" else None
    if mixed or single:
        return mixed or single or accelerator.memory
    listed = next((each.memory for each in accelerator.mig_profiles if each.name == profile), None)
    return listed or accelerator.memory


def _labelled_memory(labels: Mapping[str, str], key: str) -> Bytes | None:
    """MiB of a GPU feature discovery label as bytes; no device has more than MOST_MIB."""
    size = manifests.count(labels.get(key, ""))
    return mib(size) if size is not None and 0 < size <= MOST_MIB else None


def _capability(labels: Mapping[str, str]) -> tuple[int, int] | None:
    major, minor = (manifests.count(labels.get(f"nvidia.com/gpu.compute.{part}", "")) for part in ("major", "minor"))
    return None if major is None or minor is None else (major, minor)


def _selector(labels: Mapping[str, str], instance_type: str) -> dict[str, str]:
    if instance_type:
        return {INSTANCE_TYPE: instance_type}
    return {key: labels[key] for key in _PRODUCTS[:2] if key in labels}


def _tolerations(node: Raw) -> tuple[Mapping[str, str], ...]:
    """Tolerations of the taints that belong to this kind of node."""
    found = []
    for taint in manifests.items(node, "spec", "taints"):
        key, effect = manifests.text(taint, "key"), manifests.text(taint, "effect")
        if effect in {"NoSchedule", "NoExecute"} and not _PASSING_TAINTS.fullmatch(key):
            value = manifests.text(taint, "value")
            match = {"operator": "Equal", "value": value} if value else {"operator": "Exists"}
            found.append({"key": key, **match, "effect": effect})
    return tuple(found)
