"""From attributed series to one Observation a workload: histories with coverage, present values, what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.observation import Attribution, Observation
from gpu_rightsizer.domain.readings import BlockSeries, Measured, Missing, MissingReason, Signal
from gpu_rightsizer.domain.units import MIB
from gpu_rightsizer.observe.attribution import Attributed, Parts, attribute
from gpu_rightsizer.observe.queries import BLOCK_SECONDS, UP_SECONDS, Slot
from gpu_rightsizer.observe.samples import BLOCKS, Samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.readings import History, Reading
    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.observe.membership import Membership

    Figures = NDArray[np.float64]

LEAST_COVERAGE = 0.9  # below it a block's figure is unknown: a gap is no quiet hour
STALE_INTERVALS = 3
USUAL_INTERVAL_S = 60.0  # where no `up` tells
ROLLOUT_OVERLAP = 0.1  # a block in which one pod follows another holds up to this much more than one pod's samples

SLOT_QUERY = {
    Slot.KV_USAGE: "engine", Slot.RUNNING: "engine", Slot.WAITING: "engine", Slot.PROMPT_RATE: "tokens",
    Slot.GENERATION_RATE: "tokens", Slot.REQUESTS: "requests", Slot.PREEMPTIONS: "requests",
    Slot.PROMPT_SUM: "requests", Slot.OUTPUT_SUM: "requests", Slot.TTFT: "ttft", Slot.TPOT: "tpot", Slot.POOL: "pool",
    Slot.FB_USED: "device", Slot.GPU_ACTIVITY: "device", Slot.DRAM_ACTIVITY: "device", Slot.HOST_MEMORY: "host",
    Slot.HOST_CPU: "host", Slot.ENGINE_COUNT: "coverage", Slot.DEVICE_COUNT: "coverage",
    Slot.ENGINE_NEWEST: "now", Slot.DEVICE_NEWEST: "now", Slot.FB_USED_NOW: "now", Slot.FB_FREE_NOW: "now",
}  # fmt: skip
SLOT_SIGNAL = {
    Slot.KV_USAGE: Signal.KV_USAGE, Slot.RUNNING: Signal.RUNNING, Slot.WAITING: Signal.WAITING,
    Slot.PROMPT_RATE: Signal.PROMPT_RATE, Slot.GENERATION_RATE: Signal.GENERATION_RATE,
    Slot.REQUESTS: Signal.REQUESTS, Slot.PREEMPTIONS: Signal.PREEMPTIONS, Slot.PROMPT_SUM: Signal.PROMPT_TOKENS,
    Slot.OUTPUT_SUM: Signal.OUTPUT_TOKENS, Slot.TTFT: Signal.TTFT, Slot.TPOT: Signal.TPOT, Slot.POOL: Signal.KV_POOL,
    Slot.FB_USED: Signal.FB_USED, Slot.GPU_ACTIVITY: Signal.GPU_ACTIVITY, Slot.DRAM_ACTIVITY: Signal.DRAM_ACTIVITY,
    Slot.HOST_MEMORY: Signal.HOST_MEMORY, Slot.HOST_CPU: Signal.HOST_CPU, Slot.FB_FREE_NOW: Signal.FB_TOTAL,
}  # fmt: skip


def observe(
    workloads: Sequence[Workload], membership: Membership, samples: Samples, now: datetime
) -> list[Observation]:
    """One Observation a workload, in their order."""
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

    def read(self) -> Observation:
        engine, device = self._coverage(Slot.ENGINE_COUNT), self._coverage(Slot.DEVICE_COUNT)
        prompt, output = self._mean(Slot.PROMPT_SUM), self._mean(Slot.OUTPUT_SUM)
        newest, pods_seen = self._present()
        main = engine if engine is not None else device
        return Observation(
            kv_demand=self._kv_demand(engine, prompt, output),
            running=self._busiest(Slot.RUNNING, engine, raises=True),
            waiting=self._busiest(Slot.WAITING, engine, raises=True),
            prompt_rate=self._busiest(Slot.PROMPT_RATE, engine, raises=True),
            generation_rate=self._busiest(Slot.GENERATION_RATE, engine, raises=True),
            requests=self._total(Slot.REQUESTS, engine),
            ttft=self._busiest(Slot.TTFT, engine),
            tpot=self._busiest(Slot.TPOT, engine),
            preemptions=self._total(Slot.PREEMPTIONS, engine),
            fb_used=self._busiest(Slot.FB_USED, device, scale=MIB, raises=True),
            gpu_activity=self._busiest(Slot.GPU_ACTIVITY, device),
            dram_activity=self._busiest(Slot.DRAM_ACTIVITY, device),
            host_memory=self._busiest(Slot.HOST_MEMORY, None),
            host_cpu=self._busiest(Slot.HOST_CPU, None),
            kv_pool=self._pool(),
            fb_total=self._fb_total(),
            prompt_tokens=prompt,
            output_tokens=output,
            attribution=self._attribution(pods_seen),
            newest=newest,
            span=_span(main),
            coverage=_mean_coverage(main),
            problems=tuple(self._problems(engine, device, newest, pods_seen)),
        )

    # -- histories ----------------------------------------------------------------------------------------------

    def _pods(self, slot: Slot) -> dict[str, Figures]:
        """Per pod, the largest of its series."""
        found = self.parts.of.get(slot, {})
        return {pod: np.fmax.reduce(list(each.values())) for pod, each in found.items()}

    def _busiest(self, slot: Slot, coverage: Figures | None, *, scale: float = 1.0, raises: bool = False) -> History:
        """The largest over pods in each block."""
        pods = self._pods(slot)
        if not pods:
            return self._missing(slot)
        return self._history(np.fmax.reduce(list(pods.values())) * scale, coverage, raises=raises)

    def _total(self, slot: Slot, coverage: Figures | None) -> History:
        """The sum over pods in each block."""
        pods = list(self._pods(slot).values())
        if not pods:
            return self._missing(slot)
        stacked = np.stack(pods)
        known = np.isfinite(stacked).any(axis=0)
        return self._history(np.where(known, np.nansum(stacked, axis=0), np.nan), coverage)

    def _history(self, values: Figures, coverage: Figures | None, *, raises: bool = False) -> BlockSeries:
        """Figures of blocks too thinly covered are unknown; a peak seen there still raises what is known of a need."""
        if coverage is None:
            coverage = np.where(np.isfinite(values), 1.0, 0.0)
        covered = coverage >= LEAST_COVERAGE
        kept = np.where(covered, values, np.nan)
        if raises and np.isfinite(kept).any():
            highest = np.nanmax(kept)
            with np.errstate(invalid="ignore"):
                kept = np.where(~covered & (values > highest), values, kept)
        return BlockSeries(self.samples.start, BLOCK_SECONDS, kept, coverage)

    def _kv_demand(self, coverage: Figures | None, prompt: Reading, output: Reading) -> History:
        """Tokens in use and queued of the busiest replica: sum over a pod's engines of usage x pool, plus the queue."""
        usage = self.parts.of.get(Slot.KV_USAGE, {})
        if not usage:
            missing = self._missing(Slot.KV_USAGE)
            return Missing(Signal.KV_DEMAND, missing.why, missing.detail)
        pools = self._pools()
        queued = self._pods(Slot.WAITING)
        each = prompt.value + output.value / 2 if isinstance(prompt, Measured) and isinstance(output, Measured) else 0.0
        demands: list[Figures] = []
        for pod, engines in usage.items():
            known = [series * pools[pod, key] for key, series in engines.items() if (pod, key) in pools]
            if len(known) == len(engines):
                queue = np.nan_to_num(queued[pod]) * each if pod in queued else 0.0  # nan-ok: a queue only adds
                demands.append(np.sum(known, axis=0) + queue)
        if not demands:
            return Missing(Signal.KV_DEMAND, MissingReason.NO_SERIES, "vllm:cache_config_info")
        return self._history(np.fmax.reduce(demands), coverage, raises=True)

    # -- present values -----------------------------------------------------------------------------------------

    def _pools(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Tokens of each pod's engine, from the labels of its newest configuration."""
        pools: dict[tuple[str, frozenset[tuple[str, str]]], tuple[int, float]] = {}
        for pod, found in self.parts.of.get(Slot.POOL, {}).items():
            for key, values in found.items():
                labels = dict(key)
                where = np.flatnonzero(np.isfinite(values))
                tokens = _tokens(labels)
                if tokens is None or not where.size:
                    continue
                engine = frozenset({("engine", labels["engine"])}) if "engine" in labels else frozenset()
                last = int(where[-1])
                if (pod, engine) not in pools or last >= pools[pod, engine][0]:
                    pools[pod, engine] = (last, tokens)
        return {key: tokens for key, (_, tokens) in pools.items()}

    def _pool(self) -> Reading:
        """The smallest present replica's pool: a pod's engines added."""
        by_pod: dict[str, float] = {}
        for (pod, _), tokens in self._pools().items():
            by_pod[pod] = by_pod.get(pod, 0.0) + tokens
        present = {pod.name for pod in self.workload.pods}
        chosen = [tokens for pod, tokens in by_pod.items() if pod in present] or list(by_pod.values())
        if not chosen:
            missing = self._missing(Slot.POOL)
            return Missing(Signal.KV_POOL, missing.why, missing.detail or "vllm:cache_config_info")
        return Measured(min(chosen))

    def _fb_total(self) -> Reading:
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
        return float(sum(np.nansum(values) for values in pods.values())) if pods else None

    # -- coverage and attribution -------------------------------------------------------------------------------

    def _coverage(self, slot: Slot) -> Figures | None:
        """Samples seen over samples expected in each block, 0..1; None when there is no series at all.

        Pods come and go: samples of all pods over one pod's scrapes, over the whole pods that this must have been.
        """
        pods = self._pods(slot)
        if not pods:
            return None
        seen = np.nansum(np.stack(list(pods.values())), axis=0)
        one = self._scrapes(slot, np.fmax.reduce(list(pods.values())))
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(one > 0, seen / one, 0.0)
        pods_there = np.maximum(1.0, np.ceil(ratio - ROLLOUT_OVERLAP))
        return np.clip(ratio / pods_there, 0.0, 1.0)

    def _scrapes(self, slot: Slot, most: Figures) -> Figures:
        """How often one target was scraped in each block: by `up`, else as often as in the fullest block."""
        jobs = set((self.parts.jobs if slot is Slot.ENGINE_COUNT else self.parts.device_jobs).values())
        found = [self.home.scrapes[job] for job in sorted(jobs) if job in self.home.scrapes]
        usual = np.full(BLOCKS, np.nanmax(most, initial=1.0))
        if not found:
            return usual
        scrapes = np.fmax.reduce(found)
        whole = np.nanmedian(scrapes) if np.isfinite(scrapes).any() else np.nan
        # Where `up` itself is thin the store was down: those scrapes were due all the same, save the running block's.
        due = np.fmax(scrapes[:-1], whole) if np.isfinite(whole) else usual[:-1]
        last = scrapes[-1] if np.isfinite(scrapes[-1]) else usual[-1]
        return np.append(due, last)

    def _interval(self) -> float:
        """Seconds between scrapes now."""
        jobs = {*self.parts.jobs.values(), *self.parts.device_jobs.values()}
        counts = [self.home.scrapes_now[job] for job in jobs if self.home.scrapes_now.get(job)]
        return UP_SECONDS / min(counts) if counts else USUAL_INTERVAL_S

    def _present(self) -> tuple[datetime | None, int]:
        """The newest sample of any pod, and how many ready pods have a fresh one."""
        slot = Slot.ENGINE_NEWEST if Slot.ENGINE_COUNT in self.parts.of else Slot.DEVICE_NEWEST
        newest = {
            pod: float(np.nanmax(values)) for pod, values in self._pods(slot).items() if np.isfinite(values).any()
        }
        oldest_fresh = self.now.timestamp() - STALE_INTERVALS * self._interval()
        fresh = {pod for pod, when in newest.items() if when >= oldest_fresh}
        seen = sum(pod.name in fresh for pod in self.workload.pods if pod.ready)
        if newest:
            return datetime.fromtimestamp(max(newest.values()), UTC), seen
        return self._last_block(), seen

    def _last_block(self) -> datetime | None:
        """The end of the last block that holds anything, where no sample is fresh enough to be asked for."""
        for slot in (Slot.ENGINE_COUNT, Slot.DEVICE_COUNT):
            pods = self._pods(slot)
            where = np.flatnonzero(np.isfinite(np.fmax.reduce(list(pods.values())))) if pods else np.empty(0)
            if where.size:
                end = self.samples.start + (int(where[-1]) + 1) * BLOCK_SECONDS
                return datetime.fromtimestamp(min(end, self.now.timestamp()), UTC)
        return None

    def _attribution(self, pods_seen: int) -> Attribution:
        schemes = ", ".join(f"{what}: {label}" for what, label in sorted(self.parts.schemes.items()))
        return Attribution(
            scheme=schemes,
            metrics=tuple(sorted(set(self.parts.metrics.values()))),
            pods_seen=pods_seen,
            pods_expected=sum(pod.ready for pod in self.workload.pods),
            foreign_series=self.home.foreign.get(self.workload.key.namespace, 0),
        )

    # -- what is missing ----------------------------------------------------------------------------------------

    def _missing(self, slot: Slot) -> Missing:
        signal = SLOT_SIGNAL[slot]
        why = self.samples.failed.get(SLOT_QUERY[slot])
        if why:
            return Missing(signal, MissingReason.SOURCE_FAILED, why)
        return Missing(signal, MissingReason.NO_SERIES)

    def _problems(
        self, engine: Figures | None, device: Figures | None, newest: datetime | None, pods_seen: int
    ) -> Iterator[Missing]:
        yield from self._workload_problems()
        main = Signal.KV_DEMAND if engine is not None else Signal.FB_USED
        for name, why in sorted(self.samples.failed.items()):
            yield Missing(_signal_of(name), MissingReason.SOURCE_FAILED, why)
        for name, why in sorted(self.samples.warned.items()):
            yield Missing(_signal_of(name), MissingReason.PARTIAL, why)
        if engine is None and device is None:
            yield Missing(main, MissingReason.NO_SERIES)
        elif newest is None or self.now - newest > timedelta(seconds=STALE_INTERVALS * self._interval()):
            yield Missing(main, MissingReason.STALE)
        expected = sum(pod.ready for pod in self.workload.pods)
        if 0 < pods_seen < expected:
            yield Missing(main, MissingReason.PARTIAL, f"{pods_seen}/{expected} pods")
        if len(self.parts.clusters) > 1:
            yield Missing(main, MissingReason.CONTRADICTORY, f"clusters {', '.join(sorted(self.parts.clusters))}")
        if self._shares_a_device():
            yield Missing(Signal.FB_USED, MissingReason.SHARED)
        if engine is not None and device is not None and self._device_is_stale():
            yield Missing(Signal.GPU_ACTIVITY, MissingReason.STALE)

    def _workload_problems(self) -> Iterator[Missing]:
        for each in (self.workload.engine, self.workload.model, self.workload.placement):
            if isinstance(each, Missing):
                yield each
        engine = self.workload.engine
        if isinstance(engine, EngineType) and engine.preallocates and Slot.ENGINE_COUNT not in self.parts.of:
            yield self._missing(Slot.KV_USAGE)

    def _shares_a_device(self) -> bool:
        own = {pod.name for pod in self.workload.pods}
        return any(
            len(holders) > 1 and any(pod in own and ns == self.workload.key.namespace for ns, pod in holders)
            for holders in self.home.holders.values()
        )

    def _device_is_stale(self) -> bool:
        return not any(np.isfinite(values).any() for values in self._pods(Slot.DEVICE_NEWEST).values())


def _tokens(labels: dict[str, str]) -> float | None:
    try:
        return float(labels["num_gpu_blocks"]) * float(labels["block_size"])
    except (KeyError, ValueError):
        return None


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
