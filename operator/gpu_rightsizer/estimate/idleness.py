"""Whether a workload is proven idle, busy, or unknown; only proof may shrink on idleness."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.need import Idleness, IdleState
from gpu_rightsizer.domain.readings import BlockSeries
from gpu_rightsizer.estimate.censoring import aligned
from gpu_rightsizer.estimate.evidence import DEVICE_BUSY, LEAST_COVERAGE
from gpu_rightsizer.estimate.overview import stacked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.readings import History
    from gpu_rightsizer.domain.world import World

_WORK_BLOCKS = 2  # consecutive busy blocks; one alone may be a probe or a health check
_OBJECTS_FOR = 86_400  # seconds for which such work counts: a start can straddle two blocks


def idlenesses(worlds: Sequence[World], now: datetime) -> list[Idleness]:
    """Of each workload; those whose last block has work are told at a glance."""
    busy_now = _busy_now(worlds)
    return [busy_now.get(row) or idleness(world, now) for row, world in enumerate(worlds)]


def _busy_now(worlds: Sequence[World]) -> dict[int, Idleness]:
    """Those with work in the last block, by row."""
    out: dict[int, Idleness] = {}
    pairs = [_on_the_same_blocks(world) for world in worlds]
    for (rows, series, requests), (_, _, batch) in zip(
        stacked([pair[0] for pair in pairs]), stacked([pair[1] for pair in pairs]), strict=True
    ):
        known = np.isfinite(requests) & np.isfinite(batch) & (batch >= 0)
        busy = (requests > 0) | (np.isfinite(batch) & (batch > 0))
        quiet = (known & ~busy).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        wakes = (busy[:, 1:] & ~busy[:, :-1]).sum(axis=1) / max(busy.shape[1] * series.block / 86_400, 1.0)
        for at in np.flatnonzero(busy[:, -1] & known.any(axis=1)).tolist():
            out[rows[at]] = Idleness(IdleState.BUSY, timedelta(0), float(quiet[at]), float(wakes[at]))
    return out


def _on_the_same_blocks(world: World) -> tuple[History, History] | tuple[None, None]:
    """Requests and the batch, where every pod is seen and tells both for the same blocks."""
    requests, running = world.observation.requests, world.observation.running
    if not isinstance(requests, BlockSeries) or not isinstance(running, BlockSeries):
        return None, None
    seen = world.observation.attribution
    if seen.pods_seen < seen.pods_expected or not world.workload.scale_to_zero.idle_after:
        return None, None
    axes = [(each.start, each.block, len(each.values)) for each in (requests, running)]
    return (requests, running) if axes[0] == axes[1] else (None, None)


def idleness(world: World, now: datetime) -> Idleness:
    """Idle needs two engine sources at zero for `idle_after` with 90 % coverage, and a device that does not object.

    Weights kept loaded, or loaded again, are not work; a device at work while the engine counts nothing is unknown.
    """
    observation, rules = world.observation, world.workload.scale_to_zero
    requests, running = observation.requests, observation.running
    if not isinstance(requests, BlockSeries) or not isinstance(running, BlockSeries):
        return Idleness(IdleState.UNKNOWN, None, None)
    batch = aligned(running, requests)
    if batch is None:
        return Idleness(IdleState.UNKNOWN, None, None)
    busy = (requests.values > 0) | (batch > 0)
    known = requests.known() & np.isfinite(batch)
    blocks = int(np.count_nonzero(known))
    share = int(np.count_nonzero(known & ~busy)) / blocks if blocks else None
    if observation.attribution.pods_seen < observation.attribution.pods_expected:
        return Idleness(IdleState.BUSY if _recent(busy, requests, rules.idle_after) else IdleState.UNKNOWN, None, share)
    if _recent(busy, requests, rules.idle_after):
        idle_for = timedelta(seconds=_quiet_blocks(busy, known) * requests.block)
        return Idleness(IdleState.BUSY, idle_for, share, _wakes_per_day(busy, requests))
    return _quiet(world, requests, busy, known, share, now)


def _quiet(  # noqa: PLR0917 - the stages of one computation, each used once
    world: World,
    requests: BlockSeries,
    busy: NDArray[np.bool_],
    known: NDArray[np.bool_],
    share: float | None,
    now: datetime,
) -> Idleness:
    """Without recent work: idle, if enough is known and nothing contradicts it."""
    rules = world.workload.scale_to_zero
    quiet_blocks = _quiet_blocks(busy, known)
    idle_for = timedelta(seconds=quiet_blocks * requests.block)
    late = known[_window(requests, rules.idle_after)]
    covered = late.size > 0 and late.size * requests.block >= rules.idle_after.total_seconds() * LEAST_COVERAGE
    complete = covered and float(late.mean()) >= LEAST_COVERAGE
    age = now.timestamp() - (requests.start + requests.block * len(requests.values))
    fresh = age <= max(2 * requests.block, 3600)
    quiet = not _device_works(world, requests, quiet_blocks)
    state = IdleState.IDLE if complete and fresh and quiet else IdleState.UNKNOWN
    return Idleness(state, idle_for if state is IdleState.IDLE else None, share, _wakes_per_day(busy, requests))


def _window(series: BlockSeries, idle_after: timedelta) -> slice:
    """The blocks of the last `idle_after`."""
    count = min(len(series.values), -(-int(idle_after.total_seconds()) // series.block))
    return slice(len(series.values) - count, None)


def _recent(busy: NDArray[np.bool_], series: BlockSeries, idle_after: timedelta) -> bool:
    return bool(busy[_window(series, idle_after)].any())


def _quiet_blocks(busy: NDArray[np.bool_], known: NDArray[np.bool_]) -> int:
    """The longest stretch up to now without work that is known well enough: no one knows what went on before."""
    if busy[-1:].any():
        return 0
    worked = np.flatnonzero(busy)
    stretch = known[int(worked[-1]) + 1 if worked.size else 0 :][::-1]
    share = np.cumsum(stretch) / np.arange(1, len(stretch) + 1)
    proven = np.flatnonzero(stretch & (share >= LEAST_COVERAGE))
    return int(proven[-1]) + 1 if proven.size else 0


def _device_works(world: World, requests: BlockSeries, quiet_blocks: int) -> bool:
    """Two busy blocks of the device in a row while the engine counted nothing; one, where that is all there is."""
    activity = aligned(world.observation.gpu_activity, requests)
    late = min(quiet_blocks, _OBJECTS_FOR // requests.block)
    if activity is None or not late:
        return False
    needed = min(_WORK_BLOCKS, late)
    working = activity[-late:] > DEVICE_BUSY
    runs = np.convolve(working.astype(int), np.ones(needed, dtype=int))
    return bool(runs.max(initial=0) >= needed)


def _wakes_per_day(busy: NDArray[np.bool_], series: BlockSeries) -> float:
    """How often work came back after a block without any."""
    wakes = int(np.count_nonzero(busy[1:] & ~busy[:-1]))
    return wakes / max(len(busy) * series.block / 86_400, 1.0)
