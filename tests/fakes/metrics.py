"""A metrics store in memory: it knows our queries and works them out by Prometheus' published rules, without PromQL.

Series are given as they are scraped. It answers `ports.Metrics`; a query that is none of ours is refused. Tests make it
fail with `failing` and warn with `warning`, by the query's name.

Rules: a range selects samples in (t - range, t], up to 2.x in [t - range, t] (`closed`); rate and increase extrapolate
as `extrapolatedRate` does in prometheus/promql/functions.go; an instant sees samples up to five minutes old; a stale
marker ends a series.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpu_rightsizer.observe.queries import (
    BLOCK_SECONDS,
    QUERIES,
    RATE_SECONDS,
    SIGNAL_LABEL,
    UP_SECONDS,
    How,
    Part,
    Query,
    Scope,
)
from gpu_rightsizer.ports import Answer, Rejected, Series
from testbed.remote_write import STALE

Figures: TypeAlias = NDArray[np.float64]
Key: TypeAlias = tuple[str, ...]

LOOKBACK = 300
STALE_BITS = np.float64(STALE).view(np.uint64)


@dataclass(frozen=True, eq=False)
class Scraped:
    """One stored series: `labels` with `__name__`, times in Unix seconds, ascending."""

    labels: Mapping[str, str]
    times: Figures
    values: Figures

    @cached_property
    def samples(self) -> tuple[Figures, Figures]:
        """All but stale markers."""
        kept = self.values.view(np.uint64) != STALE_BITS
        return self.times[kept], self.values[kept]

    def within(self, start: float, end: float) -> tuple[Figures, Figures]:
        """Samples in (start, end]."""
        times, values = self.samples
        first, last = times.searchsorted([start, end], side="right")
        return times[first:last], values[first:last]

    def latest(self, at: float) -> tuple[float, float] | None:
        """Time and value of what an instant query sees."""
        last = int(np.searchsorted(self.times, at, side="right")) - 1
        if last < 0 or self.times[last] <= at - LOOKBACK or self.values[last : last + 1].view(np.uint64) == STALE_BITS:
            return None
        return float(self.times[last]), float(self.values[last])


@dataclass(slots=True)
class FakeMetrics:
    """See the module."""

    stored: list[Scraped]
    scopes: tuple[Scope, ...] = (Scope(),)
    failing: dict[str, Exception] = field(default_factory=dict)
    warning: dict[str, tuple[str, ...]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    closed: bool = False
    now: datetime = datetime(2026, 11, 25, 12, tzinfo=UTC)

    async def instant(self, promql: str, at: datetime) -> Answer:
        """Of our instant queries."""
        return self._answer(promql, [at.timestamp()])

    async def between(self, promql: str, start: datetime, end: datetime, step_seconds: int) -> Answer:
        """Of our range queries."""
        return self._answer(promql, list(np.arange(start.timestamp(), end.timestamp() + 1, step_seconds)))

    async def server_time(self) -> datetime:
        """What the test set."""
        return self.now

    def _answer(self, promql: str, times: Sequence[float]) -> Answer:
        known = {query.promql(scope): (query, scope) for scope in self.scopes for query in QUERIES}
        if promql not in known:
            raise Rejected("parse error: none of our queries")
        query, scope = known[promql]
        self.asked.append(query.name)
        if query.name in self.failing:
            raise self.failing[query.name]
        return Answer(self._series(query, scope, times), self.warning.get(query.name, ()))

    def _worth_a_look(self, times: Sequence[float]) -> list[float]:
        """Those whose range may hold a sample."""
        shown = [each.times for each in self.stored if len(each.times)]
        first, last = min((t[0] for t in shown), default=np.inf), max((t[-1] for t in shown), default=-np.inf)
        return [at for at in times if first <= at <= last + BLOCK_SECONDS + RATE_SECONDS]

    def _chosen(self, part: Part, scope: Scope) -> dict[str, list[Scraped]]:
        """The series of each alias."""
        named = [each for each in self.stored if each.labels["__name__"] in part.metrics]
        matching = [each for each in named if _matches(part, scope, each.labels)]
        return {name: [each for each in matching if each.labels["__name__"] == name] for name in part.metrics}

    def _figure(self, part: Part, aliases: Mapping[str, list[Scraped]], at: float) -> Iterable[tuple[Key, str, float]]:
        """The first alias that has a figure for the labels kept; later aliases fill in for others."""
        taken: dict[Key, tuple[str, float]] = {}
        for metric, chosen in aliases.items():
            if part.how is How.RATE and self.closed:  # one more step of the subquery: the last before the block
                found = _adding(_highest_rate_from_edge)(part, chosen, at)
            else:
                found = FIGURES[part.how](part, chosen, at)
            for key, value in found.items():
                taken.setdefault(key, (f"{part.slot}|{metric}", value))
        return [(key, signal, value) for key, (signal, value) in taken.items()]

    def _series(self, query: Query, scope: Scope, times: Sequence[float]) -> list[Series]:
        found: dict[Key, dict[float, float]] = defaultdict(dict)
        labels: dict[Key, dict[str, str]] = {}
        for part in query.parts:
            aliases = self._chosen(part, scope)
            for at in self._worth_a_look(times):
                for kept, signal, value in self._figure(part, aliases, at):
                    key = (*kept, signal)
                    named = {name: text for name, text in zip(part.by, kept, strict=True) if text}
                    labels[key] = {**named, SIGNAL_LABEL: signal}
                    found[key][at] = value
        return [
            Series(labels[key], np.array(list(points)), np.array(list(points.values())))
            for key, points in found.items()
        ]


def _matches(part: Part, scope: Scope, labels: Mapping[str, str]) -> bool:
    if part.match and labels.get("container", "") in {"", "POD"}:  # the one matcher that our queries have
        return False
    if part.of_every_pod and scope.namespaces and labels.get("namespace", "") not in scope.namespaces:
        return False
    return all(labels.get(name, "") == value for name, value in scope.matchers)


# -- functions of one series ----------------------------------------------------------------------------------------


def _peak(series: Scraped, at: float) -> float | None:
    _, values = series.within(at - BLOCK_SECONDS, at)
    real = values[~np.isnan(values)]
    if not len(values):
        return None
    return float(real.max()) if len(real) else float("nan")


def _sum(series: Scraped, at: float) -> float | None:
    _, values = series.within(at - BLOCK_SECONDS, at)
    return float(values.sum()) if len(values) else None


def _count(seconds: int) -> Callable[[Scraped, float], float | None]:
    def count(series: Scraped, at: float) -> float | None:
        times, _ = series.within(at - seconds, at)
        return float(len(times)) or None

    return count


def _increase(series: Scraped, at: float, seconds: int = BLOCK_SECONDS) -> float | None:
    times, values = series.within(at - seconds, at)
    if len(times) < 2:
        return None
    risen = float(values[-1] - values[0] + values[:-1][values[1:] < values[:-1]].sum())
    spanned = float(times[-1] - times[0])
    between = spanned / (len(times) - 1)
    to_start, to_end = float(times[0] - (at - seconds)), float(at - times[-1])
    if risen > 0 and values[0] >= 0:
        to_start = min(to_start, spanned * float(values[0]) / risen)
    reach = spanned + sum(gap if gap < 1.1 * between else between / 2 for gap in (to_start, to_end))
    return risen * reach / spanned


def _rate(series: Scraped, at: float) -> float | None:
    risen = _increase(series, at, RATE_SECONDS)
    return None if risen is None else risen / RATE_SECONDS


def _time(series: Scraped, at: float) -> float | None:
    found = series.latest(at)
    return found and found[0]


def _value(series: Scraped, at: float) -> float | None:
    found = series.latest(at)
    return found and found[1]


# -- aggregations ---------------------------------------------------------------------------------------------------


def _folded(
    by: Sequence[str], series: Iterable[Scraped], at: float, figure: Callable[[Scraped, float], float | None]
) -> dict[Key, float]:
    """As `max by (by)`."""
    folded: dict[Key, float] = {}
    for each in series:
        value = figure(each, at)
        if value is not None:
            key = tuple(each.labels.get(name, "") for name in by)
            folded[key] = float(np.fmax(folded.get(key, np.nan), value))
    return folded


def _added(part: Part, folded: Mapping[Key, float]) -> dict[Key, float]:
    """As `sum by (by)` of what was folded by (by, within)."""
    added: dict[Key, float] = defaultdict(float)
    for key, value in folded.items():
        added[key[: len(part.by)]] += value
    return dict(added)


_Figure: TypeAlias = Callable[[Scraped, float], "float | None"]
_OfPart: TypeAlias = Callable[[Part, list[Scraped], float], "dict[Key, float]"]


def _folding(figure: _Figure) -> _OfPart:
    return lambda part, series, at: _folded(part.by, series, at, figure)


def _adding(figure: _Figure) -> _OfPart:
    return lambda part, series, at: _added(part, _folded((*part.by, *part.within), series, at, figure))


def _highest_rate(series: Scraped, at: float) -> float | None:
    """The subquery's steps lie on multiples of its step."""
    first = np.floor((at - BLOCK_SECONDS) / RATE_SECONDS) + 1
    steps = np.arange(first * RATE_SECONDS, at + 1, RATE_SECONDS)
    return max((rate for step in steps if (rate := _rate(series, float(step))) is not None), default=None)


def _highest_rate_from_edge(series: Scraped, at: float) -> float | None:
    found = (_rate(series, at - BLOCK_SECONDS), _highest_rate(series, at))
    return max((rate for rate in found if rate is not None), default=None)


def _p95(part: Part, series: list[Scraped], at: float) -> dict[Key, float]:
    """Of each histogram by itself, then folded."""
    buckets: dict[frozenset[tuple[str, str]], dict[float, float]] = defaultdict(dict)
    for each in series:
        rate = _increase(each, at)
        if rate is not None:
            rest = frozenset((name, text) for name, text in each.labels.items() if name not in {"le", "__name__"})
            buckets[rest][float(each.labels["le"])] = rate
    quantiles: dict[Key, float] = {}
    for rest, found in buckets.items():
        labels = dict(rest)
        key = tuple(labels.get(name, "") for name in part.by)
        quantiles[key] = float(np.fmax(quantiles.get(key, np.nan), _quantile(0.95, found)))
    return quantiles


def _quantile(q: float, cumulative: Mapping[float, float]) -> float:
    """As histogram_quantile: linear within the bucket, the last finite bound beyond it."""
    bounds = sorted(cumulative)
    total = cumulative[bounds[-1]]
    if bounds[-1] != np.inf or total == 0:
        return float("nan")
    rank = q * total
    index = next(i for i, bound in enumerate(bounds) if cumulative[bound] >= rank)
    if index == len(bounds) - 1:
        return bounds[-2]
    lower, below = (bounds[index - 1], cumulative[bounds[index - 1]]) if index else (0.0, 0.0)
    return lower + (bounds[index] - lower) * (rank - below) / (cumulative[bounds[index]] - below)


FIGURES: Mapping[How, _OfPart] = {
    How.PEAK: _folding(_peak),
    How.SUMMED_PEAK: _adding(_peak),
    How.RATE: _adding(_highest_rate),
    How.INCREASE: _adding(_increase),
    How.P95: _p95,
    How.SUM: _folding(_sum),
    How.COUNT: _folding(_count(BLOCK_SECONDS)),
    How.COUNT_NOW: _folding(_count(UP_SECONDS)),
    How.NEWEST: _folding(_time),
    How.LAST: _folding(_value),
}
