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
    """Remembered exceedances of one series: excess, weight, and clusters expected in the quiet time since."""

    row: int
    excess: NDArray[np.float64]
    weight: NDArray[np.float64]
    expected: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What was counted of each series, and its own scale (as a power of 1.6; `wide` where it is only typical)."""

    whole: NDArray[np.float32]  # (n, knots)
    cut: NDArray[np.float32] | None
    count: NDArray[np.int64]
    step: NDArray[np.int64]
    wide: NDArray[np.bool_]
    past: tuple[Past, ...]

    def forgetting(self, rows: Sequence[int] | NDArray[np.intp]) -> Evidence:
        """Of these series, what was counted alone."""
        cut = None if self.cut is None else self.cut[rows]
        return Evidence(self.whole[rows], cut, self.count[rows], self.step[rows], self.wide[rows], ())


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


def evidence(clusters: Clusters, past: Sequence[Past] = ()) -> Evidence:
    """Counts the excesses of each series and takes its own scale: their median over log 2."""
    rows = len(clusters.count)
    wide = clusters.count < _ENOUGH
    scale = np.where(wide, _TYPICAL_SCALE, _medians(clusters) / np.log(2.0))
    step = np.round(np.log(np.clip(scale, _LEAST_SCALE, _LARGEST_SCALE)) / laws.STEP).astype(np.int64)
    whole = laws.counted(clusters.row[~clusters.cut], clusters.excess[~clusters.cut], rows)
    cut = laws.counted(clusters.row[clusters.cut], clusters.excess[clusters.cut], rows) if clusters.cut.any() else None
    return Evidence(whole, cut, clusters.count, step, wide, tuple(past))


def fleet_prior(seen: Evidence) -> Prior:
    """The prior under which the fleet's own series are most likely; the shipped one while series are few.

    Expectation and maximisation for how common and how large bursts are, with the shipped prior counting for three
    series; the shape of their tail is the most likely of some normal laws.
    """
    told = np.flatnonzero(seen.count >= _FLEET_CLUSTERS)
    if len(told) < _FLEET_SERIES:
        return SHIPPED_PRIOR
    told = told[:: -(-len(told) // _ASKED)]
    asked = seen.forgetting(told)
    pure = np.empty((len(told), laws.ORDINARY[1]), np.float32)
    bursts = np.empty((len(told), laws.ORDINARY[1], *laws.BURSTS), np.float32)
    for rows, _, _, likelihood in _likelihoods(asked):
        without, with_bursts = laws.split(likelihood)
        pure[rows], bursts[rows] = without.mean(axis=1), with_bursts.mean(axis=1)
    prior = SHIPPED_PRIOR
    for _ in range(_ROUNDS):
        for _ in range(_STEPS):
            prior = _more_likely(prior, pure, bursts)
        prior = replace(prior, burst_shapes=_best_shapes(prior, pure, bursts))
    return prior


def posterior(seen: Evidence, prior: Prior) -> Nodes:
    """The laws weighed for each series, reduced to points that carry the mean and the spread of log scale."""
    rows = len(seen.count)
    ordinary = np.empty((rows, *laws.ORDINARY))
    bursts = np.empty((3, rows, *laws.BURSTS[1:]))
    scales = np.empty((rows, laws.ORDINARY[0]))
    moments = np.stack([np.ones_like(laws.SHARES), laws.SHARES, laws.SHARES**2]).astype(np.float32)
    flat = _weights(prior)
    for at, step, wide, likelihood in _likelihoods(seen):
        chance = likelihood * flat[wide]
        chance /= chance.sum(axis=1, keepdims=True)
        without, with_bursts = laws.split(chance)
        joint = with_bursts.reshape(len(at), laws.ORDINARY[0] * laws.ORDINARY[1], -1)
        ordinary[at] = without + joint.sum(axis=2).reshape(-1, *laws.ORDINARY)
        of_bursts = joint.sum(axis=1).reshape(len(at), len(laws.SHARES), -1)
        bursts[:, at] = np.einsum("ms,nsb->mnb", moments, of_bursts).reshape(3, len(at), *laws.BURSTS[1:])
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
    past = {each.row: each for each in seen.past}
    key = seen.step * 2 + seen.wide
    for each in np.unique(key):
        step, wide = int(each) // 2, bool(each % 2)
        members = np.flatnonzero(key == each)
        for begin in range(0, len(members), _CHUNK):
            rows = members[begin : begin + _CHUNK]
            log = seen.whole[rows] @ laws.log_densities(step, wide)
            if seen.cut is not None and seen.cut[rows].any():
                log += seen.cut[rows] @ laws.log_survivals(step, wide)
            for place, row in enumerate(rows):
                if row in past:
                    log[place] += _of_past(past[int(row)], step, wide=wide)
            log -= log.max(axis=1, keepdims=True)
            yield rows, step, wide, np.exp(log, out=log)


def _of_past(past: Past, step: int, *, wide: bool) -> NDArray[np.float64]:
    """Each remembered exceedance happened once and did not repeat in the quiet time since; log, of each law."""
    beyond = laws.survivals(past.excess, step, wide=wide)
    log = np.log(np.maximum(beyond, 1e-12)) - past.expected[:, None] * beyond
    return np.asarray((past.weight[:, None] * log).sum(axis=0))


def _of_bursts(prior: Prior) -> NDArray[np.float32]:
    return np.asarray(prior.shares[1:, None, None] * prior.burst_scales[:, None] * prior.burst_shapes, dtype=np.float32)


def _weights(prior: Prior) -> dict[bool, NDArray[np.float32]]:
    """The prior of every law, by whether the ordinary scale is only typical."""
    each = np.concatenate([prior.shares[:1], _of_bursts(prior).ravel()])
    spread = {False: np.ones(laws.ORDINARY[0]), True: np.exp(-0.5 * (np.log(laws.WIDE_SCALES) / _WIDE_SPREAD) ** 2)}
    out = {}
    for wide, scales in spread.items():
        ordinary = (scales[:, None] * prior.ordinary_shapes).ravel().astype(np.float32)
        joint = ordinary[:, None] * each
        out[wide] = np.concatenate([joint[:, 0], joint[:, 1:].ravel()])
    return out


def _more_likely(prior: Prior, pure: NDArray[np.float32], bursts: NDArray[np.float32]) -> Prior:
    """One step of expectation and maximisation."""
    alone = pure * (prior.ordinary_shapes * prior.shares[0])
    flat = bursts.reshape(len(bursts), -1)
    weight = (prior.ordinary_shapes[:, None] * _of_bursts(prior).ravel()).ravel()
    total = alone.sum(axis=1) + flat @ weight
    joint = ((1 / total) @ flat * weight).reshape(bursts.shape[1:])
    without = (1 / total) @ alone
    return replace(
        prior,
        shares=_moved(prior.shares, np.r_[without.sum(), joint.sum(axis=(0, 2, 3))], SHIPPED_PRIOR.shares),
        burst_scales=_moved(prior.burst_scales, joint.sum(axis=(0, 1, 3)), SHIPPED_PRIOR.burst_scales),
        ordinary_shapes=_moved(
            prior.ordinary_shapes, without + joint.sum(axis=(1, 2, 3)), SHIPPED_PRIOR.ordinary_shapes
        ),
    )


def _moved(old: NDArray[np.float32], found: NDArray[np.float32], shipped: NDArray[np.float32]) -> NDArray[np.float32]:
    """Further than the step itself asks for: the same end, reached in half as many."""
    asked = found + np.float32(_WEIGHT) * shipped
    moved = old * (asked / asked.sum() / np.maximum(old, 1e-9)) ** np.float32(_STRIDE)
    return np.asarray(moved / moved.sum(), dtype=np.float32)


def _best_shapes(prior: Prior, pure: NDArray[np.float32], bursts: NDArray[np.float32]) -> NDArray[np.float32]:
    """The most likely of the normal laws for the shape of bursts, the rest of the prior given."""
    known = replace(prior, burst_shapes=np.ones_like(prior.burst_shapes))
    weight = prior.ordinary_shapes[:, None, None, None] * _of_bursts(known)
    by_shape = (bursts * weight).reshape(len(bursts), -1, laws.BURSTS[2]).sum(axis=1)
    alone = pure @ prior.ordinary_shapes * prior.shares[0]
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
