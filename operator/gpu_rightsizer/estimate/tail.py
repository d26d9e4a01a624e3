"""The tail of a demand from its block peaks: seasonal Bayesian peaks over threshold, for a whole fleet at once.

Demand is divided by its usual size at that hour of the week; what exceeds a high threshold of that ratio is declustered
and given a generalised Pareto law whose shape and scale are integrated over a posterior on a grid. The shape's prior is
learnt from the fleet when there are enough series. Method: Coles, An Introduction to Statistical Modeling of Extreme
Values (2001), ch. 4; the grid keeps parameter uncertainty inside the stated probability, which is why it calibrates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.need import DemandTail
from gpu_rightsizer.estimate.posterior import SHIPPED_PRIOR, Clusters, ShapePrior, fleet_prior, likelihood, nodes
from gpu_rightsizer.estimate.seasonal import Grid, compressed, seasonal_scale, stacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.readings import BlockSeries

_RUN_SECONDS = 1800  # exceedances closer than this are one cluster
_SHORT_HOURS = 96.0  # below four days the threshold is lowered to have exceedances at all


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
    """Ratio to the seasonal scale, its threshold, the clusters above it and the hours they were seen in."""

    seasonal: NDArray[np.float64]  # (n, 168)
    threshold: NDArray[np.float64]  # (n,)
    clusters: Clusters
    hours: NDArray[np.float64]  # (n,)


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
    found = _exceedances(fleet, grid)
    evidence = likelihood(found.clusters, found.threshold)
    prior = fleet_prior(evidence, found.clusters.count)
    return _posterior(fleet, grid, found, prior)


def _posterior(fleet: list[Peaks], grid: Grid, found: _Exceedances, prior: ShapePrior) -> list[DemandTail]:
    seasonal = compressed(found.seasonal)
    past = _past_terms(fleet, found, seasonal)
    shape, scale, weight = nodes(likelihood(found.clusters, found.threshold), prior, past)
    peak = np.nanmax(grid.values, axis=1)
    return [
        DemandTail(
            peak=float(peak[i]),
            seasonal=seasonal[i],
            threshold=float(found.threshold[i]),
            shape=shape[i],
            scale=scale[i],
            weight=weight[i],
            exceedances=float(found.clusters.count[i]) + 0.5,
            exposure_hours=float(found.hours[i]),
            cap=peaks.cap,
        )
        for i, peaks in enumerate(fleet)
    ]


def _exceedances(fleet: list[Peaks], grid: Grid) -> _Exceedances:
    floor = np.array([p.floor for p in fleet])
    seasonal = seasonal_scale(grid, floor)
    ratio = grid.values / seasonal[:, grid.hour_of_week]
    known = np.isfinite(ratio)
    hours = known.sum(axis=1) * grid.block / 3600.0
    threshold = _threshold(ratio, known, hours, grid.block)
    censored = _censored_grid(fleet, grid)
    above = known & (ratio > threshold[:, None] * (1 + 1e-9))
    return _Exceedances(seasonal, threshold, _declustered(ratio, above, censored, threshold, grid.block), hours)


def _censored_grid(fleet: list[Peaks], grid: Grid) -> NDArray[np.bool_]:
    marks = np.zeros(grid.values.shape, dtype=bool)
    for row, peaks in enumerate(fleet):
        if peaks.censored is not None and peaks.censored.any():
            offset = (peaks.series.start - grid.start) // grid.block
            marks[row, offset : offset + len(peaks.censored)] = peaks.censored
    return marks


def _threshold(
    ratio: NDArray[np.float64], known: NDArray[np.bool_], hours: NDArray[np.float64], block: int
) -> NDArray[np.float64]:
    """The ratio exceeded in 2 % of ten-minute blocks, in 10 % of hourly ones (about as many clusters a week).

    Where more than that share is zero (intermittent work) the median of the positive ratios takes its place.
    """
    share = np.where(hours < _SHORT_HOURS, 0.05, 0.02)
    share = np.clip(share * block / 600.0, 0.02, 0.10)
    ordered = np.sort(np.where(known, ratio, np.inf), axis=1)
    count = known.sum(axis=1)
    rows = np.arange(len(ratio))
    at = np.clip(np.ceil((1 - share) * count).astype(int) - 1, 0, np.maximum(count - 1, 0))
    threshold = ordered[rows, at]
    zeros = (known & (ratio <= 0)).sum(axis=1)
    positive_median = ordered[rows, np.clip((zeros + count) // 2, 0, np.maximum(count - 1, 0))]
    return np.where(threshold > 0, threshold, np.where(positive_median > 0, positive_median, 1.0))


def _declustered(
    ratio: NDArray[np.float64],
    above: NDArray[np.bool_],
    censored: NDArray[np.bool_],
    threshold: NDArray[np.float64],
    block: int,
) -> Clusters:
    """The largest excess of each run of exceedances; a run ends after half an hour below the threshold."""
    near = np.zeros_like(above)
    for lag in range(1, max(1, _RUN_SECONDS // block) + 1):
        near[:, lag:] |= above[:, :-lag]
    rows, columns = np.nonzero(above)
    if rows.size == 0:
        return Clusters.none(len(ratio))
    starts = np.flatnonzero(~near[rows, columns] | np.r_[True, rows[1:] != rows[:-1]])
    excess = np.maximum.reduceat(ratio[rows, columns] - threshold[rows], starts)
    cut = np.logical_or.reduceat(censored[rows, columns], starts)
    return Clusters.of(rows[starts], excess, cut, len(ratio))


def _past_terms(
    fleet: list[Peaks], found: _Exceedances, seasonal: NDArray[np.float64]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
    """Per workload: excess, weight and expected clusters in the quiet time, of each remembered exceedance."""
    terms = []
    rate = (found.clusters.count + 0.5) / np.maximum(found.hours, 1.0)
    for i, peaks in enumerate(fleet):
        demand = np.array([p.demand for p in peaks.past])
        weight = np.array([p.weight for p in peaks.past])
        quiet = np.array([p.quiet_hours for p in peaks.past])
        excess = np.maximum(demand / seasonal[i].max() - found.threshold[i], 0.0) if demand.size else demand
        terms.append((excess, weight, quiet * rate[i]))
    return terms


__all__ = ["SHIPPED_PRIOR", "PastExceedance", "Peaks", "fit_tails"]
