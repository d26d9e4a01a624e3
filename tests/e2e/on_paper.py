"""A fleet on paper: twins as a cluster would list them, their series in a real Prometheus, read in-process.

No cluster runs: what the operator sees of one is written down, so that many situations fit into a minute. Each has a
namespace, scrape jobs and nodes of its own and disturbs no other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Protocol

import numpy as np

from gpu_rightsizer import catalogue
from gpu_rightsizer.adapters.clock import SystemClock
from gpu_rightsizer.controller.guides import Guides
from gpu_rightsizer.controller.laps import Laps
from gpu_rightsizer.controller.look import LISTS, Lists
from gpu_rightsizer.controller.sight import Sight
from gpu_rightsizer.controller.translate import asked, declared, usable, view
from gpu_rightsizer.domain.world import Evaluation, World
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.observe.fleet import membership_of, read_workloads
from gpu_rightsizer.observe.inventory import build_inventory
from gpu_rightsizer.observe.queries import QUERIES
from gpu_rightsizer.ports import Answer, Metrics, Unavailable
from testbed import listed, manifests
from testbed.cluster.base import Object
from testbed.remote_write import STALE, Series
from testbed.twin.deployment import TwinRun, TwinSpec, simulate
from testbed.twin.identity import Pod
from testbed.twin.knobs import Knobs
from testbed.twin.series import history

NOW = datetime(2024, 5, 16, 10, 20, tzinfo=UTC)  # a Thursday; the store takes any past, and fixed hours repeat
HOUR = 3600.0
DAY = 24 * HOUR
SPAN = 7 * DAY
STEP_S = 120.0
TOLD = frozenset(metric for query in QUERIES for part in query.parts for metric in part.metrics) | {"up"}
BUCKETS = "_bucket"  # four fifths of the samples; latency is not what goes wrong here, so that a day of TPOT is enough
SPEED = frozenset({"vllm:request_time_per_output_token_seconds_bucket", "vllm:time_per_output_token_seconds_bucket"})
SMALL_HOST = manifests.Asked(host=manifests.Host(cpu="1", memory="4Gi", shared_memory="1Gi"))
EVER = float("inf")

Change = Callable[[list[Series]], list[Series]]
Shown = tuple[tuple[float, Knobs], ...]


@cache
def lived(spec: TwinSpec) -> TwinRun:
    """Each life is lived once, however often it is shown."""
    return simulate(spec, live_span_s=60.0)


def nothing(series: list[Series]) -> list[Series]:
    """Changes nothing."""
    return series


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """A workload and how it is shown: `shown` are knobs and until when (seconds of the run) they hold.

    `change` spoils the series further; `step_s` is the scrape interval.
    """

    name: str
    spec: TwinSpec
    shown: Shown = ((EVER, Knobs()),)
    change: Change = nothing
    step_s: float = STEP_S

    @property
    def twin(self) -> TwinSpec:
        """In a namespace of its own."""
        return replace(self.spec, namespace=self.name)

    @property
    def pods(self) -> list[Pod]:
        """Today's."""
        return listed.pods(self.twin)

    def series(self) -> list[Series]:
        """Everything that the store keeps of it."""
        laid = self._laid(self.shown[0][1])
        for (until_s, _), (_, knobs) in zip(self.shown, self.shown[1:], strict=False):
            laid = spliced(laid, self._laid(knobs), milliseconds(until_s))
        return self.change(laid)

    def _laid(self, knobs: Knobs) -> list[Series]:
        own = replace(knobs, engine_job=f"vllm-{self.name}", dcgm_job=f"dcgm-{self.name}", idle_devices=False)
        run = replace(lived(self.spec), spec=replace(self.twin, knobs=own))
        laid = history(run, NOW.timestamp(), self.pods, step_s=self.step_s)
        told = [each for each in laid if name_of(each) in TOLD]
        day = milliseconds(SPAN - DAY)
        lately = (_after(each, day) for each in told if name_of(each) in SPEED)
        return [*(each for each in told if not name_of(each).endswith(BUCKETS)), *lately]

    def objects(self) -> dict[str, list[Object]]:
        """What a cluster lists: nodes, the Deployment, its ReplicaSet and pods, an InferenceDeployment."""
        return listed.objects(self.twin, SMALL_HOST, moment(max(self.twin.knobs.rollouts_s, default=0.0)))


class Listed(Protocol):
    """What can be looked at: a workload as a cluster lists it, in a namespace of its own."""

    def objects(self) -> dict[str, list[Object]]:
        """Lists by the names of `controller.look.LISTS`."""
        ...


@dataclass(slots=True)
class Onlooker:
    """The operator's eyes and mind without its hands; remembers between looks what Prometheus said."""

    sight: Sight
    known: catalogue.Catalogue = field(default_factory=catalogue.load)

    def look(self, situations: Sequence[Listed], at: datetime = NOW) -> dict[str, Evaluation]:
        """What it makes of each, by name."""
        return {each.world.workload.key.namespace: each for each in self.evaluations(situations, at)}

    def evaluations(self, situations: Sequence[Listed], at: datetime) -> list[Evaluation]:
        """The same of all that they list, in order."""
        lists = Lists({name: [] for name in LISTS})
        for situation in situations:
            for name, objects in situation.objects().items():
                lists.objects[name] += objects
        classes = usable(declared(lists, self.known))
        inventory = build_inventory(lists["nodes"], lists["pods"], classes, self.known)
        names = [each.name for each in inventory.classes]
        requests = [each.request for each in asked(lists, Guides(lists), names) if each.request]
        seen = view(lists, requests)
        membership = membership_of(seen)
        workloads = read_workloads(seen, self.known, inventory, at, membership=membership)
        with contextlib.closing(asyncio.new_event_loop()) as loop:  # asyncio.run writes out what a task returned
            observations = loop.run_until_complete(self.sight.see(workloads, membership, at, Laps(SystemClock())))
        worlds = [World(*pair) for pair in zip(workloads, observations, strict=True)]
        return evaluate(worlds, inventory.classes, at)


@dataclass(slots=True)
class Flaky:
    """A store of which the queries named in `failing` fail and those in `warning` answer in part."""

    metrics: Metrics
    failing: set[str] = field(default_factory=set)
    warning: set[str] = field(default_factory=set)

    async def instant(self, promql: str, at: datetime) -> Answer:
        """As the port has it."""
        return self._spoiled(promql, await self.metrics.instant(promql, at))

    async def between(self, promql: str, start: datetime, end: datetime, step_seconds: int) -> Answer:
        """As the port has it."""
        return self._spoiled(promql, await self.metrics.between(promql, start, end, step_seconds))

    async def server_time(self) -> datetime:
        """As the port has it."""
        return await self.metrics.server_time()

    def _spoiled(self, promql: str, answer: Answer) -> Answer:
        names = {query.name for query in QUERIES if f'"{query.parts[0].slot}|' in promql}
        if names & self.failing:
            raise Unavailable("the store is restarting")
        return Answer(answer.series[::2], ("a store did not answer",)) if names & self.warning else answer


# -- series ----------------------------------------------------------------------------------------------------------


def moment(run_s: float) -> datetime:
    """The wall-clock time of a second of the run."""
    return NOW - timedelta(seconds=SPAN - run_s)


def milliseconds(run_s: float) -> int:
    """The same as a sample's timestamp."""
    return round(moment(run_s).timestamp() * 1000)


def name_of(series: Series) -> str:
    """The metric's name."""
    return series.labels["__name__"]


def _after(series: Series, at_ms: int) -> Series:
    late = series.times_ms >= at_ms
    return Series(series.labels, series.times_ms[late], series.values[late])


def spliced(before: Sequence[Series], after: Sequence[Series], at_ms: int) -> list[Series]:
    """The former until then, the latter from then on; a series that ends there ends with a stale marker."""
    rest = {_identity(each): each for each in after}
    joined = []
    for each in before:
        head = each.times_ms < at_ms
        follower = rest.pop(_identity(each), None)
        tail = np.zeros(0, dtype=np.bool_) if follower is None else follower.times_ms >= at_ms
        if follower is None or not tail.any():
            joined.append(_ended(each, head, at_ms))
        else:
            times = np.concatenate((each.times_ms[head], follower.times_ms[tail]))
            joined.append(Series(each.labels, times, np.concatenate((each.values[head], follower.values[tail]))))
    for each in rest.values():
        tail = each.times_ms >= at_ms
        joined.append(Series(each.labels, each.times_ms[tail], each.values[tail]))
    return [each for each in joined if len(each.times_ms)]


def _identity(series: Series) -> frozenset[tuple[str, str]]:
    return frozenset(series.labels.items())


def _ended(series: Series, kept: np.ndarray[tuple[int], np.dtype[np.bool_]], at_ms: int) -> Series:
    if not kept.any() or kept.all():
        return Series(series.labels, series.times_ms[kept], series.values[kept])
    times = np.append(series.times_ms[kept], np.int64(at_ms))
    return Series(series.labels, times, np.append(series.values[kept], STALE))


def relabelled(series: Sequence[Series], change: Callable[[Mapping[str, str]], Mapping[str, str]]) -> list[Series]:
    """The same under other labels."""
    return [Series(change(each.labels), each.times_ms, each.values) for each in series]


def without(series: Sequence[Series], *names: str) -> list[Series]:
    """All but the metrics of those names."""
    return [each for each in series if name_of(each) not in names]
