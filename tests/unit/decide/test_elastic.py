"""Elastic headroom looks at the past only, keeps its budget in the replay, and learns from misses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_rightsizer.decide import elastic
from gpu_rightsizer.decide.elastic import Rules, growth_scale, orders, plan, trailing_max

RULES = Rules(lead=3, hold=10)


def _fleet(rows: int, minutes: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    season = 1 + 0.5 * np.sin(2 * np.pi * np.arange(minutes) / 1440)
    return 1000 * season * rng.gamma(20, 1 / 20, (rows, minutes)) * np.arange(1, rows + 1)[:, None]


def _planned(history: np.ndarray, rules: Rules = RULES) -> elastic.Plan:
    tokens = np.outer([0.5, 0.25], history.max(axis=1))
    return plan(history, tokens, tokens * 1.1, rules)


def _served(ordered: np.ndarray, lead: int) -> np.ndarray:
    """Replicas there in each minute: ordered at the ends of all of the `lead` minutes before."""
    return np.stack([ordered[:, max(0, t - lead) : max(1, t)].min(axis=1) for t in range(ordered.shape[1])], axis=1)


@given(st.integers(100, 380), st.floats(0, 1e6))
@settings(max_examples=25, deadline=None)
def test_no_order_depends_on_what_comes_after_it(cut: int, other: float) -> None:
    demand = _fleet(2, 400)
    made = _planned(demand[:, :100])
    changed = demand.copy()
    changed[:, cut:] = other

    before, after = (orders(each, made, RULES, 100) for each in (demand, changed))

    assert (before[:, :cut] == after[:, :cut]).all()


def test_the_plan_tells_what_its_replay_cost_and_missed() -> None:
    history = _fleet(4, 3 * 1440)
    made = _planned(history)
    rigid = Rules(lead=3, hold=10, share=0.0, step=1.0)  # q stays as it begins

    ordered = orders(history, made, rigid, history.shape[1])

    over = history > _served(ordered, 3) * made.tokens[:, None]
    assert made.replayed_misses == pytest.approx(over[:, 1440:].sum(axis=1) * 7 / 2)
    assert made.replayed_price == pytest.approx(ordered[:, 1440:].mean(axis=1) * made.tokens * 1.1)


def test_more_headroom_costs_more_and_misses_less() -> None:
    history = _fleet(4, 3 * 1440)

    plans = [_planned(history, elastic.with_headroom(RULES, q)) for q in (0.01, 1.0, 5.0)]

    assert (np.diff([p.replayed_price for p in plans], axis=0) >= -1e-9).all()
    assert plans[0].replayed_misses.sum() > 10 * plans[1].replayed_misses.sum()


def test_of_two_sizes_alike_the_cheaper_is_taken() -> None:
    history = _fleet(3, 2 * 1440)
    tokens = np.outer([0.5, 0.5], history.max(axis=1))

    made = plan(history, tokens, tokens * np.array([[2.0], [1.0]]), RULES)

    assert (made.size == 1).all()


def test_a_miss_raises_the_headroom_at_once_and_quiet_lowers_it_slowly() -> None:
    first = 0.7
    tracker = elastic._Tracker(1, Rules(lead=3, headroom=first, step=2.0, share=1e-3))

    missed = tracker.next(np.array([True]))[0]
    same_miss = tracker.next(np.array([True]))[0]
    for _ in range(1000):
        quiet = tracker.next(np.array([False]))[0]

    assert missed == pytest.approx(2 * first)
    assert same_miss == pytest.approx(2 * first, rel=0.01)  # the minute after is the same miss
    assert quiet == pytest.approx(first, rel=0.01)  # 1000 quiet minutes undo one miss at a share of 1e-3


def test_in_the_long_run_misses_begin_as_rarely_as_stated_whatever_the_demand_does() -> None:
    rng = np.random.default_rng(4)
    demand = 1000 * np.exp(
        np.cumsum(rng.normal(0, 0.02, (3, 20_000)), axis=1)
    )  # a random walk: no week is like another
    rules = Rules(lead=3, hold=5, headroom=0.3, share=2e-3, most=1e3, ceiling=10.0)
    made = _planned(demand[:, :2000], rules)

    ordered = orders(demand, made, rules, 2000)

    over = demand > _served(ordered, 3) * made.tokens[:, None]
    begins = over[:, 2001:] & ~trailing_max(over[:, 2000:-1].astype(float), 13).astype(bool)
    assert (begins.mean(axis=1) < 3e-3).all()


def test_the_scale_is_in_tokens() -> None:
    demand = _fleet(2, 600)

    one, ten = (growth_scale(demand * k, 3) for k in (1.0, 10.0))

    assert ten == pytest.approx(10 * one, rel=1e-6)


def test_idle_and_constant_demands_have_a_plan() -> None:
    history = np.stack([np.zeros(2880), np.full(2880, 50.0)])
    tokens = np.array([[10.0, 25.0]])

    made = plan(history, tokens, tokens, RULES)
    ordered = orders(history, made, RULES, 1440)

    assert np.isfinite(ordered).all()
    assert (ordered[1] * 25 >= 50).all()


def test_the_autoscaler_target_leaves_room_and_stays_within_bounds() -> None:
    history = _fleet(5, 2880)

    target = elastic.utilisation_target(history, RULES)

    assert ((target >= 0.3) & (target <= 0.9)).all()


@pytest.mark.parametrize("minutes", [0, 1, 2, 5, 60])
def test_trailing_max(minutes: int) -> None:
    values = np.random.default_rng(minutes).normal(size=(2, 40))

    wanted = np.stack([values[:, max(0, t - minutes) : t + 1].max(axis=1) for t in range(40)], axis=1)

    assert (trailing_max(values, minutes) == wanted).all()


def test_what_came_twice_at_an_hour_is_there_before_it_comes_again() -> None:
    demand = np.full((1, 4 * 1440), 10.0)
    demand[0, [700, 700 + 1440]] = (
        1000.0  # two days at the same minute; on the fourth it is expected, not on the second
    )

    floor = elastic.usual_floor(demand, lead=5)

    assert floor[0, 3 * 1440 + 700 - 5] == 1000.0
    assert floor[0, 1440 + 700 - 5] == 0.0
    assert floor[0, 3 * 1440 + 100] == 10.0


def test_never_more_is_wanted_than_the_ceiling_over_the_last_week() -> None:
    history = _fleet(3, 2880)

    seen = elastic.signals(history, elastic.with_headroom(RULES, 1e6))

    wanted = seen.wanted(np.full((3, 1), 1e6), slice(None))
    assert (wanted <= 1.5 * trailing_max(history, 7 * 1440) + 1e-6).all()
