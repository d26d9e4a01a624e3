"""The demand's tail says what it should, on demand whose true tail is known."""

from __future__ import annotations

from dataclasses import replace
from math import erfc, sqrt
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gpu_rightsizer.estimate import exceedance, level
from gpu_rightsizer.estimate.exceedance import interpolated
from gpu_rightsizer.estimate.tail import PastExceedance, Peaks, fit_tails
from tests import builders as make

if TYPE_CHECKING:
    from gpu_rightsizer.domain.readings import BlockSeries

MONTH = 720.0


class Stationary:
    """Hourly peaks of a known law: a daily wave times independent lognormal or Gumbel ratios."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.gumbel = bool(rng.integers(2))
        self.spread = float(rng.uniform(0.05, 0.25) if self.gumbel else rng.uniform(0.1, 0.4))
        swing = float(rng.uniform(0.0, 0.6))
        self.wave = 1000 * (1 + swing * np.sin(2 * np.pi * np.arange(168) / 24))

    def series(self, rng: np.random.Generator, days: int = 14) -> BlockSeries:
        """What was seen."""
        hours = np.arange(days * 24)
        if self.gumbel:
            ratio = 1 + self.spread * rng.gumbel(size=len(hours))
        else:
            ratio = np.exp(self.spread * rng.standard_normal(len(hours)))
        first = (int(make.NOW.timestamp()) // 3600 - len(hours) + 72) % 168
        return make.series(self.wave[(hours + first) % 168] * np.maximum(ratio, 0.0))

    def truth(self, capacity: float) -> float:
        """P(some of 720 hours exceeds the capacity)."""
        ratio = capacity / self.wave[np.arange(720) % 168]
        if self.gumbel:
            log = -np.exp(-(ratio - 1) / self.spread)
        else:
            log = np.log1p(-_normal_tail(np.log(ratio) / self.spread))
        return float(-np.expm1(log.sum()))


def _normal_tail(z: np.ndarray) -> np.ndarray:
    """1 - Phi(z)."""
    return np.array([erfc(v / sqrt(2)) / 2 for v in z])


@pytest.mark.parametrize(("stated", "most"), [(0.1, 0.2), (0.01, 0.02)])
def test_realised_exceedance_is_at_most_twice_the_stated_one(stated: float, most: float) -> None:
    """120 stationary deployments, 14 days seen, 30 days ahead; their truth is computed, not sampled."""
    rng = np.random.default_rng(20261125)
    fleet = [Stationary(rng) for _ in range(120)]
    tails = fit_tails([Peaks(s.series(rng)) for s in fleet])

    realised = np.mean([s.truth(float(level(t, stated, MONTH))) for s, t in zip(fleet, tails, strict=True)])

    assert stated / 5 < realised < most


def test_less_history_is_less_certain() -> None:
    rng = np.random.default_rng(7)
    fleet = [Stationary(rng) for _ in range(40)]
    levels = {
        days: np.mean([level(t, 0.01, MONTH) for t in fit_tails([Peaks(s.series(rng, days)) for s in fleet])])
        for days in (4, 28)
    }

    assert levels[4] > levels[28]


def test_a_constant_demand_is_exceeded_surely_below_and_hardly_far_above() -> None:
    tail = make.tail(make.flat(1000.0))

    assert exceedance(tail, 999.0, MONTH) == 1.0
    assert exceedance(tail, 1000.1, MONTH) < 1.0
    assert exceedance(tail, 3000.0, MONTH) < 0.05
    assert tail.exceedances == 0.5  # no exceedance: the series itself tells nothing of its tail


def test_no_demand_at_all_still_has_a_tail() -> None:
    tail = make.tail(make.flat(0.0), floor=500.0)

    assert tail.peak == 0.0
    assert 0.0 < exceedance(tail, 5000.0, MONTH) < 0.2


def test_rare_bursts_are_not_averaged_away() -> None:
    values = np.zeros(14 * 24)
    values[::50] = 8000.0
    tail = make.tail(make.series(values), floor=500.0)

    assert exceedance(tail, 8000.0, MONTH) > 0.2
    assert level(tail, 0.01, MONTH) > 8000.0


def test_few_clusters_take_the_scale_of_the_fleet_and_stay_wide() -> None:
    short = make.tail(make.diurnal(1000.0, days=1))
    long = make.tail(make.diurnal(1000.0, days=28))

    assert level(short, 0.01, MONTH) > level(long, 0.01, MONTH)


def test_cut_off_demand_has_a_heavier_tail_than_if_it_were_whole() -> None:
    whole = make.diurnal(1000.0, noise=0.3)
    full = np.quantile(whole.values, 0.97)
    cut = make.series(np.minimum(whole.values, full))
    marks = whole.values >= full

    ignored = fit_tails([Peaks(cut)])[0]
    censored = fit_tails([Peaks(cut, censored=marks)])[0]

    assert exceedance(censored, 2 * full, MONTH) > exceedance(ignored, 2 * full, MONTH)


def test_a_remembered_overflow_raises_the_tail_and_quiet_months_lower_it() -> None:
    series = make.diurnal(1000.0)
    capacity = 4000.0

    def chance(*past: PastExceedance) -> float:
        return float(exceedance(fit_tails([Peaks(series, past=past)])[0], capacity, MONTH))

    recent = chance(PastExceedance(capacity, 1.0, 0.0))
    long_ago = chance(PastExceedance(capacity, 1.0, 24 * 365.0))

    assert chance() < long_ago < recent


def test_nothing_exceeds_what_physics_allows() -> None:
    tail = make.tail(make.diurnal(1000.0), cap=5000.0)

    assert exceedance(tail, 5000.0, MONTH) == 0.0
    assert exceedance(tail, 4999.0, MONTH) > 0.0


def test_the_fleet_teaches_the_shape() -> None:
    """Bounded demand everywhere: the fleet's prior makes each level lower than the shipped prior does."""
    rng = np.random.default_rng(3)

    def bounded() -> BlockSeries:
        return make.series(1000 * (1 + 0.3 * rng.beta(2, 2, 14 * 24)))

    fleet = [Peaks(bounded()) for _ in range(60)]
    together = fit_tails(fleet)
    alone = [fit_tails([one])[0] for one in fleet[:20]]

    taught = np.mean([level(t, 0.01, MONTH) for t in together[:20]])
    assert taught < np.mean([level(t, 0.01, MONTH) for t in alone])


@pytest.mark.parametrize("noise", [0.05, 0.2, 0.6])
def test_many_capacities_are_read_off_a_curve_within_a_tenth(noise: float) -> None:
    tail = fit_tails([Peaks(make.diurnal(1000.0, noise=noise))])[0]
    capacities = np.concatenate(([0.5 * tail.peak], np.geomspace(tail.seasonal.max() * 1.001, 95_000.0, 100)))

    curve = interpolated([tail], capacities[None, :], np.array([MONTH]))[0]

    assert curve == pytest.approx(exceedance(tail, capacities, MONTH), rel=0.1)


def test_what_is_remembered_can_be_thought_away() -> None:
    quiet, other = Peaks(make.diurnal(4000.0)), Peaks(make.diurnal(9000.0, seed=2))
    eventful = replace(quiet, past=(PastExceedance(40_000.0, 1.0, 1000.0),))

    (plain, _), (with_it, _) = fit_tails([quiet, other]), fit_tails([eventful, other])

    assert plain.unremembered is None
    assert with_it.unremembered is not None
    horizon = 30 * 24.0
    never = float(exceedance(plain, 30_000.0, horizon))
    assert exceedance(with_it, 30_000.0, horizon) > never
    assert exceedance(with_it.unremembered, 30_000.0, horizon) == pytest.approx(never, rel=1e-4)
