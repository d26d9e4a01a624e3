"""The probability that a demand exceeds a capacity within a horizon, and the capacity a probability asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from gpu_rightsizer.domain.need import Bursts, DemandTail, Recalibration

_CHUNK = 256
_BISECTIONS = 60
_KNOTS = 20
_BEND = 0.2  # of log capacity about the threshold, within which knots lie close: there P bends
_LEAST_LOG = np.float32(-80.0)  # of a chance: what is smaller has no normal single-precision number and is slow
_BELOW = 1 - 1e-12  # of the usual peak: less is below it, and not only rounded otherwise
_SMALLEST_SHAPE = 3e-4  # stands for 0: the error of S is below 1 % where S is above 1e-4
_FIRST_RANK = 5  # the fewest windows from which a frequency is taken
_RARE = 10  # one in so many windows tells how fast rarer ones thin out
_RARE_PRIOR = 10.0  # windows that count for the model's own law there
_SLOWEST = 0.3


def exceedance(tail: DemandTail, capacity: ArrayLike, horizon_hours: float) -> NDArray[np.float64]:
    """P(largest demand within the horizon > capacity), of `capacity`'s shape; 1 below the usual daily peak.

    Posterior predictive: the rate of exceedances is integrated out analytically, shape and scale over their points;
    then as often as such a probability came true, where the tail has a recalibration.
    """
    asked = np.asarray(capacity, dtype=np.float64)
    flat = np.atleast_1d(asked).ravel()
    rows = np.zeros(flat.size, dtype=np.intp)
    return np.reshape(exceedances([tail], rows, flat, np.full(flat.size, horizon_hours)), asked.shape)


def exceedances(
    tails: Sequence[DemandTail], rows: NDArray[np.intp], capacity: NDArray[np.float64], hours: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The same for many pairs at once: `rows[i]` names the tail that `capacity[i]` and `hours[i]` belong to."""
    found = _uncapped(tails, rows, capacity, hours)
    each = [tails[row] for row in rows]
    within = _within_windows(each, hours)
    if within is not None:
        weekly = _uncapped(tails, rows, capacity, within)
        found = _as_it_came_true(found[:, None], weekly[:, None], each, hours)[:, 0]
    return np.where(capacity >= _caps(tails)[rows], 0.0, found)


def _caps(tails: Sequence[DemandTail]) -> NDArray[np.float64]:
    """Demand that physics cannot exceed."""
    return np.array([np.inf if t.cap is None else t.cap for t in tails])


def _uncapped(
    tails: Sequence[DemandTail], rows: NDArray[np.intp], capacity: NDArray[np.float64], hours: NDArray[np.float64]
) -> NDArray[np.float64]:
    """As modelled, whatever physics allows."""
    out = np.ones(rows.size)
    sizes = [(t.seasonal.size, t.shape.size, 0 if t.bursts is None else t.bursts.shape.size) for t in tails]
    for size in set(sizes):
        members = [i for i, each in enumerate(sizes) if each == size]
        position = np.full(len(tails), -1, dtype=np.intp)
        position[members] = np.arange(len(members))
        pairs = np.flatnonzero(position[rows] >= 0)
        stack = _Stack([tails[i] for i in members])
        for begin in range(0, pairs.size, _CHUNK):
            part = pairs[begin : begin + _CHUNK]
            out[part] = stack.probability(position[rows[part]], capacity[part], hours[part])
    return out


def interpolated(
    tails: Sequence[DemandTail], capacity: NDArray[np.float64], hours: NDArray[np.float64]
) -> NDArray[np.float64]:
    """For many capacities of each tail, (n, m), whatever its cap; NaN where not asked."""
    found = _interpolated(tails, capacity, hours)
    within = _within_windows(tails, hours)
    if within is None:
        return found
    weekly = found if np.array_equal(within, hours) else _interpolated(tails, capacity, within)
    return np.where(np.isnan(capacity), np.nan, _as_it_came_true(found, weekly, tails, hours))


def _interpolated(
    tails: Sequence[DemandTail], capacity: NDArray[np.float64], hours: NDArray[np.float64]
) -> NDArray[np.float64]:
    """As modelled: exact at 20 capacities, cubic between.

    log P is smooth in asinh(log(capacity / threshold) / 0.2): the error is below a tenth of P (a test says so).
    """
    if capacity.shape[1] <= _KNOTS:
        rows, columns = np.nonzero(np.isfinite(capacity))
        out = np.full(capacity.shape, np.nan)
        out[rows, columns] = _uncapped(tails, rows, capacity[rows, columns], hours[rows])
        return out
    usual = np.array([t.seasonal.max() for t in tails])[:, None]
    bend = usual * np.array([t.threshold for t in tails])[:, None]
    asked = np.arcsinh(np.log(np.where(capacity >= usual * _BELOW, capacity, np.nan) / bend) / _BEND)
    lowest = np.arcsinh(np.log(usual / bend) / _BEND)
    low, high = (np.where(np.isnan(end), lowest, end) for end in _ends(asked))
    span = np.maximum(high - low, 1e-9)
    knots = bend * np.exp(_BEND * np.sinh(low + span * np.linspace(0.0, 1.0, _KNOTS)))
    rows = np.repeat(np.arange(len(tails)), _KNOTS)
    chances = _uncapped(tails, rows, knots.ravel(), hours[rows]).reshape(knots.shape)
    place = np.nan_to_num((asked - low) / span) * (_KNOTS - 1)
    inside = np.exp(np.minimum(_cubic(np.log(np.maximum(chances, 1e-300)), place), 0.0))
    return np.where(np.isnan(capacity), np.nan, np.where(np.isnan(asked), 1.0, inside))


def _ends(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The smallest and the largest known value of each row, as columns."""
    return np.fmin.reduce(values, axis=1, keepdims=True), np.fmax.reduce(values, axis=1, keepdims=True)


def _within_windows(tails: Sequence[DemandTail], hours: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The horizon of each tail, cut to the windows that its kind was compared in; None where none was."""
    if all(t.recalibration is None for t in tails):
        return None
    compared = [np.inf if t.recalibration is None else t.recalibration.hours for t in tails]
    return np.asarray(np.minimum(hours, compared), dtype=np.float64)


def _as_it_came_true(
    modelled: NDArray[np.float64],
    within: NDArray[np.float64],
    tails: Sequence[DemandTail],
    hours: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(tails, n): never less than the model; a horizon longer than the windows compared repeats their hazard.

    `within` is the model's probability for a horizon no longer than a window. All windows that were compared are of one
    and the same week: a quiet one must not make the fleet bold.
    """
    out = modelled.copy()
    for key, recalibration in {id(t.recalibration): t.recalibration for t in tails}.items():
        if recalibration is not None:
            at = np.array([id(t.recalibration) == key for t in tails])
            windows = np.maximum(hours[at] / recalibration.hours, 1.0)[:, None]
            repeated = -np.expm1(windows * np.log1p(-np.minimum(came_true(within[at], recalibration), 1 - 1e-15)))
            out[at] = np.maximum(modelled[at], repeated)
    return out


def came_true(probability: NDArray[np.float64], recalibration: Recalibration) -> NDArray[np.float64]:
    """How often a probability as low as this came true, in a window of those that were compared.

    The share of scores at or below it, counting one more (never less than the scores can tell); between scores and
    below the lowest five straight in logarithms, there with the slope of the lowest tenth (Hill, Annals of Statistics
    3, 1975), drawn towards 1, the model's own.
    """
    scores = recalibration.scores
    count, first = scores.size, _FIRST_RANK - 1
    rare = max(_FIRST_RANK, count // _RARE)
    gaps = float(np.log(scores[rare] / scores[:rare]).sum())
    slope = min(max((rare + _RARE_PRIOR) / (gaps + _RARE_PRIOR), _SLOWEST), 1.0)
    at = np.log(scores[first:])
    share = np.log(np.minimum((np.arange(first, count) + 2) / (count + 1), 1.0))
    log = np.log(np.maximum(probability, 1e-300))
    found = np.exp(np.where(log < at[0], share[0] + slope * (log - at[0]), np.interp(log, at, share)))
    return np.asarray(np.where(probability >= 1, 1.0, np.where(probability <= 0, 0.0, found)))


def _cubic(values: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of equally spaced values read between them, by cubics with the slopes of their neighbours."""
    slopes = np.gradient(values, axis=1)
    at = np.minimum(place.astype(np.intp), values.shape[1] - 2)
    t = place - at
    left, right = (np.take_along_axis(values, at + step, axis=1) for step in (0, 1))
    rise, end = (np.take_along_axis(slopes, at + step, axis=1) for step in (0, 1))
    rest = 1 - t
    return np.asarray(
        left * rest**2 * (1 + 2 * t) + right * t**2 * (1 + 2 * rest) + rise * t * rest**2 - end * t**2 * rest
    )


def level(tail: DemandTail, probability: ArrayLike, horizon_hours: float) -> NDArray[np.float64]:
    """The smallest capacity exceeded within the horizon with at most `probability` (0 < p < 1)."""
    asked = np.asarray(probability, dtype=np.float64)
    wanted = np.atleast_1d(asked).ravel()
    usual = float(tail.seasonal.max())
    low = np.full(wanted.size, np.log(usual))
    high = low + np.log(1e12)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        over = exceedance(tail, np.exp(middle), horizon_hours) > wanted
        low = np.where(over, middle, low)
        high = np.where(over, high, middle)
    return np.reshape(np.exp(high), asked.shape)


class _Stack:
    """Tails of one size as arrays, so that pairs of many workloads are one expression."""

    __slots__ = ("bursts", "ordinary", "seasonal", "threshold", "usual")

    def __init__(self, tails: Sequence[DemandTail]) -> None:
        self.seasonal = np.stack([t.seasonal for t in tails])
        self.threshold = np.array([t.threshold for t in tails])
        self.usual = self.seasonal.max(axis=1)
        hours = [[max(t.exposure_hours, 1.0)] for t in tails]
        self.ordinary = _Points(tails, [[t.exceedances] for t in tails], hours)
        known = [t.bursts for t in tails if t.bursts is not None]
        self.bursts = _Points(known, [b.count for b in known], [b.hours for b in known]) if known else None

    def probability(
        self, at: NDArray[np.intp], capacity: NDArray[np.float64], hours: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """P(exceedance) for pairs (tail, capacity, horizon): 1 - P(no ordinary peak) P(no burst)."""
        z = (capacity / self.seasonal.T[:, at] - self.threshold[at]).astype(np.float32)  # (h, p)
        none = 1 - self.ordinary.exceed(at, z, hours)
        if self.bursts is not None:
            none *= 1 - self.bursts.exceed(at, z, hours)
        return np.asarray(np.clip(np.where(capacity < self.usual[at] * _BELOW, 1.0, 1 - none), 0.0, 1.0))


class _Points:
    """Points of many posteriors, (n, points), in single precision, which is twice as fast; the rate is a Gamma one."""

    __slots__ = ("count", "hours", "power", "steepness", "weight")

    def __init__(self, points: Sequence[DemandTail] | Sequence[Bursts], count: ArrayLike, hours: ArrayLike) -> None:
        shape = np.stack([each.shape for each in points])
        shape = np.where(np.abs(shape) < _SMALLEST_SHAPE, _SMALLEST_SHAPE, shape)
        self.steepness = (shape / np.stack([each.scale for each in points])).astype(np.float32)
        self.power = (-1 / shape).astype(np.float32)
        self.weight = np.stack([each.weight for each in points]).astype(np.float32)
        self.count = np.asarray(count, dtype=np.float32)
        self.hours = np.asarray(hours, dtype=np.float32)

    def exceed(self, at: NDArray[np.intp], z: NDArray[np.float32], horizon: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(any exceeds z in the horizon), the hours of the week being a mixture and the rate integrated out."""
        share = np.add.reduce(_survival(z, self.steepness[at], self.power[at]), axis=0)
        share *= (horizon / len(z)).astype(np.float32)[:, None]
        share /= self.hours[at]
        none = np.log1p(share, out=share)
        none *= -self.count[at]
        some = np.expm1(none, out=none)
        return np.asarray(-np.einsum("pg,pg->p", self.weight[at], some, dtype=np.float64))


def _survival(
    z: NDArray[np.float32], steepness: NDArray[np.float32], power: NDArray[np.float32]
) -> NDArray[np.float32]:
    """P(excess > z) of generalised Pareto laws, (h, p, g): (1 + steepness z)^power; 1 at and below z = 0.

    Beyond the end of a bounded law it is 1e-28 or less, not 0.
    """
    inside = np.maximum(z, 0)[:, :, None] * steepness
    inside += 1
    np.maximum(inside, np.float32(1e-7), out=inside)
    np.log(inside, out=inside)
    inside *= power
    np.maximum(inside, _LEAST_LOG, out=inside)
    return np.exp(inside, out=inside)
