"""Writing what changed, and only that."""

from __future__ import annotations

import asyncio

from gpu_rightsizer.controller.carry_out import PREFIX, Wanted, Written, carry_out
from gpu_rightsizer.ports import Unavailable
from tests.fakes.cluster import INFDS, FakeCluster

ADVICE = {f"{PREFIX}summary": "Keep"}


def wanted(raw: dict[str, object], status: dict[str, object], annotations: dict[str, str] | None = None) -> Wanted:
    return Wanted(raw, status, ADVICE if annotations is None else annotations)


def run(cluster: FakeCluster, *each: Wanted) -> Written:
    return asyncio.run(carry_out(cluster, each, leads=lambda: True, at_once=4))


def listed(cluster: FakeCluster) -> list[dict[str, object]]:
    return asyncio.run(cluster.list_objects(INFDS))


def test_unchanged_facts_write_nothing() -> None:
    cluster = FakeCluster()
    cluster.add_deployment("a")
    run(cluster, wanted(listed(cluster)[0], {"observedGeneration": 1}))
    cluster.writes.clear()

    written = run(cluster, wanted(listed(cluster)[0], {"observedGeneration": 1}))

    assert cluster.writes == []
    assert (written.statuses, written.annotations) == (0, 0)


def test_annotations_of_others_are_left_alone() -> None:
    cluster = FakeCluster()
    raw = cluster.add_deployment("a")
    raw["metadata"]["annotations"] = {"team": "search"}

    run(cluster, wanted(listed(cluster)[0], {}))

    assert listed(cluster)[0]["metadata"]["annotations"] == {"team": "search", **ADVICE}  # type: ignore[index]


def test_an_object_that_changed_meanwhile_waits_for_the_next_cycle() -> None:
    cluster = FakeCluster()
    raw = cluster.add_deployment("a")
    stale = listed(cluster)[0]
    raw["metadata"]["resourceVersion"] = "999"

    written = run(cluster, wanted(stale, {"observedGeneration": 1}))

    assert written.failures == {"Conflict": 1}
    assert "status" not in listed(cluster)[0]


def test_a_recreated_namesake_gets_no_annotations() -> None:
    cluster = FakeCluster()
    raw = cluster.add_deployment("a")
    stale = listed(cluster)[0]
    raw["metadata"]["uid"] = "uid-new"

    run(cluster, wanted(stale, {}))

    assert "annotations" not in listed(cluster)[0]["metadata"]  # type: ignore[operator]


def test_one_failure_leaves_the_others_alone() -> None:
    cluster = FakeCluster()
    for name in ("a", "b", "c"):
        cluster.add_deployment(name)
    broken = iter([True, False, False, False, False, False])

    def sometimes(_: str) -> None:
        if next(broken):
            raise Unavailable("503")

    cluster.before_write = sometimes
    written = run(cluster, *(wanted(raw, {"observedGeneration": 1}) for raw in listed(cluster)))

    assert written.statuses == 2
    assert written.failures == {"Unavailable": 1}
