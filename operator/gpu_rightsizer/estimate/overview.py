"""What a fleet's histories tell at first sight, taken over all of them at once; a close look is for where that asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from gpu_rightsizer.domain.readings import BlockSeries

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.readings import History
    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.domain.world import World

Name: TypeAlias = Literal[
    "kv_demand", "running", "waiting", "prompt_rate", "generation_rate", "requests", "ttft", "tpot", "preemptions",
    "fb_used", "gpu_activity", "dram_activity", "host_memory", "host_cpu",
]  # fmt: skip
_NAMES: Final[tuple[Name, ...]] = Name.__args__  # type: ignore[attr-defined]  # a Literal's values
_STACKED: Final = 512  # series held as one matrix
_DAY: Final = 86_400
_DAY_HOURS: Final = 12  # known hours that make a day count


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a history is known: hours, the share of blocks within the known span, and days known by half.

    `business` and `weekend` are days in UTC.
    """

    hours: float
    share: float
    business: int
    weekend: int


_NONE: Final = Coverage(0.0, 0.0, 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Ends:
    """Of one signal of each workload: largest and smallest known value (NaN: none), Unix time of the largest."""

    highest: list[float]
    lowest: list[float]
    time: list[int | None]


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """One workload, and what its histories tell at first sight."""

    world: World
    coverage: Coverage
    _ends: Mapping[Name, _Ends]
    _row: int

    @property
    def observation(self) -> Observation:
        """What was observed."""
        return self.world.observation

    @property
    def workload(self) -> Workload:
        """What is configured."""
        return self.world.workload

    @property
    def main(self) -> History:
        """The history that sizes: KV demand, else framebuffer use."""
        return _main(self.world)

    def peak(self, name: Name) -> float:
        """The largest known value; NaN when none is known."""
        return self._ends[name].highest[self._row]

    def least(self, name: Name) -> float:
        """The smallest known value; NaN when none is known."""
        return self._ends[name].lowest[self._row]

    def peak_time(self, name: Name) -> int | None:
        """Unix time at which the block of the largest value begins; None without that history."""
        return self._ends[name].time[self._row]


def overview(worlds: Sequence[World]) -> list[Overview]:
    """Of each workload, in the order given."""
    ends = {name: _ends([getattr(world.observation, name) for world in worlds]) for name in _NAMES}
    coverage = _coverage([_main(world) for world in worlds])
    return [Overview(world, coverage[row], ends, row) for row, world in enumerate(worlds)]


def stacked(histories: Sequence[History | None]) -> Iterator[tuple[list[int], BlockSeries, NDArray[np.float64]]]:
    """Histories on the same blocks as matrices: whose they are, one of them, and their values (k, blocks)."""
    alike: dict[tuple[int, int, int], list[int]] = {}
    for row, each in enumerate(histories):
        if isinstance(each, BlockSeries) and len(each.values):
            alike.setdefault((each.start, each.block, len(each.values)), []).append(row)
    for members in alike.values():
        for begin in range(0, len(members), _STACKED):
            rows = members[begin : begin + _STACKED]
            series = [each for row in rows if isinstance(each := histories[row], BlockSeries)]
            yield rows, series[0], np.array([each.values for each in series])


def _main(world: World) -> History:
    engine = world.observation.kv_demand
    return engine if isinstance(engine, BlockSeries) else world.observation.fb_used


def _ends(histories: Sequence[History]) -> _Ends:
    highest, lowest = np.full(len(histories), np.nan), np.full(len(histories), np.nan)
    time: list[int | None] = [None] * len(histories)
    for rows, series, told in stacked(histories):
        values = told if np.isfinite(told).all() else np.where(np.isfinite(told), told, np.nan)
        high, low = np.fmax.reduce(values, axis=1), np.fmin.reduce(values, axis=1)
        highest[rows], lowest[rows] = high, low
        begins = series.start + series.block * np.argmax(values == high[:, None], axis=1)
        for row, begin in zip(rows, begins.tolist(), strict=True):
            time[row] = begin
    return _Ends(highest.tolist(), lowest.tolist(), time)


def _coverage(histories: Sequence[History]) -> list[Coverage]:
    out = [_NONE] * len(histories)
    for rows, series, values in stacked(histories):
        known = np.isfinite(values)
        count = known.sum(axis=1)
        first, last = np.argmax(known, axis=1), known.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
        days, begins = np.unique(series.times() // _DAY, return_index=True)
        counted = np.add.reduceat(known, begins, axis=1, dtype=np.int64) * series.block >= _DAY_HOURS * 3600
        weekend = (counted & ((days + 3) % 7 >= 5)).sum(axis=1)  # day 0 was a Thursday
        figures = (count * series.block / 3600, count / (last - first + 1), counted.sum(axis=1) - weekend, weekend)
        for row, each in zip(rows, zip(*(figure.tolist() for figure in figures), strict=True), strict=True):
            out[row] = Coverage(*each)
    return out
