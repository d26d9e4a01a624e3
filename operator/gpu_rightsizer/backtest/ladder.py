"""What a replica can be: how many KV tokens it holds and what it costs, the copy of the weights included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FRACTIONS: Final = (1.0, 0.5, 0.25, 0.125)


@dataclass(frozen=True, slots=True, eq=False)
class Ladder:
    """Replica sizes of each deployment: `tokens` and hourly `price`, (sizes, deployments).

    `fits_exactly` is a ladder without steps: a static deployment may be one replica of any size. It flatters those
    who size statically, and nobody else.
    """

    names: tuple[str, ...]
    tokens: NDArray[np.float64]
    price: NDArray[np.float64]
    overhead: NDArray[np.float64]  # (deployments,), of one replica, for a ladder that fits exactly
    fits_exactly: bool

    def static_price(self, capacity: NDArray[np.float64]) -> NDArray[np.float64]:
        """The least that it costs an hour to hold `capacity` tokens all the time, per deployment."""
        if self.fits_exactly:
            return np.where(capacity > 0, capacity + self.overhead, 0.0)
        return np.asarray((np.ceil(capacity / self.tokens - 1e-9) * self.price).min(axis=0))

    def static_capacity(self, capacity: NDArray[np.float64]) -> NDArray[np.float64]:
        """The tokens that one gets for that price: whole replicas hold more than was asked."""
        if self.fits_exactly:
            return capacity
        count = np.ceil(capacity / self.tokens - 1e-9)
        best = (count * self.price).argmin(axis=0)
        at = np.arange(capacity.size)
        return np.asarray(count[best, at] * self.tokens[best, at])


def relative_ladder(peak: NDArray[np.float64], overhead_share: float, fractions: Sequence[float] = FRACTIONS) -> Ladder:
    """Replicas of 1/1 to 1/8 of the observed peak; each pays for its tokens and `overhead_share` of the peak besides.

    The unit of money is one token of the peak for an hour: device memory costs the same per byte on all sizes.
    """
    tokens = np.outer(fractions, peak)
    overhead = overhead_share * peak
    names = tuple(f"1/{1 / fraction:g} of the peak" for fraction in fractions)
    return Ladder(names, tokens, tokens + overhead, overhead, fits_exactly=True)


def class_ladder(names: Sequence[str], tokens: Sequence[float], hourly: Sequence[float], deployments: int) -> Ladder:
    """The same classes for every deployment; money in USD."""
    held = np.repeat(np.asarray(tokens, dtype=np.float64)[:, None], deployments, axis=1)
    price = np.repeat(np.asarray(hourly, dtype=np.float64)[:, None], deployments, axis=1)
    return Ladder(tuple(names), held, price, np.zeros(deployments), fits_exactly=False)
