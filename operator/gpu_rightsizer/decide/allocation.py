"""One option for each deployment, at the least cost in all, within what there is of each pool.

A multiple-choice knapsack, solved exactly by branch and bound (HiGHS through `scipy.optimize.milp`). Where the solver
finds nothing in time, one by one, dearest regret an accelerator first. Both answers keep every limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SECONDS: Final = 5.0  # for the solver: a cycle must not wait for the last cent
_NOTHING: Final = 1e-6  # a share of the cost that is no difference: the solver's own tolerance


@dataclass(frozen=True, slots=True)
class Option:
    """What one deployment may be given: USD an hour, and how much of which pool it takes (empty: of none)."""

    cost: float
    pool: str = ""
    amount: int = 0


@dataclass(frozen=True, slots=True)
class Allocation:
    """Which option each deployment is given, and by what share it may be dearer than the best there is."""

    chosen: tuple[int, ...]
    gap: float


def allocate(menu: Sequence[Sequence[Option]], free: Mapping[str, int], seconds: float = SECONDS) -> Allocation:
    """The last option of all together must fit. The same menu in the same order gives the same answer.

    Of deployments with the same options, the first get the better ones.
    """
    solved = _solved(menu, free, seconds) if seconds > 0 else None
    found = solved or Allocation(_one_by_one(menu, free), 1.0)
    least = sum(min(option.cost for option in options) for options in menu)
    cost = sum(options[at].cost for options, at in zip(menu, found.chosen, strict=True))
    bound = (cost - least) / cost if cost > 0 else 0.0  # no choice at all costs less than each one's cheapest
    return Allocation(_in_order(menu, found.chosen), max(0.0, min(found.gap, bound)))


def _solved(menu: Sequence[Sequence[Option]], free: Mapping[str, int], seconds: float) -> Allocation | None:
    """None where the solver has no answer in time."""
    # Here, because they take long to load and are seldom needed.
    from scipy.optimize import Bounds, LinearConstraint, milp  # type: ignore[import-untyped]  # scipy has no types
    from scipy.sparse import coo_array  # type: ignore[import-untyped]  # likewise

    flat = [(row, option) for row, options in enumerate(menu) for option in options]
    line = {name: len(menu) + place for place, name in enumerate(sorted(free))}
    takes = [(line[option.pool], at, option.amount) for at, (_, option) in enumerate(flat) if option.pool in line]
    entries = [(row, at, 1) for at, (row, _) in enumerate(flat)] + takes
    rows, columns, values = (np.array(each) for each in zip(*entries, strict=True))
    matrix = coo_array((values.astype(float), (rows, columns)), shape=(len(menu) + len(line), len(flat)))
    limits = [float(free[name]) for name in sorted(free)]
    result = milp(
        np.array([option.cost for _, option in flat]),
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(
            matrix.tocsc(), [*np.ones(len(menu)), *np.full(len(line), -np.inf)], [*np.ones(len(menu)), *limits]
        ),
        options={"time_limit": seconds, "mip_rel_gap": _NOTHING},
    )
    if result.x is None:
        return None
    taken = np.flatnonzero(np.round(result.x) == 1)
    first = np.concatenate([[0], np.cumsum([len(options) for options in menu])[:-1]])
    chosen = {flat[at][0]: int(at - first[flat[at][0]]) for at in taken.tolist()}
    answer = tuple(chosen[row] for row in range(len(menu)))
    gap = float(result.mip_gap) if result.mip_gap is not None else 0.0
    return Allocation(answer, gap if gap > _NOTHING else 0.0)


def _one_by_one(menu: Sequence[Sequence[Option]], free: Mapping[str, int]) -> tuple[int, ...]:
    """From the last option of each, which fit together, to the cheapest that still fits: who saves most first."""
    chosen = [len(options) - 1 for options in menu]
    left = dict(free)
    for options in menu:
        _take(left, options[-1], 1)

    def saves(row: int) -> float:
        options = menu[row]
        best = min(options, key=lambda option: option.cost)
        return (options[-1].cost - best.cost) / max(best.amount, 1)

    for row in sorted(range(len(menu)), key=lambda row: (-saves(row), row)):
        options = menu[row]
        _take(left, options[-1], -1)
        fitting = [at for at, option in enumerate(options) if option.amount <= left.get(option.pool, option.amount)]
        chosen[row] = min(fitting, key=lambda at: (options[at].cost, at))
        _take(left, options[chosen[row]], 1)
    return tuple(chosen)


def _take(left: dict[str, int], option: Option, times: int) -> None:
    if option.pool in left:
        left[option.pool] -= times * option.amount


def _in_order(menu: Sequence[Sequence[Option]], chosen: tuple[int, ...]) -> tuple[int, ...]:
    """What the solver gave to deployments with equal options, given to them in their order."""
    alike: dict[tuple[Option, ...], list[int]] = {}
    for row, options in enumerate(menu):
        alike.setdefault(tuple(options), []).append(row)
    answer = list(chosen)
    for members in alike.values():
        for row, given in zip(members, sorted(chosen[row] for row in members), strict=True):
            answer[row] = given
    return tuple(answer)
