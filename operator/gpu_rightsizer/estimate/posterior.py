"""What a series' excesses say about its tail: the laws weighed by likelihood and by a prior that the fleet shares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.estimate import laws

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_ENOUGH = 5  # clusters from which a series' own scale is taken
_TYPICAL_SCALE = 0.15  # excess over the threshold, as a share of it, where the series itself does not tell
_WIDE_SPREAD = 0.8  # standard deviation of log scale there
_LEAST_SCALE, _LARGEST_SCALE = 0.002, 5.0
_FLEET_SERIES = 20  # series with ten clusters from which the fleet's own prior is used
_FLEET_CLUSTERS = 10
_ASKED = 1000  # series of a large fleet that teach the prior
_ROUNDS, _STEPS, _STRIDE = 5, 12, 1.7
_WEIGHT = 3.0  # series that the shipped prior counts for
_SHAPES = tuple((mean, spread) for mean in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45) for spread in (0.15, 0.2))
_CHUNK = 64
_NODES = np.sqrt(3.0) * np.array([-1.0, 0.0, 1.0]), np.array([1 / 6, 2 / 3, 1 / 6])  # Gauss-Hermite


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """Chances, each summing to 1: of no bursts and of each share of them, of their scales and of the shapes."""

    shares: NDArray[np.float32]
    burst_scales: NDArray[np.float32]
    burst_shapes: NDArray[np.float32]
    ordinary_shapes: NDArray[np.float32]


def _normal(at: NDArray[np.float64], mean: float, spread: float) -> NDArray[np.float32]:
    density = np.exp(-0.5 * ((at - mean) / spread) ** 2)
    return np.asarray(density / density.sum(), dtype=np.float32)


SHIPPED_PRIOR = Prior(
    shares=np.array([0.50, 0.13, 0.13, 0.12, 0.12], dtype=np.float32),
    burst_scales=_normal(np.log(laws.BURST_SCALES), float(np.log(0.25)), 1.0),
    burst_shapes=_normal(laws.BURST_SHAPES, 0.15, 0.2),
    ordinary_shapes=_normal(laws.ORDINARY_SHAPES, -0.1, 0.12),
)


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Clusters of exceedances, listed row by row: excess as a share of the threshold, whether it was cut off."""

    row: NDArray[np.intp]
    excess: NDArray[np.float64]
    cut: NDArray[np.bool_]
    count: NDArray[np.int64]  # (n,), of each series


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """Remembered exceedances: whose, their excess, weight, and the clusters expected in the quiet time since; (k,)."""

    row: NDArray[np.intp]
    excess: NDArray[np.float64]
    weight: NDArray[np.float64]
    expected: NDArray[np.float64]

    def of(self, which: NDArray[np.bool_]) -> Past:
        """Some of them."""
        return Past(self.row[which], self.excess[which], self.weight[which], self.expected[which])


_NOTHING = Past(np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0), np.zeros(0))


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What was counted of each series, and its own scale (as a power of 1.6; `wide` where it is only typical)."""

    whole: NDArray[np.float32]  # (n, knots)
    cut: NDArray[np.float32] | None
    count: NDArray[np.int64]
    step: NDArray[np.int64]
    wide: NDArray[np.bool_]
    past: Past = _NOTHING

    def forgetting(self, rows: Sequence[int] | NDArray[np.intp]) -> Evidence:
        """Of these series, what was counted alone."""
        cut = None if self.cut is None else self.cut[rows]
        return Evidence(self.whole[rows], cut, self.count[rows], self.step[rows], self.wide[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """The posterior as few points: shape, scale and weight of ordinary variation and of bursts, each (n, points).

    `share` and `share_square` are the posterior means of the share of bursts at each of their points, and of its
    square; the weights of bursts sum to the chance that there are any.
    """

    shape: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    burst_shape: NDArray[np.float64]
    burst_scale: NDArray[np.float64]
    burst_weight: NDArray[np.float64]
    share: NDArray[np.float64]
    share_square: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Likelihood:
    """How likely each series is without bursts (n, ordinary shapes) and with them (n, ordinary shapes, *BURSTS)."""

    pure: NDArray[np.float32]
    bursts: NDArray[np.float32]


def evidence(clusters: Clusters, past: Past = _NOTHING) -> Evidence:
    """Counts the excesses of each series and takes its own scale: their median over log 2."""
    rows = len(clusters.count)
    wide = clusters.count < _ENOUGH
    scale = np.where(wide, _TYPICAL_SCALE, _medians(clusters) / np.log(2.0))
    step = np.round(np.log(np.clip(scale, _LEAST_SCALE, _LARGEST_SCALE)) / laws.STEP).astype(np.int64)
    whole = laws.counted(clusters.row[~clusters.cut], clusters.excess[~clusters.cut], rows)
    cut = laws.counted(clusters.row[clusters.cut], clusters.excess[clusters.cut], rows) if clusters.cut.any() else None
    return Evidence(whole, cut, clusters.count, step, wide, past)


def fleet_prior(seen: Evidence) -> Prior:
    """The prior under which the fleet's own series are most likely; the shipped one while series are few.

    Expectation and maximisation for how common and how large bursts are, with the shipped prior counting for three
    series; the shape of their tail is the most likely of some normal laws.
    """
    told = np.flatnonzero(seen.count >= _FLEET_CLUSTERS)
    if len(told) < _FLEET_SERIES:
        return SHIPPED_PRIOR
    told = told[:: -(-len(told) // _ASKED)]
    likelihood = _by_shapes(seen.forgetting(told))
    prior = SHIPPED_PRIOR
    for _ in range(_ROUNDS):
        given = _marginal(likelihood, prior.burst_shapes)
        for _ in range(_STEPS):
            prior = _more_likely(prior, given)
        prior = replace(prior, burst_shapes=_best_shapes(prior, likelihood))
    return prior


def posterior(seen: Evidence, prior: Prior) -> Nodes:
    """The laws weighed for each series, reduced to points that carry the mean and the spread of log scale."""
    rows = len(seen.count)
    ordinary = np.empty((rows, *laws.ORDINARY))
    bursts = np.zeros((3, rows, *laws.BURSTS[1:]))
    scales = np.empty((rows, laws.ORDINARY[0]))
    moments = np.stack([np.ones_like(laws.SHARES), laws.SHARES, laws.SHARES**2]).astype(np.float32)
    kinds = _of_bursts(prior)
    for at, step, wide, likelihood in _likelihoods(seen):
        least, base = laws.least_burst(step), _of_ordinary(prior, wide=wide)
        weight = np.concatenate([prior.shares[:1], kinds[:, least:].ravel()])
        chance = (likelihood @ weight) * base
        total = chance.sum(axis=1, keepdims=True)
        ordinary[at] = (chance / total).reshape(-1, *laws.ORDINARY)
        of_bursts = ((base @ likelihood) * weight / total)[:, 1:].reshape(len(at), len(laws.SHARES), -1)
        bursts[:, at, least:] = (moments @ of_bursts).swapaxes(0, 1).reshape(3, len(at), -1, laws.BURSTS[2])
        scales[at] = laws.own_scales(step, wide=wide)
    return _points(ordinary, scales, bursts)


def _medians(clusters: Clusters) -> NDArray[np.float64]:
    """Median excess of each series, 0 where there is none."""
    ordered = clusters.excess[np.lexsort((clusters.excess, clusters.row))]
    first = np.cumsum(clusters.count) - clusters.count
    if not ordered.size:
        return np.zeros(len(first))
    last = len(ordered) - 1
    low = ordered[np.minimum(first + np.maximum(clusters.count - 1, 0) // 2, last)]
    high = ordered[np.minimum(first + clusters.count // 2, last)]
    return np.where(clusters.count > 0, (low + high) / 2, 0.0)


def _likelihoods(seen: Evidence) -> Iterator[tuple[NDArray[np.intp], int, bool, NDArray[np.float32]]]:
    """Rows of one own scale, that scale, and the likelihood of each law (largest of a row: 1)."""
    key = seen.step * 2 + seen.wide
    for each in np.unique(key):
        step, wide = int(each) // 2, bool(each % 2)
        members = np.flatnonzero(key == each)
        for begin in range(0, len(members), _CHUNK):
            rows = members[begin : begin + _CHUNK]
            log = _summed(seen.whole[rows], laws.log_densities(step, wide))
            if seen.cut is not None and seen.cut[rows].any():
                log += _summed(seen.cut[rows], laws.log_survivals(step, wide))
            _remember(log, rows, seen.past, (step, wide))
            log -= log.max(axis=(1, 2), keepdims=True)
            yield rows, step, wide, np.exp(log, out=log)


def _summed(counts: NDArray[np.float32], table: NDArray[np.float32]) -> NDArray[np.float32]:
    """Counts (n, knots) times what each law says at the knots; from the first to the last at which anything is."""
    used = np.flatnonzero(counts.any(axis=0))
    among = slice(used[0], used[-1] + 1) if used.size else slice(0)
    return np.asarray(np.tensordot(counts[:, among], table[among], axes=1))


def _remember(log: NDArray[np.float32], rows: NDArray[np.intp], past: Past, scale: tuple[int, bool]) -> None:
    """Adds what is remembered of these rows: each happened once and did not repeat in the quiet time since."""
    if not past.row.size:
        return
    told = past.of(np.isin(past.row, rows))
    for begin in range(0, len(told.row), _CHUNK):
        part = told.of(np.arange(len(told.row)) // _CHUNK == begin // _CHUNK)
        beyond = laws.survivals(part.excess, scale[0], wide=scale[1])
        once = np.log(np.maximum(beyond, 1e-12)) - part.expected[:, None, None] * beyond
        np.add.at(log, np.searchsorted(rows, part.row), part.weight[:, None, None] * once)


def _of_bursts(prior: Prior) -> NDArray[np.float32]:
    """The prior of each share, scale and shape of bursts."""
    return np.asarray(prior.shares[1:, None, None] * prior.burst_scales[:, None] * prior.burst_shapes, dtype=np.float32)


def _of_ordinary(prior: Prior, *, wide: bool) -> NDArray[np.float32]:
    """The prior of each ordinary scale and shape; all scales are alike unless the series' own is only typical."""
    spread = np.exp(-0.5 * (np.log(laws.WIDE_SCALES) / _WIDE_SPREAD) ** 2) if wide else np.ones(laws.ORDINARY[0])
    return np.asarray((spread[:, None] * prior.ordinary_shapes).ravel(), dtype=np.float32)


def _by_shapes(asked: Evidence) -> _Likelihood:
    """The likelihoods of series, their ordinary scales averaged."""
    rows, shapes = len(asked.count), laws.ORDINARY[1]
    out = _Likelihood(np.empty((rows, shapes), np.float32), np.zeros((rows, shapes, *laws.BURSTS), np.float32))
    for at, step, _, likelihood in _likelihoods(asked):
        mean = likelihood.reshape(len(at), *laws.ORDINARY, -1).mean(axis=1)
        out.pure[at] = mean[:, :, 0]
        out.bursts[at, :, :, laws.least_burst(step) :] = mean[:, :, 1:].reshape(
            *mean.shape[:2], *laws.BURSTS[:1], -1, laws.BURSTS[2]
        )
    return out


def _marginal(likelihood: _Likelihood, burst_shapes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over the shapes of bursts, (n, ordinary shapes, 1 + shares x scales)."""
    bursts = (likelihood.bursts @ burst_shapes).reshape(*likelihood.pure.shape, -1)
    return np.concatenate([likelihood.pure[:, :, None], bursts], axis=2)


def _more_likely(prior: Prior, given: NDArray[np.float32]) -> Prior:
    """One step of expectation and maximisation, of all but the shapes of bursts."""
    kinds = np.concatenate([prior.shares[:1], (prior.shares[1:, None] * prior.burst_scales).ravel()])
    weight = (prior.ordinary_shapes[:, None] * kinds).ravel()
    flat = given.reshape(len(given), -1)
    joint = ((1 / (flat @ weight)) @ flat * weight).reshape(given.shape[1:])
    without, bursts = joint[:, 0], joint[:, 1:].reshape(-1, *laws.BURSTS[:2])
    return replace(
        prior,
        shares=_moved(prior.shares, np.r_[without.sum(), bursts.sum(axis=(0, 2))], SHIPPED_PRIOR.shares),
        burst_scales=_moved(prior.burst_scales, bursts.sum(axis=(0, 1)), SHIPPED_PRIOR.burst_scales),
        ordinary_shapes=_moved(prior.ordinary_shapes, joint.sum(axis=1), SHIPPED_PRIOR.ordinary_shapes),
    )


def _moved(old: NDArray[np.float32], found: NDArray[np.float32], shipped: NDArray[np.float32]) -> NDArray[np.float32]:
    """Further than the step itself asks for: the same end, reached in half as many."""
    asked = found + np.float32(_WEIGHT) * shipped
    moved = old * (asked / asked.sum() / np.maximum(old, 1e-9)) ** np.float32(_STRIDE)
    return np.asarray(moved / moved.sum(), dtype=np.float32)


def _best_shapes(prior: Prior, likelihood: _Likelihood) -> NDArray[np.float32]:
    """The most likely of the normal laws for the shape of bursts, the rest of the prior given."""
    weight = prior.ordinary_shapes[:, None, None] * prior.shares[1:, None] * prior.burst_scales
    by_shape = weight.ravel() @ likelihood.bursts.reshape(len(likelihood.pure), -1, laws.BURSTS[2])
    alone = likelihood.pure @ prior.ordinary_shapes * prior.shares[0]
    choices = [_normal(laws.BURST_SHAPES, mean, spread) for mean, spread in _SHAPES]
    scores = np.log(alone[:, None] + by_shape @ np.stack(choices).T + 1e-30).sum(axis=0)
    return choices[int(scores.argmax())]


def _points(ordinary: NDArray[np.float64], scales: NDArray[np.float64], bursts: NDArray[np.float64]) -> Nodes:
    """Fewer points: three scales for each ordinary shape, and neighbouring scales of bursts in threes."""
    shape, scale, weight = _condensed(ordinary, np.log(scales))
    rows, joined = len(ordinary), np.arange(0, len(laws.BURST_SCALES), 3)
    mass, share, square = (np.add.reduceat(each, joined, axis=1) for each in bursts)
    log_scale = np.add.reduceat(bursts[0] * np.log(laws.BURST_SCALES)[:, None], joined, axis=1)
    known = np.maximum(mass, 1e-30)
    burst_scale = np.where(mass > 0, np.exp(log_scale / known), laws.BURST_SCALES[joined][:, None])
    burst_shape = np.broadcast_to(laws.BURST_SHAPES, mass.shape)
    parts = (burst_shape, burst_scale, mass, share / known, square / known)
    return Nodes(shape, scale, weight, *(each.reshape(rows, -1) for each in parts))


def _condensed(
    weight: NDArray[np.float64], log_scale: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shape, scale and weight of three points for each ordinary shape, which keep the mean and spread of log scale."""
    rows = len(weight)
    by_shape = weight.sum(axis=1)
    part = weight / np.maximum(by_shape, 1e-30)[:, None, :]
    mean = np.einsum("nsx,ns->nx", part, log_scale)
    spread = np.sqrt(np.maximum(np.einsum("nsx,ns->nx", part, log_scale**2) - mean**2, 0.0))
    offsets, masses = _NODES
    scale = np.exp(mean[:, :, None] + spread[:, :, None] * offsets)
    point = by_shape[:, :, None] * masses
    shape = np.broadcast_to(laws.ORDINARY_SHAPES[None, :, None], scale.shape)
    return shape.reshape(rows, -1), scale.reshape(rows, -1), point.reshape(rows, -1)
