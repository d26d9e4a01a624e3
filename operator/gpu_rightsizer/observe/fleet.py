"""From raw cluster objects to Workloads: what each InferenceDeployment names, its configuration, where it runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.engines import EngineSettings
from gpu_rightsizer.domain.readings import Missing, MissingReason, Signal
from gpu_rightsizer.domain.workload import Incident, NodeShare, Overrides, PodRef, TargetRef, Workload
from gpu_rightsizer.observe import manifests
from gpu_rightsizer.observe.configuration import Configuration, pod_shape, read_configuration
from gpu_rightsizer.observe.incidents import classify, merged, summary, terminations
from gpu_rightsizer.observe.membership import Membership, controller_of
from gpu_rightsizer.observe.node_reading import INSTANCE_TYPE
from gpu_rightsizer.observe.placement import Volumes, architecture, claim_names
from gpu_rightsizer.observe.pod_requests import pod_requests
from gpu_rightsizer.observe.vllm_args import settings_hash, with_device_defaults

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from gpu_rightsizer.catalogue import Catalogue
    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.workload import (
        Advised,
        Mode,
        Objective,
        PlacementRules,
        PodShape,
        ScaleToZeroRules,
        SeenRunning,
        WorkloadKey,
    )
    from gpu_rightsizer.observe.inventory import Inventory
    from gpu_rightsizer.observe.manifests import Raw

_FINISHED: Final = frozenset({"Succeeded", "Failed"})
_TEMPLATE_HASHES: Final = ("pod-template-hash", "controller-revision-hash")
_REUSED: Final = "deployment.kubernetes.io/revision-history"
_REVISION: Final = "deployment.kubernetes.io/revision"


@dataclass(frozen=True, slots=True)
class Request:
    """One InferenceDeployment as plain values; `incidents`, `advised` and `ran` are what its status remembers."""

    key: WorkloadKey
    target: TargetRef
    mode: Mode
    objective: Objective
    rules: PlacementRules
    scale_to_zero: ScaleToZeroRules
    overrides: Overrides = field(default_factory=Overrides)
    incidents: tuple[Incident, ...] = ()
    advised: Advised | None = None
    ran: SeenRunning | None = None


@dataclass(frozen=True, slots=True)
class ClusterView:
    """Raw objects of one look at the cluster. `scaledobjects` is empty where KEDA is not installed."""

    requests: Sequence[Request] = ()
    deployments: Sequence[Raw] = ()
    statefulsets: Sequence[Raw] = ()
    replicasets: Sequence[Raw] = ()
    pods: Sequence[Raw] = ()
    nodes: Sequence[Raw] = ()
    hpas: Sequence[Raw] = ()
    scaledobjects: Sequence[Raw] = ()
    pvcs: Sequence[Raw] = ()
    pvs: Sequence[Raw] = ()


def membership_of(view: ClusterView) -> Membership:
    """Whose every pod is, for joining metrics as well; build it once per look."""
    return Membership(_objects(view), view.replicasets, view.pods)


def read_workloads(
    view: ClusterView, catalogue: Catalogue, classes: Inventory, now: datetime, *, membership: Membership | None = None
) -> list[Workload]:
    """One Workload per request, in their order. A target that is absent or claimed twice is Missing, never guessed."""
    fleet = _Fleet(view, catalogue, classes, membership or membership_of(view), now)
    return [fleet.workload(request) for request in view.requests]


Key = tuple[str, str, str]


def _objects(view: ClusterView) -> dict[Key, Raw]:
    kinds = {"Deployment": view.deployments, "StatefulSet": view.statefulsets}
    return {
        (manifests.namespace(each), kind, manifests.name(each)): each
        for kind, objects in kinds.items()
        for each in objects
    }


def _target_key(request: Request) -> Key:
    return request.key.namespace, request.target.kind, request.target.name


class _Fleet:
    """The view, indexed once, and the reading of one workload after the other."""

    def __init__(
        self, view: ClusterView, catalogue: Catalogue, classes: Inventory, membership: Membership, now: datetime
    ) -> None:
        self._catalogue, self._classes, self._members, self._now = catalogue, classes, membership, now
        self._targets = _objects(view)
        self._claimed: dict[Key, list[str]] = defaultdict(list)
        for request in view.requests:
            self._claimed[_target_key(request)].append(request.key.name)
        self._autoscalers = _autoscalers(view)
        self._replica_sets = _replica_sets(view.replicasets)
        self._volumes = Volumes(view.pvcs, view.pvs)

    def workload(self, request: Request) -> Workload:
        key = _target_key(request)
        target = self._targets.get(key)
        if target is None:
            return _without_target(request, MissingReason.NOT_FOUND, f"{key[1]}/{key[2]}")
        rivals = sorted(name for name in self._claimed[key] if name != request.key.name)
        if rivals:
            return _without_target(request, MissingReason.CONTRADICTORY, ", ".join(rivals))
        return self._read(request, key, target)

    def _read(self, request: Request, key: Key, target: Raw) -> Workload:
        spec = manifests.mapping(target, "spec", "template", "spec")
        read = read_configuration(
            spec,
            self._catalogue,
            container=request.target.container,
            overrides=request.overrides,
            zones=self._volumes.zones(key[0], self._claims(key, target, spec)),
        )
        pods = [pod for pod in self._members.pods_of(*key) if manifests.text(pod, "status", "phase") not in _FINISHED]
        resource = read.pod.resource
        placement = self._placement(pods, spec, resource)
        return Workload(
            key=request.key,
            target=TargetRef(request.target.api_version, key[1], key[2], read.container),
            mode=request.mode,
            objective=request.objective,
            rules=request.rules,
            scale_to_zero=request.scale_to_zero,
            engine=read.engine,
            settings=_placed(read, placement),
            settings_hash=read.settings_hash,
            model=read.model,
            pod=_standing(read.pod, spec, placement),
            replicas=_replicas(target),
            replicas_owner=self._autoscalers.get(key, ""),
            pods=tuple(_pod_ref(pod, read.container) for pod in pods if "deletionTimestamp" not in _metadata(pod)),
            placement=placement,
            nodes=self._nodes(pods, resource),
            shared_device=self._shared(pods, spec, read),
            incidents=self._incidents(request, pods, read),
            since=self._not_after_now(self._since(key, target, pods)),
            advised=request.advised,
            ran=request.ran,
        )

    def _claims(self, key: Key, target: Raw, spec: Raw) -> list[list[str]]:
        templates = [manifests.name(each) for each in manifests.items(target, "spec", "volumeClaimTemplates")]
        made = [self._volumes.names_like(key[0], f"{template}-{key[2]}-") for template in templates]
        return claim_names(spec) + made

    def _placement(self, pods: Sequence[Raw], spec: Raw, resource: str) -> InstanceClass | Missing:
        """Where the replicas run: the class of most of them, when all have the same accelerator.

        Without scheduled pods, the class that the template's selector names.
        """
        nodes = [node for pod in pods if (node := manifests.text(pod, "spec", "nodeName"))]
        if not nodes:
            wanted = manifests.labels(spec, "nodeSelector").get(INSTANCE_TYPE, "")
            named = self._classes.named(wanted)
            return named or Missing(Signal.INSTANCE_CLASS, MissingReason.NOT_FOUND, wanted or "no pod is scheduled")
        found = [self._classes.by_node.get((node, resource)) for node in nodes]
        classes = [each for each in found if each is not None]
        if len(classes) < len(nodes):
            unknown = next(node for node, each in zip(nodes, found, strict=True) if each is None)
            return Missing(Signal.INSTANCE_CLASS, MissingReason.UNRECOGNISED, unknown)
        counts = Counter(each.name for each in classes)
        if len({(each.accelerator.key, each.mig_profile) for each in classes}) > 1:
            return Missing(Signal.INSTANCE_CLASS, MissingReason.CONTRADICTORY, ", ".join(sorted(counts)))
        return min(classes, key=lambda each: (-counts[each.name], each.accelerators, each.name))

    def _nodes(self, pods: Sequence[Raw], resource: str) -> tuple[NodeShare, ...]:
        ours: dict[str, int] = defaultdict(int)
        for pod in pods:
            if node := manifests.text(pod, "spec", "nodeName"):
                ours[node] += pod_requests(manifests.mapping(pod, "spec")).accelerators.get(resource, 0)
        return tuple(self._share(node, resource, count) for node, count in sorted(ours.items()))

    def _share(self, node: str, resource: str, ours: int) -> NodeShare:
        where = (node, resource)
        known = self._classes.by_node.get(where)
        return NodeShare(
            name=node,
            instance_class=known.name if known else "",
            accelerators=self._classes.counts.get(where, 0),
            ours=ours,
            others=max(0, self._classes.used.get(where, 0) - ours),
        )

    def _shared(self, pods: Sequence[Raw], spec: Raw, read: Configuration) -> bool:
        nodes = {manifests.text(pod, "spec", "nodeName") for pod in pods}
        return (
            read.pod.resource == "nvidia.com/gpu.shared"
            or not nodes.isdisjoint(self._classes.shared)
            or (read.pod.accelerators == 0 and _sees_all_devices(spec))
        )

    def _incidents(self, request: Request, pods: Sequence[Raw], read: Configuration) -> tuple[Incident, ...]:
        observed = [incident for pod in pods for incident in self._pod_incidents(pod, read, request.overrides)]
        return merged(request.incidents, observed, read.settings_hash)

    def _pod_incidents(self, pod: Raw, read: Configuration, overrides: Overrides) -> list[Incident]:
        ends = [(end, kind) for end in terminations(pod, read.container) if (kind := classify(end)) is not None]
        if not ends:
            return []
        # The pod may be of an earlier revision: its own spec tells under which settings it failed.
        spec = manifests.mapping(pod, "spec")
        own = read_configuration(spec, self._catalogue, container=read.container, overrides=overrides)
        known = self._classes.by_node.get((manifests.text(spec, "nodeName"), own.pod.resource))
        return [
            Incident(
                time=end.finished,
                kind=kind,
                instance_class=known.name if known else "",
                pod=manifests.name(pod),
                container=read.container,
                demand_tokens=None,
                model=own.settings.model_name if isinstance(own.model, Missing) else own.model.name,
                settings_hash=own.settings_hash,
                message=summary(end.message),
            )
            for end, kind in ends
        ]

    def _not_after_now(self, moment: datetime | None) -> datetime | None:
        """The API server's clock may run ahead of ours; nothing has begun in the future."""
        return None if moment is None else min(moment, self._now)

    def _since(self, key: Key, target: Raw, pods: Sequence[Raw]) -> datetime | None:
        """When the current revision began.

        A Deployment's newest ReplicaSet tells; one that a rollback took up again is older than that, and the
        rollout's end stands instead. A StatefulSet does not tell: its oldest pod of the update revision does.
        """
        if key[1] == "Deployment":
            current = self._replica_sets.get((key[0], key[2]))
            if _REUSED not in manifests.labels(current, "metadata", "annotations"):
                return manifests.moment(current, "metadata", "creationTimestamp")
            return _rolled_out(target) or manifests.moment(current, "metadata", "creationTimestamp")
        revision = manifests.text(target, "status", "updateRevision")
        started = [
            moment
            for pod in pods
            if manifests.labels(pod, "metadata", "labels").get("controller-revision-hash") == revision
            and (moment := manifests.moment(pod, "metadata", "creationTimestamp")) is not None
        ]
        return min(started, default=None)


def _placed(read: Configuration, placement: InstanceClass | Missing) -> EngineSettings:
    """The settings with the limits that the engine takes from its present device."""
    if isinstance(placement, Missing):
        return read.settings
    device = placement.accelerator
    return with_device_defaults(read.settings, read.engine, placement.accelerator_memory, device.product)


def _standing(shape: PodShape, spec: Raw, placement: InstanceClass | Missing) -> PodShape:
    """A template that names no architecture runs on that of its nodes; whether its image has others is unknown."""
    if isinstance(placement, Missing) or architecture(spec):
        return shape
    return replace(shape, architecture=placement.host.architecture)


def _without_target(request: Request, why: MissingReason, detail: str) -> Workload:
    missing = Missing(Signal.TARGET, why, detail)
    settings = EngineSettings()
    return Workload(
        key=request.key,
        target=request.target,
        mode=request.mode,
        objective=request.objective,
        rules=request.rules,
        scale_to_zero=request.scale_to_zero,
        engine=missing,
        settings=settings,
        settings_hash=settings_hash(missing, settings),
        model=missing,
        pod=pod_shape({}),
        replicas=0,
        replicas_owner="",
        pods=(),
        placement=missing,
        nodes=(),
        shared_device=False,
        incidents=request.incidents,
        since=None,
    )


def _autoscalers(view: ClusterView) -> dict[Key, str]:
    """Who owns the replicas of a workload. An HPA that KEDA made counts as its ScaledObject."""
    owners: dict[Key, str] = {}
    for each in view.hpas:
        owner = controller_of(each)
        by_keda = owner is not None and owner.kind == "ScaledObject"
        named = f"ScaledObject/{owner.name}" if owner and by_keda else f"HorizontalPodAutoscaler/{manifests.name(each)}"
        owners[_scales(each)] = named
    for each in view.scaledobjects:
        owners[_scales(each)] = f"ScaledObject/{manifests.name(each)}"
    return owners


def _scales(autoscaler: Raw) -> Key:
    reference = manifests.mapping(autoscaler, "spec", "scaleTargetRef")
    kind = manifests.text(reference, "kind") or "Deployment"
    return manifests.namespace(autoscaler), kind, manifests.text(reference, "name")


def _replica_sets(replica_sets: Sequence[Raw]) -> dict[tuple[str, str], Raw]:
    """The current ReplicaSet of each Deployment: the one with the highest revision."""
    current: dict[tuple[str, str], Raw] = {}
    for each in replica_sets:
        owner = controller_of(each)
        if owner is not None and owner.kind == "Deployment":
            key = (manifests.namespace(each), owner.name)
            if key not in current or _revision(each) > _revision(current[key]):
                current[key] = each
    return current


def _revision(replica_set: Raw) -> int:
    told = manifests.labels(replica_set, "metadata", "annotations").get(_REVISION, "")
    return manifests.count(told) or 0


def _rolled_out(deployment: Raw) -> datetime | None:
    for condition in manifests.items(deployment, "status", "conditions"):
        if manifests.text(condition, "type") == "Progressing":
            return manifests.moment(condition, "lastUpdateTime")
    return None


def _replicas(target: Raw) -> int:
    asked = manifests.whole(target, "spec", "replicas")
    return 1 if asked is None else max(0, asked)


def _pod_ref(pod: Raw, container: str) -> PodRef:
    labels = manifests.labels(pod, "metadata", "labels")
    statuses: Mapping[str, Raw] = {
        manifests.text(each, "name"): each for each in manifests.items(pod, "status", "containerStatuses")
    }
    return PodRef(
        name=manifests.name(pod),
        uid=manifests.uid(pod),
        node=manifests.text(pod, "spec", "nodeName"),
        ready=any(
            manifests.text(each, "type") == "Ready" and manifests.text(each, "status") == "True"
            for each in manifests.items(pod, "status", "conditions")
        ),
        started=manifests.moment(pod, "status", "startTime"),
        restarts=manifests.whole(statuses.get(container), "restartCount") or 0,
        template_hash=next((labels[key] for key in _TEMPLATE_HASHES if key in labels), ""),
    )


def _sees_all_devices(spec: Raw) -> bool:
    """A container that asks for no accelerator but is given every one through the NVIDIA runtime."""
    return any(
        variable.get("name") == "NVIDIA_VISIBLE_DEVICES" and variable.get("value") not in {None, "", "none", "void"}
        for container in manifests.items(spec, "containers")
        for variable in manifests.items(container, "env")
    )


def _metadata(raw: Raw) -> Raw:
    return manifests.mapping(raw, "metadata")
