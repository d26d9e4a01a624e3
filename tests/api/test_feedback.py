"""What people read on their classes and policies, written by the operator's own code to a real API server."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from gpu_rightsizer import catalogue
from gpu_rightsizer.adapters.kube import KubeCluster
from gpu_rightsizer.api.crd import RIGHTSIZING_POLICY
from gpu_rightsizer.controller.carry_out import Written, carry_out
from gpu_rightsizer.controller.feedback import feedback
from gpu_rightsizer.controller.guides import Guides
from gpu_rightsizer.controller.look import look
from gpu_rightsizer.controller.translate import asked, declared, usable
from gpu_rightsizer.observe.inventory import build_inventory
from tests.api.conftest import CRDS
from tests.api.documents import NAMESPACE, document

if TYPE_CHECKING:
    from testbed.cluster.local import LocalCluster

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("local-cluster")]

HERE = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
ELSEWHERE = {"matchLabels": {"kubernetes.io/metadata.name": "nowhere"}}


async def told(api: LocalCluster) -> Written:
    """One round of what a cycle does for classes and policies."""
    known = catalogue.load()
    async with await KubeCluster.connect(str(api.admin_kubeconfig)) as cluster:
        lists = await look(cluster, ())
        guides, classes = Guides(lists), declared(lists, known)
        inventory = build_inventory(lists["nodes"], lists["pods"], usable(classes), known)
        wanted = feedback(asked(lists, guides, []), guides, classes, inventory, datetime.now(UTC))
        return await carry_out(cluster, wanted, leads=lambda: True, at_once=4)


def ready(raw: dict[str, Any]) -> tuple[str, str, str]:
    (found,) = (each for each in raw["status"]["conditions"] if each["type"] == "Ready")
    return found["status"], found["reason"], found["message"]


def row(api: LocalCluster, kind: str, name: str) -> dict[str, str]:
    header, values = api.kubectl("get", kind, name, "-o", "wide").splitlines()
    starts = [header.index(column) for column in header.split()]
    return {
        column: values[start:end].strip()
        for column, start, end in zip(header.split(), starts, [*starts[1:], None], strict=True)
    }


async def test_a_class_is_accepted_or_told_which_field_is_wrong(api: LocalCluster) -> None:
    api.apply(document("InstanceClass", name="told-good"))
    api.apply(document("InstanceClass", {"accelerator.product": "NVIDIA-X1"}, name="told-bad"))

    assert (await told(api)).failures == {}

    assert ready(api.get("iclass", "told-good")) == ("True", "Accepted", "It is in use.")
    assert ready(api.get("iclass", "told-bad")) == (
        "False",
        "InvalidSpec",
        "The spec cannot be used: `spec.accelerator.product` must be a product that the catalogue knows.",
    )
    assert row(api, "iclass", "told-good")["READY"] == "True"
    shown = row(api, "iclass", "told-bad")
    assert (shown["READY"], shown["REASON"]) == ("False", "InvalidSpec")


async def test_a_policy_is_accepted_with_its_reach_or_told_which_field_is_wrong(api: LocalCluster) -> None:
    api.apply(document("InferenceDeployment", name="told"))
    api.apply(document("RightsizingPolicy", {"namespaceSelector": HERE}, name="told-good"))
    _of_a_newer_schema(api)

    assert (await told(api)).failures == {}

    good = api.get("rsp", "told-good")["status"]
    assert good["deployments"] >= 1
    assert row(api, "rsp", "told-good")["DEPLOYMENTS"] == str(good["deployments"])
    assert ready(api.get("rsp", "told-good"))[:2] == ("True", "Accepted")
    assert ready(api.get("rsp", "told-bad")) == (
        "False",
        "InvalidSpec",
        "The spec cannot be used: `spec.maxMode` must be one of `Off`, `Recommend`.",
    )


async def test_what_holds_already_is_not_written_again(api: LocalCluster) -> None:
    api.apply(document("InstanceClass", name="told-good"))
    await told(api)

    written = await told(api)

    assert (written.statuses, written.failures) == (0, {})


async def test_a_policy_of_a_newer_schema_holds_whom_it_selects(api: LocalCluster) -> None:
    api.apply(document("InferenceDeployment", name="told"))
    _of_a_newer_schema(api, selector=HERE)

    try:
        async with await KubeCluster.connect(str(api.admin_kubeconfig)) as cluster:
            lists = await look(cluster, ())
            everyone = asked(lists, Guides(lists), [])
    finally:
        api.kubectl("delete", "rsp", "told-bad")

    (held,) = (each.hold for each in everyone if each.raw["metadata"]["name"] == "told")
    assert held is not None
    assert held.problems.startswith("RightsizingPolicy told-bad cannot be read: `spec.maxMode` must be one of")


def _of_a_newer_schema(api: LocalCluster, selector: dict[str, Any] = ELSEWHERE) -> None:
    """Stores a policy that a later schema allowed, then puts the present one back: an operator that was downgraded."""
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/maxMode/enum/-"
    patch = json.dumps([{"op": "add", "path": path, "value": "Approve"}])
    api.kubectl("patch", "crd", RIGHTSIZING_POLICY.crd_name, "--type=json", "-p", patch)
    thing = document("RightsizingPolicy", {"maxMode": "Approve", "namespaceSelector": selector}, name="told-bad")
    try:
        api.eventually(lambda: api.apply(thing), what="the looser schema")
    finally:
        api.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
