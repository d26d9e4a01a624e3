"""One cycle, top to bottom: look, ask, evaluate, explain, write."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from gpu_rightsizer.controller.carry_out import Written, carry_out
from gpu_rightsizer.controller.look import look
from gpu_rightsizer.controller.render import render
from gpu_rightsizer.controller.translate import asked, declared, is_off, view
from gpu_rightsizer.domain.world import World
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.explain.samples import Cycle as CycleFigures
from gpu_rightsizer.explain.samples import cycle_samples, deployment_samples
from gpu_rightsizer.observe.fleet import membership_of, read_workloads
from gpu_rightsizer.observe.inventory import build_inventory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from gpu_rightsizer.catalogue.lookup import Catalogue
    from gpu_rightsizer.controller.carry_out import Wanted
    from gpu_rightsizer.controller.look import Lists
    from gpu_rightsizer.controller.settings import Settings
    from gpu_rightsizer.controller.sight import Sight
    from gpu_rightsizer.controller.translate import Asked
    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.workload import Workload, WorkloadKey
    from gpu_rightsizer.domain.world import Evaluation
    from gpu_rightsizer.explain.samples import Sample
    from gpu_rightsizer.observe.inventory import Inventory
    from gpu_rightsizer.observe.membership import Membership
    from gpu_rightsizer.ports import Clock, Cluster

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, eq=False)
class _Fleet:
    """What one look at the cluster says, read but not yet measured."""

    everyone: list[Asked]
    workloads: list[Workload]
    membership: Membership
    inventory: Inventory
    faults: dict[str, str]  # by uid: what could not be read, through a fault of ours


@dataclass(slots=True)
class Cycle:
    """Runs cycles; keeps between them only what Prometheus said, and counters."""

    cluster: Cluster
    sight: Sight
    clock: Clock
    catalogue: Catalogue
    settings: Settings
    samples: Sequence[Sample] = ()
    _cycles: int = 0
    _seconds: float = 0.0
    _errors: dict[str, int] = field(default_factory=dict)

    async def run(self) -> None:
        """One whole cycle. Raises Unavailable or Rejected when the cluster cannot be read."""
        began = self.clock.monotonic()
        now = self.clock.now()
        lists = await look(self.cluster, self.settings.namespaces)
        fleet = await asyncio.to_thread(_read, lists, self.catalogue, now)
        observations = await self.sight.see(fleet.workloads, fleet.membership, now)
        worlds = [World(*pair) for pair in zip(fleet.workloads, observations, strict=True)]
        evaluations, wanted = await asyncio.to_thread(self._judge, fleet, worlds, now)
        written = await carry_out(self.cluster, wanted, at_once=self.settings.concurrent_writes)
        self._account(evaluations, written, self.clock.monotonic() - began)

    def _judge(self, fleet: _Fleet, worlds: Sequence[World], now: datetime) -> tuple[list[Evaluation], list[Wanted]]:
        evaluations, faults = _evaluated(worlds, fleet.inventory.classes, now)
        faults |= fleet.faults
        if faults:
            self._errors["Evaluation"] = self._errors.get("Evaluation", 0) + len(faults)
        by_uid = {each.world.workload.key.uid: each for each in evaluations}
        return evaluations, render(fleet.everyone, by_uid, faults, now, self.settings.identity)

    def _account(self, evaluations: Sequence[Evaluation], written: Written, seconds: float) -> None:
        for kind, count in (*written.failures.items(), *self.sight.failures.items()):
            self._errors[kind] = self._errors.get(kind, 0) + count
        self._cycles += 1
        self._seconds += seconds
        figures = CycleFigures(self._cycles, self._seconds, self.sight.queries, self.sight.samples, self._errors)
        self.samples = deployment_samples(evaluations) + cycle_samples(figures, len(evaluations))
        log.info(
            "cycle: %d deployments, %d queries, %.1f s; wrote %d statuses, %d annotations, %d events",
            *(len(evaluations), self.sight.queries, seconds, written.statuses, written.annotations, written.events),
        )


def _evaluated(
    worlds: Sequence[World], classes: Sequence[InstanceClass], now: datetime
) -> tuple[list[Evaluation], dict[str, str]]:
    """The fleet's evaluations, and by uid what went wrong with those that our own fault keeps from having one."""
    try:
        return evaluate(worlds, classes, now), {}
    except Exception:  # whatever it is: one workload must not silence the others
        log.exception("the fleet could not be evaluated at once; evaluating one by one")
    return _one_by_one(worlds, lambda each: each.workload.key, lambda each: evaluate([each], classes, now))


def _read(lists: Lists, catalogue: Catalogue, now: datetime) -> _Fleet:
    inventory = build_inventory(lists["nodes"], lists["pods"], declared(lists, catalogue), catalogue)
    everyone = asked(lists, [each.name for each in inventory.classes])
    requests = [each.request for each in everyone if each.request is not None and not is_off(each)]
    seen = view(lists, requests)
    membership = membership_of(seen)
    faults: dict[str, str] = {}
    try:
        workloads = read_workloads(seen, catalogue, inventory, now, membership=membership)
    except Exception:  # whatever it is: one workload must not silence the others
        log.exception("the fleet could not be read at once; reading one by one")
        workloads, faults = _one_by_one(
            requests,
            lambda each: each.key,
            lambda each: read_workloads(
                replace(seen, requests=[each]), catalogue, inventory, now, membership=membership
            ),
        )
    return _Fleet(everyone, workloads, membership, inventory, faults)


def _one_by_one(
    items: Iterable[T], key_of: Callable[[T], WorkloadKey], work: Callable[[T], list[R]]
) -> tuple[list[R], dict[str, str]]:
    """The results of those that can be worked on alone, and by uid what went wrong with the others."""
    results: list[R] = []
    faults: dict[str, str] = {}
    for item in items:
        try:
            results += work(item)
        except Exception as error:
            key = key_of(item)
            log.exception("%s/%s failed", key.namespace, key.name)
            faults[key.uid] = f"{type(error).__name__}: {error}"[:200]
    return results, faults
