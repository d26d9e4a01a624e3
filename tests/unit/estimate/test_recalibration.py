"""Stated probabilities compared with what happened: what the fleet's own weeks say, and how far they can tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from gpu_rightsizer.domain.need import DemandKind, DemandTail, PreallocatedMemory, Recalibration, Rhythm
from gpu_rightsizer.domain.readings import BlockSeries
from gpu_rightsizer.domain.workload import WorkloadKey
from gpu_rightsizer.domain.world import World
from gpu_rightsizer.estimate import estimate, exceedance, level, recalibrate
from gpu_rightsizer.estimate.exceedance import came_true, interpolated
from gpu_rightsizer.estimate.recalibration import compared, group, recalibrated
from gpu_rightsizer.estimate.tail import Peaks, fit_tails
from tests import builders
from tests.builders import NOW

STEADY = DemandKind.TOKENS, Rhythm.STEADY
HOURS = 336


def told(scores: np.ndarray, hours: float = 168.0) -> Recalibration:
    return compared(scores, [STEADY] * len(scores), hours)[STEADY]


def peaks(seed: int, growth: float = 1.0, hours: int = HOURS) -> Peaks:
    """Two weeks of a diurnal demand whose last week is larger by `growth`."""
    rng = np.random.default_rng(seed)
    season = 1 + 0.5 * np.sin(2 * np.pi * np.arange(hours) / 24)
    values = 1000 * season * rng.gamma(40, 1 / 40, hours)
    values[-168:] *= growth
    return Peaks(BlockSeries(0, 3600, values, np.ones(hours)))


def test_a_true_model_stays_as_it_is() -> None:
    uniform = told((np.arange(2000) + 0.5) / 2000)

    stated = np.array([0.5, 0.1, 0.01, 0.001, 1e-5])
    came = came_true(stated, uniform)

    assert came[:3] == pytest.approx(stated[:3], rel=0.1)
    assert came[3:] == pytest.approx(1.33 * stated[3:], rel=0.05)  # one window more than seen: never too sure


def test_what_came_twice_as_often_is_stated_twice_as_likely() -> None:
    doubled = told(((np.arange(2000) + 0.5) / 2000) / 2)

    assert came_true(np.array([0.1, 0.02]), doubled) == pytest.approx([0.2, 0.04], rel=0.1)
    assert came_true(np.array([0.0, 1.0]), doubled).tolist() == [0.0, 1.0]


def test_stated_risks_come_true_whatever_the_model() -> None:
    """Scores of a model that is far too sure: u = v^3, v uniform. A fresh window must come true as stated."""
    rng = np.random.default_rng(11)
    fresh = np.array([
        came_true(rng.random(20) ** 3, told(rng.random(199) ** 3)) for _ in range(200)
    ]).ravel()  # fmt: skip

    for stated in (0.2, 0.1, 0.05):
        assert float((fresh <= stated).mean()) == pytest.approx(stated, abs=0.02)
    assert float((fresh <= 0.005).mean()) == pytest.approx(0.005, abs=0.005)


def test_more_can_never_be_claimed_than_so_many_windows_show() -> None:
    """Five of a hundred is the rarest frequency; below it the probability falls no faster than the model's own."""
    lucky = told(np.full(100, 0.5))

    at, rarer = came_true(np.array([0.5 - 1e-12, 0.05]), lucky)

    assert at == pytest.approx(6 / 101, rel=0.01)
    assert rarer == pytest.approx(at / 10, rel=0.01)


def test_a_longer_horizon_repeats_the_weeks_hazard() -> None:
    (tail,) = fit_tails([peaks(1)])
    doubled = replace(tail, recalibration=told(((np.arange(2000) + 0.5) / 2000) / 2))
    capacity = level(tail, 0.02, 168.0)

    assert float(exceedance(doubled, capacity, 720.0)) == pytest.approx(1 - (1 - 0.04) ** (30 / 7), rel=0.1)


SCORES = {
    "all 1": np.ones(100),
    "half": np.full(100, 0.5),
    "tiny": np.full(100, 1e-12),
    "uniform": np.linspace(0.005, 1.0, 200),
    "two heaps": np.r_[np.full(60, 0.01), np.full(60, 0.9)],
}


@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_one_quiet_week_makes_no_fleet_bold_and_a_longer_horizon_is_never_safer(scores: np.ndarray) -> None:
    (tail,) = fit_tails([peaks(1)])
    known = replace(tail, recalibration=told(scores))
    capacity = np.geomspace(500.0, 20_000.0, 60)
    horizons = (1.0, 6.0, 24.0, 72.0, 168.0, 169.0, 720.0, 8760.0)

    alone = np.array([exceedance(tail, capacity, hours) for hours in horizons])
    found = np.array([exceedance(known, capacity, hours) for hours in horizons])
    many = np.array([interpolated([known], capacity[None], np.array([hours]))[0] for hours in horizons])

    assert (found >= alone - 1e-12).all()
    assert (np.diff(found, axis=0) >= -1e-9).all()
    assert (np.diff(found, axis=1) <= 1e-9).all()
    assert many == pytest.approx(found, rel=0.2, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_capacities_is_kept(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stated = np.sort(np.r_[0.0, 10 ** rng.uniform(-9, 0, 300), 1.0])

    came = came_true(stated, told(rng.random(150) ** rng.uniform(0.3, 4)))

    assert (np.diff(came) >= -1e-15).all()
    assert came[0] == 0
    assert came[-1] == 1
    assert ((came >= 0) & (came <= 1)).all()


def test_a_tail_states_what_came_true_and_asks_for_the_room_that_this_takes() -> None:
    (tail,) = fit_tails([peaks(1)])
    doubled = replace(tail, recalibration=told(((np.arange(2000) + 0.5) / 2000) / 2))
    capacity = level(tail, 0.05, 168.0)

    assert float(exceedance(doubled, capacity, 168.0)) == pytest.approx(0.1, rel=0.1)
    assert float(level(doubled, 0.1, 168.0)) == pytest.approx(float(capacity), rel=0.02)
    many = np.full((1, 40), float(capacity))
    assert interpolated([doubled], many, np.array([168.0])) == pytest.approx(0.1, rel=0.15)


def test_a_fleet_whose_demand_grows_is_less_sure_than_its_model() -> None:
    grown = recalibrated([peaks(i, growth=1.3) for i in range(120)], [DemandKind.TOKENS] * 120)[STEADY]
    steady = recalibrated([peaks(i) for i in range(120)], [DemandKind.TOKENS] * 120)[STEADY]

    assert float(came_true(np.array(0.01), steady)) < 0.05
    assert float(came_true(np.array(0.01), grown)) > 0.3


def test_fewer_than_a_hundred_whole_fortnights_say_nothing() -> None:
    kinds = [DemandKind.TOKENS] * 100
    whole = [peaks(i) for i in range(99)]

    assert recalibrated([*whole, peaks(99, hours=300)], kinds) == {}
    holes = peaks(99).series.values.copy()
    holes[200:240] = np.nan
    gap = Peaks(replace(peaks(99).series, values=holes))
    assert recalibrated([*whole, gap], kinds) == {}
    assert recalibrated([*whole, peaks(99)], kinds)[STEADY].scores.size == 100


def test_intermittent_work_is_compared_with_its_own_kind_where_there_is_enough() -> None:
    sometimes = peaks(1).series
    sometimes.values[np.arange(HOURS) % 4 != 0] = 0.0
    assert group(DemandKind.TOKENS, sometimes) == (DemandKind.TOKENS, Rhythm.INTERMITTENT)
    rare = DemandKind.TOKENS, Rhythm.INTERMITTENT

    few = compared(np.linspace(0.01, 1, 150), [STEADY] * 120 + [rare] * 30, 168.0)
    enough = compared(np.linspace(0.01, 1, 240), [STEADY] * 120 + [rare] * 120, 168.0)

    assert few[rare].scores.size == 150  # all of its kind
    assert (enough[rare].scores.size, enough[STEADY].scores.size) == (120, 120)
    assert (DemandKind.BYTES, Rhythm.STEADY) not in enough


def worlds(count: int) -> list[World]:
    out = []
    for index in range(count):
        world = builders.world(builders.observation(seed=index))
        out.append(
            replace(world, workload=replace(world.workload, key=WorkloadKey("team", f"m{index}", f"u{index}", 1)))
        )
    return out


def test_the_fleets_tails_carry_what_the_fleet_said() -> None:
    fleet = worlds(100)

    said = recalibrate(fleet, NOW)
    memory = estimate(fleet[:1], NOW, said)[0].memory

    assert isinstance(memory, PreallocatedMemory)
    assert isinstance(memory.demand, DemandTail)
    assert memory.demand.recalibration is said[STEADY]


def test_a_workload_changed_meanwhile_says_nothing_of_its_model() -> None:
    fleet = worlds(100)
    fleet[7] = replace(fleet[7], workload=replace(fleet[7].workload, since=NOW - timedelta(days=3)))

    assert recalibrate(fleet, NOW) == {}
