"""The posterior of a generalised Pareto tail on a grid of shape and scale, and the shape's prior from the fleet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPES = np.linspace(-0.4, 0.8, 25)
_SCALE_STEPS = 21
_ENOUGH = 5  # clusters from which a series' own scale is taken
_PRIOR_SPREAD = 0.8  # standard deviation of log scale where the series itself has too few clusters
_TYPICAL_SCALE = 0.15  # mean excess over threshold, as a share of it, where no fleet tells
_FLEET_SERIES = 20  # series with ten clusters from which the fleet's own prior is used
_FLEET_CLUSTERS = 10
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class ShapePrior:
    """Normal prior of the shape; `scale` is the typical mean excess as a share of the threshold."""

    mean: float
    spread: float
    scale: float


SHIPPED_PRIOR = ShapePrior(0.1, 0.2, _TYPICAL_SCALE)


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Excess of each cluster over its threshold, (n, k) padded with NaN; `cut` marks censored ones."""

    excess: NDArray[np.float64]
    cut: NDArray[np.bool_]
    count: NDArray[np.int64]

    @staticmethod
    def none(rows: int) -> Clusters:
        """No cluster anywhere."""
        return Clusters(np.full((rows, 1), np.nan), np.zeros((rows, 1), dtype=bool), np.zeros(rows, dtype=np.int64))

    @staticmethod
    def of(row: NDArray[np.intp], excess: NDArray[np.float64], cut: NDArray[np.bool_], rows: int) -> Clusters:
        """Clusters listed row by row."""
        count = np.bincount(row, minlength=rows)
        first = np.cumsum(count) - count
        slot = np.arange(len(row)) - first[row]
        padded = np.full((rows, max(1, int(count.max()))), np.nan)
        marks = np.zeros(padded.shape, dtype=bool)
        padded[row, slot] = excess
        marks[row, slot] = cut
        return Clusters(padded, marks, count)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Log likelihood on the grid (n, 25, 21) and the scales it was taken at (n, 21), the scale's prior included."""

    log_likelihood: NDArray[np.float64]
    scales: NDArray[np.float64]


def likelihood(clusters: Clusters, threshold: NDArray[np.float64], typical: float = _TYPICAL_SCALE) -> Evidence:
    """The likelihood of each series' clusters: density of the excess, survival where it was cut off."""
    scales, few = _scales(clusters, threshold, typical)
    log = np.empty((len(threshold), len(SHAPES), _SCALE_STEPS))
    for begin in range(0, len(threshold), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        log[part] = _log_density(clusters.excess[part], clusters.cut[part], scales[part])
    centre = np.log(typical * threshold)[:, None]
    scale_prior = np.where(few[:, None], -0.5 * ((np.log(scales) - centre) / _PRIOR_SPREAD) ** 2, -np.log(scales))
    return Evidence(log + scale_prior[:, None, :], scales)


def fleet_prior(evidence: Evidence, count: NDArray[np.int64]) -> ShapePrior:
    """The shape's prior that makes the fleet's own series most likely; the shipped one while series are few.

    Marginal likelihood over a grid of means and spreads: unlike the moments of point estimates it needs no correction
    for their sampling error.
    """
    told = evidence.log_likelihood[count >= _FLEET_CLUSTERS]
    if len(told) < _FLEET_SERIES:
        return SHIPPED_PRIOR
    best = told.max(axis=(1, 2), keepdims=True)
    by_shape = np.exp(told - best).sum(axis=2)  # (n, 25), up to a constant per series
    means, spreads = np.meshgrid(np.linspace(-0.2, 0.5, 29), np.array([0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4]))
    densities = np.exp(-0.5 * ((SHAPES - means.ravel()[:, None]) / spreads.ravel()[:, None]) ** 2)
    densities /= densities.sum(axis=1, keepdims=True)
    score = np.log(by_shape @ densities.T + 1e-300).sum(axis=0)
    at = int(score.argmax())
    return ShapePrior(float(means.ravel()[at]), float(spreads.ravel()[at]), _TYPICAL_SCALE)


def nodes(
    evidence: Evidence,
    prior: ShapePrior,
    past: list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The posterior as 75 nodes per series: shape, scale and weight, each (n, 75).

    For every shape the scale's posterior is carried by three Gauss-Hermite nodes on its logarithm; the predictive
    probability is smooth in it, so that three nodes do as well as the 21 of the grid.
    """
    log = evidence.log_likelihood - 0.5 * ((SHAPES - prior.mean) / prior.spread)[None, :, None] ** 2
    for row, (excess, weight, quiet) in enumerate(past):
        if excess.size:
            log[row] += _past_likelihood(excess, weight, quiet, evidence.scales[row])
    mass = np.exp(log - log.max(axis=(1, 2), keepdims=True))
    by_shape = mass.sum(axis=2)
    share = mass / np.maximum(by_shape[:, :, None], 1e-300)
    log_scale = np.log(evidence.scales)[:, None, :]
    mean = (share * log_scale).sum(axis=2)
    spread = np.sqrt(np.maximum((share * log_scale**2).sum(axis=2) - mean**2, 0.0))
    offsets = np.array([-np.sqrt(3.0), 0.0, np.sqrt(3.0)])
    weights = np.array([1 / 6, 2 / 3, 1 / 6])
    scale = np.exp(mean[:, :, None] + spread[:, :, None] * offsets)
    weight = by_shape[:, :, None] * weights
    weight = weight / weight.sum(axis=(1, 2), keepdims=True)
    shape = np.broadcast_to(SHAPES[None, :, None], scale.shape)
    rows = len(scale)
    return shape.reshape(rows, -1).copy(), scale.reshape(rows, -1), weight.reshape(rows, -1)


def survival(z: NDArray[np.float64], shape: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(excess > z) of the generalised Pareto law; 1 below the threshold, 0 beyond its end."""
    inside = 1 + shape * np.maximum(z, 0.0) / scale
    tiny = np.abs(shape) < 1e-9
    power = np.log(np.maximum(inside, 1e-300)) / np.where(tiny, 1.0, shape)
    exponent = np.where(tiny, np.maximum(z, 0.0) / scale, power)
    return np.where(inside > 0, np.exp(-exponent), 0.0)


def _scales(
    clusters: Clusters, threshold: NDArray[np.float64], typical: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Grid of scales around the mean excess, or around the typical one (and wider) where clusters are few."""
    few = clusters.count < _ENOUGH
    total = np.nansum(clusters.excess, axis=1)
    centre = np.where(few, typical * threshold, total / np.maximum(clusters.count, 1))
    low, high = np.where(few, 0.15, 0.35), np.where(few, 6.0, 3.0)
    steps = np.linspace(0.0, 1.0, _SCALE_STEPS)
    return centre[:, None] * low[:, None] * (high / low)[:, None] ** steps, few


def _log_density(
    excess: NDArray[np.float64], cut: NDArray[np.bool_], scales: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum over clusters of log density (or log survival) at each grid point, (n, 25, 21)."""
    known = np.isfinite(excess)
    full = (known & ~cut).sum(axis=1)
    relative = np.where(known, excess, 0.0)[:, None, :] / scales[:, :, None]  # (n, 21, k)
    exact = (known & ~cut)[:, None, :]
    out = np.empty((len(excess), len(SHAPES), scales.shape[1]))
    for column, shape in enumerate(SHAPES):
        inside = 1 + shape * relative
        log = np.log(np.maximum(inside, 1e-300))
        tail = relative if abs(shape) < 1e-9 else log / shape  # -log survival
        terms = tail + np.where(exact, log, 0.0)
        possible = (inside > 0).all(axis=2)
        total = np.where(known[:, None, :], terms, 0.0).sum(axis=2)
        out[:, column, :] = np.where(possible, -total - full[:, None] * np.log(scales), -1e9)
    return out


def _past_likelihood(
    excess: NDArray[np.float64], weight: NDArray[np.float64], expected: NDArray[np.float64], scales: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Each remembered exceedance happened once and did not repeat in the quiet time since, (25, 21)."""
    beyond = survival(excess[:, None, None], SHAPES[None, :, None], scales[None, None, :])
    log = np.log(np.maximum(beyond, 1e-12)) - expected[:, None, None] * beyond
    return np.asarray((weight[:, None, None] * log).sum(axis=0))
