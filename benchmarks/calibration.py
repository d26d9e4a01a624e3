"""Whether a stated probability is true: realised over stated on fleets that do not change, whose futures are drawn.

python -m benchmarks.calibration --deployments 2000 --futures 100

Each deployment has 14 days of history; the tail that the product fits names the demand exceeded with probability p in
30 days, and as many futures of the same process tell how often that happens. The processes share no code with the fit:
daily and weekly seasons, correlated noise of three kinds, and bursts whose sizes are generalised Pareto.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import lfilter

from benchmarks.report import Goal, Result, table
from gpu_rightsizer.domain.readings import BlockSeries
from gpu_rightsizer.estimate.exceedance import level
from gpu_rightsizer.estimate.tail import Peaks, fit_tails

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

STATED = (0.1, 0.01, 0.001)
WITHIN = 1.25
STEP_S, HOUR_S, DAY_S = 600, 3600, 86_400
HISTORY_DAYS, FUTURE_DAYS = 14, 30
START = 1_795_392_000 // (7 * DAY_S) * 7 * DAY_S + 4 * DAY_S  # a Monday, 00:00 UTC
NOISES = ("lognormal", "gamma", "uniform")
BOOTSTRAPS = 2000


@dataclass(frozen=True, slots=True)
class Process:
    """One deployment's demand: level x season x noise x (1 + bursts), in steps of ten minutes."""

    level: float
    daily: float
    phase: float
    weekend: float
    noise: str
    spread: float
    memory_h: float
    bursts_a_day: float
    burst_size: float
    burst_shape: float
    burst_steps: int

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Process:
        """One of many kinds: calm to bursty, flat to strongly diurnal."""
        return cls(
            level=float(rng.lognormal(10, 1)),
            daily=float(rng.uniform(0, 0.8)),
            phase=float(rng.uniform(0, 2 * np.pi)),
            weekend=float(rng.uniform(0.3, 1.0)),
            noise=str(rng.choice(NOISES)),
            spread=float(rng.uniform(0.05, 0.35)),
            memory_h=float(rng.choice([0.3, 1.0, 3.0])),
            bursts_a_day=float(rng.choice([0.0, 0.3, 1.0, 3.0])),
            burst_size=float(rng.uniform(0.1, 0.6)),
            burst_shape=float(np.clip(rng.normal(0.1, 0.12), -0.25, 0.35)),
            burst_steps=int(rng.integers(1, 7)),
        )

    def demand(self, days: int, runs: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Hourly peaks from a Monday on, (runs, 24 x days)."""
        steps = days * DAY_S // STEP_S
        hours = np.arange(steps) * STEP_S / HOUR_S
        season = 1 + self.daily * np.sin(2 * np.pi * hours / 24 + self.phase)
        season *= np.where(hours // 24 % 7 >= 5, self.weekend, 1.0)
        values = self._noise(steps, runs, rng) * season.astype(np.float32) * np.float32(self.level)
        values *= 1 + self._bursts(steps, runs, rng)
        return np.asarray(values.reshape(runs, -1, HOUR_S // STEP_S).max(axis=2))

    def _noise(self, steps: int, runs: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Correlated, mean about 1; a week is drawn before, so that it starts from nowhere in particular."""
        before = 7 * DAY_S // STEP_S
        keep = np.float32(np.exp(-STEP_S / HOUR_S / self.memory_h))
        drawn = rng.standard_normal((runs, before + steps), dtype=np.float32)
        gauss = lfilter([np.sqrt(1 - keep**2)], [1, -keep], drawn, axis=1)[:, before:].astype(np.float32)
        if self.noise == "lognormal":
            return np.exp(np.float32(self.spread) * gauss)
        if self.noise == "gamma":  # by Wilson and Hilferty's cube
            third = np.float32(self.spread**2 / 9)
            return np.maximum(1 - third + np.sqrt(third) * gauss, 0) ** 3
        return 1 + np.float32(2 * self.spread) * np.tanh(gauss)

    def _bursts(self, steps: int, runs: int, rng: np.random.Generator) -> NDArray[np.float32]:
        out = np.zeros((runs, steps), dtype=np.float32)
        count = rng.poisson(self.bursts_a_day * steps * STEP_S / DAY_S * runs)
        run, at = rng.integers(0, runs, count), rng.integers(0, steps, count)
        u = rng.random(count)
        size = self.burst_size * ((u**-self.burst_shape - 1) / self.burst_shape if self.burst_shape else -np.log(u))
        for step in range(self.burst_steps):
            np.maximum.at(out, (run, np.minimum(at + step, steps - 1)), size.astype(np.float32))
        return out


def realised(processes: Sequence[Process], futures: int, seed: int) -> NDArray[np.float64]:
    """The share of futures whose peak exceeds what was stated for each p, (deployments, len(STATED))."""
    rng = np.random.default_rng(seed)
    histories = [process.demand(HISTORY_DAYS, 1, rng)[0] for process in processes]
    whole = np.ones(HISTORY_DAYS * 24)
    tails = fit_tails([Peaks(BlockSeries(START, HOUR_S, each.astype(np.float64), whole)) for each in histories])
    out = np.empty((len(processes), len(STATED)))
    for row, (process, tail) in enumerate(zip(processes, tails, strict=True)):
        peaks = process.demand(FUTURE_DAYS, futures, rng).max(axis=1)
        stated = level(tail, np.array(STATED), FUTURE_DAYS * 24.0)
        out[row] = (peaks[:, None] > stated).mean(axis=0)
    return out


def interval(shares: NDArray[np.float64], seed: int = 1) -> tuple[float, float]:
    """95 % of the mean, by a bootstrap over deployments."""
    rng = np.random.default_rng(seed)
    means = [shares[rng.integers(0, len(shares), len(shares))].mean() for _ in range(BOOTSTRAPS)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw, fit, compare and write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("--deployments", type=int, default=2000)
    parser.add_argument("--futures", type=int, default=100, help="of each deployment")
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--output", type=Path, help="folder of the result, when not benchmarks/results")
    chosen = parser.parse_args(argv)
    began = time.monotonic()
    rng = np.random.default_rng(chosen.seed)
    processes = [Process.drawn(rng) for _ in range(chosen.deployments)]
    shares = realised(processes, chosen.futures, chosen.seed + 1)
    rows, goals, figures = [], [], {}
    for column, p in enumerate(STATED):
        ratio = float(shares[:, column].mean() / p)
        low, high = (each / p for each in interval(shares[:, column]))
        found = f"{ratio:.2f} ({low:.2f} to {high:.2f})"
        goals.append(Goal(f"realised over stated, p = {p:g}", f"within a factor {WITHIN:g}", found,
                          1 / WITHIN <= ratio <= WITHIN))  # fmt: skip
        figures[f"{p:g}"] = {"ratio": ratio, "low": low, "high": high}
        rows.append((f"{p:g}", *(f"{shares[_of(processes, kind), column].mean() / p:.2f}" for kind in NOISES)))
    body = f"""{chosen.deployments} deployments, {chosen.futures} futures of {FUTURE_DAYS} days each \
({chosen.deployments * chosen.futures:,}), hourly peaks; the interval is a bootstrap over deployments. By kind of noise:

{table(("p", *NOISES), rows)}

{time.monotonic() - began:.0f} s.
"""
    command = f"python -m benchmarks.calibration --deployments {chosen.deployments} --futures {chosen.futures}"
    result = Result("calibration", "Stated probabilities on fleets that do not change", command, goals, body, figures)
    return result.write(chosen.output)


def _of(processes: Sequence[Process], noise: str) -> NDArray[np.bool_]:
    return np.array([process.noise == noise for process in processes])


if __name__ == "__main__":
    sys.exit(main())
