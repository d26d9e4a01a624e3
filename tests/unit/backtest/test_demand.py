"""Demand from requests, against sums done one request at a time."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_rightsizer.backtest import demand
from gpu_rightsizer.backtest.demand import Service, arrivals, demand_of, kv_tokens
from gpu_rightsizer.backtest.trace import Intervals, InvalidTrace, Requests

PACE = Service(tpot=0.1, prefill=100.0)


def _one_by_one(time: list[float], prompt: list[float], output: list[float], points: int) -> list[float]:
    held = []
    for instant in (10.0 * i for i in range(points)):
        total = 0.0
        for t, i, o in zip(time, prompt, output, strict=True):
            decoding = t + i / PACE.prefill
            if t <= instant < decoding + o * PACE.tpot:
                total += i + max(0.0, instant - decoding) / PACE.tpot
        held.append(total)
    return held


def test_tokens_in_use_are_the_sum_over_the_requests_served() -> None:
    rng = np.random.default_rng(3)
    time, prompt, output = rng.uniform(0, 300, 50), rng.uniform(1, 2000, 50), rng.uniform(1, 900, 50)

    found, running = kv_tokens(time, prompt, output, PACE, 60)

    wanted = _one_by_one(time.tolist(), prompt.tolist(), output.tolist(), 60)
    assert found == pytest.approx(wanted, abs=1.0)
    assert ((running > 0) == (np.array(wanted) > 0)).all()


def test_nothing_is_in_use_when_nothing_is_served() -> None:
    found, running = kv_tokens(np.array([1.0]), np.array([100.0]), np.array([200.0]), PACE, 6)

    # prefilled from second 1 to 2, then ten tokens a second until 22
    assert found == pytest.approx([0.0, 180.0, 280.0, 0.0, 0.0, 0.0])
    assert running.tolist() == [0, 1, 1, 0, 0, 0]


def _intervals(rate: float, cv: float, number: int = 200) -> Intervals:
    time = 600.0 * np.arange(number)
    full = np.full(number, 1.0)
    return Intervals("a", 600, time, rate * full, cv * full, 500 * full, 100 * full)


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.0])
def test_arrivals_keep_the_rate_and_the_variation_asked_for(cv: float) -> None:
    drawn = arrivals(_intervals(0.5, cv), np.random.default_rng(1))

    gaps = np.diff(drawn.time)
    assert drawn.time.size == 200 * 300
    assert (np.diff(drawn.time) >= 0).all()
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.1)
    assert drawn.prompt.mean() == pytest.approx(500, rel=0.03)


def test_an_interval_without_a_row_has_no_request() -> None:
    sparse = Intervals("a", 600, np.array([0.0, 6000.0]), *(np.array([1.0, 1.0]) for _ in range(4)))

    drawn = arrivals(sparse, np.random.default_rng(1))

    assert not ((drawn.time > 600) & (drawn.time < 6000)).any()


def test_deployments_share_their_minutes_and_a_drawn_demand_repeats() -> None:
    late = Requests("late", np.array([7200.0]), np.array([1000.0]), np.array([600.0]))

    one = demand_of([_intervals(0.1, 1.0, 20), late], Service(), seed=5)
    same = demand_of([_intervals(0.1, 1.0, 20), late], Service(), seed=5)

    assert one.peaks.shape == (2, 200)
    assert np.flatnonzero(one.peaks[1])[0] == 120
    assert (one.peaks == same.peaks).all()


def test_less_than_a_minute_is_no_trace() -> None:
    with pytest.raises(InvalidTrace, match="less than a minute"):
        demand_of([Requests("a", np.array([0.0, 5.0]), np.ones(2), np.ones(2))], Service(), seed=1)


def test_a_busy_client_is_drawn_in_parts_and_demands_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = demand_of([_intervals(2.0, 1.0, 30)], Service(), seed=5)
    monkeypatch.setattr(demand, "_AT_ONCE", 5000.0)

    parts = demand_of([_intervals(2.0, 1.0, 30)], Service(), seed=5)

    assert parts.peaks[0, 5:-5].mean() == pytest.approx(whole.peaks[0, 5:-5].mean(), rel=0.05)
    assert parts.peaks[0, 5:-5].min() > 0.3 * whole.peaks.mean()  # no hole where two parts meet
