"""What the product decides from the same history: a static size at a stated risk, or small replicas kept elastic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_rightsizer.domain.need import DemandKind
from gpu_rightsizer.domain.readings import BlockSeries
from gpu_rightsizer.estimate import exceedances, level
from gpu_rightsizer.estimate.recalibration import compared, group
from gpu_rightsizer.estimate.tail import Peaks, fit_tails

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.need import DemandTail, Group, Recalibration

BLOCK_S: Final = 600
_BLOCK_MINUTES: Final = BLOCK_S // 60


@dataclass(frozen=True, slots=True, eq=False)
class Sized:
    """The tails of a fleet, with whom each is compared, and the horizon in hours."""

    tails: list[DemandTail]
    groups: list[Group]
    hours: float

    def levels(
        self, probability: float, told: Mapping[Group, Recalibration] = MappingProxyType({})
    ) -> NDArray[np.float64]:
        """The demand exceeded within the horizon with that probability: as the model has it, or as it came true."""
        tails = [replace(t, recalibration=told.get(g)) for t, g in zip(self.tails, self.groups, strict=True)]
        return np.array([float(level(tail, probability, self.hours)) for tail in tails])

    def scores(self, peak: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probability that the model gave to exceeding what then was the largest demand."""
        rows = np.arange(len(self.tails))
        return exceedances(self.tails, rows, peak, np.full(len(rows), self.hours))


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Windows that have ended: the probability the model gave to what then came, and with whom each is compared."""

    scores: list[float]
    groups: list[Group]

    def add(self, fleet: Sized, peak: NDArray[np.float64]) -> None:
        """Another window, with the largest demand that came."""
        self.scores.extend(fleet.scores(peak).tolist())
        self.groups.extend(fleet.groups)

    def told(self, hours: float) -> dict[Group, Recalibration]:
        """What they say of windows to come."""
        return compared(np.array(self.scores), self.groups, hours)


def sized(history: NDArray[np.float64], start: int, unknown: NDArray[np.bool_], minutes: int) -> Sized:
    """Fits the tails to ten-minute maxima of the history (deployments, minutes), for a horizon in minutes."""
    whole = history.shape[1] // _BLOCK_MINUTES * _BLOCK_MINUTES
    masked = np.where(unknown[:, :whole], np.nan, history[:, :whole])
    blocks = masked.reshape(len(history), -1, _BLOCK_MINUTES)
    known = np.isfinite(blocks).any(axis=2)
    values = np.where(known, np.nanmax(np.where(np.isfinite(blocks), blocks, -np.inf), axis=2), np.nan)
    coverage = np.isfinite(blocks).mean(axis=2)
    fleet = [Peaks(BlockSeries(start, BLOCK_S, row, share)) for row, share in zip(values, coverage, strict=True)]
    groups = [group(DemandKind.TOKENS, each.series) for each in fleet]
    return Sized(fit_tails(fleet), groups, minutes / 60.0)
