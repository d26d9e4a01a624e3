"""Capacity that is owned or reserved: there is only so much of it, and the fleet has to share it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.hardware import Commitment
from gpu_rightsizer.domain.readings import Missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gpu_rightsizer.domain.decision import Configuration
    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.workload import Workload

_FINITE: Final = frozenset({Commitment.OWNED, Commitment.RESERVED})


@dataclass(frozen=True, slots=True)
class Pool:
    """The accelerators of one class: how many its nodes have, and how many of them others than the fleet hold.

    Counted in accelerators, not nodes: replicas take 1, 2, 4 or 8 of them, which pack a node without waste.
    """

    instance_class: str
    commitment: Commitment
    accelerators: int
    others: int

    @property
    def free(self) -> int:
        """For the fleet."""
        return self.accelerators - self.others


@dataclass(frozen=True, slots=True)
class Claim:
    """Accelerators that a deployment takes of a class."""

    instance_class: str
    accelerators: int


def pools(classes: Iterable[InstanceClass], workloads: Iterable[Workload]) -> dict[str, Pool]:
    """Those of which nodes exist: where none does, how many there are is unknown, and nothing is limited."""
    ours: Counter[str] = Counter()
    for workload in workloads:
        claim = present(workload)
        if claim is not None:
            ours[claim.instance_class] += claim.accelerators
    found = {}
    for each in classes:
        if each.price is None or each.price.commitment not in _FINITE or not each.nodes:
            continue
        held = ours[each.name]
        total = max(each.nodes * each.accelerators, held)
        others = min(max(0, each.held - held), total - held)
        found[each.name] = Pool(each.name, each.price.commitment, total, others)
    return found


def present(workload: Workload) -> Claim | None:
    """What a deployment holds now; None where its class is unknown."""
    if isinstance(workload.placement, Missing):
        return None
    name = workload.placement.name
    on_nodes = sum(node.ours for node in workload.nodes if node.instance_class == name)
    return Claim(name, on_nodes or workload.replicas * max(workload.pod.accelerators, 1))


def claimed(where: Configuration) -> Claim:
    """What a configuration would hold."""
    return Claim(where.instance.name, where.replicas * where.accelerators)


def overdrawn(limits: Mapping[str, Pool], claims: Sequence[Claim | None]) -> frozenset[str]:
    """Pools of which the fleet would take more than there is."""
    asked: Counter[str] = Counter()
    for claim in claims:
        if claim is not None:
            asked[claim.instance_class] += claim.accelerators
    return frozenset(name for name, pool in limits.items() if asked[name] > pool.free)
