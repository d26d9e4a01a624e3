"""The classes a replica can run on: declared ones, those that nodes show, and the catalogue, in this order of trust."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gpu_rightsizer.domain.hardware import HostShape, InstanceClass, Origin, Provisionable
from gpu_rightsizer.domain.units import Bytes, Millicores
from gpu_rightsizer.observe import manifests
from gpu_rightsizer.observe.membership import controller_of
from gpu_rightsizer.observe.node_reading import INSTANCE_TYPE, Offer, offers
from gpu_rightsizer.observe.pod_requests import PodRequests, pod_requests, resources_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gpu_rightsizer.catalogue import Catalogue
    from gpu_rightsizer.observe.manifests import Raw


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every known class, and where the cluster's nodes belong.

    `by_node` tells the class of what a node offers under one resource name, `counts` how many accelerators that is;
    `shared` are nodes whose devices several pods share; `used` is what pods on a node hold of each accelerator
    resource.
    """

    classes: tuple[InstanceClass, ...]
    by_node: Mapping[tuple[str, str], InstanceClass]
    counts: Mapping[tuple[str, str], int]
    shared: frozenset[str]
    used: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def named(self, name: str) -> InstanceClass | None:
        """The class of that name."""
        return next((each for each in self.classes if each.name == name), None)


@dataclass(frozen=True, slots=True)
class _Place:
    """One offer of one node, with what the system leaves there."""

    offer: Offer
    node: Raw
    allocatable: HostShape


def build_inventory(
    nodes: Iterable[Raw], pods: Iterable[Raw], declared: Sequence[InstanceClass], catalogue: Catalogue
) -> Inventory:
    """All classes: declared ones first, then discovered, then the catalogue's in the cluster's regions."""
    held = _held(pods)
    places = [_place(offer, node, held) for node in nodes for offer in offers(node, catalogue)]
    resolved = [_resolved(each, catalogue) for each in declared]
    groups = _grouped(places, resolved)
    used = _used(held)
    found = {
        name: replace(_class(name, group, resolved, catalogue), held=sum(used.get(_key(each), 0) for each in group))
        for name, group in groups.items()
    }
    unseen = [each for each in resolved if each.name not in found]
    known = {each.name: each for each in [*found.values(), *unseen]}
    for each in _from_catalogue(places, catalogue):
        known.setdefault(each.name, each)
    return Inventory(
        classes=tuple(sorted(known.values(), key=lambda each: each.name)),
        by_node={_key(place): found[name] for name, group in groups.items() for place in group},
        counts={_key(place): place.offer.count for place in places},
        shared=frozenset(manifests.name(place.node) for place in places if place.offer.shared),
        used=used,
    )


def _key(place: _Place) -> tuple[str, str]:
    return manifests.name(place.node), place.offer.resource


@dataclass(frozen=True, slots=True)
class _Held:
    """What one pod holds on its node; `system` when a DaemonSet or the node itself put it there."""

    asked: PodRequests
    system: bool


def _held(pods: Iterable[Raw]) -> Mapping[str, list[_Held]]:
    """Requests of pods by node, finished ones left out."""
    held: dict[str, list[_Held]] = defaultdict(list)
    for pod in pods:
        node = manifests.text(pod, "spec", "nodeName")
        if node and manifests.text(pod, "status", "phase") not in {"Succeeded", "Failed"}:
            owner = controller_of(pod)
            system = owner is not None and owner.kind in {"DaemonSet", "Node"}
            held[node].append(_Held(pod_requests(manifests.mapping(pod, "spec")), system))
    return held


def _used(held: Mapping[str, list[_Held]]) -> dict[tuple[str, str], int]:
    used: dict[tuple[str, str], int] = defaultdict(int)
    for node, pods in held.items():
        for pod in pods:
            for resource, count in pod.asked.accelerators.items():
                used[node, resource] += count
    return dict(used)


def _place(offer: Offer, node: Raw, held: Mapping[str, list[_Held]]) -> _Place:
    offered = resources_of(manifests.mapping(node, "status", "allocatable"))
    system = [pod.asked for pod in held.get(manifests.name(node), ()) if pod.system]
    storage = offered.ephemeral_storage - sum(each.ephemeral_storage for each in system)
    allocatable = HostShape(
        cpu=Millicores(max(0, offered.cpu - sum(each.cpu for each in system))),
        memory=Bytes(max(0, offered.memory - sum(each.memory for each in system))),
        ephemeral_storage=Bytes(max(0, storage)) if offered.ephemeral_storage else None,
        architecture=offer.architecture,
    )
    return _Place(offer, node, allocatable)


def _resolved(declared: InstanceClass, catalogue: Catalogue) -> InstanceClass:
    """A declared class with what the catalogue knows of its product and, where it declares no price, of its type."""
    known = catalogue.accelerator_by_product(declared.accelerator.product)
    accelerator = declared.accelerator if known is None else known
    profile = next((each for each in accelerator.mig_profiles if each.name == declared.mig_profile), None)
    memory = declared.accelerator_memory or (profile.memory if profile else accelerator.memory)
    type_ = declared.node_selector.get(INSTANCE_TYPE, declared.name)
    listed = catalogue.instance(type_, declared.region)
    price = declared.price or (listed.price if listed else None)
    return replace(declared, accelerator=accelerator, accelerator_memory=memory, price=price)


def _grouped(places: Sequence[_Place], declared: Sequence[InstanceClass]) -> dict[str, list[_Place]]:
    groups: dict[str, list[_Place]] = defaultdict(list)
    for place in places:
        matching = _declared_for(place, declared)
        groups[matching.name if matching else place.offer.class_name].append(place)
    return dict(groups)


def _declared_for(place: _Place, declared: Sequence[InstanceClass]) -> InstanceClass | None:
    """The declared class whose selector fits the node; the one that selects by most labels, then by name."""
    fitting = [each for each in declared if _fits(place, each)]
    return min(fitting, key=lambda each: (-len(each.node_selector), each.name), default=None)


def _fits(place: _Place, declared: InstanceClass) -> bool:
    offer = place.offer
    if offer.resource != declared.resource or offer.mig_profile != declared.mig_profile:
        return False
    if not declared.node_selector:
        return offer.class_name == declared.name
    node_labels = manifests.mapping(place.node, "metadata", "labels")
    return all(node_labels.get(key) == value for key, value in declared.node_selector.items())


def _class(
    name: str, group: Sequence[_Place], declared: Sequence[InstanceClass], catalogue: Catalogue
) -> InstanceClass:
    """The class of a group of nodes: the declaration where there is one, else what the nodes and the catalogue tell."""
    said = next((each for each in declared if each.name == name), None)
    base = said or _discovered(name, group[0], catalogue)
    shared = any(place.offer.shared for place in group)
    zones = {place.offer.zone for place in group} - {""}
    tolerations = _tolerated([place.offer.tolerations for place in group])
    return replace(
        base,
        tolerations=said.tolerations if said else tolerations,
        nodes=len({manifests.name(place.node) for place in group}),
        allocatable=_least([place.allocatable for place in group]),
        zones=tuple(sorted(zones)),
        node_labels=_common([manifests.labels(place.node, "metadata", "labels") for place in group]),
        # A replica cannot be promised a share of a device.
        provisionable=Provisionable.NO if shared else Provisionable.YES,
        caveat="devices are shared by several pods" if shared else "",
    )


def _discovered(name: str, place: _Place, catalogue: Catalogue) -> InstanceClass:
    offer = place.offer
    listed = catalogue.instance(offer.instance_type, offer.region) if offer.instance_type else None
    capacity = resources_of(manifests.mapping(place.node, "status", "capacity"))
    host = HostShape(capacity.cpu, capacity.memory, capacity.ephemeral_storage or None, offer.architecture)
    return InstanceClass(
        name=name,
        accelerator=offer.accelerator,
        accelerators=offer.count,
        accelerator_memory=offer.memory,
        resource=offer.resource,
        host=replace(listed.host, ephemeral_storage=host.ephemeral_storage) if listed else host,
        region=offer.region or (listed.region if listed else ""),
        price=listed.price if listed and not offer.spot else None,
        origin=Origin.DISCOVERED,
        provisionable=Provisionable.YES,
        node_selector=offer.selector,
        mig_profile=offer.mig_profile,
        confidence=listed.confidence if listed else offer.accelerator.confidence,
    )


def _from_catalogue(places: Sequence[_Place], catalogue: Catalogue) -> list[InstanceClass]:
    """The catalogue's classes where they can be had: in the regions of nodes of its types.

    Without any accelerator node nothing contradicts the priced region; a cluster whose accelerator nodes are all of
    other makes stands elsewhere and gets none.
    """
    at_home = {place.offer.region for place in places if place.offer.instance_type in catalogue.instances}
    if places and not at_home:
        return []
    regions = sorted(at_home - {""}) or [""]
    found = (catalogue.instance(name, region) for region in regions for name in catalogue.instances)
    return [each for each in found if each is not None]


def _least(shapes: Sequence[HostShape]) -> HostShape:
    """What every node of a class has at least."""
    storage = [each.ephemeral_storage for each in shapes if each.ephemeral_storage is not None]
    return HostShape(
        cpu=min(each.cpu for each in shapes),
        memory=min(each.memory for each in shapes),
        ephemeral_storage=min(storage) if len(storage) == len(shapes) else None,
        architecture=shapes[0].architecture,
    )


def _tolerated(taints: Sequence[tuple[Mapping[str, str], ...]]) -> tuple[Mapping[str, str], ...]:
    """Tolerations of the taints that all nodes of a class have: those that keep one team's nodes are not its kind."""
    first, *rest = taints
    return tuple(each for each in first if all(each in other for other in rest))


def _common(labels: Sequence[Mapping[str, str]]) -> dict[str, str]:
    first, *rest = labels
    return {key: value for key, value in sorted(first.items()) if all(each.get(key) == value for each in rest)}
