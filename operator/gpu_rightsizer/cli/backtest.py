"""`gpu-rightsizer backtest`: options to settings, and the answer to text; the work is in `backtest`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from gpu_rightsizer.backtest import classes, demand, plot, report, trace
from gpu_rightsizer.backtest.advice import advice
from gpu_rightsizer.backtest.ladder import Ladder, relative_ladder
from gpu_rightsizer.backtest.recommended import Runs, pace_on
from gpu_rightsizer.backtest.replay import Current, Settings, replay
from gpu_rightsizer.decide.elastic import Rules
from gpu_rightsizer.ports import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from gpu_rightsizer.backtest.replay import Replay

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Options:
    """As given on the command line."""

    trace: Path
    model: str | None
    classes: tuple[str, ...]
    current: str | None
    replicas: int
    lead_time: timedelta
    fit: timedelta
    judge: timedelta
    tpot: timedelta
    risk: float
    headroom: float
    overhead: float
    seed: int
    plot: Path | None
    as_json: bool


def run(options: Options) -> str:
    """The text to print; raises click.UsageError or Rejected."""
    settings = _settings(options)
    try:
        fleet = trace.read(options.trace)
        pace = demand.Service(tpot=options.tpot.total_seconds())
        current, ladder_for = _current(options), _ladder(options)
        present = pace_on(current.runs, fleet) if current and current.runs else None
        if current and current.runs and present:
            current = replace(current, runs=replace(current.runs, tpot=present.tpot))
        demanded = demand.demand_of(fleet, pace, options.seed, present)
        result = replay(demanded, ladder_for, settings, current)
        advised = advice(demanded, ladder_for, settings)
    except (trace.InvalidTrace, classes.UnknownName) as error:
        raise Rejected(str(error)) from error
    if options.plot is not None:
        _draw(options.plot, result)
    if options.as_json:
        return report.as_json(result, advised)
    steps = {each.step for each in fleet if isinstance(each, trace.Intervals)}
    return report.as_table(result, advised, *(f"The trace has intervals of {step} s." for step in steps))


def _settings(options: Options) -> Settings:
    if options.model is None and (options.classes or options.current):
        raise click.UsageError("--class and --current need --model: how many tokens a class holds depends on it")
    lead, fit, judge = (round(d / _MINUTE) for d in (options.lead_time, options.fit, options.judge))
    if lead < 1 or judge < 1 or fit < max(2 * lead, 10):
        raise click.UsageError(
            "--lead-time and --judge must be at least 1m, and --fit at least 10m and twice the lead time"
        )
    if options.tpot <= timedelta(0):
        raise click.UsageError("--tpot must be more than nothing, for example 25ms")
    rules = Rules(lead=lead, headroom=options.headroom)
    return Settings(fit, judge, options.risk, rules, frontier=options.as_json or options.plot is not None)


def _ladder(options: Options) -> Callable[[NDArray[np.float64]], Ladder]:
    if options.model is None:
        return lambda history: relative_ladder(history.max(axis=1), options.overhead)
    model = classes.known_model(options.model)
    return lambda history: classes.ladder_of(model, options.classes, len(history))


def _current(options: Options) -> Current | None:
    if options.current is None or options.model is None:
        return None
    model = classes.known_model(options.model)
    tokens, hourly = classes.replica_on(model, options.current)
    place, _ = classes.priced_class(options.current)
    runs = Runs(model, place, options.replicas, options.risk, names=options.classes)
    return Current(options.replicas * tokens, options.replicas * hourly, runs)


def _draw(path: Path, result: Replay) -> None:
    try:
        path.write_text(plot.as_svg(result), encoding="utf-8")
    except OSError as error:
        raise Rejected(f"{path}: {error.strerror or error}") from error
