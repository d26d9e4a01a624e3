"""Ten thousand deployments that are copies of a few twins: their names, their objects and their weeks of history.

Everything follows from the number of deployments and from when the history ends, so that history laid down once fits
the objects of every later run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import fleet
from benchmarks.rest import Call, Object, merge_patch
from testbed import manifests
from testbed.blocks import Copy
from testbed.manifests import Asked, Host
from testbed.remote_write import Series
from testbed.twin.arrivals import DAY_S
from testbed.twin.deployment import simulate
from testbed.twin.identity import Pod, address, device_uuid, letters, pods_of
from testbed.twin.population import random_twin
from testbed.twin.series import default_pods, history

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from testbed.cluster.base import KwokNode
    from testbed.twin.deployment import TwinSpec

DAYS = 14
AHEAD_S = 8 * 3600.0  # history beyond the moment it is laid down at: later runs need no other for so long
DISTINCT = 12
FIRST_SEED = 3000
PER_NAMESPACE = 50
HISTOGRAM_DAYS = 4  # the operator looks back three
LAYOUT = 2  # counts up when what is laid down changes here
MIB = 1 << 20
ASKED = Asked(host=Host(cpu="1", memory="4Gi", shared_memory="1Gi"))
DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"
REPLICA_SETS = "/apis/apps/v1/namespaces/{}/replicasets"
PODS = "/api/v1/namespaces/{}/pods"


@dataclass(frozen=True, slots=True)
class Member:
    """One deployment of the fleet: a copy of a twin with its one pod."""

    twin: TwinSpec
    template: int
    pod: Pod
    exporter: str  # node's DCGM exporter is named after


@cache
def twins() -> tuple[TwinSpec, ...]:
    """Those that are simulated: of one device, all of them serving language models."""
    found: list[TwinSpec] = []
    seed = FIRST_SEED
    while len(found) < DISTINCT:
        twin = random_twin(seed)
        seed += 1
        if twin.tp == 1 and not twin.architecture.is_eager:
            knobs = replace(twin.knobs, idle_devices=False, rollouts_s=(), restarts_s=(), host_ooms_s=())
            found.append(replace(twin, replicas=1, span_s=DAYS * DAY_S + AHEAD_S, knobs=knobs))
    return tuple(found)


def members(deployments: int) -> list[Member]:
    """The fleet. Nodes of several devices take as many pods; there is never more than one deployment a device."""
    found: list[Member] = []
    for index in range(deployments):
        template = index % DISTINCT
        name, namespace = f"model-{index:05d}", f"team-{index // PER_NAMESPACE:03d}"
        twin = replace(twins()[template], name=name, namespace=namespace)
        (pod,) = pods_of(name, namespace, 1)
        node = f"ip-{letters(f'{template}/{index // DISTINCT // twin.node.gpu_count}', 8)}"
        found.append(Member(twin, template, replace(pod, node=node), node))
    return found


# -- history --------------------------------------------------------------------------------------------------------


def templates(end: float) -> list[list[Series]]:
    """What the operator asks for of each twin, every minute until `end`; containers' memory and CPU beside."""
    found = []
    for index, twin in enumerate(twins()):
        run = simulate(twin)
        shown = fleet.kept(history(run, end - 5.0 * index, default_pods(run)))
        found.append([_shortened(each, end) for each in shown] + _host(default_pods(run)[0], end, seed=index))
    return found


def _shortened(series: Series, end: float) -> Series:
    if not series.labels["__name__"].endswith("_bucket"):
        return series
    kept = series.times_ms >= (end - AHEAD_S - HISTOGRAM_DAYS * DAY_S) * 1000
    return Series(series.labels, series.times_ms[kept], series.values[kept])


def _host(pod: Pod, end: float, seed: int) -> list[Series]:
    """CAdvisor's two: memory that creeps up and is given back, CPU seconds of about a core."""
    rng = np.random.default_rng(seed)
    count = int((DAYS * DAY_S + AHEAD_S) // 60)
    times = (np.rint(end) - 60 * np.arange(count)[::-1]).astype(np.int64) * 1000
    labels = {"job": "kubelet", "namespace": pod.namespace, "pod": pod.name, "container": pod.container}
    memory = 2000.0 * MIB + np.rint(400 * MIB * (np.arange(count) % 1440) / 1440 / 4096) * 4096
    cpu = np.cumsum(60 * rng.uniform(0.3, 1.1, count))
    return [
        Series({"__name__": "container_memory_working_set_bytes", **labels}, times, memory),
        Series({"__name__": "container_cpu_usage_seconds_total", "cpu": "total", **labels}, times, cpu),
        Series({"__name__": "up", "job": "kubelet", "instance": pod.node}, times, np.ones(count)),
    ]


def copies(fleet_: Sequence[Member]) -> list[Copy]:
    """What every member's series are called."""
    old = [default_pods(simulate(twin))[0] for twin in twins()]
    return [Copy(each.template, _names(old[each.template], each)) for each in fleet_]


def _names(old: Pod, member: Member) -> dict[str, str]:
    new = member.pod
    names = {old.name: new.name, old.namespace: new.namespace, old.node: new.node, f"{old.ip}:8000": f"{new.ip}:8000"}
    names |= dict(zip(_exporter(old.node), _exporter(member.exporter), strict=True))
    return names | {device_uuid(old.node, 0): device_uuid(new.name, 0)}


def _exporter(node: str) -> tuple[str, str]:
    """Address and pod of a node's DCGM exporter, as the twin names them."""
    return f"{address(node, '10.0')}:9400", f"nvidia-dcgm-exporter-{letters(node, 5)}"


def key(deployments: int) -> str:
    """What the history depends on, but for its end: laid down again when any of it changes."""
    said = [*map(str, twins()), deployments, DAYS, AHEAD_S, HISTOGRAM_DAYS, sorted(fleet.ASKED), LAYOUT]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]


# -- objects --------------------------------------------------------------------------------------------------------


def node_calls(fleet_: Sequence[Member]) -> Iterator[Call]:
    """One node for as many members as it has devices."""
    for member in {each.pod.node: each for each in fleet_}.values():
        yield Call("POST", "/api/v1/nodes", _node(member).manifest())


def _node(member: Member) -> KwokNode:
    (node,) = manifests.nodes(member.twin)
    return replace(node, name=member.pod.node, taints=())


def object_calls(member: Member, began: float) -> Iterator[Call]:
    """Deployment, ReplicaSet and pod as the controllers would have made them by then, and what is asked of us."""
    since = datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    namespace, name = member.twin.namespace, member.twin.name
    deployment = manifests.deployment(member.twin, ASKED)
    yield Call("POST", DEPLOYMENTS.format(namespace), deployment)
    path = f"{DEPLOYMENTS.format(namespace)}/{name}/status"
    yield merge_patch(path, {"status": _deployment_status(since)})
    replica_set = _replica_set(member, deployment)
    yield Call("POST", REPLICA_SETS.format(namespace), replica_set)
    pod = _pod(member, replica_set)
    yield Call("POST", PODS.format(namespace), pod)
    status_path = f"{PODS.format(namespace)}/{member.pod.name}/status"
    yield merge_patch(status_path, {"status": _pod_status(member, since)})
    asked = manifests.inference_deployment(member.twin, ASKED)
    yield Call("POST", fleet.INFERENCE_DEPLOYMENTS.format(namespace), asked)


def _deployment_status(since: str) -> Object:
    told = {"lastUpdateTime": since, "lastTransitionTime": since, "status": "True"}
    return {
        **dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "observedGeneration"), 1),
        "conditions": [
            {"type": "Available", "reason": "MinimumReplicasAvailable", **told},
            {"type": "Progressing", "reason": "NewReplicaSetAvailable", **told},
        ],
    }


def _replica_set(member: Member, deployment: Object) -> Object:
    name = member.pod.name.rpartition("-")[0]
    labels = {"app": member.twin.name, "pod-template-hash": name.rpartition("-")[2]}
    template = deployment["spec"]["template"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {
                "deployment.kubernetes.io/revision": "3",
                "deployment.kubernetes.io/revision-history": "1",  # taken up again: since when, the Deployment tells
            },
            "ownerReferences": [_owner("Deployment", member.twin.name)],
        },
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {**template, "metadata": {"labels": labels}},
        },
    }


def _owner(kind: str, name: str) -> Object:
    uid = device_uuid(name, 0).removeprefix("GPU-")
    return {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": True}


def _pod(member: Member, replica_set: Object) -> Object:
    template = replica_set["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": member.pod.name,
            "labels": template["metadata"]["labels"],
            "ownerReferences": [_owner("ReplicaSet", replica_set["metadata"]["name"])],
        },
        "spec": {**template["spec"], "nodeName": member.pod.node},
    }


def _pod_status(member: Member, since: str) -> Object:
    ready = [
        {"type": each, "status": "True", "lastTransitionTime": since}
        for each in ("Initialized", "PodScheduled", "ContainersReady", "Ready")
    ]
    container = member.pod.container
    state = {"running": {"startedAt": since}}
    status = {"name": container, "ready": True, "restartCount": 0, "state": state, "image": "", "imageID": ""}
    return {
        "phase": "Running",
        "startTime": since,
        "podIP": member.pod.ip,
        "conditions": ready,
        "containerStatuses": [status],
    }
