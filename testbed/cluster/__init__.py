"""Clusters for tests and the demo: a control plane of local processes, or kind."""

from testbed.cluster.base import Cluster, ClusterUnavailable, KubectlError, KwokNode, Taint

__all__ = ["Cluster", "ClusterUnavailable", "KubectlError", "KwokNode", "Taint"]
