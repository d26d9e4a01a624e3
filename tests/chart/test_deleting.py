"""Deleting everything, in any order, ends: nothing of ours holds anything back."""

from collections.abc import Callable

import pytest

from testbed.cluster.local import LocalCluster
from tests.chart.conftest import list_kinds
from tests.chart.helm import NAMESPACE, RELEASE, Helm
from tests.chart.test_lifecycle import SAMPLE, crds

pytestmark = pytest.mark.e2e

# Deleting takes a second or two; the rest is for a busy machine.
PATIENCE = "--timeout=90s"
SECONDS = 100.0


def uninstall(_: LocalCluster, releases: Helm) -> None:
    releases.uninstall()


def objects(cluster: LocalCluster, _: Helm) -> None:
    cluster.kubectl("delete", "infd", "--all", "-n", "chat", PATIENCE, seconds=SECONDS)


def definitions(cluster: LocalCluster, _: Helm) -> None:
    list_kinds(cluster)
    cluster.kubectl("delete", "crd", *crds(cluster), PATIENCE, seconds=SECONDS)


def their_namespace(cluster: LocalCluster, _: Helm) -> None:
    cluster.kubectl("delete", "namespace", "chat", PATIENCE, seconds=SECONDS)


# Objects are gone with their definition or their namespace, so deleting them after one of these would mean nothing.
ORDERS = [
    (uninstall, objects, definitions, their_namespace),
    (uninstall, their_namespace, definitions),
    (objects, definitions, uninstall, their_namespace),
    (definitions, uninstall, their_namespace),
    (definitions, their_namespace, uninstall),
    (their_namespace, definitions, uninstall),
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "-".join(step.__name__ for step in order))
def test_any_order_ends(
    installed: LocalCluster, releases: Helm, order: tuple[Callable[[LocalCluster, Helm], None], ...]
) -> None:
    installed.create_namespace("chat")
    installed.apply(SAMPLE | {"metadata": {"name": "llama-8b", "namespace": "chat"}})

    for step in order:
        step(installed, releases)

    assert crds(installed) == {}
    left = installed.kubectl("get", "namespaces", "-o", "name") + installed.kubectl("get", "clusterroles", "-o", "name")
    assert "chat" not in left
    assert "gpu-rightsizer" not in left.replace(f"namespace/{NAMESPACE}", "")


def test_the_operators_own_namespace_can_go_first_and_be_installed_again(
    installed: LocalCluster, releases: Helm
) -> None:
    installed.create_namespace("chat")
    installed.apply(SAMPLE | {"metadata": {"name": "llama-8b", "namespace": "chat"}})

    installed.kubectl("delete", "namespace", NAMESPACE, PATIENCE, seconds=SECONDS)
    installed.kubectl("delete", "infd", "--all", "-n", "chat", PATIENCE, seconds=SECONDS)

    installed.create_namespace(NAMESPACE)
    releases.install("--wait", "--timeout=60s")
    assert installed.get("deployment", RELEASE, namespace=NAMESPACE)["status"]["availableReplicas"] == 1
