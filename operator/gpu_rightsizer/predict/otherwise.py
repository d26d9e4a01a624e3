"""The physics again, for one workload with one thing changed: other engine limits, weights, replicas or memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpu_rightsizer.domain.decision import Binding, Candidate
from gpu_rightsizer.domain.need import PreallocatedMemory
from gpu_rightsizer.domain.readings import Measured, Missing
from gpu_rightsizer.domain.units import Bytes
from gpu_rightsizer.domain.world import World
from gpu_rightsizer.estimate.memory import (
    assumed_overhead,
    device_memory,
    pool_tokens,
    rank_kv,
    rank_weights,
    weight_bytes,
)
from gpu_rightsizer.estimate.needs import most_demand
from gpu_rightsizer.estimate.overview import overview
from gpu_rightsizer.predict.cost import hourly, nodes_for, nodes_now
from gpu_rightsizer.predict.findings import Judge, screened
from gpu_rightsizer.predict.memory import RESCALED_ERROR
from gpu_rightsizer.predict.physics import outlook
from gpu_rightsizer.predict.places import split_failures
from gpu_rightsizer.predict.rules import rule_failures
from gpu_rightsizer.predict.work import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_rightsizer.domain.models import ModelArchitecture
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.options import Change
    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.predict.places import Table


@dataclass(frozen=True, slots=True, eq=False)
class Today:
    """One workload as it runs, and what it may run on."""

    world: World
    need: Need
    table: Table

    def otherwise(self, changes: Sequence[Change]) -> list[Candidate | None]:
        """Each change as a candidate; None where its place was never looked at.

        Its speed is still what was measured of it as it runs today.
        """
        worlds, needs, rows, like = [self.world], [self.need], list[Row](), list[int]()
        (seen,) = overview([self.world])
        device = device_memory(seen)
        for change in changes:
            share = max(self.world.workload.replicas, 1) / max(change.where.replicas, 1)
            like += [len(rows), len(rows)]
            rows += [Row(0, change.where.replicas, share), Row(len(worlds), change.where.replicas, share)]
            worlds.append(_changed(self.world, change.workload, device))
            needs.append(_needed(self.world, change, device))
        if not rows:
            return []
        physics = outlook(rows, worlds, needs, self.table.shapes, self.table.memory_of, like=like)
        judge = Judge.of(physics, screened(physics, rows, worlds, needs), self.table.shapes)
        return [
            self._candidate(change, judge, 2 * i + 1, World(worlds[i + 1].workload, self.world.observation))
            for i, change in enumerate(changes)
        ]

    def _candidate(self, change: Change, judge: Judge, row: int, world: World) -> Candidate | None:
        where, workload = change.where, change.workload
        shape = self.table.shapes.of(where.instance, where.tensor_parallel)
        if shape is None:
            return None
        judged = judge.judge((row, shape), world, change.need)
        fit = self.table.host(workload, change.need, where.instance)
        room = where.instance.accelerators // max(where.accelerators, 1)
        stays = _stays(change)
        rules = () if stays else (*rule_failures(workload, where.instance), *split_failures(workload, where))
        nodes = nodes_now(workload, room) if stays else nodes_for(where.replicas, min(room, fit.replicas_per_node))
        return Candidate(
            replace(where, engine_args={**judged.engine_args, **where.engine_args}),
            hourly(where.instance, nodes),
            replace(judged.prediction, binding=Binding.HOST) if fit.share > 1.0 else judged.prediction,
            (*rules, *judged.failures, *fit.failures),
            (*judged.notes, *fit.notes),
        )


def _stays(change: Change) -> bool:
    """The pods stay where they are: no rule is asked, and the nodes are those they stand on."""
    where, placement = change.where, change.workload.placement
    same = not isinstance(placement, Missing) and where.instance.name == placement.name
    return same and (where.accelerators, where.replicas) == (change.workload.pod.accelerators, change.workload.replicas)


def _needed(today: World, change: Change, device: float | None) -> Need:
    """The need under the changed settings: weights, overhead by what typical figures say it changes, and the cap."""
    memory, model, workload = change.need.memory, change.workload.model, change.workload
    if not isinstance(memory, PreallocatedMemory) or isinstance(model, Missing):
        return change.need
    moved = _overhead(workload, device, model) - _overhead(today.workload, device, model)
    demand = memory.demand
    return replace(
        change.need,
        memory=replace(
            memory,
            weights=Bytes(round(weight_bytes(model, workload.settings))),
            overhead=Bytes(round(memory.overhead + moved)),
            overhead_error=Bytes(round(memory.overhead_error + RESCALED_ERROR * abs(moved))),
            demand=demand if isinstance(demand, Missing) else replace(demand, cap=most_demand(workload)),
        ),
    )


def _overhead(workload: Workload, device: float | None, model: ModelArchitecture) -> float:
    """Bytes per rank that are typical on the present device."""
    return assumed_overhead(model, workload.settings, workload.settings.tensor_parallel, device or 0.0)


def _changed(today: World, workload: Workload, device: float | None) -> World:
    """The pool that the engine would report with these settings where it runs now."""
    pool, model = pool_tokens(today.observation), workload.model
    settings, before = workload.settings, today.workload.settings
    if pool is None or device is None or isinstance(model, Missing) or settings.num_gpu_blocks_override is not None:
        return World(workload, today.observation)
    moved = _overhead(workload, device, model) - _overhead(today.workload, device, model)
    gained = (
        (settings.gpu_memory_utilization - before.gpu_memory_utilization) * device
        + rank_weights(model, before)
        - rank_weights(model, settings)
        - moved
        - RESCALED_ERROR * abs(moved)
    )
    tokens = max(pool + gained / rank_kv(model, settings), 0.0)
    return World(workload, replace(today.observation, kv_pool=Measured(tokens)))
