"""Helm without a cluster for rendering, and a control plane of its own for the tests that install the chart."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cluster.base import Cluster
from testbed.cluster.local import LocalCluster
from tests.chart.helm import NAMESPACE, RELEASE, URL, Helm, HelmError, Object, crd_files, sets

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm that sees no cluster."""
    home = tmp_path_factory.mktemp("helm")
    return Helm(home, {"PATH": os.environ["PATH"], "KUBECONFIG": str(home / "none")})


@pytest.fixture(scope="session")
def default(helm: Helm) -> list[Object]:
    """The chart with nothing but the address of Prometheus."""
    return helm.template("--skip-tests", *sets(URL))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A local control plane for these tests alone: they delete CustomResourceDefinitions and namespaces."""
    with LocalCluster() as cluster:
        cluster.add_node("worker", {"cpu": "8", "memory": "32Gi", "pods": "110"})
        yield cluster


@pytest.fixture
def clean(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with an empty namespace of ours that enforces the restricted pod security standard, and no CRDs."""
    _remove_everything(cluster)
    cluster.create_namespace(NAMESPACE, RESTRICTED)
    yield cluster
    _remove_everything(cluster)


@pytest.fixture
def releases(clean: Cluster, tmp_path: Path) -> Helm:
    """Helm on the clean cluster."""
    return Helm(tmp_path, clean.environment())


@pytest.fixture
def installed(clean: Cluster, releases: Helm) -> Cluster:
    """The clean cluster with the chart installed and its pod Ready."""
    releases.install("--wait", "--timeout=60s")
    return clean


def _remove_everything(cluster: Cluster) -> None:
    """Whatever an earlier test left, in whatever state."""
    for release in (RELEASE, "other"):
        with contextlib.suppress(HelmError):  # it was not installed
            Helm(cluster.scratch, cluster.environment()).uninstall(release)
    gone = "--ignore-not-found", "--wait=true", "--timeout=60s"
    cluster.kubectl("delete", "namespace", NAMESPACE, "chat", "search", *gone, seconds=70)
    cluster.kubectl("delete", "-f", ",".join(map(str, crd_files())), *gone, seconds=70)
    selector = "app.kubernetes.io/part-of=gpu-rightsizer"
    kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"
    cluster.kubectl("delete", kinds, "-l", selector, *gone)
