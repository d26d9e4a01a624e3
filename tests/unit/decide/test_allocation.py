"""What is given out fits, costs the least there is, and does not depend on chance."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.sharing import crowd
from gpu_rightsizer.decide.allocation import Option, allocate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

POOLS = ("a", "b")


def cost(menu: Sequence[Sequence[Option]], chosen: Sequence[int]) -> float:
    return sum(options[at].cost for options, at in zip(menu, chosen, strict=True))


def taken(menu: Sequence[Sequence[Option]], chosen: Sequence[int]) -> dict[str, int]:
    given = [options[at] for options, at in zip(menu, chosen, strict=True)]
    return {name: sum(option.amount for option in given if option.pool == name) for name in POOLS}


def fits(menu: Sequence[Sequence[Option]], chosen: Sequence[int], free: Mapping[str, int]) -> bool:
    return all(amount <= free[name] for name, amount in taken(menu, chosen).items())


def cheapest_of_all(menu: Sequence[Sequence[Option]], free: Mapping[str, int]) -> float:
    """By trying everything."""
    every = product(*(range(len(options)) for options in menu))
    return min(cost(menu, chosen) for chosen in every if fits(menu, chosen, free))


prices = st.integers(1, 40).map(lambda dimes: dimes / 10)
options = st.builds(Option, prices, st.sampled_from(POOLS), st.sampled_from((1, 2, 4, 8)))
menus = st.lists(
    st.tuples(st.lists(options, max_size=2), prices).map(lambda pair: (*pair[0], Option(pair[1]))),
    min_size=1,
    max_size=6,
)
limits = st.fixed_dictionaries({name: st.integers(0, 12) for name in POOLS})


@settings(max_examples=150, deadline=None)
@given(menus, limits)
def test_nothing_is_cheaper_than_the_answer(menu: list[tuple[Option, ...]], free: dict[str, int]) -> None:
    answer = allocate(menu, free)

    assert fits(menu, answer.chosen, free)
    assert cost(menu, answer.chosen) == pytest.approx(cheapest_of_all(menu, free), abs=1e-5)
    assert answer.gap < 1e-5


@settings(max_examples=150, deadline=None)
@given(menus, limits)
def test_without_a_solver_it_fits_and_says_how_far_off_it_may_be(
    menu: list[tuple[Option, ...]], free: dict[str, int]
) -> None:
    answer = allocate(menu, free, seconds=0)

    assert fits(menu, answer.chosen, free)
    assert cost(menu, answer.chosen) * (1 - answer.gap) <= cheapest_of_all(menu, free) + 1e-9


def test_the_largest_saver_is_not_always_served() -> None:
    single = (Option(1.0, "a", 3), Option(5.0))  # saves 1.33 an accelerator
    pair = (Option(1.0, "a", 2), Option(3.5))  # 1.25 an accelerator, and two of them fit

    assert allocate([single, pair, pair], {"a": 4}).chosen == (1, 0, 0)


def test_by_prices_alone_a_thousand_cost_little_more() -> None:
    menu, free = crowd(1000, np.random.default_rng(3))

    best, simple = allocate(menu, free), allocate(menu, free, seconds=0)

    assert cost(menu, simple.chosen) <= 1.02 * cost(menu, best.chosen)
    assert simple.gap <= 0.02


def test_of_two_alike_the_first_gets_it() -> None:
    alike = (Option(1.0, "a", 1), Option(2.0))

    for seconds in (0.0, 2.0):
        assert allocate([alike, alike, alike], {"a": 1}, seconds).chosen == (0, 1, 1)


def test_a_thousand_deployments_and_six_pools_take_no_time_to_speak_of() -> None:
    menu, free = crowd(1000, np.random.default_rng(3))

    answer = allocate(menu, free)

    assert answer.gap < 1e-3
    assert answer == allocate(menu, free)
    assert all(
        sum(o[at].amount for o, at in zip(menu, answer.chosen, strict=True) if o[at].pool == name) <= most
        for name, most in free.items()
    )
