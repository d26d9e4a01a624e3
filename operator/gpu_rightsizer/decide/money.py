"""What a move saves, counted only for nodes that would really leave."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.decision import Cost, Realisation

if TYPE_CHECKING:
    from gpu_rightsizer.domain.decision import Candidate
    from gpu_rightsizer.domain.workload import NodeShare, Workload

LEAST_SHARE: Final = Decimal("0.10")  # a saving below 10 % is noise: prices and sizes are not surer than that
LEAST_HOURLY: Final = Decimal("0.01")  # USD; below it a review costs more than a month of saving
_NOTHING: Final = Decimal(0)


def realisation(workload: Workload) -> Realisation:
    """Whether the nodes of our replicas leave once those are gone; with no node known, unknown."""
    if not workload.nodes:
        return Realisation.UNKNOWN
    return Realisation.NODE_STAYS if any(node.others for node in workload.nodes) else Realisation.NODE_LEAVES


def attributed_hourly(workload: Workload, current: Candidate) -> Decimal | None:
    """USD/h that are ours now: a node whole where we are alone, our share of its accelerators where we are not."""
    if current.hourly is None:
        return None
    if not workload.nodes:
        return current.hourly
    each = current.hourly / len(workload.nodes)
    return sum((each * _our_share(node) for node in workload.nodes), _NOTHING)


def potential_hourly(workload: Workload, current: Candidate | None, target: Candidate) -> Decimal | None:
    """USD/h saved once every node we stand on has left; negative where the target is dearer, None without prices."""
    if current is None or target.hourly is None:
        return None
    ours = attributed_hourly(workload, current)
    return None if ours is None else ours - target.hourly


def is_worth_moving_for(workload: Workload, current: Candidate, target: Candidate) -> bool:
    """The hysteresis: at least 10 % and one cent an hour."""
    saved, ours = potential_hourly(workload, current, target), attributed_hourly(workload, current)
    return saved is not None and ours is not None and saved >= LEAST_HOURLY and saved >= LEAST_SHARE * ours


def cost(workload: Workload, current: Candidate | None, target: Candidate | None) -> Cost:
    """What is ours of the cost now, and what it would be there. Without a target nothing is claimed."""
    now = attributed_hourly(workload, current) if current else None
    if target is None:
        return Cost(now, None, None, realisation(workload))
    return Cost(now, target.hourly, _saved_hourly(workload, current, target), realisation(workload))


def _saved_hourly(workload: Workload, current: Candidate | None, target: Candidate) -> Decimal | None:
    potential = potential_hourly(workload, current, target)
    if current is None or current.hourly is None or target.hourly is None or potential is None:
        return None
    match realisation(workload):
        case Realisation.NODE_LEAVES:
            return current.hourly - target.hourly
        case Realisation.NODE_STAYS:
            return _saved_beside_others(workload, current.hourly, target.hourly, potential)
        case Realisation.UNKNOWN:
            return potential if potential <= _NOTHING else None


def _saved_beside_others(workload: Workload, current: Decimal, target: Decimal, potential: Decimal) -> Decimal:
    """Only nodes that we have to ourselves leave. A saving that waits for others is not counted; an extra cost is."""
    if potential <= _NOTHING:
        return potential
    leaving = sum(1 for node in workload.nodes if not node.others)
    return max(_NOTHING, current * leaving / len(workload.nodes) - target)


def _our_share(node: NodeShare) -> Decimal:
    if not node.others or not node.accelerators:
        return Decimal(1)
    return min(Decimal(1), Decimal(node.ours) / node.accelerators)
