"""Rules that cannot be read, or of which it cannot be told whether they hold, hold everything they might mean."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_rightsizer.controller.guides import Guides
from gpu_rightsizer.controller.look import LISTS, Lists
from gpu_rightsizer.controller.translate import Asked, Hold, asked
from gpu_rightsizer.domain.finding import Code

BAD_REGIONS = {"regions": "eu-central-1"}
SAID = "RightsizingPolicy guard cannot be read: `spec.regions` must be a list; fix it"
BY_TEAM = {"matchLabels": {"team": "chat"}}


def policy(spec: object) -> dict[str, Any]:
    return {"metadata": {"name": "guard", "uid": "uid-guard", "generation": 1, "resourceVersion": "1"}, "spec": spec}


def deployment(mode: str = "Recommend") -> dict[str, Any]:
    meta = {"name": "llm", "namespace": "chat", "uid": "u", "generation": 1, "resourceVersion": "1"}
    return {"metadata": meta, "spec": {"targetRef": {"name": "llm"}, "mode": mode}}


def under(
    spec: object, labels: dict[str, str] | None = None, *, forbidden: bool = False, mode: str = "Recommend"
) -> Asked:
    """The deployment in `chat`, under one policy; without labels the namespace is not in the list."""
    lists = Lists({name: [] for name in LISTS}, frozenset({"namespaces"} if forbidden else ()))
    lists.objects["policies"] = [policy(spec)]
    lists.objects["inference_deployments"] = [deployment(mode)]
    if labels is not None:
        labels = {"kubernetes.io/metadata.name": "chat", **labels}
        lists.objects["namespaces"] = [{"metadata": {"name": "chat", "labels": labels}}]
    (only,) = asked(lists, Guides(lists), [])
    return only


def test_a_policy_that_cannot_be_read_holds_what_it_selects() -> None:
    held = under({**BAD_REGIONS, "namespaceSelector": BY_TEAM}, {"team": "chat"})

    assert held.request is None
    assert held.hold == Hold(Code.RULES_UNREAD, SAID)


def test_it_holds_nobody_whom_it_surely_does_not_select() -> None:
    assert under({**BAD_REGIONS, "namespaceSelector": BY_TEAM}, {"team": "search"}).hold is None


@pytest.mark.parametrize(
    "selector", [{"matchLabels": ["team"]}, {"matchExpressions": [{"key": "team", "operator": "Is"}]}, "team", None]
)
def test_one_whose_selector_cannot_be_read_holds_all(selector: object) -> None:
    held = under({"namespaceSelector": selector}, {"team": "search"})

    assert held.hold is not None
    assert held.hold.code is Code.RULES_UNREAD
    assert "RightsizingPolicy guard cannot be read: `spec.namespaceSelector" in held.hold.problems


@pytest.mark.parametrize("spec", [None, "x", []])
def test_one_without_a_readable_spec_holds_all(spec: object) -> None:
    held = under(spec, {})

    assert held.hold is not None
    assert held.hold.problems.startswith("RightsizingPolicy guard cannot be read: `spec`")


def test_who_is_off_stays_off() -> None:
    off = under(BAD_REGIONS, {}, mode="Off")

    assert off.hold is None
    assert off.request is not None


def test_who_cannot_be_read_itself_is_told_that_first() -> None:
    held = under(BAD_REGIONS, {}, mode="Nonsense")

    assert held.hold is not None
    assert held.hold.code is Code.INVALID_SPEC


def test_without_the_namespaces_a_policy_that_selects_by_labels_holds_all_and_names_the_permission() -> None:
    held = under({"namespaceSelector": BY_TEAM}, forbidden=True)

    assert held.hold == Hold(
        Code.RULES_UNREAD,
        "RightsizingPolicy guard selects by the namespace's labels, and the operator may not list namespaces; "
        "grant its ClusterRole `list` on `namespaces`",
    )


def test_a_namespace_that_is_not_listed_yet_is_not_one_without_labels() -> None:
    held = under({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}})

    assert held.hold is not None
    assert held.hold.problems.endswith("and they are not known yet")


@pytest.mark.parametrize(
    ("selector", "off"),
    [
        ({}, True),
        ({"matchLabels": {"kubernetes.io/metadata.name": "chat"}}, True),
        ({"matchLabels": {"kubernetes.io/metadata.name": "search"}}, False),
        ({"matchLabels": {"kubernetes.io/metadata.name": "search", "team": "chat"}}, False),
    ],
)
def test_what_can_be_told_without_labels_is_told(selector: dict[str, Any], off: bool) -> None:
    found = under({"namespaceSelector": selector, "maxMode": "Off"}, forbidden=True)

    assert found.hold is None
    assert found.request is not None
    assert (found.request.mode.value == "Off") is off
