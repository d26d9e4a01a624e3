"""The product on a trace: it sees what its engine would tell of the days before, and is judged like everybody."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from gpu_rightsizer.backtest.classes import known_model, priced_class, replica_on
from gpu_rightsizer.backtest.demand import Demand, Service, demand_of
from gpu_rightsizer.backtest.ladder import relative_ladder
from gpu_rightsizer.backtest.recommended import Runs, pace_on, recommended
from gpu_rightsizer.backtest.replay import RECOMMENDED, Current, Settings, replay
from gpu_rightsizer.backtest.trace import Intervals
from gpu_rightsizer.backtest.window import Window, windows

LLAMA = known_model("meta-llama/Llama-3.1-8B-Instruct")
LARGE = Runs(LLAMA, priced_class("p5.48xlarge")[0], 1, 0.01, tpot=0.004)
WEEK = 7 * 1440
SETTINGS = Settings(WEEK, 1440, frontier=False)
START = 1_795_392_600  # ten minutes past an hour: blocks are whole hours all the same


def traffic(rate: float, days: int = 8) -> Intervals:
    number = days * 144
    of_day = (np.arange(number) % 144) / 144
    rates = rate * (1 + 0.6 * np.sin(2 * np.pi * of_day)) * np.random.default_rng(1).gamma(40, 1 / 40, number)
    full = np.ones(number)
    return Intervals("chat", 600, START + 600.0 * np.arange(number), rates, full, 800 * full, 200 * full)


def traced(rate: float) -> Demand:
    fleet = [traffic(rate)]
    return demand_of(fleet, Service(), 1, pace_on(LARGE, fleet))


@pytest.fixture(scope="module")
def light() -> Demand:
    return traced(0.2)


def window(demand: Demand) -> Window:
    (found,), _ = windows(demand, lambda history: relative_ladder(history.max(axis=1), 0.05), WEEK, 1440)
    return found


def test_light_traffic_on_the_largest_class_is_recommended_a_small_one_that_does(
    light: Demand,
) -> None:
    tokens, hourly = replica_on(LLAMA, "p5.48xlarge")

    result = replay(
        light, lambda history: relative_ladder(history.max(axis=1), 0.05), SETTINGS, Current(tokens, hourly, LARGE)
    )

    (said,) = (each for each in result.verdicts if each.name == RECOMMENDED)
    assert said.outcome.hourly[0] < hourly / 10
    assert said.outcome.violated.sum() == 0
    assert said.stated is not None
    assert 0 <= said.stated[0] <= 0.02


def test_more_traffic_is_never_recommended_less_memory(light: Demand) -> None:
    little, much = (recommended(window(each), LARGE, timedelta(days=1)).capacity[0] for each in (light, traced(20.0)))

    assert little < much


def test_it_sees_nothing_of_the_days_to_come(light: Demand) -> None:
    later = replace(light, peaks=light.peaks.copy())
    later.peaks[:, WEEK:] *= 50
    seen = window(later).traced
    assert seen is not None
    assert seen.tokens.shape[1] == WEEK

    one, other = (recommended(window(each), LARGE, timedelta(days=1)) for each in (light, later))

    assert one.capacity.tolist() == other.capacity.tolist()
    assert one.hourly.tolist() == other.hourly.tolist()


def test_without_a_traced_engine_nothing_is_claimed() -> None:
    untraced = demand_of([traffic(0.2)], Service(), 1)
    tokens, hourly = replica_on(LLAMA, "p5.48xlarge")

    result = replay(
        untraced, lambda history: relative_ladder(history.max(axis=1), 0.05), SETTINGS, Current(tokens, hourly, LARGE)
    )

    assert RECOMMENDED not in {each.name for each in result.verdicts}


def test_a_faster_class_serves_faster() -> None:
    fleet = [traffic(1.0)]

    assert pace_on(LARGE, fleet).tpot < pace_on(replace(LARGE, instance=priced_class("g6.xlarge")[0]), fleet).tpot
