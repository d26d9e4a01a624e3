"""What a trace demands: every request's KV tokens while it is served, summed on a grid of ten seconds.

This is the world that policies are replayed in. A request holds its prompt's tokens while it is prefilled and one more
for every token it then writes; nothing queues, so that the demand does not depend on any policy.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_rightsizer.backtest.trace import Intervals, InvalidTrace, Requests

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.backtest.trace import Traffic

GRID_S: Final = 10
MINUTE_S: Final = 60
_HIGHEST_CV: Final = 6.0  # of ten minutes' arrivals; what is above comes from intervals with a handful of requests
_LOWEST_CV: Final = 0.1
_LEAST_GAP: Final = 1e-290  # a gamma draw of small shape may underflow
_AT_ONCE: Final = 2e6  # requests drawn in one go
_SPREAD: Final = 0.8  # standard deviation of log token counts where only means are known


@dataclass(frozen=True, slots=True)
class Service:
    """How fast a request is served: seconds per output token, prompt tokens prefilled per second."""

    tpot: float = 0.025
    prefill: float = 8000.0


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """What an engine would tell of each minute, (deployments, minutes), where it serves at the present speed.

    Largest KV tokens in use, largest batch; requests that arrived and their prompt and output tokens.
    """

    tokens: NDArray[np.float64]
    running: NDArray[np.float64]
    requests: NDArray[np.float64]
    prompt: NDArray[np.float64]
    output: NDArray[np.float64]

    def of(self, rows: NDArray[np.intp], minutes: slice) -> Traced:
        """Of these deployments and minutes."""
        return Traced(*(getattr(self, each.name)[rows, minutes] for each in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """Largest KV tokens demanded in each minute, (deployments, minutes), from `start` (Unix seconds).

    `unknown` marks minutes that nothing was recorded of; they are filled in for who must go on, and never judged.
    """

    names: tuple[str, ...]
    start: int
    peaks: NDArray[np.float64]
    unknown: NDArray[np.bool_]
    traced: Traced | None = None


def demand_of(fleet: Sequence[Traffic], service: Service, seed: int, present: Service | None = None) -> Demand:
    """One deployment per client, all on the same minutes; raises InvalidTrace for a trace of less than a minute.

    `present` is how fast requests are served where they are now: then it is traced what that engine would tell.
    """
    first = min(float(t.time[0]) for t in fleet)
    start = int(first // MINUTE_S * MINUTE_S)
    last = max(float(t.time[-1]) + (t.step if isinstance(t, Intervals) else 0) for t in fleet)
    minutes = int((last - start) // MINUTE_S)
    if minutes < 1:
        raise InvalidTrace("the trace spans less than a minute")
    peaks = np.zeros((len(fleet), minutes))
    traced = Traced(*(np.zeros(peaks.shape) for _ in fields(Traced))) if present else None
    for number, traffic in enumerate(fleet):
        grid, now = np.zeros((2, minutes * MINUTE_S // GRID_S)), np.zeros((2, minutes * MINUTE_S // GRID_S))
        for part in _parts(traffic, np.random.default_rng([seed, number])):
            grid += kv_tokens(part.time - start, part.prompt, part.output, service, grid.shape[1])
            if present and traced:
                now += kv_tokens(part.time - start, part.prompt, part.output, present, grid.shape[1])
                _add_arrivals(traced, number, part, start)
        peaks[number] = minute_peaks(grid[0])
        if traced:
            traced.tokens[number], traced.running[number] = minute_peaks(now[0]), minute_peaks(now[1])
    return Demand(tuple(t.client for t in fleet), start, peaks, np.zeros(peaks.shape, dtype=np.bool_), traced)


def _add_arrivals(traced: Traced, row: int, part: Requests, start: int) -> None:
    minutes = traced.requests.shape[1]
    at = np.clip((part.time - start) // MINUTE_S, 0, minutes - 1).astype(np.int64)
    traced.requests[row] += np.bincount(at, minlength=minutes)
    traced.prompt[row] += np.bincount(at, part.prompt, minutes)
    traced.output[row] += np.bincount(at, part.output, minutes)


def _parts(traffic: Traffic, rng: np.random.Generator) -> Iterator[Requests]:
    """The requests, not more than a few million at a time: a busy client has hundreds of millions in two weeks."""
    if isinstance(traffic, Requests):
        yield traffic
        return
    group = np.cumsum(traffic.rate * traffic.step) // _AT_ONCE
    for number in np.unique(group):
        own = group == number
        columns = (traffic.time, traffic.rate, traffic.cv, traffic.prompt, traffic.output)
        yield arrivals(Intervals(traffic.client, traffic.step, *(each[own] for each in columns)), rng)


def arrivals(
    traffic: Intervals, rng: np.random.Generator, spread: tuple[float, float] = (_SPREAD, _SPREAD)
) -> Requests:
    """Single requests: as many as each interval counted, apart as a renewal process with its variation.

    Times between arrivals are gamma with the interval's cv, scaled so that they fill it; token counts are lognormal
    around the interval's means, with `spread` of their logarithm for prompt and output.
    """
    expected = traffic.rate * traffic.step
    count = np.floor(expected + rng.random(expected.size)).astype(np.int64)
    which = np.repeat(np.arange(count.size), count + 1)
    last = np.cumsum(count + 1) - 1
    gaps = rng.gamma(1.0 / np.clip(traffic.cv[which], _LOWEST_CV, _HIGHEST_CV) ** 2) + _LEAST_GAP
    whole = np.add.reduceat(gaps, np.concatenate([[0], last[:-1] + 1]))
    share = np.clip(np.cumsum(gaps / whole[which]) - which, 0.0, 1.0)
    keep = np.ones(which.size, dtype=np.bool_)
    keep[last] = False  # the gap to the interval's end brings no request
    which, share = which[keep], share[keep]
    tokens = [
        np.maximum(1.0, mean[which] * np.exp(each * rng.standard_normal(which.size) - each**2 / 2))
        for mean, each in zip((traffic.prompt, traffic.output), spread, strict=True)
    ]
    return Requests(traffic.client, traffic.time[which] + traffic.step * share, *tokens)


def kv_tokens(
    time: NDArray[np.float64],
    prompt: NDArray[np.float64],
    output: NDArray[np.float64],
    service: Service,
    points: int,
) -> NDArray[np.float64]:
    """KV tokens in use and requests served at each of `points` instants ten seconds apart from second 0 on, (2, n)."""
    decoding = time + prompt / service.prefill
    end = decoding + output * service.tpot

    def from_(moment: NDArray[np.float64], weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        place = np.clip(np.ceil(moment / GRID_S), 0, points).astype(np.int64)
        return np.bincount(place, weight, points + 1)[:points].astype(np.float64)

    held = np.cumsum(from_(time, prompt) - from_(end, prompt))
    writing = np.cumsum(from_(decoding) - from_(end))
    since = np.cumsum(from_(decoding, decoding) - from_(end, decoding))
    written = (np.arange(points) * GRID_S * writing - since) / service.tpot
    running = np.cumsum(from_(time) - from_(end))
    return np.stack([np.where(running > 0, np.maximum(held + written, 1.0), 0.0), running])


def minute_peaks(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest of each minute's instants."""
    return np.asarray(grid.reshape(-1, MINUTE_S // GRID_S).max(axis=1))
