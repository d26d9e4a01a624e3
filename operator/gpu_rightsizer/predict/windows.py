"""Which prompt decides the p95 of time to first token in the windows that are judged.

A window of ten minutes with N finished requests misses its objective when its k-th slowest is late, k = N -
ceil(0.95 N) + 1: the second slowest of twenty. Nearly every window must hold, so that the prompt to reckon with is far
longer than the 95th percentile of all of them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

WINDOW_SECONDS = 600.0
LEAST_REQUESTS = 20  # fewer in a window are not judged
_SIGMA = math.sqrt(math.log(2.0))  # of lognormal lengths with a coefficient of variation of 1
_STEPS = 60


def longest_prompt(mean: float, requests_per_second: float, attainment: float) -> float:
    """Tokens of the prompt at that rank when but a share `1 - attainment` of windows may be late.

    Lengths are taken as lognormal with a coefficient of variation of 1 (chat and code traces have 0.8 to 1.5): their
    distribution is not observed, only their mean. Windows of half the peak's requests decide: the fewer a window has,
    the more one long prompt counts, and the less it is slowed by others.
    """
    if not (math.isfinite(mean) and math.isfinite(requests_per_second)):
        return math.nan
    requests = max(LEAST_REQUESTS, round(requests_per_second * WINDOW_SECONDS / 2))
    return mean * math.exp(_SIGMA * _score(requests, round(attainment, 5)) - _SIGMA**2 / 2)


def _score(requests: int, attainment: float) -> float:
    """The standard normal score of the length that k of `requests` exceed with probability `1 - attainment`."""
    requests = min(requests, 2000)
    rank = requests - math.ceil(0.95 * requests) + 1
    expected = _expected(rank, max(1.0 - attainment, 1e-5))
    return NormalDist().inv_cdf(1.0 - min(max(expected / requests, 1e-9), 0.5))


@lru_cache(maxsize=1024)
def _expected(rank: int, late: float) -> float:
    """The mean of a Poisson count that reaches `rank` with probability `late`."""
    low, high = 0.0, float(rank)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _at_least(rank, middle) > late:
            high = middle
        else:
            low = middle
    return low


def _at_least(rank: int, expected: float) -> float:
    """P(a Poisson count of `expected` is at least `rank`)."""
    term = below = math.exp(-expected)
    for count in range(1, rank):
        term *= expected / count
        below += term
    return max(0.0, 1.0 - below)
