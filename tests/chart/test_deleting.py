"""Deleting everything, in any order, ends: nothing of ours holds anything back."""

import itertools
from collections.abc import Callable

import pytest

from testbed.cluster.local import LocalCluster
from tests.chart.helm import NAMESPACE, RELEASE, Helm
from tests.chart.test_lifecycle import SAMPLE, crds

pytestmark = pytest.mark.e2e

TOGETHER_SECONDS = 30.0


def uninstall(_: LocalCluster, releases: Helm) -> None:
    releases.uninstall()


def objects(cluster: LocalCluster, _: Helm) -> None:
    cluster.kubectl("delete", "infd", "--all", "-n", "chat", f"--timeout={TOGETHER_SECONDS:g}s")


def definitions(cluster: LocalCluster, _: Helm) -> None:
    cluster.kubectl("delete", "crd", *crds(cluster), f"--timeout={TOGETHER_SECONDS:g}s")


def their_namespace(cluster: LocalCluster, _: Helm) -> None:
    cluster.kubectl("delete", "namespace", "chat", f"--timeout={TOGETHER_SECONDS:g}s")


STEPS = (uninstall, objects, definitions, their_namespace)
# Objects are gone with their definition or their namespace, so deleting them afterwards means nothing.
ORDERS = [
    order
    for order in itertools.permutations(STEPS)
    if order.index(objects) < order.index(definitions) and order.index(objects) < order.index(their_namespace)
] + [
    (uninstall, definitions, their_namespace),
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

    installed.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s", seconds=70)
    installed.kubectl("delete", "infd", "--all", "-n", "chat", "--timeout=30s")

    installed.create_namespace(NAMESPACE)
    releases.install("--wait", "--timeout=60s")
    assert installed.get("deployment", RELEASE, namespace=NAMESPACE)["status"]["availableReplicas"] == 1
