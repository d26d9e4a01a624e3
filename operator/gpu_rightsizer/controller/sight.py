"""What is seen of the fleet through Prometheus: asks what is new, remembers the window, reads it into Observations."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gpu_rightsizer.adapters.prometheus import PrometheusMetrics
from gpu_rightsizer.controller.collector import paused_collector
from gpu_rightsizer.observe import samples as window
from gpu_rightsizer.observe.queries import BLOCK_SECONDS, Scope
from gpu_rightsizer.observe.reading import observe
from gpu_rightsizer.ports import Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpu_rightsizer.controller.laps import Laps
    from gpu_rightsizer.controller.settings import Settings
    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.observe.membership import Membership
    from gpu_rightsizer.observe.samples import Ask, Samples
    from gpu_rightsizer.ports import Answer, Clock, Metrics

log = logging.getLogger(__name__)

AT_ONCE = 2  # answers in flight or being taken in, some twenty megabytes each
MOST_APART_S = 30.0  # between the store's clock and ours; a scrape interval of a minute is judged to the minute


class ClocksApart(Exception):
    """The store's clock is not ours; the message says in which direction."""


@dataclass(slots=True)
class Sight:
    """One store. The counters are those of the last cycle."""

    metrics: Metrics
    matchers: tuple[tuple[str, str], ...] = ()
    queries: int = 0
    samples: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    _window: Samples | None = None
    _reading: Samples = field(init=False)  # the window of the cycle that runs
    _apart: str = ""  # how the store's clock stood to ours when last told

    @classmethod
    @contextlib.contextmanager
    def open(cls, settings: Settings) -> Iterator[Sight]:
        """A Sight of the installation's store; closes its threads afterwards."""
        metrics = PrometheusMetrics(settings.prometheus)
        try:
            yield cls(metrics, settings.cluster_matchers)
        finally:
            metrics.close()

    def begin(self) -> None:
        """A new cycle: count from zero."""
        self.queries, self.samples, self.failures = 0, 0, {}

    async def compare_clocks(self, clock: Clock) -> None:
        """Raises ClocksApart, before anything is asked by our time. Without an answer, what was last told counts."""
        self.queries += 1
        before = clock.now()
        try:
            theirs = await self.metrics.server_time()
        except (Unavailable, Rejected) as error:
            self._failed("the time", error)
        else:
            behind, ahead = (before - theirs).total_seconds(), (theirs - clock.now()).total_seconds()
            apart = "behind" if behind > MOST_APART_S else "ahead of" if ahead > MOST_APART_S else ""
            if apart != self._apart:
                log.warning("the metrics store's clock is %.1f s ahead of ours (limit %g s)", ahead, MOST_APART_S)
            self._apart = apart
        if self._apart:
            raise ClocksApart(f"the metrics store's is more than {MOST_APART_S:g} s {self._apart} the operator's")

    async def see(
        self, workloads: Sequence[Workload], membership: Membership, now: datetime, laps: Laps
    ) -> list[Observation]:
        """Ask, remember, read. A query that fails makes its signals unknown this cycle, never old ones fresh.

        Raises Unavailable when the store has never answered at all: then nobody's recommendation is touched.
        """
        scope = Scope(self.matchers, tuple(sorted({w.key.namespace for w in workloads})))
        seen = window.advanced(self._window or window.empty(now), now, scope.namespaces)
        if workloads:
            self._reading = seen
            asks = window.plan(seen, now, pods=sum(max(1, w.replicas) for w in workloads))
            failures = await self._read(asks, scope)
            if self._window is None and all(failures):
                raise Unavailable(f"none of {len(failures)} queries was answered: {failures[0]}")
            seen = self._reading
        self._window = seen
        laps.end("ask")
        with paused_collector():
            observations = await asyncio.to_thread(observe, workloads, membership, seen, now)
        laps.end("observe")
        return observations

    async def _read(self, asks: Sequence[Ask], scope: Scope) -> list[str]:
        """Take every answer in as it comes; for each query why it failed, empty where it did not."""
        gate, lock = asyncio.Semaphore(AT_ONCE), asyncio.Lock()

        async def one(parts: list[Ask]) -> str:
            """A query's parts, oldest first; after one that fails the others wait for the next cycle."""
            for ask in parts:
                async with gate:
                    answer = await self._ask(ask, scope)
                    if isinstance(answer, str):
                        async with lock:
                            self._reading = window.failed(self._reading, ask.query, answer)
                        return answer
                    async with lock:
                        self._reading = await asyncio.to_thread(_taken, self._reading, ask, answer)
            return ""

        by_query: dict[str, list[Ask]] = {}
        for ask in asks:
            by_query.setdefault(ask.query.name, []).append(ask)
        return await asyncio.gather(*(one(parts) for parts in by_query.values()))

    async def _ask(self, ask: Ask, scope: Scope) -> Answer | str:
        promql = ask.query.promql(scope)
        start, end = (datetime.fromtimestamp(each, UTC) for each in (ask.start, ask.end))
        self.queries += 1
        try:
            if ask.query.instant:
                answer = await self.metrics.instant(promql, end)
            else:
                answer = await self.metrics.between(promql, start, end, BLOCK_SECONDS)
        except (Unavailable, Rejected) as error:
            self._failed(f"the query {ask.query.name}", error)
            return str(error)
        self.samples += sum(len(each.values) for each in answer.series)
        return answer

    def _failed(self, what: str, error: Exception) -> None:
        kind = type(error).__name__
        self.failures[kind] = self.failures.get(kind, 0) + 1
        log.warning("%s failed: %s", what, error)


def _taken(seen: Samples, ask: Ask, answer: Answer) -> Samples:
    seen = window.merged(seen, ask, ((each.labels, each.times, each.values) for each in answer.series))
    return window.warned(seen, ask.query, answer.warnings) if answer.warnings else seen
