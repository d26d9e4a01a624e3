"""A twin as a cluster would list it, on paper: nodes, Deployment, ReplicaSet, pods and InferenceDeployment."""

from datetime import datetime, timedelta

from testbed import manifests
from testbed.cluster.base import Object
from testbed.twin.deployment import TwinSpec
from testbed.twin.identity import Pod, letters


def pods(twin: TwinSpec) -> list[Pod]:
    """Today's, one on each of the twin's nodes."""
    return [
        Pod(
            f"{_replica_set(twin)}-{letters(f'{twin.namespace}/{index}', 5)}",
            twin.namespace,
            "vllm",
            node.name,
            f"10.1.0.{index}",
        )
        for index, node in enumerate(manifests.nodes(twin))
    ]


def objects(twin: TwinSpec, asked: manifests.Asked, began: datetime) -> dict[str, list[Object]]:
    """All that a cluster lists of it, by kind; its pods run since `began`."""
    deployment = manifests.deployment(twin, asked)
    deployment["metadata"] |= {"uid": f"deployment-{twin.namespace}", "generation": 1}
    wanted = manifests.inference_deployment(twin, asked)
    wanted["metadata"] |= {"uid": f"wanted-{twin.namespace}", "generation": 1, "resourceVersion": "1"}
    replica_set: Object = {
        "metadata": {
            "name": _replica_set(twin),
            "namespace": twin.namespace,
            "uid": f"replica-set-{twin.namespace}",
            "creationTimestamp": stamp(began),
            "ownerReferences": [_owned_by("Deployment", deployment)],
        }
    }
    template = deployment["spec"]["template"]
    return {
        "nodes": [node.manifest() for node in manifests.nodes(twin)],
        "deployments": [deployment],
        "replica_sets": [replica_set],
        "pods": [_pod(pod, template, replica_set, stamp(began)) for pod in pods(twin)],
        "inference_deployments": [wanted],
    }


def out_of_memory(at: datetime) -> Object:
    """`terminated` of a container that ended so while it served, two days after it had started."""
    return {
        "exitCode": 1,
        "reason": "Error",
        "message": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.34 GiB. "
        "GPU 0 has a total capacity of",
        "startedAt": stamp(at - timedelta(days=2)),
        "finishedAt": stamp(at),
        "containerID": "containerd://0",
    }


def stamp(moment: datetime) -> str:
    """A time as the API server writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _replica_set(twin: TwinSpec) -> str:
    return f"{twin.name}-{letters(twin.namespace, 10)}"


def _owned_by(kind: str, owner: Object) -> Object:
    meta = owner["metadata"]
    return {"kind": kind, "name": meta["name"], "uid": meta["uid"], "controller": True}


def _pod(pod: Pod, template: Object, replica_set: Object, began: str) -> Object:
    return {
        "metadata": {
            "name": pod.name,
            "namespace": pod.namespace,
            "uid": f"uid-{pod.name}",
            "labels": template["metadata"]["labels"],
            "creationTimestamp": began,
            "ownerReferences": [_owned_by("ReplicaSet", replica_set)],
        },
        "spec": {**template["spec"], "nodeName": pod.node},
        "status": {
            "phase": "Running",
            "startTime": began,
            "podIP": pod.ip,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
