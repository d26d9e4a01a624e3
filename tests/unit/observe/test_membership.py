"""Pods find their workload by owner when present, by name when past, and never a neighbour's."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_rightsizer.observe.membership import Membership, Target
from tests.unit.observe.manifest_builders import LLAMA, container, pod, replica_set

SPEC = {"containers": [container(args=LLAMA)]}
HASH, SUFFIX = "6d4cf56db6", "x2k9z"


def members(
    *names: str, pods: list[dict[str, Any]] | None = None, sets: list[dict[str, Any]] | None = None
) -> Membership:
    return Membership([target(name) for name in names], sets or [], pods or [])


def target(name: str, kind: str = "Deployment", namespace: str = "chat") -> Target:
    return namespace, kind, name


@pytest.mark.parametrize(
    ("pod_name", "owner"),
    [
        (f"llm-{HASH}-{SUFFIX}", "llm"),
        (f"llm-7b-{HASH}-{SUFFIX}", "llm-7b"),
        (f"llm-7b-chat-{HASH}-{SUFFIX}", None),
        (f"llm-b-{SUFFIX}", "llm"),  # the shortest hash there is
        (f"llm-{HASH}x-{SUFFIX}", None),  # longer than any hash
        (f"llm-{HASH}-{SUFFIX}a", None),
        (f"llm-6d4cf56db1-{SUFFIX}", None),  # 1 is not in the alphabet
        (f"llm-{HASH}-x2k9a", None),  # nor is a
        (f"llm-{HASH}", None),
        ("llm", None),
        ("llm-0", None),
        (f"my-llm-{HASH}-{SUFFIX}", None),
        ("", None),
    ],
)
def test_past_pods_of_deployments(pod_name: str, owner: str | None) -> None:
    found = members("llm", "llm-7b").workload_of("chat", pod_name)
    assert found == (None if owner is None else target(owner))


@pytest.mark.parametrize(
    ("pod_name", "owner"),
    [("llm-0", "llm"), ("llm-12", "llm"), ("llm-0-0", "llm-0"), ("llm-01", None), ("llm--1", None), ("llm-x", None)],
)
def test_past_pods_of_stateful_sets(pod_name: str, owner: str | None) -> None:
    known = Membership([target("llm", "StatefulSet"), target("llm-0", "StatefulSet")], [], [])
    assert known.workload_of("chat", pod_name) == (None if owner is None else target(owner, "StatefulSet"))


def test_a_namespace_is_a_border() -> None:
    assert members("llm").workload_of("other", f"llm-{HASH}-{SUFFIX}") is None
    assert members("llm").belongs(target("llm"), "chat", f"llm-{HASH}-{SUFFIX}")
    assert not members("llm").belongs(target("llm"), "other", f"llm-{HASH}-{SUFFIX}")


def test_present_pods_go_by_their_owners() -> None:
    ours = pod(f"llm-{HASH}-{SUFFIX}", SPEC)
    known = members("llm", pods=[ours], sets=[replica_set("llm", HASH)])
    assert known.pods_of(*target("llm")) == [ours]
    assert known.workload_of("chat", f"llm-{HASH}-{SUFFIX}") == target("llm")


def test_a_present_pod_of_someone_else_is_not_ours_whatever_its_name() -> None:
    bare = pod(f"llm-{HASH}-{SUFFIX}", SPEC, owner=("ReplicaSet", f"llm-{HASH}"))
    known = members("llm", pods=[bare])  # the ReplicaSet belongs to no Deployment
    assert known.pods_of(*target("llm")) == []
    assert known.workload_of("chat", f"llm-{HASH}-{SUFFIX}") is None


def test_past_pods_of_a_neighbouring_job_are_not_ours() -> None:
    """`llm-7b` could be a ReplicaSet of `llm`, were it not known as a Job."""
    running = pod(f"llm-7b-{SUFFIX}", SPEC, owner=("Job", "llm-7b"))
    known = members("llm", pods=[running])
    assert known.workload_of("chat", "llm-7b-zzzzz") is None
    assert members("llm").workload_of("chat", "llm-7b-zzzzz") == target("llm")


def test_a_pod_without_an_owner_is_nobodys() -> None:
    alone = pod("llm-0", SPEC)
    alone["metadata"]["ownerReferences"] = []
    assert Membership([target("llm", "StatefulSet")], [], [alone]).workload_of("chat", "llm-0") is None


def cut(name: str) -> str:
    """What the API server makes of `generateName`: 58 characters of the base, five random ones."""
    return f"{name}-{HASH}-"[:58] + SUFFIX


@pytest.mark.parametrize("length", range(40, 64))
def test_names_that_the_api_server_cuts(length: int) -> None:
    name = "m" * length
    assert members(name).workload_of("chat", cut(name)) == target(name)


def test_a_cut_name_that_could_be_two_deployments_is_nobodys() -> None:
    one, other = "m" * 58 + "-a", "m" * 58 + "-b"
    assert cut(one) == cut(other)
    assert members(one, other).workload_of("chat", cut(one)) is None
    assert members(one).workload_of("chat", cut(one)) == target(one)
