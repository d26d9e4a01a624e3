"""How few replicas do, most of the time: an autoscaler's bounds and target, replayed against the peaks of blocks.

Only each block's largest demand is known, not its course. So nothing is assumed of it: within a block demand may jump
from nothing to its peak at any moment, and the replay counts the most minutes that any course with these peaks could
find too few replicas. An autoscaler that keeps replicas at `usage` of what they hold orders D / usage as soon as D is
wanted, and it serves a lead time later. So each further factor 1 / usage by which a block's peak exceeds what was
surely there costs at most one lead time:

    minutes <= lead x ceil(log(peak / there) / log(1 / usage)),  and no more than the block has

What is surely there throughout a block: the least number of its time of day, and what the peaks of earlier blocks had
ordered, less what the scaling rules let go since. Assumed: `lead` is right, load is spread as evenly as it was, and a
node can be had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOLD: Final = 60  # minutes: the longest stabilizationWindowSeconds a HorizontalPodAutoscaler takes is 3600
STEP: Final = 30  # minutes in which at most one replica goes: the longest periodSeconds of a policy is 1800
WINDOW_HOURS: Final = 6
WINDOWS: Final = 2 * 24 // WINDOW_HOURS  # four of a working day, then four of a weekend's
_WEEK: Final = 7 * 1440
_DAY: Final = 1440
ROOM: Final = 8  # replicas allowed, in times of those that hold the peak: they cost nothing until they are needed
_USAGES: Final = (0.5, 0.35, 0.25)  # on ServeGen's days 5 to 7 these kept nine of ten within ten minutes
_LEVELS: Final = (0.8, 0.95, 1.0)  # quantiles of a window's peaks that its least number holds; the first try: one
_EPOCH_DAY_OF_WEEK: Final = 3  # 1970-01-01 was a Thursday
_NOTHING: Final = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """The largest demand of each block in tokens, all replicas together; NaN is unknown. `start` is Unix seconds."""

    start: int
    minutes: int
    peaks: NDArray[np.float64]

    @property
    def first_judged(self) -> int:
        """The first half only tells what is usual."""
        return len(self.peaks) // 2

    @property
    def judged_minutes(self) -> float:
        """Of known blocks."""
        return float(np.isfinite(self.peaks[self.first_judged :]).sum()) * self.minutes


@dataclass(frozen=True, slots=True, eq=False)
class Size:
    """One replica holds `tokens` at the objective; `hourly[n]` is what n cost in USD/h, up to `most`."""

    tokens: float
    hourly: NDArray[np.float64]

    @property
    def most(self) -> int:
        """As many as are allowed; they hold at least the peak."""
        return len(self.hourly) - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """The least replicas a person allows, minutes from an order to a serving replica, minutes a week too few."""

    least: int
    lead: int
    minutes_a_week: float


@dataclass(frozen=True, slots=True)
class Plan:
    """`usage` is the share of what replicas hold to aim at, `least` their least number in each window (or in all).

    `hourly` is the mean of the replay in USD/h, `minutes_a_week` the most it could have found too few replicas.
    """

    usage: float
    least: tuple[int, ...]
    hourly: float
    minutes_a_week: float


@dataclass(frozen=True, slots=True, eq=False)
class Usual:
    """Tokens that a time of day usually asks for, at each level (the first: nothing).

    `replayed` is what the days before each block told, (levels, blocks); `now` what all days tell, (levels, windows).
    """

    replayed: NDArray[np.float64]
    now: NDArray[np.float64]


def usual(demand: Demand) -> Usual:
    """High quantiles of the peaks of each window of the day, working days and weekends apart."""
    windows, days = _windows(demand), (demand.start // 60 + demand.minutes * np.arange(len(demand.peaks))) // _DAY
    replayed = np.zeros((len(_LEVELS) + 1, len(demand.peaks)))
    for day in np.unique(days[demand.first_judged :]).tolist():
        own = days == day
        replayed[:, own] = _of_windows(demand.peaks[days < day], windows[days < day])[:, windows[own]]
    return Usual(replayed, _of_windows(demand.peaks, windows))


def plan(demand: Demand, usually: Usual, size: Size, limits: Limits) -> Plan | None:
    """The cheapest that keeps within the limits; None where none does."""
    wanted = _wanted(demand, size)
    late, there = _surely_there(wanted, demand.minutes, limits.lead)
    best: Plan | None = None
    for level, tokens in enumerate(usually.replayed):
        least = _replicas(tokens, size, limits)
        minutes = _minutes(demand, size, np.maximum(late, least), np.maximum(there, least), limits.lead)
        hourly = _hourly(demand, size, np.maximum(wanted, least))
        for at in np.flatnonzero(minutes <= limits.minutes_a_week).tolist():
            if best is None or hourly[at] < best.hourly - _NOTHING:
                now = _replicas(usually.now[level], size, limits).astype(int).tolist()
                counts = tuple(now) if len(set(now)) > 1 else (now[0],)
                best = Plan(_USAGES[at], counts, float(hourly[at]), float(minutes[at]))
    return best


def _replicas(tokens: NDArray[np.float64], size: Size, limits: Limits) -> NDArray[np.float64]:
    return np.clip(np.ceil(tokens / size.tokens - _NOTHING), limits.least, size.most)


def _windows(demand: Demand) -> NDArray[np.int64]:
    """Of each block: four in the day, by UTC, then the same of weekends."""
    minute = demand.start // 60 + demand.minutes * np.arange(len(demand.peaks), dtype=np.int64)
    weekend = (minute // _DAY + _EPOCH_DAY_OF_WEEK) % 7 >= 5
    return minute % _DAY // (WINDOW_HOURS * 60) + weekend * (WINDOWS // 2)


def _of_windows(peaks: NDArray[np.float64], windows: NDArray[np.int64]) -> NDArray[np.float64]:
    """(levels, windows); a window that was never seen is as the same hours of the other days, or as the peak."""
    known = np.isfinite(peaks)
    out = np.zeros((len(_LEVELS) + 1, WINDOWS))
    for window in range(WINDOWS):
        own = peaks[known & (windows == window)]
        if not own.size:
            own = peaks[known & (windows % (WINDOWS // 2) == window % (WINDOWS // 2))]
        if not own.size:
            own = peaks[known].max(initial=0.0, keepdims=True)
        out[1:, window] = np.sort(own)[np.ceil(np.array(_LEVELS) * (own.size - 1)).astype(np.int64)]
    return out


def _wanted(demand: Demand, size: Size) -> NDArray[np.float64]:
    """Replicas ordered for each block's peak, (usages, blocks); none for an unknown one."""
    peaks = np.nan_to_num(demand.peaks)
    return np.minimum(np.ceil(peaks / (np.array(_USAGES)[:, None] * size.tokens) - _NOTHING), size.most)


def _surely_there(
    wanted: NDArray[np.float64], minutes: int, lead: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Replicas that earlier blocks' peaks keep there until a block ends: from its begin, and a lead time later on."""
    begin, later = np.zeros_like(wanted), np.zeros_like(wanted)
    first = -(-lead // minutes)  # the last block whose orders all serve within a lead time from here
    most = wanted.max(initial=0.0)
    for back in range(first, wanted.shape[1]):
        gone = _let_go((back + 1) * minutes)
        if gone >= most:
            break
        kept = np.maximum(wanted[:, :-back] - gone, 0.0)
        later[:, back:] = np.maximum(later[:, back:], kept)
        if back > first:
            begin[:, back:] = np.maximum(begin[:, back:], kept)
    return begin, later


def _let_go(minutes: int) -> int:
    """How many replicas may be gone so long after they were last wanted."""
    return 0 if minutes <= HOLD else (minutes - HOLD) // STEP + 1


def _minutes(
    demand: Demand, size: Size, begin: NDArray[np.float64], later: NDArray[np.float64], lead: int
) -> NDArray[np.float64]:
    """The most minutes a week with too few, of each usage."""
    at_begin, at_later = (_rungs(demand, size, there) for there in (begin, later))
    leads = np.where(at_begin > 0, np.minimum(at_begin, 1 + at_later), 0)
    late = np.minimum(lead * leads, demand.minutes)[:, demand.first_judged :]
    known = np.isfinite(demand.peaks[demand.first_judged :])
    return np.asarray((late * known).sum(axis=1) * _WEEK / max(demand.judged_minutes, 1.0))


def _rungs(demand: Demand, size: Size, there: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how many factors 1 / usage a block's peak exceeds what is there; the last reaches `most`, which holds all."""
    over = np.nan_to_num(demand.peaks) / np.maximum(there * size.tokens, _NOTHING)
    factor = np.log(1 / np.array(_USAGES))[:, None]
    return np.where(over > 1 + _NOTHING, np.ceil(np.log(np.maximum(over, 1.0)) / factor - _NOTHING), 0.0)


def _hourly(demand: Demand, size: Size, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """USD/h on average, of each usage: what was wanted is kept as long as the scaling rules may keep it."""
    kept, most = wanted.copy(), wanted.max(initial=0.0)
    for back in range(1, wanted.shape[1]):
        gone = _let_go((back - 1) * demand.minutes)
        if gone >= most:
            break
        kept[:, back:] = np.maximum(kept[:, back:], wanted[:, :-back] - gone)
    judged = kept[:, demand.first_judged :][:, np.isfinite(demand.peaks[demand.first_judged :])]
    return np.asarray(size.hourly[judged.astype(np.int64)].mean(axis=1))
