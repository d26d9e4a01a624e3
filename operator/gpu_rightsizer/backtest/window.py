"""The windows of a replay: what is known at an origin, and what then came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.backtest.trace import InvalidTrace

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gpu_rightsizer.backtest.demand import Demand, Traced
    from gpu_rightsizer.backtest.ladder import Ladder


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What is known at an origin, and what then came. `demand` runs on into the future: policies look back only."""

    start: int
    history: NDArray[np.float64]
    history_unknown: NDArray[np.bool_]
    demand: NDArray[np.float64]
    unknown: NDArray[np.bool_]
    ladder: Ladder
    names: tuple[str, ...] = ()
    traced: Traced | None = None  # of the history

    @property
    def future(self) -> NDArray[np.float64]:
        """The minutes judged."""
        return self.demand[:, self.history.shape[1] :]


def windows(
    demand: Demand, ladder_for: Callable[[NDArray[np.float64]], Ladder], fit: int, judge: int
) -> tuple[list[Window], int]:
    """One for every origin, and how many deployments were left out for want of a request in the history.

    `fit` and `judge` are minutes; raises InvalidTrace where the trace is too short for one.
    """
    minutes = demand.peaks.shape[1]
    if minutes < fit + judge:
        raise InvalidTrace(
            f"the trace spans {_span(minutes)}, and {_span(fit)} of history with {_span(judge)} to "
            "judge were asked for: give shorter --fit and --judge, or a longer trace"
        )
    found, skipped = [], 0
    for origin in range(fit, minutes - judge + 1, judge):
        begin, end = origin - fit, origin + judge
        busy = np.flatnonzero(demand.peaks[:, begin:origin].max(axis=1) > 0)
        skipped += len(demand.peaks) - busy.size
        if busy.size == 0:
            continue
        peaks, unknown = demand.peaks[busy, begin:end], demand.unknown[busy, begin:end]
        history = peaks[:, :fit]
        start = demand.start + begin * 60
        known, later = unknown[:, :fit], unknown[:, fit:]
        names = tuple(demand.names[row] for row in busy)
        traced = None if demand.traced is None else demand.traced.of(busy, slice(begin, origin))
        found.append(Window(start, history, known, peaks, later, ladder_for(history), names, traced))
    if not found:
        raise InvalidTrace(
            "no deployment has a request within the history of any origin: there is nothing to size from"
        )
    return found, skipped


def _span(minutes: int) -> str:
    return f"{minutes / 1440:.3g} d" if minutes >= 1440 else f"{minutes} min"
