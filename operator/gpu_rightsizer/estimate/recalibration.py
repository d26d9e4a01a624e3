"""Stated probabilities compared with what happened: each tail fitted on the time before a week, judged by that week.

A true model gives the largest demand of a week a probability of being exceeded that is uniform over a fleet. Where
small ones are too frequent, the model promises too much; the stated probability is then the share of weeks that came
out as improbable as that or more (split conformal prediction: Vovk, Gammerman and Shafer, Algorithmic Learning in a
Random World, 2005, ch. 4). That holds whatever the tail's true law, as long as the coming week is to its past what the
judged weeks were to theirs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_rightsizer.domain.need import DemandKind, Group, Recalibration, Rhythm
from gpu_rightsizer.estimate.exceedance import exceedances
from gpu_rightsizer.estimate.tail import fit_tails

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.readings import BlockSeries
    from gpu_rightsizer.estimate.tail import Peaks

WINDOW_HOURS: Final = 168.0
LEAST_WINDOWS: Final = 100
_COMPLETE: Final = 0.9  # of the hours before and of those judged
_BUSY: Final = 0.5  # of the known blocks carry demand: else the work is intermittent, and surprises more often
_SMALLEST: Final = 1e-12


def group(kind: DemandKind, demand: BlockSeries) -> Group:
    """With which others a workload is compared."""
    known = demand.values[demand.known()]
    busy = known.size > 0 and np.count_nonzero(known > 0) >= _BUSY * known.size
    return kind, Rhythm.STEADY if busy else Rhythm.INTERMITTENT


def recalibrated(fleet: Sequence[Peaks], kinds: Sequence[DemandKind]) -> dict[Group, Recalibration]:
    """What the last week of each series says of a tail fitted on the time before it."""
    halves = [_parted(each) for each in fleet]
    groups = [group(kinds[i], fleet[i].series) for i, each in enumerate(halves) if each is not None]
    after = np.array([each[1] for each in halves if each is not None])
    tails = fit_tails([each[0] for each in halves if each is not None])
    scores = exceedances(tails, np.arange(len(tails)), after, np.full(len(tails), WINDOW_HOURS))
    return compared(scores, groups, WINDOW_HOURS)


def compared(scores: NDArray[np.float64], groups: Sequence[Group], hours: float) -> dict[Group, Recalibration]:
    """Of windows whose largest demand the model had given these probabilities of being exceeded, by group.

    A group of fewer than a hundred is compared with all of its kind, and has none where those are too few as well.
    """
    found: defaultdict[Group, list[float]] = defaultdict(list)
    for key, score in zip(groups, np.clip(scores, _SMALLEST, 1.0).tolist(), strict=True):
        found[key].append(score)
    out: dict[Group, Recalibration] = {}
    for kind in DemandKind:
        pooled = [score for rhythm in Rhythm for score in found[kind, rhythm]]
        for rhythm in Rhythm:
            told = found[kind, rhythm] if len(found[kind, rhythm]) >= LEAST_WINDOWS else pooled
            if len(told) >= LEAST_WINDOWS:
                out[kind, rhythm] = Recalibration(hours, np.sort(told))
    return out


def _parted(peaks: Peaks) -> tuple[Peaks, float] | None:
    """A series without its last week, and the largest demand of that week; None unless both are nearly complete."""
    series = peaks.series
    blocks = round(WINDOW_HOURS * 3600 / series.block)
    split = len(series.values) - blocks
    known = series.known()
    if (
        split < blocks * _COMPLETE
        or known[:split].sum() < split * _COMPLETE
        or known[split:].sum() < blocks * _COMPLETE
    ):
        return None
    before = replace(series, values=series.values[:split], coverage=series.coverage[:split])
    if not before.peak() > 0:
        return None
    after = float(np.nanmax(series.values[split:]))
    censored = None if peaks.censored is None else peaks.censored[:split]
    return replace(peaks, series=before, censored=censored), after
