"""The tail of a demand from its block peaks: seasonal Bayesian peaks over threshold, for a whole fleet at once.

Demand is divided by its usual size at that hour of the week; what exceeds a high threshold of that ratio is declustered
and explained as ordinary variation with a light tail, with or without bursts among it that have a generalised Pareto
law of their own. All that is uncertain is integrated over a posterior, whose prior is learnt from the fleet when there
are enough series. Method: Coles, An Introduction to Statistical Modeling of Extreme Values (2001), ch. 4; Efron,
Large-Scale Inference (2010), ch. 1, for a prior from the fleet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.need import Bursts, DemandTail
from gpu_rightsizer.estimate.posterior import SHIPPED_PRIOR, Clusters, Nodes, Past, evidence, fleet_prior, posterior
from gpu_rightsizer.estimate.seasonal import Grid, by_hour, compressed, hourly, seasonal_scale, stacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.readings import BlockSeries

_PART = 512  # series worked on at once: the arrays on the way are many times their histories
_ABOVE = 0.10  # of hourly peaks are above the threshold
_FEWEST_BURSTS = 1e-3  # clusters; keeps a rate's spread positive where no burst was seen


@dataclass(frozen=True, slots=True)
class PastExceedance:
    """A remembered moment at which demand exceeded `demand`, with its weight and the hours without a repetition since.

    `quiet_hours` counts only time before the observed window (the window speaks for itself).
    """

    demand: float
    weight: float
    quiet_hours: float


@dataclass(frozen=True, slots=True, eq=False)
class Peaks:
    """One workload's block peaks. `censored` marks blocks whose demand was cut off; `floor` is the least scale.

    `cap` is a demand that physics cannot exceed.
    """

    series: BlockSeries
    censored: NDArray[np.bool_] | None = None
    floor: float = 0.0
    past: tuple[PastExceedance, ...] = ()
    cap: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Exceedances:
    """Seasonal scales, the threshold of the ratio to them, the clusters above it, the hours seen and the peak."""

    seasonal: NDArray[np.float64]  # (n, 8)
    threshold: NDArray[np.float64]  # (n,)
    clusters: Clusters
    hours: NDArray[np.float64]  # (n,)
    peak: NDArray[np.float64]  # (n,)

    def of(self, rows: list[int]) -> _Exceedances:
        """Of these series, the clusters counted alone."""
        counted = replace(self.clusters, count=self.clusters.count[rows])
        return _Exceedances(self.seasonal[rows], self.threshold[rows], counted, self.hours[rows], self.peak[rows])


def fit_tails(fleet: Sequence[Peaks]) -> list[DemandTail]:
    """The tail of each series, in the order given. Every series must have at least one known value."""
    fitted: dict[int, DemandTail] = {}
    groups: dict[int, list[int]] = {}
    for index, peaks in enumerate(fleet):
        groups.setdefault(peaks.series.block, []).append(index)
    for block, members in groups.items():
        tails = _fit_group([fleet[i] for i in members], block)
        fitted.update(zip(members, tails, strict=True))
    return [fitted[i] for i in range(len(fleet))]


def _fit_group(fleet: list[Peaks], block: int) -> list[DemandTail]:
    """Series of one block length."""
    grid = stacked([p.series for p in fleet], block)
    parts = [slice(begin, begin + _PART) for begin in range(0, len(fleet), _PART)]
    found = _joined([_exceedances(fleet[part], replace(grid, values=grid.values[part])) for part in parts])
    seen = evidence(found.clusters, _past(fleet, found))
    prior = fleet_prior(seen)
    tails = _tails(fleet, found, posterior(seen, prior))
    rows = [i for i, peaks in enumerate(fleet) if peaks.past]
    if rows:
        points = posterior(seen.forgetting(rows), prior)
        without = _tails([fleet[i] for i in rows], found.of(rows), points)
        for i, tail in zip(rows, without, strict=True):
            tails[i] = replace(tails[i], unremembered=tail)
    return tails


def _tails(fleet: list[Peaks], found: _Exceedances, points: Nodes) -> list[DemandTail]:
    count = np.asarray(found.clusters.count + 0.5, dtype=np.float64)
    ordinary_hours = found.hours / (1 - (points.burst_weight * points.share).sum(axis=1))
    scale = points.scale * found.threshold[:, None]
    bursts = _bursts(found, points, count)
    return [
        DemandTail(
            peak=float(found.peak[i]),
            seasonal=found.seasonal[i],
            threshold=float(found.threshold[i]),
            shape=points.shape[i],
            scale=scale[i],
            weight=points.weight[i],
            exceedances=float(count[i]),
            exposure_hours=float(ordinary_hours[i]),
            cap=peaks.cap,
            bursts=bursts[i],
        )
        for i, peaks in enumerate(fleet)
    ]


def _bursts(found: _Exceedances, points: Nodes, count: NDArray[np.float64]) -> list[Bursts]:
    """The rate of bursts at each point: a Gamma law with the mean and variance of clusters x share of them."""
    mean = count[:, None] * points.share
    square = (count * (count + 1))[:, None] * points.share_square
    variance = np.maximum(square - mean**2, 1e-6 * mean**2) + 1e-30
    of_rate = np.maximum(mean**2 / variance, _FEWEST_BURSTS)
    hours = of_rate / np.maximum(mean, 1e-12) * np.maximum(found.hours, 1.0)[:, None]
    scale = points.burst_scale * found.threshold[:, None]
    return [
        Bursts(points.burst_shape[i], scale[i], points.burst_weight[i], of_rate[i], hours[i]) for i in range(len(count))
    ]


def _joined(parts: Sequence[_Exceedances]) -> _Exceedances:
    """Of a whole fleet: the rows of each part follow those before it."""
    clusters, before = [each.clusters for each in parts], np.cumsum([0, *(len(each.hours) for each in parts)])
    return _Exceedances(
        seasonal=np.concatenate([each.seasonal for each in parts]),
        threshold=np.concatenate([each.threshold for each in parts]),
        clusters=Clusters(
            np.concatenate([each.row + first for each, first in zip(clusters, before[:-1], strict=True)]),
            np.concatenate([each.excess for each in clusters]),
            np.concatenate([each.cut for each in clusters]),
            np.concatenate([each.count for each in clusters]),
        ),
        hours=np.concatenate([each.hours for each in parts]),
        peak=np.concatenate([each.peak for each in parts]),
    )


def _exceedances(fleet: list[Peaks], grid: Grid) -> _Exceedances:
    floor = np.array([p.floor for p in fleet])
    hours = np.isfinite(grid.values).sum(axis=1) * grid.block / 3600.0
    censored = _censored_grid(fleet, grid)
    peaks = hourly(grid)
    if peaks is not grid:
        censored = np.asarray(by_hour(censored, 3600 // grid.block, missing=False).any(axis=2))
    seasonal = seasonal_scale(peaks, floor)
    ratio = peaks.values / seasonal[:, peaks.hour_of_week]
    known = np.isfinite(ratio)
    threshold = _threshold(ratio, known)
    above = known & (ratio > threshold[:, None] * (1 + 1e-9))
    clusters = _declustered(ratio, above, censored, threshold)
    return _Exceedances(compressed(seasonal), threshold, clusters, hours, np.nanmax(grid.values, axis=1))


def _censored_grid(fleet: list[Peaks], grid: Grid) -> NDArray[np.bool_]:
    marks = np.zeros(grid.values.shape, dtype=bool)
    for row, peaks in enumerate(fleet):
        if peaks.censored is not None and peaks.censored.any():
            offset = (peaks.series.start - grid.start) // grid.block
            marks[row, offset : offset + len(peaks.censored)] = peaks.censored
    return marks


def _threshold(ratio: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The ratio exceeded in 10 % of the hours.

    Where more than that share is zero (intermittent work) the median of the positive ratios takes its place.
    """
    ordered = np.sort(ratio, axis=1)  # NaN last
    count = known.sum(axis=1)
    rows = np.arange(len(ratio))
    last = np.maximum(count - 1, 0)
    threshold = ordered[rows, np.clip(np.ceil((1 - _ABOVE) * count).astype(int) - 1, 0, last)]
    zeros = (known & (ratio <= 0)).sum(axis=1)
    positive_median = ordered[rows, np.clip((zeros + count) // 2, 0, last)]
    return np.where(threshold > 0, threshold, np.where(positive_median > 0, positive_median, 1.0))


def _declustered(
    ratio: NDArray[np.float64],
    above: NDArray[np.bool_],
    censored: NDArray[np.bool_],
    threshold: NDArray[np.float64],
) -> Clusters:
    """The largest excess of each run of exceedances, as a share of the threshold; one hour below it ends a run."""
    rows, columns = np.nonzero(above)
    count = np.zeros(len(ratio), dtype=np.int64)
    if rows.size == 0:
        return Clusters(rows, np.zeros(0), np.zeros(0, dtype=bool), count)
    starts = np.flatnonzero((np.diff(columns, prepend=-2) != 1) | (np.diff(rows, prepend=-1) != 0))
    excess = np.maximum.reduceat(ratio[rows, columns] / threshold[rows] - 1, starts)
    cut = np.logical_or.reduceat(censored[rows, columns], starts)
    count = np.bincount(rows[starts], minlength=len(ratio))
    return Clusters(rows[starts], excess, cut, count)


def _past(fleet: list[Peaks], found: _Exceedances) -> Past:
    """Each workload's remembered exceedances: their excess and the clusters expected in the quiet time since."""
    told = [(row, each.demand, each.weight, each.quiet_hours) for row, peaks in enumerate(fleet) for each in peaks.past]
    row, demand, weight, quiet = np.array(told, dtype=np.float64).reshape(-1, 4).T
    at = row.astype(np.intp)
    rate = (found.clusters.count + 0.5) / np.maximum(found.hours, 1.0)
    excess = np.maximum(demand / found.seasonal.max(axis=1)[at] / found.threshold[at] - 1, 0.0)
    return Past(at, excess, weight, quiet * rate[at])


__all__ = ["SHIPPED_PRIOR", "PastExceedance", "Peaks", "fit_tails"]
