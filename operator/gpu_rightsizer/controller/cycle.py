"""One cycle, top to bottom: look, ask, evaluate, explain, write."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from gpu_rightsizer.controller.carry_out import Written, carry_out
from gpu_rightsizer.controller.collector import paused_collector
from gpu_rightsizer.controller.feedback import feedback
from gpu_rightsizer.controller.guides import Guides
from gpu_rightsizer.controller.laps import Laps
from gpu_rightsizer.controller.look import look
from gpu_rightsizer.controller.render import render
from gpu_rightsizer.controller.sight import ClocksApart
from gpu_rightsizer.controller.translate import Hold, asked, declared, fault, is_off, usable, view
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.world import World
from gpu_rightsizer.estimate import recalibrate
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.explain.samples import Cycle as CycleFigures
from gpu_rightsizer.explain.samples import cycle_samples, deployment_samples, reliability_samples
from gpu_rightsizer.observe.fleet import membership_of, read_workloads
from gpu_rightsizer.observe.inventory import build_inventory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import date, datetime

    from gpu_rightsizer.catalogue.lookup import Catalogue
    from gpu_rightsizer.controller.carry_out import Wanted
    from gpu_rightsizer.controller.look import Lists
    from gpu_rightsizer.controller.settings import Settings
    from gpu_rightsizer.controller.sight import Sight
    from gpu_rightsizer.controller.translate import Asked, Declared
    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.need import Group, Recalibration
    from gpu_rightsizer.domain.workload import Workload, WorkloadKey
    from gpu_rightsizer.domain.world import Evaluation
    from gpu_rightsizer.explain.samples import Sample
    from gpu_rightsizer.observe.fleet import Request
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
    guides: Guides
    classes: list[Declared]
    inventory: Inventory
    holds: dict[str, Hold]  # by uid: what could not be read, through a fault of ours


@dataclass(slots=True)
class Cycle:
    """Runs cycles; keeps between them only what Prometheus said, and counters."""

    cluster: Cluster
    sight: Sight
    clock: Clock
    catalogue: Catalogue
    settings: Settings
    leads: Callable[[], bool]  # asked again before each write
    samples: Sequence[Sample] = ()
    _cycles: int = 0
    _seconds: float = 0.0
    _errors: dict[str, int] = field(default_factory=dict)
    _absent: tuple[str, ...] = ()
    _compared: tuple[date, dict[Group, Recalibration]] | None = None  # what a day's fleet said of stated risks
    _laps: Laps = field(init=False)

    def __post_init__(self) -> None:
        self._laps = Laps(self.clock)

    async def run(self) -> None:
        """One whole cycle. Raises Unavailable or Rejected when the cluster cannot be read."""
        began = self.clock.monotonic()
        now = self.clock.now()
        self._laps.begin()
        fleet = await self._look(now)
        self._laps.end("read")
        worlds, held = await self._see(fleet, now)
        with paused_collector():
            evaluations, wanted = await asyncio.to_thread(self._judge, fleet, worlds, held, now)
        self._laps.end("explain")
        written = await carry_out(self.cluster, wanted, leads=self.leads, at_once=self.settings.concurrent_writes)
        self._laps.end("write")
        self._account(evaluations, written, self.clock.monotonic() - began)

    async def _look(self, now: datetime) -> _Fleet:
        """The lists are let go as soon as they are read."""
        with paused_collector():
            lists = await look(self.cluster, self.settings.namespaces)
            self._say_absent(lists)
            self._laps.end("list")
            return await asyncio.to_thread(_read, lists, self.catalogue, now)

    def _say_absent(self, lists: Lists) -> None:
        """A namespace that was asked for and is not there: nothing would ever be seen of it."""
        there = {each["metadata"]["name"] for each in lists["namespaces"]}
        known = "namespaces" not in lists.forbidden
        absent = tuple(each for each in self.settings.namespaces if known and each not in there)
        if absent and absent != self._absent:
            log.warning("--namespace: there is no namespace %s; nothing is looked at there", ", ".join(absent))
        self._absent = absent

    async def _see(self, fleet: _Fleet, now: datetime) -> tuple[list[World], dict[str, Hold]]:
        self.sight.begin()
        try:
            if fleet.workloads:
                await self.sight.compare_clocks(self.clock)
        except ClocksApart as error:
            hold = Hold(Code.CLOCKS_DISAGREE, str(error))
            return [], {each.key.uid: hold for each in fleet.workloads}
        observations = await self.sight.see(fleet.workloads, fleet.membership, now, self._laps)
        return [World(*pair) for pair in zip(fleet.workloads, observations, strict=True)], {}

    @paused_collector()
    def _judge(
        self, fleet: _Fleet, worlds: Sequence[World], held: Mapping[str, Hold], now: datetime
    ) -> tuple[list[Evaluation], list[Wanted]]:
        evaluations, faults = _evaluated(worlds, fleet.inventory.classes, now, self._recalibrations(worlds, now))
        self._laps.end("evaluate")
        faults |= fleet.holds
        if faults:
            self._errors["Evaluation"] = self._errors.get("Evaluation", 0) + len(faults)
        by_uid = {each.world.workload.key.uid: each for each in evaluations}
        wanted = render(fleet.everyone, by_uid, {**held, **faults}, now, self.settings.identity)
        if not self.settings.namespaces:  # several operators may stand side by side: none may speak for the others
            wanted += feedback(fleet.everyone, fleet.guides, fleet.classes, fleet.inventory, now)
        return evaluations, wanted

    def _recalibrations(self, worlds: Sequence[World], now: datetime) -> Mapping[Group, Recalibration]:
        """Compared once a day: a week's windows say little new before. A fault of ours leaves the model alone."""
        if self._compared is None or self._compared[0] != now.date():
            try:
                self._compared = now.date(), recalibrate(worlds, now)
            except Exception:  # whatever it is: the fleet is still judged, by the model alone and said to be so
                log.exception("the stated risks could not be compared with what happened")
                self._compared = now.date(), {}
        return self._compared[1]

    def _account(self, evaluations: Sequence[Evaluation], written: Written, seconds: float) -> None:
        for kind, count in (*written.failures.items(), *self.sight.failures.items()):
            self._errors[kind] = self._errors.get(kind, 0) + count
        self._cycles += 1
        self._seconds += seconds
        figures = CycleFigures(self._cycles, self._seconds, self.sight.queries, self.sight.samples, self._errors)
        told = self._compared[1] if self._compared else {}
        self.samples = (
            deployment_samples(evaluations) + reliability_samples(told) + cycle_samples(figures, len(evaluations))
        )
        log.info(
            "cycle: %d deployments, %d queries, %.1f s (%s); wrote %d statuses, %d annotations, %d events",
            *(len(evaluations), self.sight.queries, seconds, self._laps),
            *(written.statuses, written.annotations, written.events),
        )


def _evaluated(
    worlds: Sequence[World],
    classes: Sequence[InstanceClass],
    now: datetime,
    recalibrations: Mapping[Group, Recalibration],
) -> tuple[list[Evaluation], dict[str, Hold]]:
    """The fleet's evaluations, and by uid what went wrong with those that our own fault keeps from having one."""
    try:
        return evaluate(worlds, classes, now, recalibrations), {}
    except Exception:  # whatever it is: one workload must not silence the others
        log.exception("the fleet could not be evaluated at once; evaluating one by one")
    return _one_by_one(
        worlds, lambda each: each.workload.key, lambda each: evaluate([each], classes, now, recalibrations)
    )


def _read(lists: Lists, catalogue: Catalogue, now: datetime) -> _Fleet:
    guides, classes = Guides(lists), declared(lists, catalogue)
    inventory = build_inventory(lists["nodes"], lists["pods"], usable(classes), catalogue)
    everyone = asked(lists, guides, [each.name for each in inventory.classes])
    requests = [each.request for each in everyone if each.request is not None and not is_off(each)]
    seen = view(lists, requests)
    membership = membership_of(seen)
    holds: dict[str, Hold] = {}
    try:
        workloads = read_workloads(seen, catalogue, inventory, now, membership=membership)
    except Exception:  # whatever it is: one workload must not silence the others
        log.exception("the fleet could not be read at once; reading one by one")
        workloads, holds = _one_by_one(
            requests,
            lambda each: each.key,
            lambda each: read_workloads(
                replace(seen, requests=_rivals(each, requests)), catalogue, inventory, now, membership=membership
            )[:1],
        )
    membership.forget_objects()
    return _Fleet(everyone, workloads, membership, guides, classes, inventory, holds)


def _rivals(request: Request, everyone: Iterable[Request]) -> list[Request]:
    """The request, then the others that claim the same target: of such none is followed."""

    def target(each: Request) -> tuple[str, str, str]:
        return each.key.namespace, each.target.kind, each.target.name

    return [request, *(each for each in everyone if each is not request and target(each) == target(request))]


def _one_by_one(
    items: Iterable[T], key_of: Callable[[T], WorkloadKey], work: Callable[[T], list[R]]
) -> tuple[list[R], dict[str, Hold]]:
    """The results of those that can be worked on alone, and by uid what went wrong with the others."""
    results: list[R] = []
    faults: dict[str, Hold] = {}
    for item in items:
        try:
            results += work(item)
        except Exception as error:
            key = key_of(item)
            log.exception("%s/%s failed", key.namespace, key.name)
            faults[key.uid] = fault(error)
    return results, faults
