"""Where a workload could run: every class, degree and number of replicas, what that costs and what forbids it.

None of it depends on what was measured, so that workloads alike in rules, present class and what their pods' requests
do to the classes share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.decision import Configuration
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.need import FramebufferMemory, PreallocatedMemory
from gpu_rightsizer.domain.options import Places, mask, tie
from gpu_rightsizer.domain.readings import Missing
from gpu_rightsizer.predict.cost import hourly, nodes_for, nodes_now
from gpu_rightsizer.predict.host import HostFit, allocatable, host_fit
from gpu_rightsizer.predict.rules import rule_failures
from gpu_rightsizer.predict.shapes import RANKS, Shapes, shapes

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence
    from decimal import Decimal

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.hardware import HostShape, InstanceClass
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.domain.world import World

_MOST_REPLICAS = 8  # numbers of replicas tried
_ENDLESS = 1 << 62  # bytes of disk where nothing tells


@dataclass(frozen=True, slots=True)
class Place:
    """One place; `failures` are of the rules and the split, `notes` of the rules alone.

    `host` are the codes that its host fails by: their figures are the pod's own.
    """

    where: Configuration
    hourly: Decimal | None
    shape: int
    row: int
    host: tuple[Code, ...] = ()
    failures: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """The places of workloads that are alike, and what is known of each place before any physics.

    `shape` indexes the hardware, `row` the workload's numbers of replicas (`replica_counts`). `codes` and `faults` are
    of what `known` tells: the rules, the split and the host; `tied` orders the places by what decides between equals.
    """

    places: Places
    shape: NDArray[np.intp]
    row: NDArray[np.intp]
    codes: NDArray[np.int64]
    faults: NDArray[np.int64]
    tied: NDArray[np.intp]
    known: tuple[Place, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What is the same for the whole fleet: classes, shapes, what hosts offer, device memory by class name."""

    classes: tuple[InstanceClass, ...]
    shapes: Shapes
    offered: tuple[HostShape, ...]
    memory_of: dict[str, float]
    _place: dict[int, int]
    _grounds: dict[Hashable, Ground] = field(default_factory=dict)
    _places: dict[Hashable, Places] = field(default_factory=dict)
    _forbidden: dict[Hashable, list[tuple[Finding, ...]]] = field(default_factory=dict)

    @staticmethod
    def of(worlds: Sequence[World], classes: Sequence[InstanceClass]) -> Table:
        """For these workloads and classes."""
        proposed = tuple(each for each in classes if not each.mig_profile)  # slices of a device come later
        placements = [w.workload.placement for w in worlds]
        present = [p for p in placements if not isinstance(p, Missing)]
        memory = {each.name: float(each.accelerator_memory) for each in (*present, *classes)}
        return Table(
            proposed,
            shapes(proposed, [w.workload for w in worlds]),
            tuple(allocatable(each) for each in proposed),
            memory,
            {id(each): place for place, each in enumerate(proposed)},
        )

    def grounds(self, worlds: Sequence[World], needs: Sequence[Need]) -> list[Ground]:
        """The places of each workload; the same object for all that are alike."""
        effects = _effects(self, [world.workload for world in worlds])
        out = []
        for world, need, effect in zip(worlds, needs, effects, strict=True):
            alike = _alike(world.workload, need)
            key = (alike, effect.tobytes())
            if key not in self._grounds:
                self._grounds[key] = self._ground(alike, tuple(_places(self, world.workload, need)))
            out.append(self._grounds[key])
        return out

    def _ground(self, alike: Hashable, known: tuple[Place, ...]) -> Ground:
        """Requests that change no cost leave the places as they are: then they are the same object too."""
        key = (alike, tuple(each.hourly for each in known))
        if key not in self._places:
            self._places[key] = Places.of((each.where for each in known), (each.hourly for each in known))
        return _columns(self, self._places[key], known)

    def forbidden(self, workload: Workload) -> list[tuple[Finding, ...]]:
        """What the rules say of each class."""
        alike = (workload.rules, _identity(workload.placement), workload.pod.resource)
        if alike not in self._forbidden:
            self._forbidden[alike] = [rule_failures(workload, each) for each in self.classes]
        return self._forbidden[alike]

    def host(self, workload: Workload, need: Need, instance: InstanceClass) -> HostFit:
        """Host fit; the present class takes the pod as it is, which it shows by running it."""
        placement = workload.placement
        if not isinstance(placement, Missing) and instance.name == placement.name:
            return HostFit(instance.accelerators)
        return host_fit(workload, need, instance, self.offered[self._place[id(instance)]])


def replica_counts(workload: Workload) -> tuple[int, ...]:
    """Numbers of replicas to look at: as now, and those that may be proposed."""
    return tuple(sorted({max(workload.replicas, 1), *_proposed(workload)}))


def split_failures(workload: Workload, where: Configuration) -> tuple[Finding, ...]:
    """Heads that do not split over so many ranks; as it runs now it is not doubted."""
    return _split(workload, where.tensor_parallel)


def _split(workload: Workload, ranks: int) -> tuple[Finding, ...]:
    model = workload.model
    if isinstance(model, Missing) or ranks == workload.settings.tensor_parallel or model.allows_tensor_parallel(ranks):
        return ()
    return (found(Code.TENSOR_PARALLEL_IMPOSSIBLE, ranks=ranks, heads=model.heads, kv_heads=model.kv_heads),)


def _effects(table: Table, workloads: Sequence[Workload]) -> NDArray[np.int64]:
    """What each pod's requests do to each class, (workloads, classes): replicas that fit on a node, and what does not.

    More replicas on a node than there are to place make no difference.
    """
    pods = [(w.pod.cpu, w.pod.memory + w.pod.shared_memory, w.pod.ephemeral_storage) for w in workloads]
    cpu, memory, disk = np.array([[min(each, _ENDLESS + 1) for each in pod] for pod in pods], np.int64).T[:, :, None]
    most = np.array([max(replica_counts(w)) for w in workloads])[:, None]
    whole = [(o.cpu, o.memory, _ENDLESS if o.ephemeral_storage is None else o.ephemeral_storage) for o in table.offered]
    cpus, memories, disks = np.array(whole, dtype=np.int64).reshape(-1, 3).T
    room = np.clip(np.minimum(cpus // np.maximum(cpu, 1), memories // np.maximum(memory, 1)), 1, most)
    return np.asarray(room * 8 + (cpu > cpus) + 2 * (memory > memories) + 4 * (disk > disks))


def _alike(workload: Workload, need: Need) -> Hashable:
    """All that places depend on, but for how much the pod requests."""
    pod, placement, settings, model = workload.pod, workload.placement, workload.settings, workload.model
    constraints = tuple((key, tuple(wanted)) for key, wanted in pod.host_constraints.items())
    return (
        _identity(placement), workload.replicas, workload.replicas_owner != "",
        len(workload.nodes), workload.rules,
        (settings.tensor_parallel, settings.pipeline_parallel, settings.data_parallel),
        None if isinstance(model, Missing) else (model.heads, model.kv_heads),
        type(need.memory),
        (pod.accelerators, pod.resource, pod.architecture, pod.zones, tuple(pod.other.items()), constraints),
    )  # fmt: skip


def _identity(placement: InstanceClass | Missing) -> int | None:
    """Which object the present class is: it holds mappings, and cannot be hashed."""
    return None if isinstance(placement, Missing) else id(placement)


def _proposed(workload: Workload) -> set[int]:
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


def _places(table: Table, workload: Workload, need: Need) -> Iterator[Place]:
    """The present configuration first, then every class."""
    yield from _present(table, workload)
    yield from _elsewhere(table, workload, need)


def _present(table: Table, workload: Workload) -> Iterator[Place]:
    """It runs there, so that no rule is a failure."""
    placement = workload.placement
    if isinstance(placement, Missing):
        return
    ranks = workload.settings.tensor_parallel
    shape = table.shapes.of(placement, ranks)
    if shape is None:
        return
    per_node = placement.accelerators // max(workload.pod.accelerators, 1)
    where = Configuration(placement, workload.pod.accelerators, ranks, workload.replicas, {})
    row = replica_counts(workload).index(max(workload.replicas, 1))
    # Where the rules allow nothing else, this tells what they leave.
    forbidden = tuple(each for each in rule_failures(workload, placement) if each.code is Code.NOT_ALLOWED)
    cost = hourly(placement, nodes_now(workload, per_node))
    yield Place(where, cost, shape, row, notes=forbidden)


def _elsewhere(table: Table, workload: Workload, need: Need) -> Iterator[Place]:
    """Every class, tensor-parallel degree and number of replicas."""
    proposed = _proposed(workload)
    counts = [each for each in enumerate(replica_counts(workload)) if each[1] in proposed]
    degrees = [
        (ranks, _accelerators(workload, need, ranks), _split(workload, ranks)) for ranks in _degrees(workload, need)
    ]
    for instance, forbidden in zip(table.classes, table.forbidden(workload), strict=True):
        fit = table.host(workload, need, instance)
        host = tuple(each.code for each in fit.failures)
        for ranks, accelerators, split in degrees:
            shape = table.shapes.of(instance, ranks) if accelerators <= instance.accelerators else None
            if shape is None:
                continue
            room = min(instance.accelerators // accelerators, fit.replicas_per_node)
            for row, replicas in counts:
                where = Configuration(instance, accelerators, ranks, replicas, {})
                if not _is_present(where, workload):
                    cost = hourly(instance, nodes_for(replicas, room))
                    yield Place(where, cost, shape, row, host, (*forbidden, *split))


def _degrees(workload: Workload, need: Need) -> tuple[int, ...]:
    """Degrees of tensor parallelism to try: any where the model is known and split by the engine, else as now."""
    now = workload.settings.tensor_parallel
    known = isinstance(need.memory, PreallocatedMemory) and not isinstance(workload.model, Missing)
    return tuple(sorted({*RANKS, now})) if known else (now,)


def _accelerators(workload: Workload, need: Need, ranks: int) -> int:
    settings = workload.settings
    if isinstance(need.memory, FramebufferMemory | Missing):
        return max(workload.pod.accelerators, 1)
    return ranks * settings.pipeline_parallel * settings.data_parallel


def _is_present(where: Configuration, workload: Workload) -> bool:
    placement = workload.placement
    return (
        not isinstance(placement, Missing)
        and where.instance.name == placement.name
        and where.accelerators == workload.pod.accelerators
        and where.tensor_parallel == workload.settings.tensor_parallel
        and where.replicas == workload.replicas
    )


def _columns(table: Table, places: Places, known: tuple[Place, ...]) -> Ground:
    measured = table.shapes.hardware.measured[0]
    codes = [(*(one.code for one in each.failures), *each.host) for each in known]
    return Ground(
        places=places,
        shape=np.array([each.shape for each in known], dtype=np.intp),
        row=np.array([each.row for each in known], dtype=np.intp),
        codes=np.array([mask(each) for each in codes], dtype=np.int64),
        faults=np.array([len(each) for each in codes], dtype=np.int64),
        tied=np.array(sorted(range(len(known)), key=lambda i: _equals(known[i], measured)), dtype=np.intp),
        known=known,
    )


def _equals(place: Place, measured: NDArray[np.bool_]) -> tuple[object, ...]:
    """What decides between places of one price and one risk."""
    return not measured[place.shape], *tie(place.where)
