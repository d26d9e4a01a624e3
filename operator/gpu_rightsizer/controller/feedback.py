"""What users are told about their InstanceClasses and RightsizingPolicies: the status of each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from gpu_rightsizer.controller.carry_out import Wanted
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.explain.conditions import READY, Frame, condition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from gpu_rightsizer.controller.guides import Guides, Policy
    from gpu_rightsizer.controller.translate import Asked, Declared
    from gpu_rightsizer.domain.hardware import HostShape, InstanceClass
    from gpu_rightsizer.observe.inventory import Inventory

MIB = 1 << 20

Raw = dict[str, Any]  # as the API server sent it


def feedback(
    everyone: Sequence[Asked], guides: Guides, classes: Sequence[Declared], inventory: Inventory, now: datetime
) -> list[Wanted]:
    """One Wanted for each class and policy; nothing is written where it says what stands there already."""
    namespaces = Counter(each.raw["metadata"]["namespace"] for each in everyone)
    told = (_class(each, inventory, now) for each in classes)
    return [*told, *(_policy(each, guides, namespaces, now) for each in guides.policies)]


def _class(declared: Declared, inventory: Inventory, now: datetime) -> Wanted:
    raw, read = declared
    if isinstance(read, str):
        ready = _ready(raw, "False", found(Code.INVALID_SPEC, problems=read), now)
        return _wanted(raw, "InstanceClass", "instanceclasses", ready)
    ready = _ready(raw, "True", found(Code.ACCEPTED), now)
    return _wanted(raw, "InstanceClass", "instanceclasses", ready, _nodes(inventory.named(read.name) or read))


def _nodes(known: InstanceClass) -> dict[str, object]:
    said: dict[str, object] = {"nodes": known.nodes, "provisionable": known.provisionable.value}
    return said | ({"allocatable": _quantities(known.allocatable)} if known.allocatable else {})


def _quantities(host: HostShape) -> dict[str, str]:
    sizes = {"memory": host.memory, "ephemeral-storage": host.ephemeral_storage}
    return {"cpu": f"{host.cpu}m"} | {name: f"{size // MIB}Mi" for name, size in sizes.items() if size is not None}


def _policy(policy: Policy, guides: Guides, namespaces: Mapping[str, int], now: datetime) -> Wanted:
    chosen = {each: guides.selects(policy, each) for each in namespaces}
    told = {} if None in chosen.values() else {"deployments": sum(namespaces[each] for each in chosen if chosen[each])}
    if policy.spec is None:
        state = "False", found(Code.INVALID_SPEC, problems=policy.problems)
    elif not told:
        state = "Unknown", found(Code.RULES_UNREAD, problems=guides.unlabelled)
    else:
        state = "True", found(Code.ACCEPTED, **told)
    ready = _ready(policy.raw, *state, now)
    return _wanted(policy.raw, "RightsizingPolicy", "rightsizingpolicies", ready, told)


def _ready(raw: Raw, status: str, finding: Finding, now: datetime) -> dict[str, object]:
    stored = raw.get("status")
    before = stored.get("conditions") if isinstance(stored, dict) else None
    previous = [each for each in before if isinstance(each, dict)] if isinstance(before, list) else []
    return condition(READY, status, finding, Frame(raw["metadata"].get("generation", 0), now, previous))


def _wanted(
    raw: Raw, kind: str, plural: str, ready: dict[str, object], told: Mapping[str, object] | None = None
) -> Wanted:
    status = {"observedGeneration": raw["metadata"].get("generation", 0), **(told or {}), "conditions": [ready]}
    return Wanted(raw, status, kind=kind, plural=plural)
