"""Where demand was cut off, so that what was seen is only a lower bound of what was wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.readings import BlockSeries, Measured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.readings import History
    from gpu_rightsizer.estimate.overview import Overview

SATURATED = 0.97  # share of the KV pool from which, without a queue metric, more may have been wanted
_LASTING_SECONDS = 3 * 3600  # a queue that stands through this much block time limits arrivals themselves
_LONG_QUEUE = 2.0  # times the batch: what is queued waits longer than what runs
_LEAST_QUEUE = 10.0  # requests; a block's peak of fewer is a moment
_MOST_CLUSTERS = 5  # per 14 days
_MOST_SHARE = 0.005  # of the known time
_FORTNIGHT = 14 * 86_400


def censored_blocks(seen: Overview) -> NDArray[np.bool_] | None:
    """Blocks of the KV demand in which demand was cut off; None where that is none of them, or nothing tells.

    With a queue metric the queue is part of the demand already, and only one that stands for long cuts off what users
    would have asked; without it saturation or a preemption does.
    """
    observation, demand = seen.observation, seen.observation.kv_demand
    if not isinstance(demand, BlockSeries):
        return None
    waits = isinstance(observation.waiting, BlockSeries) and observation.waiting.block == demand.block
    if waits and not seen.peak("waiting") >= _LEAST_QUEUE:
        return None
    waiting = aligned(observation.waiting, demand)
    if waiting is not None:
        batch = _filled(observation.running, demand)
        return _lasting(waiting >= np.maximum(_LEAST_QUEUE, _LONG_QUEUE * batch), demand.block)
    cut = np.zeros(len(demand.values), dtype=bool)
    if isinstance(observation.kv_pool, Measured) and observation.kv_pool.value > 0:
        cut = demand.values >= SATURATED * observation.kv_pool.value
    preempted = aligned(observation.preemptions, demand)
    return cut if preempted is None else cut | (preempted > 0)


def censoring_hold(observation: Observation, cut: NDArray[np.bool_] | None) -> Finding | None:
    """Demand is unidentifiable when more than five clusters in 14 days, and 0.5 % of the time, are cut off."""
    demand = observation.kv_demand
    if cut is None or not isinstance(demand, BlockSeries) or not cut.any():
        return None
    known = max(int(demand.known().sum()), 1)
    share = float(cut.sum()) / known
    clusters = int((cut & ~np.r_[False, cut[:-1]]).sum())
    allowed = _MOST_CLUSTERS * max(known * demand.block / _FORTNIGHT, 1 / 14)
    if clusters <= allowed and share <= _MOST_SHARE:
        return None
    return found(Code.DEMAND_CENSORED, blocks=int(cut.sum()), share=share)


def aligned(history: History, onto: BlockSeries) -> NDArray[np.float64] | None:
    """Another history on the blocks of `onto`, NaN where unknown or absurd; None unless the blocks are alike."""
    if not isinstance(history, BlockSeries) or history.block != onto.block:
        return None
    if (history.start, len(history.values)) == (onto.start, len(onto.values)):
        values = history.values
    else:
        values = np.full(len(onto.values), np.nan)
        offset = (history.start - onto.start) // onto.block
        begin, end = max(0, offset), min(len(values), offset + len(history.values))
        if end > begin:
            values[begin:end] = history.values[begin - offset : end - offset]
    return np.where(np.isfinite(values) & (values >= 0), values, np.nan)


def _filled(history: History, onto: BlockSeries) -> NDArray[np.float64]:
    values = aligned(history, onto)
    return np.zeros(len(onto.values)) if values is None else np.where(np.isnan(values), 0.0, values)


def _lasting(queued: NDArray[np.bool_], block: int) -> NDArray[np.bool_]:
    """Blocks inside a run of queued blocks that lasts."""
    out = np.zeros_like(queued)
    if not queued.any():
        return out
    least = max(2, -(-_LASTING_SECONDS // block))
    edges = np.flatnonzero(np.diff(np.r_[False, queued, False].astype(np.int8)))
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        out[begin:end] = end - begin >= least
    return out
