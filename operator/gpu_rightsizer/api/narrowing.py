"""How policies narrow a placement: which namespaces they select, and what is left once all limits hold together."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, TypeVar

from gpu_rightsizer.api.policy import LabelSelector, RightsizingPolicySpec, SelectorOperator, SelectorRequirement
from gpu_rightsizer.domain.hardware import Commitment
from gpu_rightsizer.domain.workload import PlacementRules

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gpu_rightsizer.api.objective import Placement, ReplicaBounds

S = TypeVar("S")

# Spot can be taken away at short notice, so it is proposed only when listed.
CAPACITY_TYPES: Final = (Commitment.ON_DEMAND, Commitment.RESERVED, Commitment.OWNED)
NO_CLASS: Final = ()  # an `include` of nothing allows nothing; the field itself cannot say that


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a namespace with these labels is meant; an empty selector means every namespace."""
    exact = all(labels.get(key) == value for key, value in selector.match_labels.items())
    return exact and all(_holds(requirement, labels) for requirement in selector.match_expressions)


def _holds(requirement: SelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case SelectorOperator.IN:
            return value in requirement.values
        case SelectorOperator.NOT_IN:
            return value not in requirement.values
        case SelectorOperator.EXISTS:
            return value is not None
        case SelectorOperator.DOES_NOT_EXIST:
            return value is None


def placement_rules(
    own: Placement | None, policies: Sequence[RightsizingPolicySpec], class_names: Iterable[str]
) -> PlacementRules:
    """The deployment's placement, its gaps filled from the policies' defaults, narrowed by the policies' limits."""
    sources = [policy.defaults.placement for policy in policies if policy.defaults and policy.defaults.placement]
    globs = _first(own.instance_classes if own else None, [each.instance_classes for each in sources])
    limits = [*globs, *(policy.instance_classes for policy in policies if policy.instance_classes)]
    include = _included([limit.include for limit in limits if limit.include], class_names)
    stated = _first(own.regions if own else None, [each.regions for each in sources])
    regions = [*stated, *(policy.regions for policy in policies if policy.regions)]
    allowed = _common(regions)
    capacity = _first(own.capacity_types if own else None, [each.capacity_types for each in sources])
    types = _common(capacity) if capacity else CAPACITY_TYPES
    conflict = _conflict(include=include, regions=not regions or bool(allowed), capacity=types)
    least, most = _bounds(_first(own.replicas if own else None, [each.replicas for each in sources]))
    return PlacementRules(
        include=NO_CLASS if conflict else include,
        exclude=tuple(sorted({glob for limit in limits for glob in limit.exclude})),
        regions=allowed,
        capacity_types=types,
        min_replicas=least,
        max_replicas=most,
        conflict=conflict,
    )


def _conflict(*, include: Sequence[str], regions: bool, capacity: Sequence[Commitment]) -> str:
    """The field on which the limits that hold together agree in nothing."""
    fields = (("regions", regions), ("capacityTypes", capacity), ("instanceClasses.include", include))
    return next((field for field, left in fields if not left), "")


def _first(own: S | None, defaults: Sequence[S | None]) -> list[S]:
    """The deployment's own value alone, else all the defaults that are given: those hold together."""
    return [own] if own is not None else [each for each in defaults if each is not None]


def _included(lists: Sequence[Sequence[str]], class_names: Iterable[str]) -> tuple[str, ...]:
    """Globs that say what all the lists allow together; where there are several, the names that match each of them."""
    if not lists:
        return ("*",)
    if len(lists) == 1:
        return tuple(lists[0])
    return tuple(
        sorted(
            name for name in set(class_names) if all(any(fnmatchcase(name, glob) for glob in globs) for globs in lists)
        )
    )


def _common(lists: Sequence[Sequence[S]]) -> tuple[S, ...]:
    """What stands in every list, in the order of the first; of no list, nothing."""
    if not lists:
        return ()
    return tuple(item for item in lists[0] if all(item in other for other in lists[1:]))


def _bounds(given: Sequence[ReplicaBounds]) -> tuple[int | None, int | None]:
    """The narrowest bounds; where defaults contradict each other, the lower bound is kept."""
    least = max((bounds.min for bounds in given if bounds.min is not None), default=None)
    most = min((bounds.max for bounds in given if bounds.max is not None), default=None)
    if least is not None and most is not None and most < least:
        most = least
    return least, most
