"""What replicas cost on a class: whole nodes at its price, with what invoices add."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.workload import Workload


def hourly(instance: InstanceClass, nodes: int) -> Decimal | None:
    """USD/h of so many nodes; None without a price."""
    price = instance.price
    if price is None:
        return None
    return Decimal(price.hourly) * (1 + (price.overhead or Decimal(0))) * nodes


def nodes_for(replicas: int, per_node: int) -> int:
    """Whole nodes."""
    return -(-replicas // max(per_node, 1))


def nodes_now(workload: Workload, per_node: int) -> int:
    """The nodes our replicas stand on, where known; else as many as they would need.

    A node that others share counts whole here: what of it is ours, and whether it would leave, is decided later.
    """
    return len(workload.nodes) or nodes_for(workload.replicas, per_node)
