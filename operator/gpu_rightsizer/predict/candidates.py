"""Every way a workload could run on the classes, what each would do and cost, and what rules each out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gpu_rightsizer.domain.decision import Binding, Candidate, Configuration
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.need import FramebufferMemory, PreallocatedMemory
from gpu_rightsizer.domain.readings import Missing
from gpu_rightsizer.predict.cost import hourly, nodes_for, nodes_now
from gpu_rightsizer.predict.findings import Judge, Judgement
from gpu_rightsizer.predict.host import HostFit, allocatable, host_fit
from gpu_rightsizer.predict.physics import outlook
from gpu_rightsizer.predict.rules import rule_failures
from gpu_rightsizer.predict.shapes import RANKS, Shapes, shapes
from gpu_rightsizer.predict.work import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpu_rightsizer.domain.hardware import HostShape, InstanceClass
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.domain.world import World

_PART = 128  # workloads whose arrays are held at once
_MOST_REPLICAS = 8  # numbers of replicas tried


def predict(
    worlds: Sequence[World], needs: Sequence[Need], classes: Sequence[InstanceClass]
) -> list[tuple[Candidate, ...]]:
    """All candidates of each workload, in the order given; the present configuration is always among them."""
    table = _Table.of(worlds, classes)
    out: list[tuple[Candidate, ...]] = []
    for begin in range(0, len(worlds), _PART):
        part = slice(begin, begin + _PART)
        out.extend(_predict_part(worlds[part], needs[part], table))
    return out


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """What is the same for the whole fleet: classes, shapes, what hosts offer, device memory by class name."""

    classes: tuple[InstanceClass, ...]
    shapes: Shapes
    offered: dict[int, HostShape]
    memory_of: dict[str, float]

    @staticmethod
    def of(worlds: Sequence[World], classes: Sequence[InstanceClass]) -> _Table:
        proposed = tuple(each for each in classes if not each.mig_profile)  # slices of a device come later
        placements = [w.workload.placement for w in worlds]
        present = [p for p in placements if not isinstance(p, Missing)]
        memory = {each.name: float(each.accelerator_memory) for each in (*present, *classes)}
        return _Table(
            proposed,
            shapes(proposed, [w.workload for w in worlds]),
            {id(each): allocatable(each) for each in proposed},
            memory,
        )


def _predict_part(worlds: Sequence[World], needs: Sequence[Need], table: _Table) -> Iterator[tuple[Candidate, ...]]:
    rows = [row for i, world in enumerate(worlds) for row in _rows(i, world.workload)]
    judge = Judge(outlook(rows, worlds, needs, table.shapes, table.memory_of), table.shapes)
    mine: dict[int, list[tuple[int, Row]]] = {}
    for index, row in enumerate(rows):
        mine.setdefault(row.world, []).append((index, row))
    for i, (world, need) in enumerate(zip(worlds, needs, strict=True)):
        yield tuple(_Options(world, need, table, judge, mine[i], _degrees(world, need)).candidates())


def _rows(index: int, workload: Workload) -> Iterator[Row]:
    """One row a number of replicas: as now, and those that may be proposed."""
    for replicas in sorted({max(workload.replicas, 1), *_replica_counts(workload)}):
        yield Row(index, replicas, max(workload.replicas, 1) / replicas)


def _replica_counts(workload: Workload) -> set[int]:
    """What may be proposed: within the bounds, of which the present number stands in for one not given.

    Where somebody else owns the number, or no bound is given, it stays.
    """
    now = max(workload.replicas, 1)
    low, high = workload.rules.min_replicas, workload.rules.max_replicas
    if workload.replicas_owner or (low is None and high is None):
        return {now}
    least = low if low is not None else min(now, high or now)
    most = high if high is not None else max(now, least)
    span = range(least, most + 1)
    step = -(-len(span) // _MOST_REPLICAS)
    return {*span[::step], most, *([now] if now in span else ())}


def _degrees(world: World, need: Need) -> tuple[int, ...]:
    """Degrees of tensor parallelism to try: any where the model is known and split by the engine, else as now."""
    now = world.workload.settings.tensor_parallel
    known = isinstance(need.memory, PreallocatedMemory) and not isinstance(world.workload.model, Missing)
    return tuple(sorted({*RANKS, now})) if known else (now,)


@dataclass(slots=True, eq=False)
class _Options:
    """The candidates of one workload."""

    world: World
    need: Need
    table: _Table
    judge: Judge
    rows: list[tuple[int, Row]]
    degrees: tuple[int, ...]
    judged: dict[tuple[int, int], Judgement] = field(default_factory=dict)

    @property
    def workload(self) -> Workload:
        return self.world.workload

    def candidates(self) -> Iterator[Candidate]:
        """The present configuration first, then every class."""
        present = self._present()
        if present is not None:
            yield present
        for instance in self.table.classes:
            yield from self._on(instance)

    def _present(self) -> Candidate | None:
        placement, workload = self.workload.placement, self.workload
        if isinstance(placement, Missing):
            return None
        ranks = workload.settings.tensor_parallel
        shape = self.table.shapes.of(placement, ranks)
        row = next((index for index, row in self.rows if row.replicas == max(workload.replicas, 1)), None)
        if shape is None or row is None:
            return None
        judgement = self._judgement(row, shape)
        per_node = placement.accelerators // max(workload.pod.accelerators, 1)
        where = Configuration(placement, workload.pod.accelerators, ranks, workload.replicas, {})
        cost = hourly(placement, nodes_now(workload, per_node))
        # It runs there, so that no rule is a failure; where the rules allow nothing else, this tells what they leave.
        forbidden = (each for each in rule_failures(workload, placement) if each.code is Code.NOT_ALLOWED)
        return Candidate(where, cost, judgement.prediction, judgement.failures, (*judgement.notes, *forbidden))

    def _on(self, instance: InstanceClass) -> Iterator[Candidate]:
        """Every tensor-parallel degree and number of replicas on one class."""
        rules, fit = rule_failures(self.workload, instance), self._host(instance)
        for ranks in self.degrees:
            accelerators = self._accelerators(ranks)
            if accelerators > instance.accelerators:
                continue
            shape = self.table.shapes.of(instance, ranks)
            if shape is None:
                continue
            for index, row in self._proposed():
                where = Configuration(instance, accelerators, ranks, row.replicas, {})
                if not self._is_present(where):
                    yield self._candidate(where, self._judgement(index, shape), rules, fit)

    def _proposed(self) -> list[tuple[int, Row]]:
        counts = _replica_counts(self.workload)
        return [(index, row) for index, row in self.rows if row.replicas in counts]

    def _candidate(
        self, where: Configuration, judgement: Judgement, rules: tuple[Finding, ...], fit: HostFit
    ) -> Candidate:
        room = min(where.instance.accelerators // where.accelerators, fit.replicas_per_node)
        cost = hourly(where.instance, nodes_for(where.replicas, room))
        if judgement.engine_args:
            where = replace(where, engine_args=dict(judgement.engine_args))
        prediction = judgement.prediction
        if fit.share > 1.0:
            prediction = replace(prediction, binding=Binding.HOST)
        failures = (*rules, *self._split(where), *judgement.failures, *fit.failures)
        return Candidate(where, cost, prediction, failures, (*judgement.notes, *fit.notes))

    def _judgement(self, row: int, shape: int) -> Judgement:
        at = (row, shape)
        if at not in self.judged:
            self.judged[at] = self.judge.judge(row, shape, self.world, self.need)
        return self.judged[at]

    def _accelerators(self, ranks: int) -> int:
        settings, pod = self.workload.settings, self.workload.pod
        if isinstance(self.need.memory, FramebufferMemory | Missing):
            return max(pod.accelerators, 1)
        return ranks * settings.pipeline_parallel * settings.data_parallel

    def _split(self, where: Configuration) -> tuple[Finding, ...]:
        model, ranks = self.workload.model, where.tensor_parallel
        if isinstance(model, Missing) or ranks == self.workload.settings.tensor_parallel:
            return ()
        if model.allows_tensor_parallel(ranks):
            return ()
        return (found(Code.TENSOR_PARALLEL_IMPOSSIBLE, ranks=ranks, heads=model.heads, kv_heads=model.kv_heads),)

    def _host(self, instance: InstanceClass) -> HostFit:
        """Host fit; the present class takes the pod as it is, which it shows by running it."""
        placement = self.workload.placement
        if not isinstance(placement, Missing) and instance.name == placement.name:
            return HostFit(instance.accelerators)
        return host_fit(self.workload, self.need, instance, self.table.offered[id(instance)])

    def _is_present(self, where: Configuration) -> bool:
        placement = self.workload.placement
        return (
            not isinstance(placement, Missing)
            and where.instance.name == placement.name
            and where.accelerators == self.workload.pod.accelerators
            and where.tensor_parallel == self.workload.settings.tensor_parallel
            and where.replicas == self.workload.replicas
        )
