"""An autoscaler's bounds planned from the peaks of blocks, as the product sees them, and judged by the minute.

python -m benchmarks.bounds --traces FOLDER     (or SERVEGEN_TRACES=FOLDER)

The plan (`decide.scaling`) is made from seven days' peaks of blocks of an hour or of ten minutes; an autoscaler with
its bounds and rules then scales over the next seven days by the minute, and `backtest.judge` counts. The traces are
those of `benchmarks.servegen`.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.report import Goal, Result, table
from benchmarks.servegen import ENVIRONMENT, OVERHEAD
from benchmarks.servegen_fleet import CLIENTS, FIT_MINUTES, INTERVALS, build
from gpu_rightsizer.backtest.judge import Outcome, judge_orders, judge_static
from gpu_rightsizer.decide import scaling
from gpu_rightsizer.decide.elastic import trailing_max

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.servegen_fleet import Fleet

BLOCKS: Final = (60, 10)
PARTS: Final = (1, 2, 4, 8)  # replicas that hold the fit week's peak
ROOMS: Final = (2.0, 4.0, float(scaling.ROOM))  # what all that are allowed hold, in times of that peak
LEAD: Final = 6  # minutes: five for a start, one to notice
ALLOWED: Final = (1 - 0.999) * 7 * 1440  # minutes a week: the objective's default
MONDAY: Final = 4 * 86_400  # the trace's own begin is not told
_CAP: Final = 60  # minutes of a week that a mean shows without what no size of replica would have met


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Of each deployment: tokens and price of a replica, the most there may be, usage, and the least in each window."""

    tokens: NDArray[np.float64]
    price: NDArray[np.float64]
    most: NDArray[np.float64]
    usage: NDArray[np.float64]
    least: NDArray[np.float64]  # (deployments, windows)
    promised: NDArray[np.float64]  # minutes a week
    elastic: NDArray[np.bool_]  # there is a plan; the others always run all


def planned(history: NDArray[np.float64], block: int, room: float) -> Chosen:
    """The cheapest plan over the sizes of replica, or all that hold the peak in one size."""
    rows = [_planned(each, block, room) for each in history]
    columns = [np.array(each, dtype=np.float64) for each in zip(*rows, strict=True)]
    return Chosen(*columns[:6], columns[6].astype(bool))


def _planned(history: NDArray[np.float64], block: int, room: float) -> tuple[object, ...]:
    peak = float(history.max())
    demand = scaling.Demand(MONDAY, block, history.reshape(-1, block).max(axis=1))
    usually, limits = scaling.usual(demand), scaling.Limits(1, LEAD, ALLOWED)
    best: tuple[object, ...] | None = None
    cost = np.inf
    for parts in PARTS:
        price, most = (1 / parts + OVERHEAD) * peak, int(np.ceil(parts * room))
        size = scaling.Size(peak / parts, price * np.arange(most + 1))
        plan = scaling.plan(demand, usually, size, limits)
        if plan is not None and plan.hourly < cost and max(plan.least) < most:
            least = plan.least * (scaling.WINDOWS // len(plan.least))
            cost, best = plan.hourly, (size.tokens, price, most, plan.usage, least, plan.minutes_a_week, True)
    fixed = (room * peak, (room + OVERHEAD) * peak, 1, 1.0, (1,) * scaling.WINDOWS, 0.0, False)
    return fixed if best is None else best


def ordered(demand: NDArray[np.float64], chosen: Chosen) -> NDArray[np.float64]:
    """Replicas at the end of each minute: a HorizontalPodAutoscaler with a scheduled least number, (deployments, n)."""
    per_replica = (chosen.usage * chosen.tokens)[:, None]
    wanted = np.clip(np.ceil(demand / per_replica - 1e-9), 1, chosen.most[:, None])
    recent = trailing_max(wanted, scaling.HOLD - 1)
    minute = np.arange(demand.shape[1]) + MONDAY // 60
    least = np.maximum(chosen.least[:, _window(minute)], chosen.least[:, _window(minute + LEAD)])
    asked = np.maximum(recent, np.minimum(least, chosen.most[:, None]))
    orders, there = np.empty_like(demand), asked[:, 0]
    changed = np.full(len(demand), -scaling.STEP)
    for now in range(demand.shape[1]):
        falls = (asked[:, now] < there) & (now - changed >= scaling.STEP)
        changed = np.where(falls, now, changed)
        there = np.maximum(asked[:, now], there - falls)
        orders[:, now] = there
    return orders


def _window(minute: NDArray[np.int64]) -> NDArray[np.int64]:
    weekend = (minute // 1440 + 3) % 7 >= 5
    half = scaling.WINDOWS // 2
    return minute % 1440 // (scaling.WINDOW_HOURS * 60) + weekend * half


def judged(fleet: Fleet, chosen: Chosen) -> Outcome:
    """The week after the one that was planned on."""
    peaks, unknown = fleet.demand.peaks, fleet.demand.unknown[:, FIT_MINUTES:]
    orders = ordered(peaks[:, FIT_MINUTES - 1440 :], chosen)[:, 1440 - LEAD :]
    future = peaks[:, FIT_MINUTES:]
    return judge_orders(future, unknown, orders, tokens=chosen.tokens, price=chosen.price, lead=LEAD)


def _row(name: str, outcome: Outcome, twice: NDArray[np.float64]) -> tuple[str, ...]:
    late = outcome.violations_a_week()
    ratio = outcome.hourly / twice
    return (
        name, f"{outcome.hourly.sum() / twice.sum():.2f}", f"{np.median(ratio):.2f}", f"{late.mean():.1f}",
        f"{np.minimum(late, _CAP).mean():.1f}", f"{np.median(late):.1f}", f"{100 * (late <= 10).mean():.1f} %",
    )  # fmt: skip


def measure(fleet: Fleet) -> Result:
    """All rows."""
    history, future = fleet.demand.peaks[:, :FIT_MINUTES], fleet.demand.peaks[:, FIT_MINUTES:]
    unknown, peak = fleet.demand.unknown[:, FIT_MINUTES:], history.max(axis=1)
    twice = (2 + OVERHEAD) * peak
    lines, goals, figures = [], [], {}
    for factor in (1.0, 1.15, 2.0):
        static = judge_static(future, unknown, factor * peak, (factor + OVERHEAD) * peak)
        lines.append((_row(f"fixed, {factor:g} x peak", static, twice), "", ""))
    for block in BLOCKS:
        for room in ROOMS:
            chosen = planned(history, block, room)
            outcome = judged(fleet, chosen)
            late = outcome.violations_a_week()
            on = chosen.elastic
            kept = float((late[on] <= np.maximum(chosen.promised[on], ALLOWED)).mean())
            name = f"bounds, blocks of {block} min, all hold {room:g} x peak"
            lines.append((_row(name, outcome, twice), f"{100 * on.mean():.0f} %", f"{100 * kept:.1f} %"))
            figures[name] = {"cost": float(outcome.hourly.sum() / twice.sum()), "late": float(late.mean()),
                             "planned": float(on.mean()), "kept": kept, "within_10": float((late <= 10).mean()),
                             "median_cost": float(np.median(outcome.hourly / twice))}  # fmt: skip
            if room == scaling.ROOM:
                aim = f"at most {ALLOWED:.1f}"
                goals.append(Goal(f"late minutes a week, {block} min", aim, f"{late[on].mean():.1f}",
                                  bool(late[on].mean() <= ALLOWED)))  # fmt: skip
    head = ("policy", "cost / 2 x peak, in all", "median", "late minutes a week", f"(at most {_CAP} each)", "median",
            "at most 10", "planned", "kept its promise")  # fmt: skip
    body = f"""{len(peak)} busy deployments of the ServeGen fleet (see servegen.md); a week's peaks of blocks seen, the
next week judged by the minute. Lead time {LEAD} min; a replica costs its tokens and {100 * OVERHEAD:g} % of the peak.
*Planned*: a plan keeps within {ALLOWED:.1f} minutes a week in the replay of the blocks; elsewhere all replicas run
always. *Kept its promise*: of those planned, the share with no more late minutes in the judged week than the objective
allows. A minute is late when demand exceeds what serves. The replay itself bounds every course of demand with the same
peaks (a property test says so); what it cannot know is a next week unlike the last.

{table(head, [(*row, on, kept) for row, on, kept in lines])}
"""
    command = "python -m benchmarks.bounds --traces FOLDER"
    return Result("bounds", "Bounds for an autoscaler, from peaks of blocks", command, goals, body, figures)


def main(argv: Sequence[str] | None = None) -> int:
    """Build the fleet, plan, judge, write; 1 when a goal is missed, 2 when there are no traces."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bounds", description=__doc__)
    parser.add_argument("--traces", type=Path, default=os.environ.get(ENVIRONMENT), help=f"folder; or {ENVIRONMENT}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="only every n-th deployment, for a quick look")
    parser.add_argument("--output", type=Path, help="folder of the result, when not benchmarks/results")
    chosen = parser.parse_args(argv)
    folder = Path(chosen.traces) if chosen.traces else None
    if folder is None or not all((folder / name).is_file() for name in (INTERVALS, CLIENTS)):
        print(f"no ServeGen traces: give --traces or {ENVIRONMENT}, a folder with {INTERVALS} and {CLIENTS}")
        return 2
    fleet = build(folder, chosen.seed)
    busy = fleet.only(fleet.busy())
    return measure(busy.only(np.arange(len(busy.fold)) % chosen.every == 0)).write(chosen.output)


if __name__ == "__main__":
    sys.exit(main())
