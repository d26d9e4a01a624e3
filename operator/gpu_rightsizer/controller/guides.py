"""Which RightsizingPolicies hold in a namespace; where that or their content cannot be told, it says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpu_rightsizer.api.narrowing import selects
from gpu_rightsizer.api.policy import LabelSelector
from gpu_rightsizer.api.read import InvalidSpec, read_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpu_rightsizer.api.policy import RightsizingPolicySpec
    from gpu_rightsizer.controller.look import Lists

Raw = dict[str, Any]  # as the API server sent it

# What reading an object can raise that was stored before the schema forbade it; InvalidSpec is a ValueError.
UNREADABLE = (ValueError, ArithmeticError, TypeError, AttributeError)
NAME_LABEL = "kubernetes.io/metadata.name"  # the API server puts it on every namespace
NO_LABELS = "the operator may not list namespaces; grant its ClusterRole `list` on `namespaces`"


@dataclass(frozen=True, slots=True)
class Policy:
    """A RightsizingPolicy; without `spec` it cannot be read, and its selector may mean more than was written."""

    raw: Raw
    selector: LabelSelector
    spec: RightsizingPolicySpec | None
    problems: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.raw["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Guidance:
    """What holds in one namespace: names and specs, and what about it is unknown (empty: nothing)."""

    holding: tuple[tuple[str, RightsizingPolicySpec], ...]
    unknown: str = ""


class Guides:
    """The policies of one look, and the labels of the namespaces they select by."""

    def __init__(self, lists: Lists) -> None:
        self.policies = tuple(_policy(raw) for raw in lists["policies"])
        self._labels: Mapping[str, Mapping[str, str]] = {
            each["metadata"]["name"]: each["metadata"].get("labels") or {} for each in lists["namespaces"]
        }
        self._forbidden = "namespaces" in lists.forbidden

    def of(self, namespace: str) -> Guidance:
        """Of the policies that may select it, those that surely do and can be read; the others are unknown."""
        holding: list[tuple[str, RightsizingPolicySpec]] = []
        unknown: list[str] = []
        for each in self.policies:
            selected = self.selects(each, namespace)
            if selected is False:
                continue
            if each.spec is None:
                unknown.append(f"RightsizingPolicy {each.name} cannot be read: {each.problems}; fix it")
            elif selected is None:
                unknown.append(
                    f"RightsizingPolicy {each.name} selects by the namespace's labels, and {self.unlabelled}"
                )
            else:
                holding.append((each.name, each.spec))
        return Guidance(tuple(holding), "; ".join(sorted(unknown)))

    def selects(self, policy: Policy, namespace: str) -> bool | None:
        """Whether the policy selects the namespace; None when its labels would tell, and they are not known."""
        labels = self._labels.get(namespace)
        if labels is not None:
            return selects(policy.selector, labels)
        by_name = _by_name(policy.selector)
        if not selects(by_name, {NAME_LABEL: namespace}):
            return False
        return True if by_name == policy.selector else None

    @property
    def unlabelled(self) -> str:
        """Why a namespace's labels are not known."""
        return NO_LABELS if self._forbidden else "they are not known yet"


def unreadable(error: Exception) -> str:
    """The fields and what they accept; of an error that names none, its kind."""
    return str(error) if isinstance(error, InvalidSpec) else f"{type(error).__name__}: {error}"[:200]


def _policy(raw: Raw) -> Policy:
    try:
        spec = read_policy(raw).object.spec
    except UNREADABLE as error:
        return Policy(raw, _selector(raw), None, unreadable(error))
    return Policy(raw, spec.namespace_selector, spec)


def _selector(raw: Raw) -> LabelSelector:
    """The selector of a policy of which something else cannot be read; every namespace where it is the selector."""
    try:
        return LabelSelector.from_wire(raw["spec"].get("namespaceSelector", {}))
    except (*UNREADABLE, KeyError):
        return LabelSelector()


def _by_name(selector: LabelSelector) -> LabelSelector:
    """Its requirements on the namespace's name, which can be told without its labels."""
    return LabelSelector(
        match_labels={key: value for key, value in selector.match_labels.items() if key == NAME_LABEL},
        match_expressions=tuple(each for each in selector.match_expressions if each.key == NAME_LABEL),
    )
