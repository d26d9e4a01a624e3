"""Terse Kubernetes objects as the API server returns them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from gpu_rightsizer.domain.workload import (
    Mode,
    Objective,
    PlacementRules,
    ScaleToZeroRules,
    TargetRef,
    WorkloadKey,
)
from gpu_rightsizer.observe.fleet import Request

Object = dict[str, Any]
NOW = datetime(2026, 8, 20, 12, tzinfo=UTC)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def container(name: str = "vllm", *, gpus: int = 1, args: list[str] | None = None, **more: Any) -> Object:
    resources: Object = {"requests": {"cpu": "4", "memory": "16Gi"}}
    if gpus:
        resources["limits"] = {"nvidia.com/gpu": str(gpus)}
    image = "vllm/vllm-openai:v0.11.0"
    return {"name": name, "image": image, "args": args or [], "resources": resources, **more}


LLAMA = ["--model", "meta-llama/Llama-3.1-8B-Instruct"]


def deployment(name: str, spec: Object, *, namespace: str = "chat", replicas: int = 1) -> Object:
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"},
        "spec": {"replicas": replicas, "template": {"spec": spec}},
        "status": {},
    }


def replica_set(owner: str, template: str, *, namespace: str = "chat", revision: int = 1, days_old: int = 20) -> Object:
    return {
        "metadata": {
            "name": f"{owner}-{template}",
            "namespace": namespace,
            "creationTimestamp": stamp(NOW - timedelta(days=days_old)),
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": [{"kind": "Deployment", "name": owner, "uid": f"uid-{owner}", "controller": True}],
        }
    }


def pod(
    name: str,
    spec: Object,
    *,
    node: str = "",
    namespace: str = "chat",
    owner: tuple[str, str] | None = None,
    labels: dict[str, str] | None = None,
    statuses: list[Object] | None = None,
    phase: str = "Running",
) -> Object:
    kind, owner_name = owner or ("ReplicaSet", name.rpartition("-")[0])
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "labels": labels or {},
            "creationTimestamp": stamp(NOW - timedelta(days=2)),
            "ownerReferences": [{"kind": kind, "name": owner_name, "uid": "u", "controller": True}],
        },
        "spec": {**spec, **({"nodeName": node} if node else {})},
        "status": {
            "phase": phase,
            "startTime": stamp(NOW - timedelta(days=2)),
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": statuses or [],
        },
    }


def node(
    name: str, instance_type: str = "g6e.xlarge", *, gpus: int = 1, labels: dict[str, str] | None = None, **more: Any
) -> Object:
    return {
        "metadata": {
            "name": name,
            "labels": {
                "node.kubernetes.io/instance-type": instance_type,
                "topology.kubernetes.io/region": "us-east-1",
                "topology.kubernetes.io/zone": "us-east-1a",
                "kubernetes.io/arch": "amd64",
                **(labels or {}),
            },
        },
        "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
        "status": {
            "capacity": {"cpu": "4", "memory": "32Gi", "ephemeral-storage": "100Gi", "nvidia.com/gpu": str(gpus)},
            "allocatable": {
                "cpu": "3920m",
                "memory": "30Gi",
                "ephemeral-storage": "90Gi",
                "nvidia.com/gpu": str(gpus),
                **more.get("allocatable", {}),
            },
        },
    }


def request(target: str, *, name: str = "", namespace: str = "chat", kind: str = "Deployment", **more: Any) -> Request:
    return Request(
        key=WorkloadKey(namespace, name or target, f"uid-infd-{name or target}", 1),
        target=TargetRef("apps/v1", kind, target, more.pop("container", "")),
        mode=Mode.RECOMMEND,
        objective=Objective(2.0, 0.1, 0.999, 0.01, timedelta(days=30), Decimal(2000)),
        rules=PlacementRules(),
        scale_to_zero=ScaleToZeroRules(
            enabled=False, idle_after=timedelta(minutes=30), cold_start=timedelta(seconds=90)
        ),
        **more,
    )
