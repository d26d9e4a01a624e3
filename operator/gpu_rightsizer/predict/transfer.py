"""What a workload's own measurements say about other hardware: how far its engine is from the model, and device use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.predict.queue import flow
from gpu_rightsizer.predict.work import busy_tpots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.world import World
    from gpu_rightsizer.predict.shapes import Hardware
    from gpu_rightsizer.predict.work import Work

BANDWIDTH_LIMIT = 0.8  # of the memory interface's time: the practical maximum
COMPUTE_LIMIT = 0.9
_LARGEST = 3.0

# Upper edges of vLLM's inter-token latency histogram, seconds (vllm/v1/metrics/loggers.py): a quantile read from it
# says only between which two edges it lies.
_EDGES = np.array([0.0, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0])


def slowdown(
    worlds: Sequence[World],
    work: Work,
    hardware: Hardware,
    here: NDArray[np.intp],
    capacity: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Measured over predicted TPOT on the present class, carried over to every class; a column, at least 1.

    Evidence may only slow the prediction: a class that does better than the model today need not do so elsewhere.
    """
    tpot, generated = busy_tpots(worlds).T[:, :, None]
    rate = generated / np.where(work.output > 0, work.output, np.nan)
    at = np.maximum(here, 0)
    busy = replace(work, rate=rate)
    present = capacity[np.arange(len(at)), at][:, None]
    predicted = flow(busy, hardware.at(at), present, np.ones_like(tpot)).tpot
    usable = (here >= 0)[:, None] & np.isfinite(predicted) & np.isfinite(tpot) & (predicted > 0)
    ratio = _proven(np.where(usable, tpot, 1.0), np.where(usable, predicted, 1.0))
    return np.where(usable, np.minimum(ratio, _LARGEST), 1.0)


def device_use(needs: Sequence[Need], work: Work, hardware: Hardware, here: NDArray[np.intp]) -> NDArray[np.float64]:
    """Peak use of the scarcer of bandwidth and compute there, over what is practical; NaN where the device is unseen.

    Memory traffic and arithmetic are the same work on any device, so that shares move with bandwidth and FLOPS. Where
    only GPU activity is known, any of the two may be behind it.
    """
    own = hardware.at(np.maximum(here, 0))
    bandwidth = own.bandwidth * own.ranks / (hardware.bandwidth * hardware.ranks)
    compute = own.bf16 * own.ranks / (hardware.bf16 * hardware.ranks)
    dram = np.array([_or_nan(n.device.dram_activity) for n in needs])[:, None]
    gpu = np.array([_or_nan(n.device.gpu_activity) for n in needs])[:, None]
    by_bandwidth = dram * bandwidth / BANDWIDTH_LIMIT
    slower = np.where(np.isnan(dram), np.fmax(bandwidth, compute), compute)
    by_compute = gpu * slower / COMPUTE_LIMIT
    del work
    return np.where((here >= 0)[:, None], np.fmax(by_bandwidth, by_compute), np.nan)


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _proven(measured: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least ratio that the histogram proves: 1 where the prediction lies in the measured bucket or above it."""
    below = _EDGES[np.clip(np.searchsorted(_EDGES, measured, side="left") - 1, 0, len(_EDGES) - 1)]
    return np.maximum(below / predicted, 1.0)
