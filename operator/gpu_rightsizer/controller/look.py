"""One look at the cluster: every list a cycle needs, all at once, nothing kept from the last one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpu_rightsizer.ports import Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_rightsizer.ports import Cluster

API = "/apis/gpu-rightsizer.dev/v1alpha1"
INSTALL_CRDS = "gpu-rightsizer crds | kubectl apply --server-side -f -"
AT_ONCE = 4  # lists in flight: each may hold tens of megabytes

Objects = list[dict[str, Any]]

METADATA_ONLY = frozenset({"namespaces", "replica_sets"})

# name of the list -> (API prefix, plural, namespaced, may be missing)
LISTS: dict[str, tuple[str, str, bool, bool]] = {
    "inference_deployments": (API, "inferencedeployments", True, False),
    "instance_classes": (API, "instanceclasses", False, False),
    "policies": (API, "rightsizingpolicies", False, False),
    "namespaces": ("/api/v1", "namespaces", False, True),
    "deployments": ("/apis/apps/v1", "deployments", True, False),
    "stateful_sets": ("/apis/apps/v1", "statefulsets", True, False),
    "replica_sets": ("/apis/apps/v1", "replicasets", True, False),
    "pods": ("/api/v1", "pods", True, False),
    "nodes": ("/api/v1", "nodes", False, False),
    "claims": ("/api/v1", "persistentvolumeclaims", True, False),
    "volumes": ("/api/v1", "persistentvolumes", False, True),
    "autoscalers": ("/apis/autoscaling/v2", "horizontalpodautoscalers", True, False),
    "scaled_objects": ("/apis/keda.sh/v1alpha1", "scaledobjects", True, True),
}


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """The raw objects of one look, by the names of LISTS. `forbidden` names those that we may not list: not none."""

    objects: dict[str, Objects]
    forbidden: frozenset[str] = field(default_factory=frozenset)

    def __getitem__(self, name: str) -> Objects:
        """The objects of that list."""
        return self.objects[name]


async def look(cluster: Cluster, namespaces: Sequence[str]) -> Lists:
    """Every list, of the given namespaces or of all. Raises Unavailable or Rejected when a needed one fails."""
    gate = asyncio.Semaphore(AT_ONCE)
    forbidden: set[str] = set()

    async def one(name: str) -> tuple[str, Objects]:
        prefix, plural, namespaced, may_miss = LISTS[name]
        paths = [f"{prefix}/namespaces/{ns}/{plural}" for ns in namespaces] if namespaced and namespaces else []
        found: Objects = []
        for path in paths or [f"{prefix}/{plural}"]:
            try:
                async with gate:
                    found += await cluster.list_objects(path, metadata_only=name in METADATA_ONLY)
            except Rejected as error:
                if not may_miss:
                    raise _explained(error, prefix) from error
                if str(error).startswith("403 "):
                    forbidden.add(name)
        return name, found

    return Lists(dict(await asyncio.gather(*(one(name) for name in LISTS))), frozenset(forbidden))


def _explained(error: Rejected, prefix: str) -> Rejected:
    if prefix == API and str(error).startswith("404 "):
        return Rejected(f"the custom resource definitions are not installed: {INSTALL_CRDS} ({error})")
    return error
