"""Write what changed: status, annotations, Events; an object whose facts are unchanged gets nothing."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpu_rightsizer.ports import Conflict, Rejected, Unavailable, Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gpu_rightsizer.ports import Cluster

log = logging.getLogger(__name__)

PREFIX = "gpu-rightsizer.dev/"
OURS = frozenset({f"{PREFIX}summary", f"{PREFIX}recommendation", f"{PREFIX}recommendation-id"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object as it was listed, and what should stand on it."""

    raw: Mapping[str, Any]
    status: Mapping[str, object]
    annotations: Mapping[str, str] = field(default_factory=dict)
    events: tuple[Mapping[str, object], ...] = ()
    kind: str = "InferenceDeployment"
    plural: str = "inferencedeployments"

    def version(self) -> Version:
        """What a write has to find unchanged."""
        meta = self.raw["metadata"]
        return Version(
            self.kind, self.plural, meta["name"], meta["uid"], meta["resourceVersion"], meta.get("namespace", "")
        )


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


class NotLeading(Exception):
    """The Lease was lost since the cycle began: what was decided is another's to write."""


async def carry_out(cluster: Cluster, wanted: Iterable[Wanted], *, leads: Callable[[], bool], at_once: int) -> Written:
    """Write every difference while `leads`. One object's failure is logged and counted, and leaves the others alone."""
    written = Written()
    gate = asyncio.Semaphore(at_once)

    async def one(each: Wanted) -> None:
        async with gate:
            try:
                await _write(cluster, each, leads, written)
            except NotLeading as error:
                written.failed(error)
            except Conflict as error:  # it changed since the list: the next cycle sees it as it is then
                written.failed(error)
            except (Unavailable, Rejected) as error:
                written.failed(error)
                log.warning("could not write %s %s/%s: %s", each.kind, *_place(each), error)

    await asyncio.gather(*(one(each) for each in wanted))
    if NotLeading.__name__ in written.failures:
        log.warning("the Lease was lost during the cycle: %d objects not written", written.failures["NotLeading"])
    return written


def _place(each: Wanted) -> tuple[str, str]:
    seen = each.version()
    return seen.namespace, seen.name


async def _write(cluster: Cluster, each: Wanted, leads: Callable[[], bool], written: Written) -> None:
    """The Lease elects, the version fences: after a status of somebody else's no write of ours can follow."""
    seen = each.version()
    if each.status != (each.raw.get("status") or {}):
        _still(leads)
        seen = await cluster.apply_status(seen, each.status)
        written.statuses += 1
    present = each.raw["metadata"].get("annotations") or {}
    if {key: value for key, value in present.items() if key in OURS} != dict(each.annotations):
        _still(leads)
        await cluster.apply_annotations(seen, each.annotations)
        written.annotations += 1
    for event in each.events:
        _still(leads)
        await cluster.post_event(event)
        written.events += 1


def _still(leads: Callable[[], bool]) -> None:
    if not leads():
        raise NotLeading
