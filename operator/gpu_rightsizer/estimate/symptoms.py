"""Signs that the present class does not hold: a standing queue, preemptions, objectives missed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.readings import BlockSeries
from gpu_rightsizer.estimate.censoring import aligned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.readings import History
    from gpu_rightsizer.domain.workload import Objective
    from gpu_rightsizer.domain.world import World
    from gpu_rightsizer.estimate.overview import Overview

_RECENT_SECONDS = 3 * 86_400
_QUEUE_SHARE = 0.2  # of the recent busy blocks
_QUEUE_LEAST = 0.1  # of the batch: a request that waits for the next step is no queue
_QUEUE_REQUESTS = 3.0  # one or two at the peak of an hour came at the same moment, no more
_PREEMPTION_SHARE = 0.02
_PREEMPTIONS_LEAST = 5
_JUDGED_REQUESTS = 20
_WINDOW_SECONDS = 600  # in which objectives are judged
_WINDOW_SCATTER = 1.0 / 0.9
"""TTFT p95 of the worst of an hour's six windows over the hour's own: some tens of requests a window scatter so much.

On 100 simulated deployments every right-sized one stays below 0.85 of its objective by the hour, every under-sized one
is above 0.95. TPOT, a mean over each request, scatters less than its histogram's buckets tell.
"""
_JUDGED_BLOCKS = 24
_FEW_BLOCKS, _MOST_OF_FEW = 6, 0.5  # fewer hours than a day tell where half of them are late: that is no chance


def may_show(seen: Overview) -> bool:
    """Whether any block looks like a symptom: only then are they looked for."""
    objective = seen.workload.objective
    return (
        seen.peak("waiting") >= _QUEUE_REQUESTS
        or seen.peak("preemptions") > 0
        or seen.peak("ttft") * _WINDOW_SCATTER > objective.ttft_p95
        or seen.peak("tpot") > objective.tpot_p95
    )


def symptoms(world: World) -> tuple[Finding, ...]:
    """Every symptom, the gravest first."""
    observation, objective = world.observation, world.workload.objective
    return (
        *_queue(observation),
        *_preemptions(observation),
        *_missed(observation, _windowed(observation.ttft), "TTFT", objective.ttft_p95, objective),
        *_missed(observation, observation.tpot, "TPOT", objective.tpot_p95, objective),
    )


def _queue(observation: Observation) -> Iterator[Finding]:
    waiting, running = observation.waiting, observation.running
    if not isinstance(waiting, BlockSeries) or not isinstance(running, BlockSeries):
        return
    recent = slice(-max(1, _RECENT_SECONDS // waiting.block), None)
    if not (waiting.values[recent] >= _QUEUE_REQUESTS).any():
        return
    batch = aligned(running, waiting)
    if batch is None:
        return
    busy = batch[recent] > 0
    queued = waiting.values[recent] >= np.maximum(_QUEUE_REQUESTS, _QUEUE_LEAST * batch[recent])
    share = float((queued & busy).sum() / busy.sum()) if busy.any() else 0.0
    if share >= _QUEUE_SHARE:
        yield found(Code.QUEUE_STANDS, waiting=waiting.peak(), share=share)


def _preemptions(observation: Observation) -> Iterator[Finding]:
    history = observation.preemptions
    if not isinstance(history, BlockSeries):
        return
    known = history.values[history.known()]
    share = float((known > 0).mean()) if known.size else 0.0
    if share >= _PREEMPTION_SHARE and known.sum() >= _PREEMPTIONS_LEAST:
        yield found(Code.PREEMPTING, count=int(known.sum()), share=share)


def _windowed(history: History) -> History:
    """The p95 of the worst window of each block, from the block's own."""
    if not isinstance(history, BlockSeries) or history.block <= _WINDOW_SECONDS:
        return history
    return replace(history, values=history.values * _WINDOW_SCATTER)


def _missed(
    observation: Observation, history: History, name: str, limit: float, objective: Objective
) -> Iterator[Finding]:
    """Blocks with at least 20 finished requests whose p95 is over the objective, more often than it allows."""
    if not isinstance(history, BlockSeries) or not (history.values > limit).any():
        return
    judged = history.known()
    requests = aligned(observation.requests, history)
    if requests is not None:
        judged = judged & (requests >= _JUDGED_REQUESTS)
    count = int(np.count_nonzero(judged))
    if count < _FEW_BLOCKS:
        return
    late = int(np.count_nonzero(history.values[judged] > limit)) / count
    allowed = 1 - objective.attainment
    if late > allowed and (count >= _JUDGED_BLOCKS or late >= _MOST_OF_FEW):
        observed = float(np.quantile(history.values[judged], objective.attainment))
        yield found(Code.OBJECTIVE_MISSED, metric=name, observed=observed, limit=limit, share=late)
