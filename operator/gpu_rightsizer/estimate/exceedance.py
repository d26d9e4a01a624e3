"""The probability that a demand exceeds a capacity within a horizon, and the capacity a probability asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.estimate.posterior import survival

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from gpu_rightsizer.domain.need import DemandTail

_CHUNK = 256
_BISECTIONS = 60
_KNOTS = 24


def exceedance(tail: DemandTail, capacity: ArrayLike, horizon_hours: float) -> NDArray[np.float64]:
    """P(largest demand within the horizon > capacity), of `capacity`'s shape; 1 below the usual daily peak.

    Posterior predictive: the rate of exceedances is integrated out analytically, shape and scale over their grid.
    """
    asked = np.asarray(capacity, dtype=np.float64)
    flat = np.atleast_1d(asked).ravel()
    rows = np.zeros(flat.size, dtype=np.intp)
    return np.reshape(exceedances([tail], rows, flat, np.full(flat.size, horizon_hours)), asked.shape)


def exceedances(
    tails: Sequence[DemandTail], rows: NDArray[np.intp], capacity: NDArray[np.float64], hours: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The same for many pairs at once: `rows[i]` names the tail that `capacity[i]` and `hours[i]` belong to."""
    out = np.ones(rows.size)
    sizes = {(t.seasonal.size, t.shape.size) for t in tails}
    for size in sizes:
        members = [i for i, t in enumerate(tails) if (t.seasonal.size, t.shape.size) == size]
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
    """The same for many capacities of each tail, (n, m): exact at 24 of them, log-log between; NaN where not asked.

    log P is smooth in log capacity above the usual peak: the error is below a tenth of P (a test says so).
    """
    if capacity.shape[1] <= _KNOTS:
        rows, columns = np.nonzero(np.isfinite(capacity))
        out = np.full(capacity.shape, np.nan)
        out[rows, columns] = exceedances(tails, rows, capacity[rows, columns], hours[rows])
        return out
    usual = np.array([t.seasonal.max() for t in tails])
    asked = np.where(np.isfinite(capacity) & (capacity >= usual[:, None]), capacity, np.nan)
    low, high = np.fmin.reduce(asked, axis=1), np.fmax.reduce(asked, axis=1)
    low, high = np.where(np.isnan(low), usual, low), np.where(np.isnan(high), 2 * usual, high)
    steps = np.linspace(0.0, 1.0, _KNOTS)[None, :] ** 2.5  # closer near the usual peak, where P bends
    knots = low[:, None] * (np.maximum(high, low * (1 + 1e-9)) / low)[:, None] ** steps
    caps = np.array([np.inf if t.cap is None else t.cap for t in tails])
    rows = np.repeat(np.arange(len(tails)), _KNOTS)
    uncapped = [replace(t, cap=None) for t in tails]
    chances = exceedances(uncapped, rows, knots.ravel(), hours[rows]).reshape(knots.shape)
    logs = np.log(np.maximum(chances, 1e-300))
    inside = np.stack(
        [
            np.interp(np.log(np.maximum(row, 1e-300)), np.log(knot), log)
            for row, knot, log in zip(np.nan_to_num(asked, nan=1.0), knots, logs, strict=True)
        ]
    )
    found = np.where(np.isnan(asked), 1.0, np.where(asked >= caps[:, None], 0.0, np.exp(inside)))
    return np.where(np.isnan(capacity), np.nan, found)


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

    __slots__ = ("cap", "count", "exposure", "scale", "seasonal", "shape", "threshold", "usual", "weight")

    def __init__(self, tails: Sequence[DemandTail]) -> None:
        self.seasonal = np.stack([t.seasonal for t in tails])
        self.shape = np.stack([t.shape for t in tails])
        self.scale = np.stack([t.scale for t in tails])
        self.weight = np.stack([t.weight for t in tails])
        self.threshold = np.array([t.threshold for t in tails])
        self.count = np.array([t.exceedances for t in tails])
        self.exposure = np.array([max(t.exposure_hours, 1.0) for t in tails])
        self.cap = np.array([np.inf if t.cap is None else t.cap for t in tails])
        self.usual = self.seasonal.max(axis=1)

    def probability(
        self, at: NDArray[np.intp], capacity: NDArray[np.float64], hours: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """P(exceedance) for pairs (tail, capacity, horizon)."""
        z = capacity[:, None] / self.seasonal[at] - self.threshold[at][:, None]  # (p, h)
        beyond = survival(z[:, :, None], self.shape[at][:, None, :], self.scale[at][:, None, :])
        share = np.where(z[:, :, None] < 0, 1.0, beyond).mean(axis=1)  # (p, g)
        exposure = self.exposure[at][:, None]
        log_none = -self.count[at][:, None] * np.log1p(hours[:, None] * share / exposure)
        p = (self.weight[at] * -np.expm1(log_none)).sum(axis=1)
        p = np.where(capacity < self.usual[at], 1.0, p)
        return np.asarray(np.clip(np.where(capacity >= self.cap[at], 0.0, p), 0.0, 1.0))
