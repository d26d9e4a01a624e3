"""Small replicas, many or few: headroom for what demand may grow by until the next replica is there.

What must be bounded is growth over the lead time, not the peak. Capacity wanted at minute t is D(t) + q s(t): s is a
high quantile of that growth as the recent past and the last week tell it, one formula for every workload; q is a
multiple kept true online: a miss multiplies it at once, quiet lets it sink so slowly that in the long run at most the
stated share of minutes begins a miss, as long as neither bound below binds (Gibbs and Candès, Adaptive conformal
inference, 2021; here on log q, so that it recovers as fast from a new regime of any size). What is wanted is never
more than 1.5 times the last week's largest demand, and never less than what two of the last seven days took at this
time of day.

Everything is over a fleet, (workloads, minutes), and looks only at the past: column t depends on columns up to t.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DAY: Final = 1440
_WEEK: Final = 7 * DAY
_AROUND: Final = 10  # minutes around a time of day that count as it
_FLOOR: Final = 0.01  # of the week's largest demand, added to every feature: what is below it does not matter
# The 99.8 % quantile of growth within a lead time is exp(-0.21) times a product of powers: of demand now, of its
# largest in the last so many minutes, and of its largest growth in them. They sum to 1: the scale is in tokens. From
# a pinball regression pooled over days 2 to 4 of 239 ServeGen deployments at a lead of five minutes; rounded.
_CONSTANT: Final = -0.21
_NOW: Final = -0.16
_DEMAND: Final = {5: 0.06, 60: 0.31, 240: 0.08, DAY: -0.29, _WEEK: 0.32}
_GROWTH: Final = {15: 0.04, 360: 0.14, DAY: 0.30, _WEEK: 0.20}


@dataclass(frozen=True, slots=True)
class Rules:
    """How much room elastic mode keeps and how it moves.

    `lead` and `hold` are minutes: from an order to a serving replica, and how long a replica is kept after it was last
    wanted. `headroom` is q to begin with and the least it is, `most` the most as a multiple of that; `step` is what a
    miss multiplies it by, `share` the share of minutes that may begin a miss.
    """

    lead: int = 5
    hold: int = 15
    headroom: float = 0.8  # with the step: the cheapest that kept five minutes a week on ServeGen's days 5 to 7
    step: float = 1.5
    share: float = 1e-4
    most: float = 30.0
    ceiling: float = 1.5  # of the last week's largest demand


def with_headroom(rules: Rules, headroom: float) -> Rules:
    """The same, keeping more or less room."""
    return replace(rules, headroom=headroom)


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """What each minute's order rests on, all (workloads, minutes) in tokens; each column knows only the past.

    `scale` is what q multiplies, `ceiling` the most that is wanted and `floor` the least.
    """

    demand: NDArray[np.float64]
    scale: NDArray[np.float64]
    ceiling: NDArray[np.float64]
    floor: NDArray[np.float64]

    def wanted(self, q: NDArray[np.float64], minutes: slice) -> NDArray[np.float64]:
        """Tokens wanted at the end of these minutes, for one q per workload (workloads, 1)."""
        grown = self.demand[:, minutes] + q * self.scale[:, minutes]
        return np.maximum(np.minimum(grown, self.ceiling[:, minutes]), self.floor[:, minutes])


def signals(demand: NDArray[np.float64], rules: Rules) -> Signals:
    """Of a fleet's demand."""
    ceiling = rules.ceiling * trailing_max(demand, _WEEK)
    return Signals(demand, growth_scale(demand, rules.lead), ceiling, usual_floor(demand, rules.lead))


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Per workload the replica size chosen (`size` indexes what was offered) and the tokens it holds.

    `replayed_price` and `replayed_misses` are what the history would have cost an hour and violated a week.
    """

    size: NDArray[np.int64]
    tokens: NDArray[np.float64]
    replayed_price: NDArray[np.float64]
    replayed_misses: NDArray[np.float64]


def growth_scale(demand: NDArray[np.float64], lead: int) -> NDArray[np.float64]:
    """By how much each demand may grow within `lead` minutes, in tokens: a high quantile, before q corrects it."""
    grown = np.zeros_like(demand)  # within the last whole lead time: known by now
    grown[:, lead:] = np.maximum(trailing_max(demand, lead)[:, lead:] - demand[:, : demand.shape[1] - lead], 0.0)
    floor = _FLOOR * trailing_max(demand, _WEEK) + 1e-9
    logs = _CONSTANT + _NOW * np.log(demand + floor)
    for powers, values in ((_DEMAND, demand), (_GROWTH, grown)):
        for minutes, power in powers.items():
            logs += power * np.log(trailing_max(values, minutes) + floor)
    return np.asarray(np.exp(logs))


def usual_floor(demand: NDArray[np.float64], lead: int) -> NDArray[np.float64]:
    """The second largest demand, over the last seven days, at the time of day at which an order is there.

    Ten minutes either way: what came twice at this hour comes again (a nightly batch), what came once need not.
    """
    around = trailing_max(trailing_max(demand, _AROUND)[:, ::-1], _AROUND + lead)[:, ::-1]
    first, second = np.zeros_like(demand), np.zeros_like(demand)
    for shift in range(DAY, min(_WEEK + 1, demand.shape[1]), DAY):
        then = np.zeros_like(demand)
        then[:, shift:] = around[:, :-shift]
        second = np.maximum(second, np.minimum(first, then))
        first = np.maximum(first, then)
    return second


def plan(history: NDArray[np.float64], tokens: NDArray[np.float64], price: NDArray[np.float64], rules: Rules) -> Plan:
    """The replica size that a replay of the history would have paid least for; sizes are (k, n), at least one.

    The first day only warms up what looks back a day, unless there is no more than two.
    """
    seen = signals(history, rules)
    judged = slice(min(DAY, history.shape[1] // 2), None)
    minutes = history[:, judged].shape[1]
    q = np.full((len(history), 1), rules.headroom)
    prices, misses = [], []
    for held, each in zip(tokens, price, strict=True):
        ordered = trailing_max(np.ceil(seen.wanted(q, slice(None)) / held[:, None] - 1e-9), rules.hold)
        prices.append(ordered[:, judged].mean(axis=1) * each)
        misses.append(_misses(history, ordered, held, rules.lead, judged) * _WEEK / minutes)
    size, at = np.stack(prices).argmin(axis=0), np.arange(len(history))
    return Plan(size, tokens[size, at], np.stack(prices)[size, at], np.stack(misses)[size, at])


def orders(demand: NDArray[np.float64], plan: Plan, rules: Rules, start: int) -> NDArray[np.float64]:
    """Replicas wanted at the end of each minute; q is kept true from minute `start` on.

    A miss is a minute whose demand exceeded what the orders before it had brought by then; several within a lead time
    and ten minutes are one.
    """
    seen = signals(demand, rules)
    wanted = np.zeros_like(demand)
    before = seen.wanted(np.full((len(demand), 1), rules.headroom), slice(0, start))
    wanted[:, :start] = np.ceil(before / plan.tokens[:, None] - 1e-9)
    out = np.zeros_like(wanted)
    out[:, :start] = trailing_max(wanted[:, :start], rules.hold)
    tracker = _Tracker(len(demand), rules)
    for minute in range(start, demand.shape[1]):
        serving = out[:, max(minute - rules.lead, 0) : max(minute, 1)].min(axis=1) * plan.tokens
        q = tracker.next(demand[:, minute] > serving * (1 + 1e-9))
        tokens = seen.wanted(q[:, None], slice(minute, minute + 1))[:, 0]
        wanted[:, minute] = np.ceil(tokens / plan.tokens - 1e-9)
        out[:, minute] = wanted[:, max(0, minute - rules.hold) : minute + 1].max(axis=1)
    return out


class _Tracker:
    """q of each workload, minute by minute: up by a step at the begin of a miss, down a little in every other."""

    __slots__ = ("_apart", "_high", "_log", "_low", "_quiet", "_sink", "_step")

    def __init__(self, workloads: int, rules: Rules) -> None:
        self._low = float(np.log(rules.headroom))
        self._high = self._low + float(np.log(rules.most))
        self._log = np.full(workloads, self._low)
        self._step = float(np.log(rules.step))
        self._sink = self._step * rules.share
        self._quiet = np.full(workloads, 1 << 30)
        self._apart = rules.lead + 10

    def next(self, missed: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The multiple after a minute that was missed or not."""
        begins = missed & (self._quiet > self._apart)
        self._quiet = np.where(missed, 0, self._quiet + 1)
        self._log = np.clip(self._log + np.where(begins, self._step, -self._sink), self._low, self._high)
        return np.asarray(np.exp(self._log))


def utilisation_target(demand: NDArray[np.float64], rules: Rules) -> NDArray[np.float64]:
    """The HPA or KEDA target that leaves the same headroom at the median active demand, clipped to 0.3 and 0.9."""
    active = demand > 0
    room = demand + rules.headroom * growth_scale(demand, rules.lead)
    usual = np.array([np.median(row[on]) if on.any() else 0.0 for row, on in zip(demand, active, strict=True)])
    wanted = np.array([np.median(row[on]) if on.any() else 1.0 for row, on in zip(room, active, strict=True)])
    return np.asarray(np.clip(usual / wanted, 0.3, 0.9))


def trailing_max(values: NDArray[np.float64], minutes: int) -> NDArray[np.float64]:
    """The largest of each minute and the `minutes` before it."""
    out = values.astype(np.float64)
    reach = 0  # doubling: what each column covers already
    while reach < min(minutes, values.shape[1] - 1):
        step = min(reach + 1, minutes - reach)
        out[:, step:] = np.maximum(out[:, step:], out[:, :-step])
        reach += step
    return out


def _misses(
    demand: NDArray[np.float64], orders: NDArray[np.float64], tokens: NDArray[np.float64], lead: int, judged: slice
) -> NDArray[np.float64]:
    """Minutes whose demand exceeded what had been ordered without a break for the lead time before."""
    serving = orders
    if lead:
        before = np.concatenate([orders[:, :1], orders[:, :-1]], axis=1)
        serving = -trailing_max(-before, lead - 1)
    over = demand > serving * tokens[:, None] * (1 + 1e-9)
    return np.asarray(over[:, judged].sum(axis=1), dtype=np.float64)
