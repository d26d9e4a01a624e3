"""Chooses the cluster: CLUSTER=kind or local decides, else kind where Docker runs, else local processes."""

import importlib
import os
from typing import cast

from testbed.cluster.base import Cluster, ClusterKind, ClusterUnavailable
from testbed.cluster.local import LocalCluster

VARIABLE = "CLUSTER"


def chosen_kind() -> ClusterKind:
    """The kind tests and the demo will use. Raises ClusterUnavailable when kind is demanded and cannot be had."""
    match os.environ.get(VARIABLE, ""):
        case "local":
            return "local"
        case "kind":
            if (lack := why_not_kind()) is not None:
                raise ClusterUnavailable(f"{VARIABLE}=kind, but {lack}")
            return "kind"
        case "":
            return "kind" if _docker_runs() else "local"
        case other:
            raise ClusterUnavailable(f"{VARIABLE}={other}: it must be kind or local")


def _docker_runs() -> bool:
    """The machine's own Docker, with the node image; our own daemon is started only where kind is asked for."""
    return importlib.import_module("testbed.kind.docker").machine_docker() is not None


def why_not_kind() -> str | None:
    """None where kind can be used, else what is missing for it."""
    try:
        module = importlib.import_module("testbed.cluster.kind")
    except ModuleNotFoundError:
        return "this checkout has no testbed.cluster.kind"
    lack: str | None = module.kind_available()
    return lack


def start_cluster(kind: ClusterKind | None = None) -> Cluster:
    """Starts a cluster of that kind, or of the kind chosen; the caller closes it."""
    if (kind or chosen_kind()) == "local":
        return LocalCluster()
    module = importlib.import_module("testbed.cluster.kind")
    # Imported by name because kind needs Docker and much else that local runs do without.
    return cast("Cluster", module.KindCluster())
