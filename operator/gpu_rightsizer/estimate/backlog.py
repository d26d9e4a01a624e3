"""A standing queue is work that piled up: a class that keeps up would never hold it all at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.need import Load
from gpu_rightsizer.domain.readings import BlockSeries, Measured, Missing
from gpu_rightsizer.estimate.censoring import aligned

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.workload import Objective

GROWTH_SECONDS = 600.0
"""A block's growth of the queue is taken to have come within ten minutes: only the block's peak is known, and a burst
that came sooner than it was served is the case that must not be missed. A queue that grows all hour is overstated."""


def unserved(waiting: NDArray[np.floating]) -> NDArray[np.float64]:
    """Requests per second that arrived and were not served, per block, from the queue's peaks; 0 where unknown."""
    known = np.where(
        np.isfinite(waiting), waiting, 0.0
    )  # an unknown queue adds nothing here: its block is unknown or censored
    return np.maximum(np.diff(known, prepend=0.0), 0.0) / GROWTH_SECONDS


def most_unserved(observation: Observation) -> float:
    """The largest of `unserved`; 0 without a queue metric."""
    waiting = observation.waiting
    if not isinstance(waiting, BlockSeries):
        return 0.0
    return float(unserved(waiting.values).max(initial=0.0))


def without_backlog(
    demand: BlockSeries, observation: Observation, work: Load | Missing, objective: Objective
) -> BlockSeries:
    """KV demand (tokens) with each block's queue counted as what arrives while a request may stay.

    By Little's law a class that meets the objective holds arrivals/s x residence x tokens a request, and the longest
    residence it may have is TTFT + output x TPOT of the objective. Never below what was in use, never above what was
    in use and queued.
    """
    waiting = aligned(observation.waiting, demand)
    if waiting is None or not (waiting > 0).any():
        return demand
    prompts, mean = aligned(observation.prompt_rate, demand), observation.prompt_tokens
    if prompts is None or not isinstance(work, Load) or not isinstance(mean, Measured):
        return demand
    if mean.value <= 0:
        return demand
    queued = np.where(np.isfinite(waiting), waiting, 0.0) * work.kv_tokens_per_request
    in_use = np.maximum(demand.values - queued, 0.0)
    arriving = prompts / mean.value + unserved(waiting)
    residence = objective.ttft_p95 + work.output_tokens * objective.tpot_p95
    held = np.where(np.isfinite(arriving), arriving * residence * work.kv_tokens_per_request, np.inf)
    kept_up = np.maximum(in_use, np.minimum(demand.values, held))
    return replace(demand, values=np.where(queued > 0, kept_up, demand.values))
