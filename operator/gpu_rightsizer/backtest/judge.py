"""Decides what would have happened: minutes in which demand exceeded what was there, and what was paid.

It shares no code with those it judges, and sees the demand they could not: they hand in what they ordered, it lets the
orders arrive late and counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEEK_MINUTES: Final = 7 * 24 * 60
_ROUNDING: Final = 1 + 1e-9
_A_DAY: Final = 24 * 60


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Per deployment: minutes judged, minutes violated, money an hour on average, re-scalings a day."""

    judged: NDArray[np.float64]
    violated: NDArray[np.float64]
    hourly: NDArray[np.float64]
    rescalings: NDArray[np.float64]

    def violations_a_week(self) -> NDArray[np.float64]:
        """Violated minutes per judged week; 0 where nothing was judged."""
        return self.violated / np.maximum(self.judged, 1.0) * WEEK_MINUTES


def judge_static(
    peaks: NDArray[np.float64],
    unknown: NDArray[np.bool_],
    capacity: NDArray[np.float64],
    hourly: NDArray[np.float64],
) -> Outcome:
    """A capacity (deployments,) that never changes, against the peaks of each minute (deployments, minutes)."""
    over = (peaks > capacity[:, None] * _ROUNDING) & ~unknown
    nothing = np.zeros(len(peaks))
    return Outcome((~unknown).sum(axis=1).astype(float), over.sum(axis=1).astype(float), hourly, nothing)


def judge_orders(
    peaks: NDArray[np.float64],
    unknown: NDArray[np.bool_],
    orders: NDArray[np.float64],
    *,
    tokens: NDArray[np.float64],
    price: NDArray[np.float64],
    lead: int,
) -> Outcome:
    """Replicas ordered at the end of each minute, (deployments, lead + minutes); the first `lead` before the first.

    A replica serves from the `lead`-th minute after its order on, provided that the order stands till then; it is paid
    from the minute after the order, while it still loads, and gone in the minute after it is no longer ordered.
    """
    minutes = peaks.shape[1]
    if orders.shape[1] != minutes + lead:
        raise ValueError(f"{orders.shape[1]} orders for {minutes} minutes at a lead of {lead}")
    serving = orders[:, :minutes].copy()
    for later in range(1, max(lead, 1)):
        np.minimum(serving, orders[:, later : later + minutes], out=serving)
    paid = orders[:, lead - 1 : lead - 1 + minutes] if lead else orders
    known = ~unknown
    over = (peaks > serving * tokens[:, None] * _ROUNDING) & known
    judged = known.sum(axis=1)
    hourly = (paid * known).sum(axis=1) / np.maximum(judged, 1) * price
    changes = (np.diff(paid, axis=1) != 0).sum(axis=1) * _A_DAY / minutes
    return Outcome(judged.astype(float), over.sum(axis=1).astype(float), hourly, changes.astype(float))
