"""The rules of others, on histories where their answer is known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_rightsizer.backtest import baselines
from gpu_rightsizer.backtest.ladder import relative_ladder

DAY = 1440


def _daily(peaks: list[float]) -> np.ndarray:
    series = np.ones((1, DAY * len(peaks)))
    series[0, DAY // 2 :: DAY] = peaks
    return series


def test_peak_rules() -> None:
    history = _daily([100, 50, 50, 50])

    assert baselines.twice_the_peak(history)[0] == 200
    assert baselines.peak_plus_15(history)[0] == pytest.approx(115)
    assert baselines.autopilot(history)[0] == pytest.approx(112)


def test_krr_remembers_an_out_of_memory_that_its_own_limit_had() -> None:
    assert baselines.krr_with_oom(_daily([100, 50, 100, 50]))[0] == pytest.approx(115)
    assert baselines.krr_with_oom(_daily([100, 50, 120, 50]))[0] == pytest.approx(max(1.15 * 120, 1.25 * 115))


def test_vpa_forgets_a_spike_after_three_days_and_not_before() -> None:
    within, gone = _daily([50, 50, 50, 50, 200, 50, 50]), _daily([50, 50, 50, 200, 50, 50, 50])

    assert baselines.vpa_target(within)[0] == pytest.approx(1.15 * 200, rel=0.05)
    assert baselines.vpa_target(gone)[0] == pytest.approx(1.15 * 50, rel=0.05)


def test_vpa_upper_widens_while_life_is_short() -> None:
    assert baselines.vpa_upper(_daily([50.0]))[0] == pytest.approx(1.15 * 50 * 2, rel=0.05)


def test_raw_pot_finds_the_level_of_an_exponential_tail() -> None:
    rng = np.random.default_rng(2)
    history = np.repeat(rng.exponential(1.0, (20, 6 * 24 * 60)), 10, axis=1)  # 60 days, independent ten-minute blocks

    found = np.median(baselines.raw_pot(history, 0.1, 7 * DAY))

    exact = -np.log(1 - 0.9 ** (1 / (7 * 144)))
    assert found == pytest.approx(exact, rel=0.1)


def test_hpa_goes_up_at_once_and_down_after_five_minutes() -> None:
    demand = np.array([[80.0, 80, 240, 80, 80, 80, 80, 80, 80]])

    orders = baselines.hpa_orders(demand, np.array([100.0]), target=0.8)

    assert orders[0].tolist() == [1, 1, 3, 3, 3, 3, 3, 3, 1]


def test_llm_d_keeps_its_replicas_between_its_two_thresholds() -> None:
    demand = np.array([[170.0] + [145.0] * 20 + [139.0] * 20])

    orders = baselines.llm_d_orders(demand, np.array([100.0]))

    assert orders[0, 0] == 2
    assert orders[0, 20] == 2  # ceil(145/0.70) is 3, ceil(145/0.85) is 2
    assert orders[0, 40] == 2
    assert baselines.llm_d_orders(np.array([[170.0] + [60.0] * 20]), np.array([100.0]))[0, 10:12].tolist() == [2, 1]


def test_the_clairvoyant_orders_in_time() -> None:
    demand = np.array([[0.0, 0, 0, 0, 15, 0, 0, 0] + [0.0] * 20])

    orders = baselines.clairvoyant_orders(demand, np.array([10.0]), lead=2, hold=3)

    assert orders[0, :10].tolist() == [0, 0, 2, 2, 2, 2, 2, 2, 0, 0]


@pytest.mark.parametrize("minutes", [0, 1, 2, 3, 7, 30])
def test_held_is_the_largest_of_what_was(minutes: int) -> None:
    values = np.random.default_rng(minutes).random((3, 50))

    wanted = np.stack([values[:, max(0, t - minutes) : t + 1].max(axis=1) for t in range(50)], axis=1)

    assert (baselines.held(values, minutes) == wanted).all()


def test_a_policy_gets_the_size_that_is_cheapest_for_it() -> None:
    ladder = relative_ladder(np.array([100.0]), 0.5)  # a replica costs its tokens and 50 besides

    orders, tokens, _ = baselines.best_size(ladder, lambda t: np.ceil(np.full((1, 5), 90.0) / t[:, None]))

    assert tokens[0] == 100
    assert (orders == 1).all()
