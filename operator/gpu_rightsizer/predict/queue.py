"""How many requests are in the batch at a load, whether it is stable, and how long one waits for a place.

A birth-death chain with service rate mu(n) = n / (output x T(n)) up to B requests: memory or max_num_seqs is B. Beyond
B the wait is exponential with rate mu(B) - lambda. Checked against a discrete-event simulation of continuous batching:
q99 of the wait within 16 % at utilisation 0.9 and 0.95 for realistic lengths, above it for near-constant ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.predict.memory import sequences
from gpu_rightsizer.predict.roofline import INTERFERENCE, Z95, Steps, first_token, prefill, steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_rightsizer.predict.shapes import Hardware
    from gpu_rightsizer.predict.work import Work

STABLE = 0.9  # of what a replica can serve; above it queues grow faster than averages show
_ROUNDS = 12
_MOST_PREFILL = 0.95  # share of time in prefill beyond which nothing is stable and figures stop growing
_BURSTINESS = 1.5  # (c_a^2 + c_s^2) / 2: arrivals are burstier than Poisson (Allen-Cunneen)
_CHAIN_STATES = 2048
_PAIRS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """The steady state at the peak, shape (rows, shapes). Seconds; `utilisation` of what the replica can serve."""

    batch: NDArray[np.float64]
    utilisation: NDArray[np.float64]
    prefill_share: NDArray[np.float64]
    tpot: NDArray[np.float64]
    ttft: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Times:
    """Seconds of a mean prompt, and of a decode step of one request and of a full batch."""

    prompt: NDArray[np.float64]
    one: NDArray[np.float64]
    full: NDArray[np.float64]


def flow(work: Work, hardware: Hardware, capacity: NDArray[np.float64], slowdown: NDArray[np.float64]) -> Flow:
    """Batch, utilisation, TPOT and p95 TTFT; `slowdown` multiplies every step (measured over predicted).

    TPOT is that of the batch's own 95th percentile: about its mean the batch varies as a Poisson count does.
    """
    limit = places(work, hardware, capacity)
    shape = np.broadcast_shapes(limit.shape, hardware.memory.shape, work.rate.shape)
    step = steps(work, hardware)
    times = _Times(
        np.broadcast_to(prefill(work, hardware, work.prompt) * slowdown, shape),
        step.decode(np.ones(shape)) * slowdown,
        step.decode(np.maximum(limit, 1.0)) * slowdown,
    )
    share = np.minimum(work.rate * times.prompt, _MOST_PREFILL)
    batch = _batch(work, step, times.prompt, share, slowdown)
    busiest = np.minimum(batch + Z95 * np.sqrt(batch), np.maximum(limit, 1.0))
    decoding = step.decode(np.maximum(busiest, 1.0))
    tpot = decoding * slowdown / (1 - INTERFERENCE * share)
    utilisation = work.rate * (times.prompt + work.output * times.full / np.maximum(limit, 1e-9))
    longest = np.fmin(work.long_prompt, work.longest)
    first = first_token(work, hardware, longest, decoding) * slowdown / (1 - share)
    return Flow(batch, utilisation, share, tpot, first + _wait95(work, times, batch, limit))


def places(work: Work, hardware: Hardware, capacity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Requests that a batch can hold: by max_num_seqs, and by KV memory at a request's mean context."""
    by_memory = np.maximum(capacity, 0.0) / np.maximum(work.kv_per_request, 1.0)
    return np.asarray(np.minimum(sequences(work, hardware.large), by_memory))


def _batch(
    work: Work, step: Steps, prompt: NDArray[np.float64], share: NDArray[np.float64], slowdown: NDArray[np.float64]
) -> NDArray[np.float64]:
    """N = lambda x (prefill + output x T(n) / (1 - prefill share)), from below; capped where it would run away."""
    batch = np.zeros(prompt.shape)
    prefilled, decoded = work.rate * prompt, work.rate * work.output * slowdown / (1 - share)
    for _ in range(_ROUNDS):
        batch = np.minimum(prefilled + decoded * step.decode(np.maximum(batch, 1.0)), 1e5)
    return batch


def _wait95(work: Work, times: _Times, batch: NDArray[np.float64], limit: NDArray[np.float64]) -> NDArray[np.float64]:
    """p95 of the wait for a place: zero far from the limit, infinite beyond stability, else from the chain."""
    rate = np.broadcast_to(work.rate, batch.shape)
    output = np.broadcast_to(work.output, batch.shape)
    unstable = rate * (times.prompt + output * times.full / np.maximum(limit, 1e-9)) >= 1.0
    out = np.where(unstable | (limit < 1.0), np.inf, 0.0)
    close = (batch + 5.0 * np.sqrt(batch) + 1.0 >= limit) & np.isfinite(limit) & (out == 0.0) & (rate > 0)
    rows, columns = np.nonzero(close)
    for begin in range(0, rows.size, _PAIRS):
        at = (rows[begin : begin + _PAIRS], columns[begin : begin + _PAIRS])
        ends = (times.prompt[at], output[at] * times.one[at], output[at] * times.full[at])
        out[at] = _waits(rate[at], limit[at], ends)
    return out


def _waits(
    rate: NDArray[np.float64],
    limit: NDArray[np.float64],
    times: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """p95 wait of chains; `times` are a request's prefill, and its decode alone and in a full batch, in seconds.

    mu(n) = 1 / (prefill + decode(n) / n), decode growing linearly with the batch as the roofline says.
    """
    prompt, one, full = times
    last = np.clip(np.floor(limit), 1, _CHAIN_STATES)
    states = np.arange(1, int(last.max()) + 1)[None, :]
    inside = states <= last[:, None]
    growth = (states - 1) / np.maximum(last - 1, 1)[:, None]
    decode = one[:, None] + (full - one)[:, None] * np.minimum(growth, 1.0)
    served = 1.0 / (prompt[:, None] + decode / states)
    log = np.cumsum(np.where(inside, np.log(rate[:, None]) - np.log(served), 0.0), axis=1)
    log = np.where(inside, log, -np.inf)
    top = np.maximum(log.max(axis=1), 0.0)
    end = (np.arange(len(rate)), last.astype(np.int64) - 1)
    full_rate = served[end]
    ratio = np.minimum(rate / full_rate, 0.999999)
    waiting = np.exp(log[end] - top) / (1 - ratio)
    running = np.exp(-top) + np.exp(log - top[:, None]).sum(axis=1) - np.exp(log[end] - top)
    chance = waiting / (running + waiting)
    spare = np.maximum(full_rate - rate, 1e-6 * full_rate)
    return np.asarray(np.maximum(np.log(np.maximum(chance, 1e-12) / 0.05), 0.0) / spare * _BURSTINESS)
