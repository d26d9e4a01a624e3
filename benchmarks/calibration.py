"""Whether a stated probability is true: realised over stated on fleets that do not change, whose futures are drawn.

python -m benchmarks.calibration --deployments 2000 --futures 100

Each deployment has 14 days of history; the tail that the product fits names the demand exceeded with probability p in
30 days, and as many futures of the same process tell how often that happens. The processes share no code with the fit:
daily and weekly seasons, correlated noise of three kinds, and bursts whose sizes are generalised Pareto. The goal is on
the fleet of all kinds mixed; other fleets, shorter histories, small fleets and demand that was cut off stand beside it.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.signal import lfilter  # type: ignore[import-untyped]  # scipy has no types of its own
from scipy.special import ndtri  # type: ignore[import-untyped]  # likewise

from benchmarks.bootstrap import interval
from benchmarks.report import Goal, Result, table
from gpu_rightsizer.domain.readings import BlockSeries
from gpu_rightsizer.estimate.exceedance import level
from gpu_rightsizer.estimate.tail import Peaks, fit_tails

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

STATED = (0.1, 0.01, 0.001)
WITHIN = 1.25
STEP_S, HOUR_S, DAY_S = 600, 3600, 86_400
HISTORY_DAYS, FUTURE_DAYS = 14, 30
START = 1_795_392_000 // (7 * DAY_S) * 7 * DAY_S + 4 * DAY_S  # a Monday, 00:00 UTC
NOISES = ("lognormal", "gamma", "uniform")
LEVEL_AT = STATED.index(0.01)


class Demand(Protocol):
    """Something whose past and futures can be drawn."""

    def demand(self, days: int, runs: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Hourly peaks from a Monday on, (runs, 24 x days)."""


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
            return np.asarray(np.exp(np.float32(self.spread) * gauss))
        if self.noise == "gamma":  # by Wilson and Hilferty's cube
            third = np.float32(self.spread**2 / 9)
            return np.asarray(np.maximum(1 - third + np.sqrt(third) * gauss, 0) ** 3)
        return np.asarray(1 + np.float32(2 * self.spread) * np.tanh(gauss))

    def _bursts(self, steps: int, runs: int, rng: np.random.Generator) -> NDArray[np.float32]:
        out = np.zeros((runs, steps), dtype=np.float32)
        count = rng.poisson(self.bursts_a_day * steps * STEP_S / DAY_S * runs)
        run, at = rng.integers(0, runs, count), rng.integers(0, steps, count)
        u = rng.random(count)
        size = self.burst_size * ((u**-self.burst_shape - 1) / self.burst_shape if self.burst_shape else -np.log(u))
        for step in range(self.burst_steps):
            np.maximum.at(out, (run, np.minimum(at + step, steps - 1)), size.astype(np.float32))
        return out


@dataclass(frozen=True, slots=True)
class Hourly:
    """Independent hours: lognormal up to the 90 % quantile, generalised Pareto above it. No bursts, no memory."""

    level: float
    daily: float
    weekend: float
    spread: float
    scale: float
    shape: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Hourly:
        """Light to heavy."""
        return cls(
            level=float(rng.lognormal(9, 1)),
            daily=float(rng.uniform(0, 0.8)),
            weekend=float(rng.uniform(0.3, 1.0)),
            spread=float(rng.uniform(0.05, 0.35)),
            scale=float(rng.uniform(0.5, 1.5)),
            shape=float(rng.normal(0.12, 0.12)),
        )

    def demand(self, days: int, runs: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Hourly peaks from a Monday on, (runs, 24 x days)."""
        hours = np.arange(days * 24)
        u = rng.random((runs, len(hours)))
        top = np.exp(self.spread * ndtri(0.9))
        size = self.scale * self.spread * top / 1.755  # 1.755: hazard of the normal law at its 90 % quantile
        excess = size * ((np.maximum((1 - u) / 0.1, 1e-12)) ** -self.shape - 1) / self.shape
        ratio = np.where(u < 0.9, np.exp(self.spread * ndtri(np.minimum(u, 0.9))), top + excess)
        season = (1 + self.daily * np.sin(2 * np.pi * hours / 24)) * np.where(hours // 24 % 7 >= 5, self.weekend, 1.0)
        return np.asarray(self.level * season * ratio, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Moody:
    """A process whose days differ: each has a lognormal factor of its own."""

    of: Process
    spread: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Moody:
        """Days that differ by 3 to 20 %."""
        return cls(Process.drawn(rng), float(rng.uniform(0.03, 0.2)))

    def demand(self, days: int, runs: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Hourly peaks from a Monday on, (runs, 24 x days)."""
        factor = np.exp(self.spread * rng.standard_normal((runs, days)))
        return np.asarray(self.of.demand(days, runs, rng) * np.repeat(factor, 24, axis=1), dtype=np.float32)


def _quiet(rng: np.random.Generator) -> Demand:
    return replace(Process.drawn(rng), bursts_a_day=0.0)


def _bursty(rng: np.random.Generator) -> Demand:
    often, size = float(rng.uniform(0.5, 6)), float(rng.uniform(0.2, 2))
    return replace(Process.drawn(rng), bursts_a_day=often, spread=0.03, burst_size=size)


def _heavy(rng: np.random.Generator) -> Demand:
    often, shape = float(rng.choice([0.1, 0.5, 2.0])), float(np.clip(rng.normal(0.3, 0.15), -0.1, 0.7))
    return replace(Process.drawn(rng), bursts_a_day=often, burst_shape=shape)


FLEETS: dict[str, Callable[[np.random.Generator], Demand]] = {
    "noise only": _quiet,
    "bursts only": _bursty,
    "rarer bursts with heavy tails": _heavy,
    "independent hours, generalised Pareto": Hourly.drawn,
    "days that differ": Moody.drawn,
}
CUTS = (0.9, 0.75, 0.6)
HISTORIES = (4, 7, 28)
SMALL_FLEETS = (1, 20)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Deployments with their true futures: the largest demand of each, (deployments, futures)."""

    processes: Sequence[Demand]
    peaks: NDArray[np.float32]

    @classmethod
    def of(cls, processes: Sequence[Demand], futures: int, rng: np.random.Generator) -> Drawn:
        """Draws the futures."""
        return cls(processes, np.stack([p.demand(FUTURE_DAYS, futures, rng).max(axis=1) for p in processes]))

    def histories(self, days: int, rng: np.random.Generator) -> list[Peaks]:
        """What was seen of each."""
        whole = np.ones(days * 24)
        seen = [p.demand(days, 1, rng)[0].astype(np.float64) for p in self.processes]
        return [Peaks(BlockSeries(START, HOUR_S, each, whole)) for each in seen]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The share of futures that exceed what was stated, (deployments, len(STATED)); the level at 1 % over the true."""

    shares: NDArray[np.float64]
    cost: NDArray[np.float64]

    def ratios(self) -> NDArray[np.float64]:
        """Realised over stated."""
        return np.asarray(self.shares.mean(axis=0) / STATED)

    def row(self, name: str) -> tuple[str, ...]:
        """A line of the table."""
        median, high = np.quantile(self.cost, [0.5, 0.9])
        return (name, *(f"{each:.2f}" for each in self.ratios()), f"{median:.2f}", f"{high:.2f}")


def realised(drawn: Drawn, seen: Sequence[Peaks], fleet: int | None = None) -> Outcome:
    """What the product states of each, `fleet` of them fitted together (all, if None), against the true futures."""
    size = fleet or len(seen)
    tails = [tail for begin in range(0, len(seen), size) for tail in fit_tails(seen[begin : begin + size])]
    stated = np.stack([level(tail, np.array(STATED), FUTURE_DAYS * 24.0) for tail in tails])
    shares = (drawn.peaks[:, :, None] > stated[:, None, :]).mean(axis=1)
    return Outcome(shares, stated[:, LEVEL_AT] / np.quantile(drawn.peaks, 1 - STATED[LEVEL_AT], axis=1))


def cut_off(seen: Sequence[Peaks], share: float, *, marked: bool) -> list[Peaks]:
    """The same histories where no more than a share of their peak could be served (or seen)."""
    out = []
    for each in seen:
        values = each.series.values
        most = share * values.max()
        series = replace(each.series, values=np.minimum(values, most))
        out.append(Peaks(series, censored=values >= most if marked else None))
    return out


def beside(drawn: Drawn, deployments: int, futures: int, seed: int) -> list[tuple[str, ...]]:
    """Other fleets, histories and sizes of fleet, and demand that was cut off: what is not the goal, but must hold."""
    rows = []
    for name, kind in FLEETS.items():
        rng = np.random.default_rng(seed)
        other = Drawn.of([kind(rng) for _ in range(deployments)], futures, rng)
        rows.append(realised(other, other.histories(HISTORY_DAYS, rng)).row(name))
    some = Drawn(drawn.processes[:deployments], drawn.peaks[:deployments])
    for days in HISTORIES:
        found = realised(some, some.histories(days, np.random.default_rng(seed)))
        rows.append(found.row(f"mixed, {days} days seen"))
    seen = some.histories(HISTORY_DAYS, np.random.default_rng(seed))
    rows.extend(realised(some, seen, size).row(f"mixed, fleets of {size}") for size in SMALL_FLEETS)
    for share in CUTS:
        for marked in (True, False):
            name = f"mixed, cut off at {share:.0%} of the peak, {'known' if marked else 'not known'}"
            rows.append(realised(some, cut_off(seen, share, marked=marked)).row(name))
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Draw, fit, compare and write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("--deployments", type=int, default=2000)
    parser.add_argument("--futures", type=int, default=100, help="of each deployment")
    parser.add_argument("--beside", type=int, default=500, help="deployments of each fleet that is not the goal's")
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--output", type=Path, help="folder of the result, when not benchmarks/results")
    chosen = parser.parse_args(argv)
    began = time.monotonic()
    rng = np.random.default_rng(chosen.seed)
    processes = [Process.drawn(rng) for _ in range(chosen.deployments)]
    drawn = Drawn.of(processes, chosen.futures, rng)
    seen = drawn.histories(HISTORY_DAYS, rng)
    started = time.process_time()
    fit_tails(seen)
    fitting = (time.process_time() - started) / len(seen)
    found = realised(drawn, seen)
    goals, figures = _goals(found)
    groups = [
        _part(found, np.array([p.bursts_a_day == rate for p in processes])).row(f"of these: {rate:g} bursts a day")
        for rate in sorted({p.bursts_a_day for p in processes})
    ]
    others = beside(drawn, min(chosen.beside, chosen.deployments), chosen.futures, chosen.seed + 1)
    rows = [found.row("mixed (the goal)"), *groups, *others]
    head = ("fleet", *(f"p = {p:g}" for p in STATED), "cost, median", "cost, p90")
    body = f"""{chosen.deployments} deployments, {chosen.futures} futures of {FUTURE_DAYS} days each \
({chosen.deployments * chosen.futures:,}), hourly peaks; the interval is a bootstrap over deployments. Below: realised \
over stated, and the level stated at 1 % over the true one (from the futures drawn). Lines below the groups have \
{min(chosen.beside, chosen.deployments)} deployments.

{table(head, rows)}

Fitting takes {fitting * 1e6:.0f} microseconds of processor time a deployment; all of this took \
{time.monotonic() - began:.0f} s.
"""
    figures["others"] = {row[0]: [float(each) for each in row[1:]] for row in rows}
    command = f"python -m benchmarks.calibration --deployments {chosen.deployments} --futures {chosen.futures}"
    result = Result("calibration", "Stated probabilities on fleets that do not change", command, goals, body, figures)
    return result.write(chosen.output)


def _goals(found: Outcome) -> tuple[list[Goal], dict[str, object]]:
    goals: list[Goal] = []
    figures: dict[str, object] = {}
    for p, ratio, shares in zip(STATED, found.ratios(), found.shares.T, strict=True):
        low, high = (each / p for each in interval(shares))
        met = bool(1 / WITHIN <= ratio <= WITHIN)
        text = f"{ratio:.2f} ({low:.2f} to {high:.2f})"
        goals.append(Goal(f"realised over stated, p = {p:g}", f"within a factor {WITHIN:g}", text, met))
        figures[f"{p:g}"] = {"ratio": float(ratio), "low": low, "high": high}
    return goals, figures


def _part(found: Outcome, members: NDArray[np.bool_]) -> Outcome:
    return Outcome(found.shares[members], found.cost[members])


if __name__ == "__main__":
    sys.exit(main())
