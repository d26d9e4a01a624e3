"""Write what changed: status, annotations, Events; an object whose facts are unchanged gets nothing."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpu_rightsizer.ports import Conflict, Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpu_rightsizer.ports import Cluster

log = logging.getLogger(__name__)

PREFIX = "gpu-rightsizer.dev/"
OURS = frozenset({f"{PREFIX}summary", f"{PREFIX}recommendation", f"{PREFIX}recommendation-id"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object as it was listed, and what should stand on it."""

    raw: Mapping[str, Any]
    status: Mapping[str, object]
    annotations: Mapping[str, str]
    events: tuple[Mapping[str, object], ...] = ()


@dataclass(slots=True)
class Written:
    """How many writes a cycle made, and what failed (kind of failure -> how often)."""

    statuses: int = 0
    annotations: int = 0
    events: int = 0
    failures: dict[str, int] = field(default_factory=dict)

    def failed(self, error: Exception) -> None:
        """Count one failure."""
        kind = type(error).__name__
        self.failures[kind] = self.failures.get(kind, 0) + 1


async def carry_out(cluster: Cluster, wanted: Iterable[Wanted], *, at_once: int) -> Written:
    """Write every difference. One object's failure is logged and counted, and leaves the others alone."""
    written = Written()
    gate = asyncio.Semaphore(at_once)

    async def one(each: Wanted) -> None:
        async with gate:
            try:
                await _write(cluster, each, written)
            except Conflict as error:  # it changed since the list: the next cycle sees it as it is then
                written.failed(error)
            except (Unavailable, Rejected) as error:
                written.failed(error)
                meta = each.raw["metadata"]
                log.warning("could not write %s/%s: %s", meta["namespace"], meta["name"], error)

    await asyncio.gather(*(one(each) for each in wanted))
    return written


async def _write(cluster: Cluster, each: Wanted, written: Written) -> None:
    meta = each.raw["metadata"]
    if each.status != (each.raw.get("status") or {}):
        await cluster.apply_status(meta["namespace"], meta["name"], meta["resourceVersion"], each.status)
        written.statuses += 1
    present = meta.get("annotations") or {}
    if {key: value for key, value in present.items() if key in OURS} != dict(each.annotations):
        await cluster.apply_annotations(meta["namespace"], meta["name"], meta["uid"], each.annotations)
        written.annotations += 1
    for event in each.events:
        await cluster.post_event(event)
        written.events += 1
