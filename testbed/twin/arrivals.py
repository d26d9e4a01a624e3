"""Request arrivals as arrays: synthetic families with seeds, and readers for public trace formats (`traces`).

A family is a rate over time; `draw` turns it into single arrivals with gamma-distributed gaps of a given coefficient
of variation (1 is Poisson) and log-normal token counts. Time is in seconds from the start of the run, rates in
requests per second. The hour of the day counts from the start of the run.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

DAY_S = 86_400.0
_STEP_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """Requests in order of arrival: seconds from the start, prompt tokens and output tokens."""

    time_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints

    def __len__(self) -> int:
        return len(self.time_s)

    def between(self, start_s: float, end_s: float) -> "Arrivals":
        """Those in [start, end), with times from `start_s`."""
        low, high = np.searchsorted(self.time_s, (start_s, end_s))
        return Arrivals(self.time_s[low:high] - start_s, self.prompt_tokens[low:high], self.output_tokens[low:high])

    def where(self, chosen: NDArray[np.bool_]) -> "Arrivals":
        """Those chosen by a mask."""
        return Arrivals(self.time_s[chosen], self.prompt_tokens[chosen], self.output_tokens[chosen])


def nothing() -> Arrivals:
    """No request at all."""
    return Arrivals(np.zeros(0), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32))


@dataclass(frozen=True, slots=True)
class Lengths:
    """Token counts of requests: log-normal with these means and coefficients of variation, clipped to the maxima."""

    prompt_mean: float = 800.0
    prompt_cv: float = 0.9
    output_mean: float = 200.0
    output_cv: float = 0.8
    prompt_max: int = 6000
    output_max: int = 1500

    def draw(self, count: int, prompts: np.random.Generator, outputs: np.random.Generator) -> tuple[Ints, Ints]:
        """`count` prompt and output token counts, at least 1 each."""
        prompt = _lognormal(prompts, self.prompt_mean, self.prompt_cv, count)
        output = _lognormal(outputs, self.output_mean, self.output_cv, count)
        return (
            np.clip(np.rint(prompt), 1, self.prompt_max).astype(np.int32),
            np.clip(np.rint(output), 1, self.output_max).astype(np.int32),
        )


def _lognormal(rng: np.random.Generator, mean: float, cv: float, count: int) -> Floats:
    sigma2 = np.log1p(cv**2)
    return rng.lognormal(np.log(mean) - sigma2 / 2, np.sqrt(sigma2), count)


@dataclass(frozen=True, slots=True)
class Steady:
    """The same rate at any time."""

    rate: float

    def rates(self, at: Floats, _rng: np.random.Generator) -> Floats:
        """Rate at each time."""
        return np.full(len(at), self.rate)


@dataclass(frozen=True, slots=True)
class Diurnal:
    """A day with one peak, quieter nights and weekends (days 5 and 6 of each week of the run)."""

    mean_rate: float
    trough_over_peak: float = 0.15
    peak_hour: float = 14.0
    weekend: float = 0.5

    def rates(self, at: Floats, _rng: np.random.Generator) -> Floats:
        """Rate at each time; `mean_rate` is that of a working day."""
        phase = 2 * np.pi * (at / DAY_S - self.peak_hour / 24.0)
        shape = self.trough_over_peak + (1 - self.trough_over_peak) * (0.5 + 0.5 * np.cos(phase)) ** 1.5
        shape /= self.trough_over_peak + (1 - self.trough_over_peak) * 0.4244  # mean of (1/2 + cos/2)^1.5
        on_weekend = (at / DAY_S).astype(np.int64) % 7 >= 5
        return self.mean_rate * shape * np.where(on_weekend, self.weekend, 1.0)


@dataclass(frozen=True, slots=True)
class Spiky:
    """A quiet base with bursts of some minutes at a multiple of it."""

    base_rate: float
    factor: float = 6.0
    spikes_per_day: float = 4.0
    spike_minutes: float = 12.0

    def rates(self, at: Floats, rng: np.random.Generator) -> Floats:
        """Rate at each time."""
        rates = np.full(len(at), self.base_rate)
        for day in range(int(at[-1] // DAY_S) + 1 if len(at) else 0):
            for start in day * DAY_S + rng.uniform(0, DAY_S, rng.poisson(self.spikes_per_day)):
                length = self.spike_minutes * 60 * rng.uniform(0.6, 1.4)
                rates[(at >= start) & (at < start + length)] = self.base_rate * self.factor * rng.uniform(0.7, 1.0)
        return rates


@dataclass(frozen=True, slots=True)
class OnOff:
    """Sparse use: on for a while, then nothing for longer; both spans exponential."""

    on_rate: float
    on_minutes: float = 30.0
    off_minutes: float = 240.0

    def rates(self, at: Floats, rng: np.random.Generator) -> Floats:
        """Rate at each time."""
        rates = np.zeros(len(at))
        now, end = 0.0, float(at[-1]) if len(at) else 0.0
        while now < end:
            now += rng.exponential(self.off_minutes * 60)
            length = rng.exponential(self.on_minutes * 60)
            rates[(at >= now) & (at < now + length)] = self.on_rate
            now += length
        return rates


@dataclass(frozen=True, slots=True)
class Growing:
    """A rate that grows by the same factor every week."""

    start_rate: float
    weekly_growth: float = 1.3

    def rates(self, at: Floats, _rng: np.random.Generator) -> Floats:
        """Rate at each time."""
        return self.start_rate * np.asarray(self.weekly_growth ** (at / (7 * DAY_S)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs at night: `jobs_per_day` runs that offer requests at `rate` for `minutes`, nothing between them."""

    rate: float
    jobs_per_day: int = 1
    minutes: float = 90.0
    first_hour: float = 2.0

    def rates(self, at: Floats, _rng: np.random.Generator) -> Floats:
        """Rate at each time."""
        hour = (at / 3600.0) % 24
        since = (hour - self.first_hour) % (24 / max(1, self.jobs_per_day))
        return np.where(since < self.minutes / 60, self.rate, 0.0)


@dataclass(frozen=True, slots=True)
class Sequence:
    """A given rate per step of `step_s`, repeated when the run is longer (the aggregated trace formats)."""

    per_step: tuple[float, ...]
    step_s: float = 600.0

    def rates(self, at: Floats, _rng: np.random.Generator) -> Floats:
        """Rate at each time."""
        values = np.asarray(self.per_step)
        return np.asarray(values[(at / self.step_s).astype(np.int64) % len(values)], dtype=np.float64)


Rate: TypeAlias = Steady | Diurnal | Spiky | OnOff | Growing | Batch | Sequence


@dataclass(frozen=True, slots=True)
class Family:
    """A rate with its randomness: `cv` of the gaps, hourly `wander` of the rate; no request from `idle_after_s` on."""

    rate: Rate
    lengths: Lengths = field(default_factory=Lengths)
    cv: float = 1.0
    wander: float = 0.08
    idle_after_s: float | None = None

    def draw(self, span_s: float, seed: int) -> Arrivals:
        """Arrivals of [0, span). A longer span only adds to a shorter one: each kind of chance has its own stream."""
        spans, wander, gaps, prompts, outputs = (np.random.default_rng([seed, stream]) for stream in range(0xA0, 0xA5))
        grid = np.arange(0.0, span_s + _STEP_S, _STEP_S)
        rates = self.rate.rates(grid, spans) * _wander(grid, self.wander, wander)
        if self.idle_after_s is not None:
            rates[grid >= self.idle_after_s] = 0.0
        expected = np.concatenate(([0.0], np.cumsum(rates[:-1] * _STEP_S)))
        times = _renewal_times(grid, expected, self.cv, gaps)
        times = times[times < span_s]
        return Arrivals(times, *self.lengths.draw(len(times), prompts, outputs))


def _wander(grid: Floats, sigma: float, rng: np.random.Generator) -> Floats:
    """A slow log-normal factor: hourly steps with memory of about half a day, mean near 1."""
    hours = int(grid[-1] // 3600) + 2
    shocks = rng.normal(0.0, sigma, hours)
    level = np.empty(hours)
    value = 0.0
    for hour in range(hours):
        value = 0.9 * value + shocks[hour] * np.sqrt(1 - 0.9**2)
        level[hour] = value
    return np.exp(level[(grid // 3600).astype(np.int64)] - sigma**2 / 2)


def _renewal_times(grid: Floats, expected: Floats, cv: float, rng: np.random.Generator) -> Floats:
    """Maps a unit-rate renewal process through the inverse of the expected count."""
    total = float(expected[-1])
    if total <= 0:
        return np.zeros(0)
    count = int(total + 6 * cv * np.sqrt(total) + 20)
    shape = 1.0 / cv**2
    operational = np.cumsum(rng.gamma(shape, 1.0 / shape, count))
    operational = operational[operational < total]
    return _inverse(grid, expected, operational)


def _inverse(grid: Floats, expected: Floats, operational: Floats) -> Floats:
    """Times at which the expected count reaches each value; flat stretches are jumped over."""
    upper = np.searchsorted(expected, operational, side="right")
    upper = np.clip(upper, 1, len(grid) - 1)
    low, high = expected[upper - 1], expected[upper]
    share = (operational - low) / np.where(high > low, high - low, 1.0)
    return np.asarray(grid[upper - 1] + share * (grid[upper] - grid[upper - 1]), dtype=np.float64)


def split(arrivals: Arrivals, replicas: int, imbalance: float, seed: int) -> tuple[Arrivals, ...]:
    """What each replica gets from a load balancer that spreads evenly (0) or favours some (up to +-`imbalance`)."""
    if replicas == 1:
        return (arrivals,)
    rng = np.random.default_rng([seed, 0x5911])
    weights = 1.0 + imbalance * rng.uniform(-1.0, 1.0, replicas)
    edges = np.cumsum(weights / weights.sum())
    turn = (np.arange(len(arrivals)) * 0.6180339887498949) % 1.0  # golden ratio: even at every scale
    owner = np.minimum(np.searchsorted(edges, turn, side="right"), replicas - 1)
    return tuple(arrivals.where(owner == replica) for replica in range(replicas))


def merged(parts: tuple[Arrivals, ...]) -> Arrivals:
    """Several streams as one, in order of arrival."""
    time = np.concatenate([part.time_s for part in parts])
    order = np.argsort(time, kind="stable")
    prompt = np.concatenate([part.prompt_tokens for part in parts])
    output = np.concatenate([part.output_tokens for part in parts])
    return Arrivals(time[order], prompt[order], output[order])
