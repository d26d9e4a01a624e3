"""One option for each deployment, at the least cost in all, within what there is of each pool.

A multiple-choice knapsack, solved by branch and bound (HiGHS through `scipy.optimize.milp`). Where that finds nothing
in time, by prices: what a pool is short of gets dearer until nearly all find room (Lagrange multipliers by subgradient;
Fisher, Management Science 27, 1981), and the rest take what is left. Both keep every limit, and the prices tell how
far from the best an answer can be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

SECONDS: Final = 5.0  # for the solver: a cycle must not wait for the last cent
_NOTHING: Final = 1e-6  # a share of the cost that is no difference: the solver's own tolerance
_ROUNDS: Final = 300  # of prices


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
    columns = _Columns.of(menu, free)
    least, order = _priced(columns)
    chosen = _by_order(menu, free, order)
    solved, gap = _solved(columns, seconds) if seconds > 0 else (None, 1.0)
    if solved is not None and _cost(menu, solved) <= _cost(menu, chosen) * (1 + _NOTHING):
        chosen = solved
    else:
        gap = 1.0
    cost = _cost(menu, chosen)
    bound = (cost - least) / cost if cost > 0 else 0.0
    return Allocation(_in_order(menu, chosen), max(0.0, min(gap, bound)))


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """All options one below the other: `first` is where each deployment's begin, `pool` -1 where none is taken of."""

    first: NDArray[np.intp]
    row: NDArray[np.intp]
    cost: NDArray[np.float64]
    pool: NDArray[np.intp]
    amount: NDArray[np.float64]
    free: NDArray[np.float64]

    @staticmethod
    def of(menu: Sequence[Sequence[Option]], free: Mapping[str, int]) -> _Columns:
        """Pools by name."""
        names = {name: at for at, name in enumerate(sorted(free))}
        flat = [option for options in menu for option in options]
        sizes = [len(options) for options in menu]
        return _Columns(
            first=np.cumsum([0, *sizes[:-1]]).astype(np.intp),
            row=np.repeat(np.arange(len(menu)), sizes),
            cost=np.array([option.cost for option in flat]),
            pool=np.array([names.get(option.pool, -1) for option in flat]),
            amount=np.array([float(option.amount) for option in flat]),
            free=np.array([float(free[name]) for name in names]),
        )


def _solved(columns: _Columns, seconds: float) -> tuple[tuple[int, ...] | None, float]:
    """None where the solver has no answer in time; and how far it may be off."""
    # Here, because they take long to load and are seldom needed.
    from scipy.optimize import Bounds, LinearConstraint, milp  # type: ignore[import-untyped]  # scipy has no types
    from scipy.sparse import coo_array  # type: ignore[import-untyped]  # likewise

    rows, pools, options = len(columns.first), len(columns.free), len(columns.cost)
    takes = np.flatnonzero(columns.pool >= 0)
    at = (np.concatenate([columns.row, rows + columns.pool[takes]]), np.concatenate([np.arange(options), takes]))
    matrix = coo_array((np.concatenate([np.ones(options), columns.amount[takes]]), at), shape=(rows + pools, options))
    low, high = np.full(pools, -np.inf), columns.free
    result = milp(
        columns.cost,
        integrality=np.ones(options),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(matrix.tocsc(), [*np.ones(rows), *low], [*np.ones(rows), *high]),
        options={"time_limit": seconds, "mip_rel_gap": _NOTHING},
    )
    if result.x is None:
        return None, 1.0
    taken = np.flatnonzero(np.round(result.x) == 1)
    gap = float(result.mip_gap) if result.mip_gap is not None else 0.0
    return tuple((taken - columns.first).tolist()), gap if gap > _NOTHING else 0.0


def _priced(columns: _Columns) -> tuple[float, NDArray[np.float64]]:
    """What all together cost at least, and what each option costs with the prices of pools that say so."""
    prices, least = np.zeros(len(columns.free) + 1), -np.inf  # the last is of no pool, and stays 0
    scale = float(columns.cost.mean()) / max(float(columns.amount.mean()), 1.0)
    best = columns.cost
    for turn in range(_ROUNDS):
        asked = columns.cost + prices[columns.pool] * columns.amount
        cheapest = np.minimum.reduceat(asked, columns.first)
        total = float(cheapest.sum() - prices[:-1] @ columns.free)
        if total > least:
            least, best = total, asked
        gets = np.flatnonzero(asked <= cheapest[columns.row])
        gets = gets[np.unique(columns.row[gets], return_index=True)[1]]
        wanted = np.bincount(columns.pool[gets] + 1, columns.amount[gets], len(prices))[1:]
        short = (wanted - columns.free) / np.maximum(columns.free, 1.0)
        prices[:-1] = np.maximum(0.0, prices[:-1] + scale * np.clip(short, -1.0, 1.0) / (1 + turn / 4))
    return least, best


def _by_order(menu: Sequence[Sequence[Option]], free: Mapping[str, int], asked: NDArray[np.float64]) -> tuple[int, ...]:
    """From the last option of each, which fit together, to the best by its price that fits: who gains most first."""
    chosen = [len(options) - 1 for options in menu]
    left = dict(free)
    for options in menu:
        _take(left, options[-1], 1)
    told = [each.tolist() for each in np.split(asked, np.cumsum([len(options) for options in menu])[:-1])]
    for row in sorted(range(len(menu)), key=lambda row: (min(told[row]) - told[row][-1], row)):
        chosen[row] = _cheapest(menu[row], chosen[row], left, told[row])
    for row, options in enumerate(menu):  # what is left after all had their turn
        chosen[row] = _cheapest(options, chosen[row], left, [option.cost for option in options])
    return tuple(chosen)


def _cheapest(options: Sequence[Option], now: int, left: dict[str, int], asked: Sequence[float]) -> int:
    """The cheapest that fits once the present one is given back."""
    _take(left, options[now], -1)
    fitting = [at for at, option in enumerate(options) if option.amount <= left.get(option.pool, option.amount)]
    best = min(fitting, key=lambda at: (asked[at], at))
    _take(left, options[best], 1)
    return best


def _take(left: dict[str, int], option: Option, times: int) -> None:
    if option.pool in left:
        left[option.pool] -= times * option.amount


def _cost(menu: Sequence[Sequence[Option]], chosen: Sequence[int]) -> float:
    return sum(options[at].cost for options, at in zip(menu, chosen, strict=True))


def _in_order(menu: Sequence[Sequence[Option]], chosen: tuple[int, ...]) -> tuple[int, ...]:
    """What was given to deployments with equal options, given to them in their order."""
    alike: dict[tuple[Option, ...], list[int]] = {}
    for row, options in enumerate(menu):
        alike.setdefault(tuple(options), []).append(row)
    answer = list(chosen)
    for members in alike.values():
        for row, given in zip(members, sorted(chosen[row] for row in members), strict=True):
            answer[row] = given
    return tuple(answer)
