"""The rows of the ServeGen page: what is judged, and how it is written down."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.bootstrap import interval
from benchmarks.report import Goal, table
from benchmarks.servegen_fleet import FIT_MINUTES, FOLDS
from gpu_rightsizer.backtest import ours, report
from gpu_rightsizer.backtest.baselines import clairvoyant_orders
from gpu_rightsizer.backtest.demand import Demand
from gpu_rightsizer.backtest.ladder import relative_ladder
from gpu_rightsizer.backtest.plot import as_svg
from gpu_rightsizer.backtest.replay import (
    OURS,
    STATED,
    Replay,
    Settings,
    Verdict,
    elastic_outcome,
    replay,
    scaled,
)
from gpu_rightsizer.backtest.window import windows
from gpu_rightsizer.decide.elastic import Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from benchmarks.report import Figure
    from benchmarks.servegen_fleet import Fleet
    from gpu_rightsizer.backtest.ladder import Ladder

_LEAST_JUDGED: Final = 0.05  # for less, 632 deployments give counts and no verdict
ELASTIC: Final = f"{OURS}, elastic only"
_GRID: Final = {"headroom": (0.5, 0.6, 0.7, 0.8, 1.0, 1.2), "step": (1.0, 1.25, 1.5, 2.0, 3.0)}
_TUNE_FIT, _TUNE_JUDGE = 4 * 1440, 3 * 1440

TRIED: Final = Path(__file__).with_name("servegen_tried.md").read_text(encoding="utf-8").strip()


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page, the same as data, and its goals."""

    text: str
    figures: Mapping[str, object]
    goals: Sequence[Goal] = ()
    frontier: str = ""
    plot: str = ""
    findings: Mapping[str, report.Figures] = field(default_factory=dict)


def about(fleet: Fleet, busy: Fleet, overhead: float, seed: int) -> str:
    """What the fleet is and how it is judged."""
    sizes = ", ".join(f"{int((fleet.clients == n).sum())} of {n}" for n in np.unique(fleet.clients))
    return f"""{len(fleet.fold)} deployments by how many clients share them ({sizes}), drawn within {FOLDS} folds that
share no client; {len(busy.fold)} of them are busy (active in more than 30 % of the minutes of the fit week), and
elastic mode is judged on those. Clients without a request in the fit week are left out. Rates, variation (at most 6)
and token counts as recorded; clients faster than 3 requests/s on average are thinned to that. Prompts at
8,000 tokens/s, 25 ms an output token, demand every 10 s, peaks of a minute. Minutes in which no client of a model has a
request are collection gaps: filled with the same time a day before, never judged. Sizes are 1/1, 1/2, 1/4 and 1/8 of
the fit week's peak; a replica costs its tokens and {100 * overhead:g} % of that peak for its weights, from its order
on. A static size is one replica of any size, which flatters 2 x peak and all static rules; HPA, llm-d's rule and the
clairvoyant get the size that is cheapest for them in hindsight. Seed {seed}."""


def ladders(overhead: float) -> Callable[[NDArray[np.float64]], Ladder]:
    """Sizes relative to the peak of what is seen."""
    return lambda history: relative_ladder(history.max(axis=1), overhead)


def static(fleet: Fleet, overhead: float) -> Section:
    """Static rules and the decision itself on the whole fleet."""
    result = replay(fleet.demand, ladders(overhead), _once(Rules(), frontier=False))
    return _section(result, lambda v: "HPA" not in v.name and "llm-d" not in v.name)


def elastic(busy: Fleet, settings: Settings, overhead: float) -> Section:
    """Whoever scales, and the static status quo beside them; with the frontier where it is asked for."""
    settings = replace(settings, frontier=settings.rules.lead == 5)
    result = replay(busy.demand, ladders(overhead), settings)
    named = ("2 x peak", "peak + 15 % (KRR)", "HPA 0.8", "HPA 0.5", "llm-d-style saturation", "clairvoyant dynamic")
    section = _section(result, lambda v: v.name in {ELASTIC, OURS, *named})
    return replace(section, frontier=_frontier(result), plot=as_svg(result)) if settings.frontier else section


def elastic_goals(section: Section) -> list[Goal]:
    """Lead time five minutes, one setting, overhead included."""
    f = section.findings[ELASTIC]
    return [
        Goal("elastic: saving against 2 x peak, in all", "at least 65 %", _percent(f.saving),
             f.saving is not None and f.saving >= 0.65),
        Goal("... in the median", "at least 75 %", _percent(f.median_saving),
             f.median_saving is not None and f.median_saving >= 0.75),
        Goal("... violation minutes a week, mean", "at most 5", f"{f.violations:.2f}", f.violations <= 5),
        Goal("... deployments with at most 10", "at least 97 %", f"{100 * f.within:.1f} %", f.within >= 0.97),
        Goal("... cost over the clairvoyant's", "at most 1.5", _times(f.over_clairvoyant),
             f.over_clairvoyant is not None and f.over_clairvoyant <= 1.5),
        Goal("frontier: cheaper than each baseline at our violations", "all", str(section.figures["cheaper_than"]),
             bool(section.figures["cheaper_than_all"])),
    ]  # fmt: skip


def calibration(fleet: Fleet) -> Section:
    """Levels recalibrated on the other folds: how often the next week exceeds them, over the probability stated."""
    seen, later = fleet.demand.peaks[:, :FIT_MINUTES], fleet.demand.peaks[:, FIT_MINUTES:]
    unknown = fleet.demand.unknown
    fitted = ours.sized(seen, fleet.demand.start, unknown[:, :FIT_MINUTES], later.shape[1])
    peak = np.where(unknown[:, FIT_MINUTES:], 0.0, later).max(axis=1)
    scores, largest = fitted.scores(peak), seen.max(axis=1)
    lines: list[tuple[Figure, ...]] = []
    figures: dict[str, object] = {}
    goals: list[Goal] = []
    for p in STATED:
        model = fitted.levels(p)
        variants = {"model alone": model} | {
            "recalibrated": _recalibrated(fitted, scores, fleet.fold, p),
            "peak seen, recalibrated": largest * _factors(peak / largest, fleet.fold, p),
        }
        for name, capacity in variants.items():
            exceeded = peak > capacity
            ratio, low, high = _interval(exceeded, p)
            cost = float(capacity.sum() / (2 * seen.max(axis=1)).sum())
            counts = f"{int(exceeded.sum())} of {len(exceeded)}, {p * len(exceeded):.1f} expected"
            lines.append((f"{p:g}", name, f"{ratio:.2f}", f"{low:.2f} to {high:.2f}", counts, f"{cost:.2f}"))
            figures[f"{p:g} {name}"] = {"ratio": ratio, "low": low, "high": high, "exceeded": int(exceeded.sum()),
                                        "cost_vs_2x_peak": cost}  # fmt: skip
            if name == "recalibrated" and p >= _LEAST_JUDGED:
                goals.append(_calibration_goal(p, ratio, low, high))
    head = ("p", "level", "realised/stated", "95 % interval", "exceeded", "tokens / 2 x peak")
    text = f"""Stated is the chance that the largest demand of the judged week exceeds the level. Recalibrated: as
`estimate.recalibration` does it, on the probabilities that the model gave to what came in the deployments of the other
{FOLDS - 1} folds (no client is on both sides), the intermittent apart from the steady. The interval is a bootstrap by
deployment; sets of one fold share clients, so it is somewhat too narrow. The rows `peak seen` take the fit week's peak
times a conformal factor in place of the tail.

{table(head, lines)}"""
    return Section(text, figures, goals)


def _recalibrated(
    fitted: ours.Sized, scores: NDArray[np.float64], fold: NDArray[np.int64], p: float
) -> NDArray[np.float64]:
    """The level of each deployment, told by the other folds."""
    out = np.empty(len(fold))
    for number in np.unique(fold):
        own, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        told = ours.Judged(scores[others].tolist(), [fitted.groups[i] for i in others]).told(fitted.hours)
        part = ours.Sized([fitted.tails[i] for i in own], [fitted.groups[i] for i in own], fitted.hours)
        out[own] = part.levels(p, told)
    return out


def _factors(ratios: NDArray[np.float64], fold: NDArray[np.int64], p: float) -> NDArray[np.float64]:
    """The ceil((n+1)(1-p))-th smallest ratio of the other folds (split conformal)."""
    out = np.full(len(fold), np.inf)
    for number in np.unique(fold):
        others = np.sort(ratios[fold != number])
        rank = int(np.ceil((others.size + 1) * (1.0 - p) - 1e-9))
        if rank <= others.size:
            out[fold == number] = others[rank - 1]
    return out


def _calibration_goal(p: float, ratio: float, low: float, high: float) -> Goal:
    found = f"{ratio:.2f} ({low:.2f} to {high:.2f})"
    met = low <= 1 <= high and 1 / 1.3 <= ratio <= 1.3
    return Goal(f"recalibrated, p = {p:g}", "interval contains 1, point within 1.3", found, met)


def _interval(exceeded: NDArray[np.bool_], p: float) -> tuple[float, float, float]:
    low, high = interval(exceeded)
    return float(exceeded.mean() / p), low / p, high / p


def overheads(busy: Fleet, settings: Settings, shares: Sequence[float]) -> Section:
    """The same with other weights per replica."""
    lines, figures = [], {}
    for share in shares:
        result = replay(busy.demand, ladders(share), replace(settings, frontier=False))
        found = _found(result)[ELASTIC]
        lines.append((f"{100 * share:g} %", *_cells(found)))
        figures[f"{share:g}"] = found.as_json()
    shown = table(("overhead", *_HEAD), lines)
    text = f"Weights of one replica as a share of the fit week's peak; lead time 5 min.\n\n{shown}"
    return Section(text, figures)


def tuning(busy: Fleet, overhead: float) -> tuple[str, Mapping[str, object]]:
    """Days 1 to 4 seen, 5 to 7 judged: every setting of the grid; the later week is not touched."""
    week = busy.demand
    first = Demand(week.names, week.start, week.peaks[:, :FIT_MINUTES], week.unknown[:, :FIT_MINUTES])
    (window,), _ = windows(first, ladders(overhead), _TUNE_FIT, _TUNE_JUDGE)
    reference = window.ladder.static_price(2 * window.history.max(axis=1))
    knows = scaled(window, Rules().lead, partial(clairvoyant_orders, lead=Rules().lead)).hourly
    lines, figures = [], {}
    for values in itertools.product(*_GRID.values()):
        rules = replace(Rules(), **dict(zip(_GRID, values, strict=True)))  # type: ignore[arg-type]  # floats both
        name = ", ".join(f"{k} {v:g}" for k, v in zip(_GRID, values, strict=True))
        found = report.figures(Verdict(name, elastic_outcome(window, rules)[0]), reference, knows)
        lines.append((name, *_cells(found)))
        figures[name] = found.as_json()
    chosen = f"headroom {Rules().headroom:g}, step {Rules().step:g}"
    text = f"""On days 1 to 7 alone: days 1 to 4 seen, 5 to 7 judged (violations scaled to a week). Taken is the
cheapest in all that keeps the mean at 5 minutes or less: {chosen}. While the method was developed the later week was
looked at as well; nothing was chosen by it.

{table(("setting", *_HEAD), lines)}"""
    return text, figures


_HEAD: Final = ("saved, all", "median", "/ clairvoyant", "violated min/week", "<= 10 min", "rescales/day")


def _cells(found: report.Figures) -> tuple[str, ...]:
    return (
        _percent(found.saving),
        _percent(found.median_saving),
        _times(found.over_clairvoyant),
        f"{found.violations:.1f}",
        _percent(found.within),
        f"{found.rescalings:.1f}",
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _once(rules: Rules, *, frontier: bool) -> Settings:
    return Settings(FIT_MINUTES, FIT_MINUTES, rules=rules, frontier=frontier)


def _found(result: Replay) -> dict[str, report.Figures]:
    return {v.name: report.figures(v, result.reference, result.clairvoyant) for v in result.verdicts}


def _section(result: Replay, wanted: Callable[[Verdict], bool]) -> Section:
    found = {v.name: report.figures(v, result.reference, result.clairvoyant) for v in result.verdicts if wanted(v)}
    text = table(("policy", *_HEAD), [(name, *_cells(each)) for name, each in found.items()])
    figures: dict[str, object] = {"policies": [each.as_json() for each in found.values()]}
    if result.frontier:
        cheaper = _cheaper(result)
        figures["cheaper_than"] = f"{sum(cheaper.values())} of {len(cheaper)}"
        figures["cheaper_than_all"] = all(cheaper.values())
    return Section(text, figures, findings=found)


def _others(result: Replay) -> dict[str, float | None]:
    """Each baseline's cost at our violations."""
    own = next(v for v in result.verdicts if v.name == ELASTIC)
    at = float(own.outcome.violations_a_week().mean())
    return {
        name: report.read_at(curve, at, result.reference)
        for name, curve in result.frontier.items()
        if not name.startswith(OURS)
    }


def _cheaper(result: Replay) -> dict[str, bool]:
    own = next(v for v in result.verdicts if v.name == ELASTIC)
    mine = float(own.outcome.hourly.sum() / result.reference.sum())
    return {name: cost is None or mine < cost for name, cost in _others(result).items()}


def _frontier(result: Replay) -> str:
    own = next(v for v in result.verdicts if v.name == ELASTIC)
    mine = float(own.outcome.hourly.sum() / result.reference.sum())
    at = float(own.outcome.violations_a_week().mean())
    lines = [(ELASTIC, f"{mine:.3f}", "1.00")]
    for name, cost in _others(result).items():
        told = ("not reached by its sweep", "–") if cost is None else (f"{cost:.3f}", f"{cost / mine:.2f}")
        lines.append((name, *told))
    curve = [_point(v, result) for v in result.frontier[ELASTIC]]
    head = ("policy", f"cost at {at:.1f} violated min/week", "over ours")
    own_head = ("ours, q swept", "cost, 2 x peak = 1", "violated min/week", "<= 10 min")
    return f"{table(head, lines)}\n\n{table(own_head, curve)}"


def _point(verdict: Verdict, result: Replay) -> tuple[str, ...]:
    minutes = verdict.outcome.violations_a_week()
    cost = verdict.outcome.hourly.sum() / result.reference.sum()
    return verdict.name, f"{cost:.3f}", f"{minutes.mean():.1f}", f"{100 * (minutes <= report.FEW_MINUTES).mean():.1f} %"
