"""What the product decides from the same history: a static size at a stated risk, or small replicas kept elastic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_rightsizer.domain.readings import BlockSeries
from gpu_rightsizer.estimate import level
from gpu_rightsizer.estimate.tail import Peaks, fit_tails

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_rightsizer.domain.need import DemandTail

BLOCK_S: Final = 600
_BLOCK_MINUTES: Final = BLOCK_S // 60
ANCHOR: Final = 0.1  # the probability whose level the recalibration multiplies


@dataclass(frozen=True, slots=True, eq=False)
class Sized:
    """The tails of a fleet, and the level of each that is exceeded with the anchor's probability within the horizon."""

    tails: list[DemandTail]
    hours: float
    anchor: NDArray[np.float64]

    def levels(self, probability: float) -> NDArray[np.float64]:
        """The demand exceeded within the horizon with that probability, as the model has it."""
        return np.array([float(level(tail, probability, self.hours)) for tail in self.tails])


def sized(history: NDArray[np.float64], start: int, unknown: NDArray[np.bool_], minutes: int) -> Sized:
    """Fits the tails to ten-minute maxima of the history (deployments, minutes), for a horizon in minutes."""
    whole = history.shape[1] // _BLOCK_MINUTES * _BLOCK_MINUTES
    masked = np.where(unknown[:, :whole], np.nan, history[:, :whole])
    blocks = masked.reshape(len(history), -1, _BLOCK_MINUTES)
    known = np.isfinite(blocks).any(axis=2)
    values = np.where(known, np.nanmax(np.where(np.isfinite(blocks), blocks, -np.inf), axis=2), np.nan)
    coverage = np.isfinite(blocks).mean(axis=2)
    fleet = [Peaks(BlockSeries(start, BLOCK_S, row, share)) for row, share in zip(values, coverage, strict=True)]
    tails, hours = fit_tails(fleet), minutes / 60.0
    return Sized(tails, hours, np.array([float(level(tail, ANCHOR, hours)) for tail in tails]))


def recalibrated_factor(scores: NDArray[np.float64], probability: float) -> float | None:
    """What the anchor's level must be multiplied by so that at most `probability` of like windows exceed it.

    Split conformal over completed windows of other deployments: the scores are observed maximum over anchor level; the
    answer is the ceil((n+1)(1-p))-th smallest. None while there are too few windows (fewer than 1/p - 1).
    """
    rank = int(np.ceil((scores.size + 1) * (1.0 - probability) - 1e-9))
    if rank > scores.size:
        return None
    return float(np.sort(scores)[rank - 1])
