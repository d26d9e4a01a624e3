"""From attributed series to one Observation a workload: histories with coverage, present values, what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.observation import Observation
from gpu_rightsizer.domain.readings import BlockSeries, Measured, Missing, MissingReason, Signal
from gpu_rightsizer.domain.units import MIB
from gpu_rightsizer.observe import kv
from gpu_rightsizer.observe.attribution import attribute
from gpu_rightsizer.observe.coverage import LEAST_COVERAGE, believed, expected_scrapes, share_seen
from gpu_rightsizer.observe.presence import Presence, attribution, presence, shares_a_device
from gpu_rightsizer.observe.queries import BLOCK_SECONDS, Slot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.readings import History, Reading
    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.observe.attribution import Attributed, Parts
    from gpu_rightsizer.observe.membership import Membership
    from gpu_rightsizer.observe.samples import Samples
    from gpu_rightsizer.observe.tracks import Rest

    Figures = NDArray[np.floating]

MOST_INVALID = 1 - LEAST_COVERAGE  # dropping more of a signal's figures than this is a problem of its own
ENOUGH_REQUESTS = 20  # a p95 of fewer is their maximum

SLOT_QUERY = {
    Slot.KV_USAGE: "engine", Slot.RUNNING: "engine", Slot.WAITING: "engine", Slot.PROMPT_RATE: "tokens",
    Slot.GENERATION_RATE: "tokens", Slot.REQUESTS: "requests", Slot.PREEMPTIONS: "requests",
    Slot.PROMPT_SUM: "requests", Slot.OUTPUT_SUM: "requests", Slot.TTFT: "ttft", Slot.TPOT: "tpot", Slot.POOL: "pool",
    Slot.FB_USED: "device", Slot.GPU_ACTIVITY: "device", Slot.DRAM_ACTIVITY: "device", Slot.HOST_MEMORY: "host",
    Slot.HOST_CPU: "host", Slot.ENGINE_COUNT: "coverage", Slot.DEVICE_COUNT: "coverage", Slot.HOST_COUNT: "coverage",
    Slot.ENGINE_SUM: "numbers", Slot.DEVICE_SUM: "numbers", Slot.KV_SUM: "numbers",
    Slot.ENGINE_NEWEST: "now", Slot.DEVICE_NEWEST: "now", Slot.FB_USED_NOW: "now", Slot.FB_FREE_NOW: "now",
}  # fmt: skip
FEED_ALL = frozenset({"coverage", "numbers", "now"})
SLOT_SIGNAL = {
    Slot.KV_USAGE: Signal.KV_USAGE, Slot.RUNNING: Signal.RUNNING, Slot.WAITING: Signal.WAITING,
    Slot.PROMPT_RATE: Signal.PROMPT_RATE, Slot.GENERATION_RATE: Signal.GENERATION_RATE,
    Slot.REQUESTS: Signal.REQUESTS, Slot.PREEMPTIONS: Signal.PREEMPTIONS, Slot.PROMPT_SUM: Signal.PROMPT_TOKENS,
    Slot.OUTPUT_SUM: Signal.OUTPUT_TOKENS, Slot.TTFT: Signal.TTFT, Slot.TPOT: Signal.TPOT, Slot.POOL: Signal.KV_POOL,
    Slot.FB_USED: Signal.FB_USED, Slot.GPU_ACTIVITY: Signal.GPU_ACTIVITY, Slot.DRAM_ACTIVITY: Signal.DRAM_ACTIVITY,
    Slot.HOST_MEMORY: Signal.HOST_MEMORY, Slot.HOST_CPU: Signal.HOST_CPU, Slot.FB_FREE_NOW: Signal.FB_TOTAL,
}  # fmt: skip


SUMS = {Slot.ENGINE_COUNT: Slot.ENGINE_SUM, Slot.DEVICE_COUNT: Slot.DEVICE_SUM}
ENGINE_SLOTS = frozenset({Slot.ENGINE_COUNT, Slot.KV_USAGE, Slot.RUNNING})  # any of them: the engine is scraped


def observe(
    workloads: Sequence[Workload], membership: Membership, samples: Samples, now: datetime
) -> list[Observation]:
    """One Observation a workload, in their order."""
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN is no figure, all the way
        home = attribute(workloads, membership, samples)
        return [
            _Reader(workload, parts, home, samples, now).read()
            for workload, parts in zip(workloads, home.parts, strict=True)
        ]


@dataclass(slots=True)
class _Reader:
    """One workload's series, read once."""

    workload: Workload
    parts: Parts
    home: Attributed
    samples: Samples
    now: datetime
    _by_pod: dict[Slot, dict[str, Figures]] = field(default_factory=dict)
    _bad: dict[tuple[Slot, str], NDArray[np.bool_]] = field(default_factory=dict)

    def read(self) -> Observation:
        engine, device = self._coverage(Slot.ENGINE_COUNT), self._coverage(Slot.DEVICE_COUNT)
        host = self._coverage(Slot.HOST_COUNT)
        prompt, output = self._mean(Slot.PROMPT_SUM), self._mean(Slot.OUTPUT_SUM)
        pools = kv.pools(self.parts)
        seen = presence(self.workload, self.parts, self.home, self.samples, self.now)
        main = engine if engine is not None else device
        return Observation(
            kv_demand=self._kv_demand(pools, engine, prompt, output),
            running=self._busiest(Slot.RUNNING, engine),
            waiting=self._busiest(Slot.WAITING, engine),
            prompt_rate=self._busiest(Slot.PROMPT_RATE, engine),
            generation_rate=self._busiest(Slot.GENERATION_RATE, engine),
            requests=self._total(Slot.REQUESTS, engine),
            replicas=self._replicas(engine),
            ttft=self._latency(Slot.TTFT, engine),
            tpot=self._latency(Slot.TPOT, engine),
            preemptions=self._total(Slot.PREEMPTIONS, engine),
            fb_used=self._busiest(Slot.FB_USED, device, scale=MIB),
            gpu_activity=self._busiest(Slot.GPU_ACTIVITY, device),
            dram_activity=self._busiest(Slot.DRAM_ACTIVITY, device),
            host_memory=self._busiest(Slot.HOST_MEMORY, host),
            host_cpu=self._busiest(Slot.HOST_CPU, host),
            kv_pool=self._pool(pools),
            fb_total=self._fb_total(),
            prompt_tokens=prompt,
            output_tokens=output,
            attribution=attribution(self.workload, self.parts, self.home, seen),
            newest=seen.newest,
            span=_span(main),
            coverage=_mean_coverage(main),
            problems=tuple(self._problems(engine, device, seen)),
        )

    # -- histories ----------------------------------------------------------------------------------------------

    def _pods(self, slot: Slot) -> dict[str, Figures]:
        """Per pod, the largest of its series."""
        if slot not in self._by_pod:
            series = self.parts.of.get(slot, {})
            self._by_pod[slot] = {pod: _largest(each) for pod, each in series.items()}
        return self._by_pod[slot]

    def _busiest(self, slot: Slot, coverage: Figures | None, *, scale: float = 1.0) -> History:
        """The largest over pods in each block."""
        pods = self._pods(slot)
        if not pods:
            return self._missing(slot)
        values = _largest(pods)
        return self._history(slot, values if scale == 1.0 else values * scale, coverage, raises=True)

    def _total(self, slot: Slot, coverage: Figures | None) -> History:
        """The sum over pods in each block."""
        pods = list(self._pods(slot).values())
        if not pods:
            return self._missing(slot)
        return self._history(slot, pods[0] if len(pods) == 1 else _added(pods), coverage, raises=False)

    def _replicas(self, coverage: Figures | None) -> History:
        """Pods whose engine told its cache's use in the block."""
        pods = self._pods(Slot.KV_USAGE)
        if not pods:
            return Missing(Signal.REPLICAS, self._missing(Slot.KV_USAGE).why)
        count = np.isfinite(np.stack(list(pods.values()))).sum(axis=0).astype(np.float64)
        history = self._history(Slot.KV_USAGE, np.where(count > 0, count, np.nan), coverage, raises=True)
        return Missing(Signal.REPLICAS, history.why) if isinstance(history, Missing) else history

    def _latency(self, slot: Slot, coverage: Figures | None) -> History:
        """The slowest pod's p95, which bounds that of all; pods with few requests count only where all have few."""
        pods = self._pods(slot)
        if not pods:
            return self._missing(slot)
        requests = self._pods(Slot.REQUESTS) if len(pods) > 1 else {}
        told = [np.where(requests[p] >= ENOUGH_REQUESTS, v, np.nan) for p, v in pods.items() if p in requests]
        slowest = _largest(pods)
        if told:
            certain = np.fmax.reduce(told)
            slowest = np.where(np.isfinite(certain), certain, slowest)
        return self._history(slot, slowest, coverage, raises=True)

    def _history(self, slot: Slot, values: Figures, coverage: Figures | None, *, raises: bool) -> History:
        """Figures with what may be believed of them; Missing where nothing may."""
        if coverage is None:
            coverage = np.where(np.isfinite(values), 1.0, 0.0)
        kept = believed(values, coverage, raises=raises)
        if np.isfinite(kept).any():
            return BlockSeries(self.samples.start, BLOCK_SECONDS, kept, coverage)
        if np.isfinite(values).any():
            best = int(100 * coverage[np.isfinite(values)].max())
            return Missing(SLOT_SIGNAL[slot], MissingReason.PARTIAL, f"{best} % of samples")
        why = MissingReason.INVALID if self.parts.invalid.get(slot) else MissingReason.NO_SERIES
        return Missing(SLOT_SIGNAL[slot], why)

    def _kv_demand(self, pools: kv.Pools, coverage: Figures | None, prompt: Reading, output: Reading) -> History:
        """Tokens in use and queued of the busiest replica."""
        if Slot.KV_USAGE not in self.parts.of:
            missing = self._missing(Slot.KV_USAGE)
            return Missing(Signal.KV_DEMAND, missing.why, missing.detail)
        a_request = None
        if isinstance(prompt, Measured) and isinstance(output, Measured):
            a_request = prompt.value + output.value / 2  # what a queued one will hold, on average over its life
        found = kv.demand(pools, self.parts, a_request)
        if found is None:
            missing = self._missing(Slot.POOL)
            return Missing(Signal.KV_DEMAND, missing.why, missing.detail or kv.SOURCE)
        values, known = found
        seen = np.where(np.isfinite(values), 1.0, 0.0) if coverage is None else coverage
        history = self._history(Slot.KV_USAGE, values, np.where(known, seen, 0.0), raises=True)
        return Missing(Signal.KV_DEMAND, history.why, history.detail) if isinstance(history, Missing) else history

    # -- present values -----------------------------------------------------------------------------------------

    def _pool(self, pools: kv.Pools) -> Reading:
        if SLOT_QUERY[Slot.POOL] in self.samples.failed:
            return self._missing(Slot.POOL)
        return kv.pool_of_smallest(pools, self.parts, frozenset(pod.name for pod in self.workload.pods))

    def _fb_total(self) -> Reading:
        """Of the smallest device: used and free of one moment."""
        used, free = (self.parts.of.get(slot, {}) for slot in (Slot.FB_USED_NOW, Slot.FB_FREE_NOW))
        totals = [
            float(figure[-1] + free[pod][device][-1])
            for pod, devices in used.items()
            for device, figure in devices.items()
            if device in free.get(pod, {})
        ]
        whole = [total for total in totals if np.isfinite(total)]
        return Measured(min(whole) * MIB) if whole else self._missing(Slot.FB_FREE_NOW)

    def _mean(self, slot: Slot) -> Reading:
        """Tokens over finished requests in the window."""
        tokens, requests = (self._sum(each) for each in (slot, Slot.REQUESTS))
        if tokens is None or requests is None:
            return self._missing(slot)
        return Measured(tokens / requests) if requests > 0 else Missing(SLOT_SIGNAL[slot], MissingReason.TOO_SHORT)

    def _sum(self, slot: Slot) -> float | None:
        pods = self._pods(slot)
        return float(sum(np.fmax(values, 0.0).sum(dtype=np.float64) for values in pods.values())) if pods else None

    def _coverage(self, slot: Slot) -> Figures | None:
        """Samples seen over samples expected in each block, 0..1; None when there is no series at all."""
        pods = self._pods(slot)
        if not pods:
            return None
        jobs = self.parts.jobs.get(slot, {})
        expected = [self._due(counts, jobs.get(pod, set())) for pod, counts in pods.items()]
        real = [np.where(self._spoiled(slot, pod, counts), 0.0, counts) for pod, counts in pods.items()]
        return share_seen(np.stack(real), np.stack(expected))

    def _spoiled(self, slot: Slot, pod: str, counts: Figures) -> NDArray[np.bool_]:
        """Blocks in which a sample is NaN: what the others say is no picture of the block.

        The metric that is counted has a sum wherever it has a real sample at all; the KV pool's share may be absent.
        """
        if (slot, pod) not in self._bad:
            self._bad[slot, pod] = self._are_spoiled(slot, pod, counts)
        return self._bad[slot, pod]

    def _are_spoiled(self, slot: Slot, pod: str, counts: Figures) -> NDArray[np.bool_]:
        if slot not in SUMS or SLOT_QUERY[SUMS[slot]] in self.samples.failed:
            return np.zeros(len(counts), dtype=bool)
        own = self.parts.of.get(SUMS[slot], {}).get(pod)
        spoiled = np.isnan(_largest(own)) if own else np.ones(len(counts), dtype=bool)
        usage = self.parts.of.get(Slot.KV_SUM, {}).get(pod) if slot is Slot.ENGINE_COUNT else None
        return (spoiled | np.isnan(_largest(usage)) if usage else spoiled) & (counts > 0)

    def _spoiled_share(self, slot: Slot) -> float:
        """Of the blocks that have samples of a pod, over all pods."""
        pods = self._pods(slot)
        there = sum(int((counts > 0).sum()) for counts in pods.values())
        return sum(int(self._spoiled(slot, pod, counts).sum()) for pod, counts in pods.items()) / max(there, 1)

    def _due(self, counts: Figures, jobs: set[str]) -> Figures:
        """Scrapes due of one pod: by its job's `up`, else as many as there usually were of itself."""
        by_job = [self.home.due[job] for job in sorted(jobs) if job in self.home.due]
        return np.maximum.reduce(by_job) if by_job else expected_scrapes(counts, self.samples.elapsed)

    # -- what is missing ----------------------------------------------------------------------------------------

    def _missing(self, slot: Slot) -> Missing:
        signal = SLOT_SIGNAL[slot]
        why = self.samples.failed.get(SLOT_QUERY[slot])
        if why:
            return Missing(signal, MissingReason.SOURCE_FAILED, why)
        return Missing(signal, MissingReason.NO_SERIES)

    def _problems(self, engine: Figures | None, device: Figures | None, seen: Presence) -> Iterator[Missing]:
        """Worst first."""
        yield from self._workload_problems()
        scraped = engine is not None or Slot.KV_USAGE in self.parts.of
        main = Signal.KV_DEMAND if scraped else Signal.FB_USED
        yield from self._source_problems(main)
        if engine is None and device is None:
            yield self._missing_main(main)
        elif seen.stale:
            yield Missing(main, MissingReason.STALE)
        if 0 < seen.seen < seen.expected:
            yield Missing(main, MissingReason.PARTIAL, f"{seen.seen}/{seen.expected} pods")
        yield from self._foreign_problems(main, seen)
        if shares_a_device(self.workload, self.home):
            yield Missing(main, MissingReason.SHARED)
        yield from self._device_problems(engine, device, seen)
        yield from self._invalid_problems()

    def _missing_main(self, main: Signal) -> Missing:
        why = self.samples.failed.get(SLOT_QUERY[Slot.ENGINE_COUNT])
        return Missing(main, MissingReason.SOURCE_FAILED if why else MissingReason.NO_SERIES, why or "")

    def _source_problems(self, main: Signal) -> Iterator[Missing]:
        """Failed and partial answers; one that feeds every signal is named by what sizes."""
        for failed, why in (
            (self.samples.failed, MissingReason.SOURCE_FAILED),
            (self.samples.warned, MissingReason.PARTIAL),
        ):
            for name, detail in sorted(failed.items()):
                yield Missing(main if name in FEED_ALL else _signal_of(name), why, detail)

    def _device_problems(self, engine: Figures | None, device: Figures | None, seen: Presence) -> Iterator[Missing]:
        if engine is not None and device is not None and seen.device_stale:
            yield Missing(Signal.GPU_ACTIVITY, MissingReason.STALE)
        asked = self.workload.pod.accelerators
        if seen.devices is not None and seen.devices < asked:
            yield Missing(Signal.FB_USED, MissingReason.PARTIAL, f"{seen.devices}/{asked} devices")

    def _foreign_problems(self, main: Signal, seen: Presence) -> Iterator[Missing]:
        """Series of another cluster's pods of the same names, told by a label or by pods that nobody here has."""
        for clusters in self.parts.clusters.values():
            if len(clusters) > 1:
                names = ", ".join(name or "no name" for name in sorted(clusters))
                yield Missing(main, MissingReason.CONTRADICTORY, f"clusters {names}")
        if seen.strangers:
            yield Missing(main, MissingReason.CONTRADICTORY, f"{seen.strangers} live pods that are not of this cluster")

    def _invalid_problems(self) -> Iterator[Missing]:
        """Signals of which so many figures were impossible that the rest is no picture."""
        for counted, signal in ((Slot.ENGINE_COUNT, Signal.KV_USAGE), (Slot.DEVICE_COUNT, Signal.FB_USED)):
            if (share := self._spoiled_share(counted)) > MOST_INVALID:
                yield Missing(signal, MissingReason.INVALID, f"NaN in {share:.0%} of the hours")
        for slot, dropped in sorted(self.parts.invalid.items()):
            tracks = [values for series in self.parts.of[slot].values() for values in series.values()]
            figures = dropped + sum(int(np.isfinite(values).sum()) for values in tracks)
            if dropped > MOST_INVALID * figures and slot in SLOT_SIGNAL:
                yield Missing(SLOT_SIGNAL[slot], MissingReason.INVALID, f"{dropped} of {figures} figures")

    def _workload_problems(self) -> Iterator[Missing]:
        for each in (self.workload.engine, self.workload.model, self.workload.placement):
            if isinstance(each, Missing):
                yield each
        engine = self.workload.engine
        if isinstance(engine, EngineType) and engine.preallocates and not ENGINE_SLOTS & set(self.parts.of):
            yield self._missing(Slot.KV_USAGE)


def _largest(series: Mapping[Rest, Figures] | Mapping[str, Figures]) -> Figures:
    tracks = list(series.values())
    return tracks[0] if len(tracks) == 1 else np.fmax.reduce(tracks)


def _added(tracks: Sequence[Figures]) -> Figures:
    """Their sum where at least one is known."""
    stacked = np.stack(tracks)
    total: Figures = np.where(np.isfinite(stacked).any(axis=0), np.nansum(stacked, axis=0), np.nan)
    return total


def _signal_of(query: str) -> Signal:
    """The signal a failed query is named by: the first it feeds."""
    slot = next(slot for slot, name in SLOT_QUERY.items() if name == query)
    return SLOT_SIGNAL.get(slot, Signal.HISTORY)


def _span(coverage: Figures | None) -> timedelta:
    where = np.flatnonzero(coverage > 0) if coverage is not None else np.empty(0)
    return timedelta(seconds=int(where[-1] - where[0] + 1) * BLOCK_SECONDS) if where.size else timedelta(0)


def _mean_coverage(coverage: Figures | None) -> float:
    where = np.flatnonzero(coverage > 0) if coverage is not None else np.empty(0, dtype=np.int64)
    return float(coverage[where[0] : where[-1] + 1].mean()) if coverage is not None and where.size else 0.0
