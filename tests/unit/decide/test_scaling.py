"""An autoscaler's plan from blocks' peaks: whatever the course within the blocks, it misses no more than it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_rightsizer.decide import scaling
from gpu_rightsizer.decide.scaling import HOLD, STEP, Demand, Limits, Plan, Size, plan, usual

DAYS = 8
MONDAY = 4 * 86_400  # Unix seconds
LIMITS = Limits(least=1, lead=6, minutes_a_week=10.08)


def seen(minutes: np.ndarray, block: int, days: int = DAYS) -> Demand:
    peaks = minutes[: days * 1440].reshape(-1, block).max(axis=1)
    return Demand(MONDAY, block, peaks)


def size(peak: float, most: int, hourly: float = 1.0) -> Size:
    return Size(peak / most, hourly * np.arange(most + 1.0))


def made(demand: Demand, sized: Size, limits: Limits = LIMITS) -> Plan | None:
    return plan(demand, usual(demand), sized, limits)


def autoscaled(demand: np.ndarray, sized: Size, usage: float, least: np.ndarray, lead: int) -> tuple[float, float]:
    """Minute by minute: minutes with too few, and replicas paid on average, over the second half.

    A HorizontalPodAutoscaler on the share of tokens in use, written apart from the plan it checks.
    """
    wanted = np.clip(np.ceil(demand / (usage * sized.tokens) - 1e-9), 1, sized.most)
    there, changed = wanted[0], -STEP
    orders = np.empty_like(demand)
    for now in range(len(demand)):
        recent = max(wanted[max(0, now - HOLD + 1) : now + 1].max(), least[now])
        if recent >= there:
            there = recent
        elif now - changed >= STEP:
            there, changed = there - 1, now
        orders[now] = there
    half = len(demand) // 2
    serving = np.array([orders[max(0, now - lead) : now].min() for now in range(half, len(demand))])
    return float((demand[half:] > serving * sized.tokens * (1 + 1e-9)).sum()), float(orders[half:].mean())


@st.composite
def courses(draw: st.DrawFn) -> np.ndarray:
    """Days that swing, with bursts anywhere in the minutes, from gentle to wild."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    minute = np.arange(DAYS * 1440)
    swing = 1 + draw(st.floats(0, 0.95)) * np.sin(2 * np.pi * minute / 1440)
    demand = 1000 * swing * np.exp(draw(st.floats(0, 0.3)) * rng.standard_normal(len(minute)))
    for at in rng.integers(0, len(minute), draw(st.integers(0, 40))):
        demand[at : at + rng.integers(1, 90)] *= rng.uniform(1, 6)
    return demand


@settings(max_examples=25, deadline=None)
@given(courses(), st.sampled_from((10, 60)), st.sampled_from((2, 5, 12)), st.integers(2, 14), st.floats(10, 3000))
def test_no_course_misses_more_minutes_than_the_peaks_allowed_for(
    course: np.ndarray, block: int, most: int, lead: int, allowed: float
) -> None:
    demand, sized = seen(course, block), size(course.max(), most)
    found = made(demand, sized, Limits(1, lead, allowed))
    if found is None:
        return
    level = next(
        each
        for each in range(4)
        if _replay(demand, sized, found, each, lead) == pytest.approx((found.hourly, found.minutes_a_week))
    )
    least = np.repeat(np.clip(np.ceil(usual(demand).replayed[level] / sized.tokens - 1e-9), 1, most), block)
    ahead = np.concatenate([least[lead:], np.full(lead, least[-1])])  # what begins at a time is ordered before it

    missed, paid = autoscaled(course, sized, found.usage, np.maximum(least, ahead), lead)

    assert missed * 2 * 7 / DAYS <= found.minutes_a_week + 1e-6
    assert found.minutes_a_week <= allowed
    assert paid <= found.hourly * 1.02 + 0.02 * most


def _replay(demand: Demand, sized: Size, found: Plan, level: int, lead: int) -> tuple[float, float]:
    """What the plan was told for that level of least replicas and its usage."""
    whole = usual(demand)
    only = scaling.Usual(whole.replayed[level : level + 1], whole.now[level : level + 1])
    at = scaling._USAGES.index(found.usage)
    wanted = scaling._wanted(demand, sized)
    least = np.clip(np.ceil(only.replayed[0] / sized.tokens - 1e-9), 1, sized.most)
    begin, later = (np.maximum(each, least) for each in scaling._surely_there(wanted, demand.minutes, lead))
    minutes = scaling._minutes(demand, sized, begin, later, lead)[at]
    return float(scaling._hourly(demand, sized, np.maximum(wanted, least))[at]), float(minutes)


def test_a_demand_that_swings_by_the_hour_of_day_is_followed_by_windows() -> None:
    day = np.where(np.arange(1440) // 60 % 24 < 12, 100.0, 1000.0)  # twelve quiet hours, twelve busy ones
    demand = seen(np.tile(day, DAYS), 60)

    found = made(demand, size(1000.0, 10))

    assert found is not None
    assert found.least == (1, 1, 10, 10, 1, 1, 10, 10)
    assert found.minutes_a_week == 0
    assert found.hourly < 8  # fixed it is 10


def test_a_flat_demand_keeps_all_replicas() -> None:
    found = made(seen(np.full(DAYS * 1440, 1000.0), 60), size(1000.0, 4))

    assert found is not None
    assert found.hourly == pytest.approx(4.0)
    assert found.minutes_a_week == 0


def test_bursts_at_any_hour_that_no_day_told_of_allow_no_plan() -> None:
    rng = np.random.default_rng(5)
    course = np.full(DAYS * 1440, 100.0)
    for at in rng.integers(4 * 1440, len(course), 30):
        course[at : at + 5] = 1000.0

    assert made(seen(course, 60), size(1000.0, 10)) is None


def test_shorter_blocks_promise_more() -> None:
    rng = np.random.default_rng(6)
    slow = np.exp(np.cumsum(rng.normal(0, 0.01, DAYS * 1440)))
    course = 1000 * slow / slow.max()

    ten, hour = (made(seen(course, block), size(1000.0, 12), Limits(1, 6, 30.0)) for block in (10, 60))

    assert ten is not None
    assert hour is None or ten.hourly < hour.hourly


def test_never_fewer_than_a_person_allows() -> None:
    found = made(seen(np.full(DAYS * 1440, 10.0), 60), size(1000.0, 4), Limits(3, 6, 10.0))

    assert found is not None
    assert found.least == (3,)
    assert found.hourly >= 3


def test_unknown_blocks_are_neither_judged_nor_relied_on() -> None:
    course = np.full(DAYS * 1440, 1000.0)
    demand = seen(course, 60)
    holes = demand.peaks.copy()
    holes[100::7] = np.nan

    whole, holed = made(demand, size(1000.0, 4)), made(Demand(MONDAY, 60, holes), size(1000.0, 4))

    assert whole is not None
    assert holed is not None
    assert holed.hourly >= whole.hourly - 1e-9


def test_weekends_have_windows_of_their_own() -> None:
    week = np.concatenate([np.full(5 * 1440, 1000.0), np.full(2 * 1440, 100.0)])
    demand = seen(np.tile(week, 2), 60, days=14)

    found = made(demand, size(1000.0, 10))

    assert found is not None
    assert found.least[:4] == (10,) * 4
    assert max(found.least[4:]) == 1
