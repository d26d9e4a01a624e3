"""The interval of a mean over deployments, whose figures within one deployment are not independent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BOOTSTRAPS = 2000


def interval(each: NDArray[np.floating] | NDArray[np.bool_]) -> tuple[float, float]:
    """95 % of the mean of one figure per deployment, by a bootstrap over deployments."""
    rng = np.random.default_rng(1)
    means = [each[rng.integers(0, len(each), len(each))].mean() for _ in range(BOOTSTRAPS)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
