"""The one workload being decided, and how two configurations of it compare."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from gpu_rightsizer.domain.options import Options, Places, mask
from gpu_rightsizer.domain.readings import Missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.decision import Candidate, Configuration
    from gpu_rightsizer.domain.finding import Code, Finding
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.workload import Workload


_SHARED: Final = 1024  # comparisons kept: fleets share their places

_Pair: TypeAlias = "tuple[float | None, float | None]"
Relation: TypeAlias = "Callable[[Configuration, Configuration], bool]"


@dataclass(frozen=True, slots=True, eq=False)
class Ruling:
    """One thing that rules candidates out: which of them, and the finding about one."""

    code: Code
    out: NDArray[np.bool_]
    word: Callable[[Candidate], Finding]


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """What is known about one workload. `others` are the candidates besides the present one, cheapest first.

    Candidates are named by their index in `options`, arrays run over all of them. `rulings` are what rules some out
    beyond their own failures; `codes` and `faults` are those of `Options` with them.
    """

    workload: Workload
    need: Need
    options: Options
    here: int | None
    current: Candidate | None
    others: NDArray[np.intp]
    codes: NDArray[np.int64]
    faults: NDArray[np.int16]
    now: datetime
    rulings: tuple[Ruling, ...] = ()

    def candidate(self, index: int) -> Candidate:
        """One of the others, with every ruling."""
        plain = self.options[index]
        if self.faults.item(index) == self.options.faults.item(index):
            return plain
        more = tuple(ruling.word(plain) for ruling in self.rulings if ruling.out[index])
        return plain.failing_by((*plain.failures, *more)) if more else plain

    def configuration(self, index: int) -> Configuration:
        """Where one of them is, without the engine arguments that would change."""
        return self.options.places.configurations[index]

    @property
    def hold(self) -> NDArray[np.bool_]:
        """Which have nothing against them."""
        return np.asarray(self.faults == 0)

    def fail(self, codes: int) -> NDArray[np.bool_]:
        """Which have one of these bits against them."""
        return np.asarray((self.codes & codes) != 0)

    def those(self, which: NDArray[np.bool_]) -> NDArray[np.intp]:
        """These among the others, cheapest first."""
        return self.others[which[self.others]]

    def compared(self, relation: Relation) -> NDArray[np.bool_]:
        """Which stand so towards the present configuration; none where that is unknown."""
        if self.here is None:
            return np.zeros(len(self.options), dtype=bool)
        return _compared(self.options.places, relation, self.here)

    def ruled(self, *rulings: Ruling | None) -> Situation:
        """The same with these rulings; no code is said twice of one candidate."""
        codes, faults, more = self.codes, self.faults, self.rulings
        for ruling in rulings:
            if ruling is None or not np.count_nonzero(ruling.out):
                continue
            bit = mask([ruling.code])
            out = ruling.out & (codes & bit == 0)
            codes, faults = codes | out * bit, faults + out
            more = (*more, Ruling(ruling.code, out, ruling.word))
        if more is self.rulings:
            return self
        return Situation(
            self.workload, self.need, self.options, self.here, self.current, self.others, codes, faults, self.now, more
        )


def situation(workload: Workload, need: Need, candidates: Sequence[Candidate], now: datetime) -> Situation:
    """Finds the present configuration among the candidates; the others come in an order of their own."""
    options = Options.of(candidates)
    here = _present(options, workload)
    others = options.order if here is None else options.order[options.order != here]
    current = None if here is None else options[here]
    return Situation(workload, need, options, here, current, others, options.codes, options.faults, now)


def _present(options: Options, workload: Workload) -> int | None:
    """The candidate that is what runs now, without any change."""
    placement = workload.placement
    if isinstance(placement, Missing):
        return None
    now = (placement.name, workload.pod.accelerators, workload.settings.tensor_parallel, workload.replicas)
    same = [index for index in _places_like(options.places, now) if not options.changes[index]]
    if len(same) > 1:
        same.sort(key=options.order.tolist().index)
    return same[0] if same else None


@lru_cache(maxsize=_SHARED)
def _places_like(places: Places, now: tuple[str, int, int, int]) -> tuple[int, ...]:
    """By name, accelerators, ranks and replicas."""
    return tuple(
        index
        for index, where in enumerate(places.configurations)
        if (where.instance.name, where.accelerators, where.tensor_parallel, where.replicas) == now
    )


@lru_cache(maxsize=_SHARED)
def _compared(places: Places, relation: Relation, here: int) -> NDArray[np.bool_]:
    """The same for all workloads that share their places."""
    present = places.configurations[here]
    return np.array([relation(each, present) for each in places.configurations], dtype=bool)


def same_place(one: Configuration, other: Configuration) -> bool:
    """Same class, accelerators and replicas: only the engine's own settings may differ."""
    return (one.instance.name, one.accelerators, one.replicas) == (
        other.instance.name,
        other.accelerators,
        other.replicas,
    )


def has_less_memory(one: Configuration, other: Configuration) -> bool:
    """Less memory on each accelerator."""
    return one.instance.accelerator_memory < other.instance.accelerator_memory


def is_smaller_or_slower(one: Configuration, other: Configuration) -> bool:
    """Fewer replicas, or less memory, bandwidth or arithmetic in a replica. An unknown figure counts as less."""
    return one.replicas < other.replicas or any(
        mine is None or theirs is None or mine < theirs for mine, theirs in _sizes(one, other)
    )


def is_stronger(one: Configuration, other: Configuration) -> bool:
    """At least as large and as fast in everything, and more in something."""
    return not is_smaller_or_slower(one, other) and (
        one.replicas > other.replicas
        or any(mine is not None and theirs is not None and mine > theirs for mine, theirs in _sizes(one, other))
    )


def is_slower(one: Configuration, other: Configuration) -> bool:
    """Less memory bandwidth over all replicas together; an unknown one counts as less."""
    mine, theirs = _sizes(one, other)[1]
    return mine is None or theirs is None or mine * one.replicas < theirs * other.replicas


def _sizes(one: Configuration, other: Configuration) -> tuple[_Pair, ...]:
    """Of one replica here and there: bytes of accelerator memory, bandwidth in GB/s, dense 16-bit TFLOPS.

    Two of the same accelerator differ by their number alone, whatever of it is unknown.
    """
    mine, theirs = one.instance.accelerator, other.instance.accelerator
    memory: _Pair = (one.instance.accelerator_memory, other.instance.accelerator_memory)
    speed: _Pair = (mine.bandwidth_gbps, theirs.bandwidth_gbps)
    arithmetic: _Pair = (mine.tflops_bf16, theirs.tflops_bf16)
    if mine.key == theirs.key and one.instance.mig_profile == other.instance.mig_profile:
        speed = arithmetic = (1.0, 1.0)
    return tuple(
        (_times(here, one.accelerators), _times(there, other.accelerators))
        for here, there in (memory, speed, arithmetic)
    )


def _times(figure: float | None, count: int) -> float | None:
    return None if figure is None else figure * count
