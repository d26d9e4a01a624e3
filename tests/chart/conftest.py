"""Helm without a cluster for rendering, and a control plane of its own for the tests that install the chart."""

import contextlib
from collections.abc import Iterator
from functools import partial

import pytest

import testbed.helm
from testbed.cluster.base import Cluster
from testbed.cluster.local import LocalCluster
from testbed.helm import HelmError
from tests.chart.helm import NAMESPACE, RELEASE, URL, Helm, Object, crd_files, sets

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
OURS = "app.kubernetes.io/part-of=gpu-rightsizer"
CLUSTER_KINDS = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Helm that sees no cluster."""
    return Helm(testbed.helm.Helm())


@pytest.fixture(scope="session")
def default(helm: Helm) -> list[Object]:
    """The chart with nothing but the address of Prometheus."""
    return helm.template("--skip-tests", *sets(URL))


@pytest.fixture(scope="session")
def own_cluster() -> Iterator[LocalCluster]:
    """A local control plane for these tests alone: they delete CustomResourceDefinitions and namespaces."""
    with LocalCluster() as cluster:
        cluster.add_node("worker", {"cpu": "8", "memory": "32Gi", "pods": "110"})
        yield cluster


@pytest.fixture
def clean(own_cluster: LocalCluster) -> LocalCluster:
    """The cluster with an empty namespace of ours that enforces the restricted pod security standard, and no CRDs."""
    _remove_everything(own_cluster)
    own_cluster.create_namespace(NAMESPACE, RESTRICTED)
    return own_cluster


@pytest.fixture
def releases(clean: LocalCluster) -> Helm:
    """Helm on the clean cluster."""
    return Helm(testbed.helm.Helm(clean))


@pytest.fixture
def installed(clean: LocalCluster, releases: Helm) -> LocalCluster:
    """The clean cluster with the chart installed and its pod Ready."""
    releases.install("--wait", "--timeout=60s")
    return clean


def _remove_everything(cluster: Cluster) -> None:
    """Whatever an earlier test left, in whatever state; our namespace stays, since ending one takes five seconds."""
    for release in (RELEASE, "other"):
        with contextlib.suppress(HelmError):  # it was not installed
            Helm(testbed.helm.Helm(cluster)).uninstall(release)
    gone = "--ignore-not-found", "--timeout=150s"
    cluster.kubectl("delete", CLUSTER_KINDS, "-l", OURS, *gone, seconds=160)
    cluster.kubectl(
        "delete", "all,leases,inferencedeployments", "--all", "-n", NAMESPACE, check=False
    )  # kinds may miss
    cluster.kubectl("delete", "namespace", "chat", "search", *gone, seconds=160)
    list_kinds(cluster)
    names = [f"customresourcedefinition/{path.stem.split('_')[1]}.gpu-rightsizer.dev" for path in crd_files()]
    cluster.kubectl("delete", *names, *gone, seconds=160)


def list_kinds(cluster: Cluster) -> None:
    """List our kinds, as a running operator does, so that the API server has their storage ready.

    A definition that is deleted before anybody listed its objects can stay for minutes: the API server's own clean-up
    meets `storage is (re)initializing` (seen with 1.36.3; operator-framework/operator-controller#1437).
    """
    for name in [each["metadata"]["name"] for each in cluster.objects("customresourcedefinitions")]:
        cluster.eventually(partial(cluster.kubectl, "get", name, "-A", "-o", "json"), what=f"the storage of {name}")
