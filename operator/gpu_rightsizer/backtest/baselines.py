"""What others do, each as its source has it: from an observed history to a capacity, or from demand to replicas.

Histories are the largest demand of each minute, (deployments, minutes); capacities are tokens per deployment. `margin`
multiplies what the rule says; 1 is the rule itself, and the frontier sweeps it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from gpu_rightsizer.backtest.ladder import Ladder

DAY: Final = 1440
_BEYOND_REASON: Final = 1e6  # times the peak seen: a plug-in tail may say anything


def twice_the_peak(history: NDArray[np.float64], margin: float = 1.0) -> NDArray[np.float64]:
    """The status quo: whoever sized it doubled the largest demand ever seen."""
    return np.asarray(2.0 * margin * history.max(axis=1))


def peak_plus_15(history: NDArray[np.float64], margin: float = 1.0) -> NDArray[np.float64]:
    """KRR `simple`: memory request = max over 14 days x 1.15 (robusta-dev/krr d6baa745, strategies/simple.py)."""
    return np.asarray(1.15 * margin * history.max(axis=1))


def krr_with_oom(history: NDArray[np.float64], margin: float = 1.0) -> NDArray[np.float64]:
    """KRR `simple --use-oomkill-data`: max(1.15 x max, 1.25 x the limit that was out of memory) (same file).

    The limit is the 1.15 x max of the first half of the history; it was out of memory if the second half went above.
    """
    half = history.shape[1] // 2
    limit = 1.15 * history[:, :half].max(axis=1)
    killed = history[:, half:].max(axis=1) > limit
    return np.asarray(margin * np.maximum(1.15 * history.max(axis=1), np.where(killed, 1.25 * limit, 0.0)))


def vpa_target(history: NDArray[np.float64], margin: float = 1.0) -> NDArray[np.float64]:
    """VPA target: p90 of the decayed histogram of daily peaks, x 1.15 (kubernetes/autoscaler 55c37cd5, recommender)."""
    return np.asarray(1.15 * margin * _vpa_percentile(history, 0.90))


def vpa_upper(history: NDArray[np.float64], margin: float = 1.0) -> NDArray[np.float64]:
    """VPA upper bound: p95 x 1.15 x (1 + 1/c), c = min(days of life, samples/1440) (same source, estimator.go)."""
    confidence = history.shape[1] / DAY
    return np.asarray(1.15 * margin * _vpa_percentile(history, 0.95) * (1.0 + 1.0 / max(confidence, 1e-9)))


def _vpa_percentile(history: NDArray[np.float64], percentile: float) -> NDArray[np.float64]:
    """The end of the bucket at which the weight reaches `percentile`: eight daily peaks, half-life 24 h, ratio 1.05.

    Buckets grow by 5 %; where they begin (10 MB) matters for none of the demands here, so they begin at one token.
    """
    days = -(-history.shape[1] // DAY)
    padded = np.zeros((len(history), days * DAY))
    padded[:, padded.shape[1] - history.shape[1] :] = history
    peaks = padded.reshape(len(history), days, DAY).max(axis=2)[:, -8:]
    weight = 2.0 ** -np.arange(peaks.shape[1])[::-1]
    bucket = np.ceil(np.log1p(np.maximum(peaks, 0.0) * 0.05) / np.log(1.05))
    order = np.argsort(bucket, axis=1)
    reached = np.cumsum(weight[order], axis=1) >= percentile * weight.sum() * (1 - 1e-12)
    at = reached.argmax(axis=1)
    chosen = np.take_along_axis(np.take_along_axis(bucket, order, axis=1), at[:, None], axis=1)[:, 0]
    return np.asarray((1.05**chosen - 1.0) / 0.05)


def p995_plus_20(history: NDArray[np.float64], margin: float = 1.0) -> NDArray[np.float64]:
    """AWS Compute Optimizer: P99.5 of the five-minute maxima and 20 % headroom (its defaults for CPU)."""
    five = history[:, : history.shape[1] // 5 * 5].reshape(len(history), -1, 5).max(axis=2)
    return np.asarray(1.2 * margin * np.quantile(five, 0.995, axis=1))


def autopilot(history: NDArray[np.float64], margin: float = 1.0) -> NDArray[np.float64]:
    """Autopilot's moving window for memory: peak of five-minute maxima, weights halving in 48 h, + 12 %; 1 h maximum.

    Rzadca et al., EuroSys'20, section 3.2: the S_max recommender, of samples whose weight is not yet negligible, with
    a margin of 10 to 15 %; the limit is the largest recommendation of the last hour. Over a week every weight
    counts (2^-3.5), so that it is the window's peak.
    """
    return np.asarray(1.12 * margin * history.max(axis=1))


def mean_over_70(history: NDArray[np.float64], margin: float = 1.0) -> NDArray[np.float64]:
    """A utilisation threshold on the mean: sized so that the average is 70 %."""
    return np.asarray(margin * history.mean(axis=1) / 0.7)


def p95_over_80(history: NDArray[np.float64], margin: float = 1.0) -> NDArray[np.float64]:
    """A utilisation threshold on P95: sized so that it is 80 %."""
    return np.asarray(margin * np.quantile(history, 0.95, axis=1) / 0.8)


def raw_pot(history: NDArray[np.float64], probability: float, minutes: int) -> NDArray[np.float64]:
    """Peaks over threshold by probability-weighted moments, plugged in: the level exceeded with `probability`.

    Hosking and Wallis (1987) on ten-minute maxima above their 98 % quantile, declustered at 30 minutes; no season, no
    prior, no parameter uncertainty. `minutes` is the horizon.
    """
    blocks = history[:, : history.shape[1] // 10 * 10].reshape(len(history), -1, 10).max(axis=2)
    return np.array([_pot_level(series, probability, minutes / history.shape[1]) for series in blocks])


def _pot_level(blocks: NDArray[np.float64], probability: float, horizons: float) -> float:
    """Of one series; `horizons` is the horizon over the history's length. The peak where nothing can be fitted."""
    threshold = float(np.quantile(blocks, 0.98))
    above = np.flatnonzero(blocks > threshold)
    runs = np.split(above, np.flatnonzero(np.diff(above) > 3) + 1) if above.size else []
    excess = np.sort([blocks[run].max() - threshold for run in runs])
    k = excess.size
    if k < 2:
        return float(blocks.max())
    first = float(excess.mean())
    second = float((excess * (1 - (np.arange(1, k + 1) - 0.35) / k)).mean())
    shape, scale = 0.0, first  # exponential
    if first > 2 * second:
        shape, scale = 2 - first / (first - 2 * second), 2 * first * second / (first - 2 * second)
    rate = -np.log1p(-probability) / (k * horizons)
    beyond = -scale * np.log(rate) if abs(shape) < 1e-9 else scale * (rate**-shape - 1) / shape
    return float(np.clip(threshold + beyond, 0.0, _BEYOND_REASON * blocks.max()))


def hpa_orders(demand: NDArray[np.float64], tokens: NDArray[np.float64], target: float) -> NDArray[np.float64]:
    """HorizontalPodAutoscaler on KV usage: ceil(demand / (target x tokens)), down only after 300 s, 10 % tolerance.

    kubernetes.io, Horizontal Pod Autoscaling: desired = ceil(current x usage / target), no change within the tolerance,
    the largest recommendation of the stabilisation window of five minutes for scaling down, at least one replica.
    """
    exact = demand / (target * tokens[:, None])
    wished = np.maximum(np.ceil(exact - 1e-9), 1.0)
    for minute in range(1, wished.shape[1]):
        before = wished[:, minute - 1]
        near = np.abs(exact[:, minute] / before - 1.0) <= 0.1
        wished[:, minute] = np.where(near, before, wished[:, minute])
    return held(wished, 5)


def llm_d_orders(demand: NDArray[np.float64], tokens: NDArray[np.float64], margin: float = 1.0) -> NDArray[np.float64]:
    """llm-d's saturation scaling (workload-variant-autoscaler b08b1c77, V2): up above 85 %, down below 70 %.

    need = D/0.85 - supply, spare = supply - D/0.70, in whole replicas; scale-down waits ten minutes.
    """
    least = np.maximum(np.ceil(margin * demand / (0.85 * tokens[:, None]) - 1e-9), 1.0)
    most = np.maximum(np.ceil(margin * demand / (0.70 * tokens[:, None]) - 1e-9), 1.0)
    orders = np.empty_like(least)
    now = least[:, 0]
    for minute in range(least.shape[1]):
        now = np.maximum(least[:, minute], np.minimum(now, most[:, minute]))
        orders[:, minute] = now
    return held(orders, 10)


def clairvoyant_orders(
    demand: NDArray[np.float64], tokens: NDArray[np.float64], lead: int, hold: int = 15
) -> NDArray[np.float64]:
    """Knows the future: orders in time what each minute needs, holds it 15 minutes, goes to zero."""
    needed = np.ceil(demand / tokens[:, None] - 1e-9)
    ahead = held(needed[:, ::-1], lead)[:, ::-1]
    return held(ahead, hold)


def held(values: NDArray[np.float64], minutes: int) -> NDArray[np.float64]:
    """The largest of each minute and the `minutes` before it."""
    out = values.copy()
    reach = 0
    while reach < min(minutes, values.shape[1] - 1):
        step = min(reach + 1, minutes - reach)
        out[:, step:] = np.maximum(out[:, step:], out[:, :-step])
        reach += step
    return out


def best_size(
    ladder: Ladder, orders_for: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Orders, tokens and price with each deployment on the size that is cheapest for it over these minutes."""
    orders = [orders_for(tokens) for tokens in ladder.tokens]
    cost = np.stack([each.mean(axis=1) * price for each, price in zip(orders, ladder.price, strict=True)])
    best = cost.argmin(axis=0)
    at = np.arange(best.size)
    return np.stack(orders)[best, at], ladder.tokens[best, at], ladder.price[best, at]


STATIC: Final[Mapping[str, Callable[[NDArray[np.float64], float], NDArray[np.float64]]]] = {
    "2 x peak": twice_the_peak,
    "peak + 15 % (KRR)": peak_plus_15,
    "KRR with OOM data": krr_with_oom,
    "VPA target": vpa_target,
    "VPA upper": vpa_upper,
    "P99.5 + 20 %": p995_plus_20,
    "Autopilot-like": autopilot,
    "mean / 0.7": mean_over_70,
    "P95 / 0.8": p95_over_80,
}
