"""Every way a workload could run on the classes, what each would do and cost, and what rules each out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.decision import Binding, Candidate
from gpu_rightsizer.domain.options import Options
from gpu_rightsizer.predict.findings import Judge, screened
from gpu_rightsizer.predict.host import HostFit
from gpu_rightsizer.predict.otherwise import Today
from gpu_rightsizer.predict.physics import outlook
from gpu_rightsizer.predict.places import Table, replica_counts
from gpu_rightsizer.predict.work import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.domain.world import World
    from gpu_rightsizer.predict.places import Ground

_PART = 256  # workloads whose arrays are held at once
_FITS = HostFit(1)  # of a host that the pod fits on there is nothing to say


def predict(worlds: Sequence[World], needs: Sequence[Need], classes: Sequence[InstanceClass]) -> list[Options]:
    """All candidates of each workload, in the order given; the present configuration is always among them, first."""
    table = Table.of(worlds, classes)
    out: list[Options] = []
    for begin in range(0, len(worlds), _PART):
        part = slice(begin, begin + _PART)
        out.extend(_predict_part(worlds[part], needs[part], table))
    return out


def _predict_part(worlds: Sequence[World], needs: Sequence[Need], table: Table) -> list[Options]:
    rows = [row for i, world in enumerate(worlds) for row in _rows(i, world.workload)]
    physics = outlook(rows, worlds, needs, table.shapes, table.memory_of)
    judge = Judge.of(physics, screened(physics, rows, worlds, needs), table.shapes)
    first = {row.world: index for index, row in reversed(list(enumerate(rows)))}
    alike: dict[Ground, list[_Stand]] = {}
    for i, (world, need, ground) in enumerate(zip(worlds, needs, table.grounds(worlds, needs), strict=True)):
        alike.setdefault(ground, []).append(_Stand(world, need, table, judge, ground, first[i]))
    found: dict[int, Options] = {}
    for ground, members in alike.items():
        found.update(zip((each.row for each in members), _options(ground, members, judge), strict=True))
    return [found[first[i]] for i in range(len(worlds))]


def _rows(index: int, workload: Workload) -> Iterator[Row]:
    """One row a number of replicas."""
    for replicas in replica_counts(workload):
        yield Row(index, replicas, max(workload.replicas, 1) / replicas)


def _options(ground: Ground, members: Sequence[_Stand], judge: Judge) -> Iterator[Options]:
    """The columns of workloads that have the same places, from the arrays of rows and shapes."""
    at = (np.array([each.row for each in members])[:, None] + ground.row, ground.shape)
    physics = judge.screening.codes[at]
    codes, faults = physics | ground.codes, (np.bitwise_count(physics) + ground.faults).astype(np.int16)
    risk = judge.outlook.out_of_memory[at]
    risk = np.where(np.isfinite(risk), risk, np.nan)
    changes = (judge.screening.context[at] > 0).astype(np.int8)
    flow, order = judge.outlook.flow, _order(ground, changes, risk)
    ttft, tpot = ~np.isfinite(flow.ttft[at]), ~np.isfinite(flow.tpot[at])
    for i, each in enumerate(members):
        unpredicted = {"TTFT": ttft[i], "TPOT": tpot[i]}
        yield Options(
            ground.places, order[i], codes[i], faults[i], risk[i], changes[i], unpredicted, each.candidate,
            Today(each.world, each.need, each.table).otherwise,
        )  # fmt: skip


def _order(ground: Ground, changes: NDArray[np.int8], risk: NDArray[np.float64]) -> NDArray[np.intp]:
    """By `rank`: price, then number of changes, then risk; equals as the ground has them."""
    price = np.where(np.isnan(ground.places.dollars), np.inf, ground.places.level)
    key = price * 2 + changes + 1j * np.nan_to_num(risk, nan=1.0)
    return ground.tied[np.argsort(key[:, ground.tied], axis=1, kind="stable")]


@dataclass(frozen=True, slots=True, eq=False)
class _Stand:
    """One workload on its ground; `row` is the first of its rows."""

    world: World
    need: Need
    table: Table
    judge: Judge
    ground: Ground
    row: int

    def candidate(self, place: int) -> Candidate:
        """What stands at one place, in full."""
        known = self.ground.known[place]
        fit = self.table.host(self.world.workload, self.need, known.where.instance) if known.host else _FITS
        judged = self.judge.judge((self.row + known.row, known.shape), self.world, self.need)
        return Candidate(
            configuration=replace(known.where, engine_args=judged.engine_args) if judged.engine_args else known.where,
            hourly=known.hourly,
            prediction=replace(judged.prediction, binding=Binding.HOST) if fit.share > 1.0 else judged.prediction,
            failures=(*known.failures, *judged.failures, *fit.failures),
            notes=(*judged.notes, *known.notes, *fit.notes),
        )
