"""Who is seen now: fresh samples of which pods and devices, under which labels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.observation import Attribution
from gpu_rightsizer.observe.queries import BLOCK_SECONDS, UP_SECONDS, Slot

if TYPE_CHECKING:
    from gpu_rightsizer.domain.workload import PodRef, Workload
    from gpu_rightsizer.observe.attribution import Attributed, Parts
    from gpu_rightsizer.observe.samples import Samples

STALE_INTERVALS = 3
USUAL_INTERVAL_S = 60.0  # where no `up` tells
SETTLING_S = 60.0  # from Ready until a first scrape may be asked for, beside STALE_INTERVALS


@dataclass(frozen=True, slots=True)
class Presence:
    """The present of one workload. `seen` and `expected` count ready pods; `devices` of the pod that shows fewest."""

    newest: datetime | None
    stale: bool
    seen: int
    expected: int
    device_stale: bool
    devices: int | None
    strangers: int  # pods with samples of this moment that the cluster does not have


def presence(workload: Workload, parts: Parts, home: Attributed, samples: Samples, now: datetime) -> Presence:
    """By the engine's newest samples, or the device's where no engine ever showed any."""
    slot = Slot.ENGINE_NEWEST if Slot.ENGINE_COUNT in parts.of else Slot.DEVICE_NEWEST
    oldest = now.timestamp() - STALE_INTERVALS * _interval(parts, home)
    times = _newest(parts, slot)
    due = [pod for pod in workload.pods if pod.ready and not _settling(pod, oldest)]
    # The store's clock may run ahead of ours; nothing was sampled in the future.
    newest = min(max(times.values()), now.timestamp()) if times else None
    return Presence(
        newest=_last_block(parts, samples, now) if newest is None else datetime.fromtimestamp(newest, UTC),
        stale=newest is None or newest < oldest,
        seen=sum(times.get(pod.name, 0.0) >= oldest for pod in due),
        expected=len(due),
        device_stale=max(_newest(parts, Slot.DEVICE_NEWEST).values(), default=0.0) < oldest,
        devices=_fewest_devices(parts, oldest, {pod.name for pod in due}),
        strangers=_strangers(workload, times, now.timestamp() - _interval(parts, home)),
    )


def attribution(workload: Workload, parts: Parts, home: Attributed, seen: Presence) -> Attribution:
    """Which labels and names were used."""
    schemes = (f"{what}: {' and '.join(sorted(labels))}" for what, labels in sorted(parts.schemes.items()))
    return Attribution(
        scheme=", ".join(schemes),
        metrics=tuple(sorted({metric for metrics in parts.metrics.values() for metric in metrics})),
        pods_seen=seen.seen,
        pods_expected=seen.expected,
        foreign_series=home.foreign.get(workload.key.namespace, 0),
    )


def shares_a_device(workload: Workload, home: Attributed) -> bool:
    """Some device of ours is one of another pod as well: time-slicing, MPS, or a label that is wrong."""
    return any((workload.key.namespace, pod.name) in home.sharing for pod in workload.pods)


def _newest(parts: Parts, slot: Slot) -> dict[str, float]:
    """Per pod, the time of its newest sample."""
    newest = {
        pod: float(np.fmax.reduce([values[-1] for values in series.values()]))
        for pod, series in parts.of.get(slot, {}).items()
    }
    return {pod: moment for pod, moment in newest.items() if np.isfinite(moment)}


def _settling(pod: PodRef, oldest: float) -> bool:
    return pod.started is not None and pod.started.timestamp() + SETTLING_S > oldest


def _interval(parts: Parts, home: Attributed) -> float:
    """Seconds between scrapes now, of the slowest of our jobs."""
    jobs = {job for by_pod in parts.jobs.values() for jobs in by_pod.values() for job in jobs}
    counts = [home.scrapes_now[job] for job in jobs if home.scrapes_now.get(job, 0) > 0]
    return UP_SECONDS / min(counts) if counts else USUAL_INTERVAL_S


def _strangers(workload: Workload, times: dict[str, float], moment: float) -> int:
    """Within one scrape interval: a pod of ours that was just deleted has no sample as new for long."""
    ours = {pod.name for pod in workload.pods}
    return sum(when >= moment and pod not in ours for pod, when in times.items())


def _fewest_devices(parts: Parts, oldest: float, pods: set[str]) -> int | None:
    fresh = {
        pod: sum(float(values[-1]) >= oldest for values in devices.values())
        for pod, devices in parts.of.get(Slot.DEVICE_NEWEST, {}).items()
        if pod in pods
    }
    return min(fresh.values(), default=None)


def _last_block(parts: Parts, samples: Samples, now: datetime) -> datetime | None:
    """The end of the last block that holds anything, where no sample is fresh enough to be asked for."""
    for slot in (Slot.ENGINE_COUNT, Slot.DEVICE_COUNT):
        tracks = [values for series in parts.of.get(slot, {}).values() for values in series.values()]
        where = np.flatnonzero(np.isfinite(np.fmax.reduce(tracks))) if tracks else np.empty(0)
        if where.size:
            end = samples.start + (int(where[-1]) + 1) * BLOCK_SECONDS
            return datetime.fromtimestamp(min(end, now.timestamp()), UTC)
    return None
