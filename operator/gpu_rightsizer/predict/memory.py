"""Device memory per rank: weights, overhead, and the KV tokens that what is left can hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.units import GIB
from gpu_rightsizer.estimate.memory import (
    CUDA_SHARE,
    DEFAULT_BATCHED_TOKENS,
    DEFAULT_SEQUENCES,
    LARGE_DEVICE_BATCHED_TOKENS,
    LARGE_DEVICE_SEQUENCES,
    assumed_overheads,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_rightsizer.predict.shapes import Hardware
    from gpu_rightsizer.predict.work import Work

ALLOCATOR_MARGIN = 1.05  # fragmentation of a caching allocator where the engine does not preallocate
_LEAST_OVERHEAD = 0.3 * GIB
RESCALED_ERROR = 0.35  # of what an overhead changes when ranks or step size do: as uncertain as an assumed one


@dataclass(frozen=True, slots=True, eq=False)
class Overheads:
    """The overhead known on the present class: bytes per rank, its error, at so many ranks; `large` as in Hardware."""

    value: NDArray[np.float64]
    error: NDArray[np.float64]
    ranks: NDArray[np.int64]
    large: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """Bytes per rank and tokens, of shape (rows, shapes). `capacity` already gives the overhead's error away."""

    available: NDArray[np.float64]
    weights: NDArray[np.float64]
    overhead: NDArray[np.float64]
    error: NDArray[np.float64]
    kv_per_token: NDArray[np.float64]
    capacity: NDArray[np.float64]

    def need(self, tokens: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bytes per rank for that many tokens of KV, error included."""
        return self.weights + self.overhead + self.error + tokens * self.kv_per_token


def ledger(work: Work, hardware: Hardware, known: Overheads, visible: NDArray[np.float64]) -> Ledger:
    """Kappa = (u x M - W/TP - overhead - error) / KV bytes, per rank; negative where the weights do not fit.

    `visible` is what CUDA sees of one device. A known overhead moves to another number of ranks, or to other limits
    (those that vLLM was not told change at 70 GiB), by what the engine's typical figures say it changes, and becomes
    less certain.
    """
    here = _typical(work, known.large, known.ranks)
    there = _typical(work, hardware.large, hardware.ranks)
    overhead = np.maximum(known.value + there - here, _LEAST_OVERHEAD)
    error = known.error + RESCALED_ERROR * np.abs(there - here)
    available = work.utilization * visible
    weights = work.weights / (hardware.ranks * work.pipeline)
    per_token = kv_per_rank(work, hardware.ranks)
    capacity = (available - weights - overhead - error) / per_token
    return Ledger(available, weights, overhead, error, per_token, capacity)


def kv_per_rank(work: Work, ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """KV bytes per token on each rank: heads split, and replicate beyond their number; latent KV always replicates."""
    split = np.where(work.kv_replicated, 1.0, np.minimum(ranks, work.kv_heads))
    return np.asarray(work.kv_per_token / split / work.pipeline)


def visible_memory(hardware: Hardware) -> NDArray[np.float64]:
    """What CUDA sees of a device whose driver total is known: 2 % less (L4: 475 MiB of 23,034 are kept back)."""
    return hardware.memory * CUDA_SHARE


def sequences(work: Work, large: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Requests in a batch at most: as told, else vLLM's default for the device."""
    default = np.where(large, LARGE_DEVICE_SEQUENCES, DEFAULT_SEQUENCES)
    return np.where(np.isnan(work.sequences), default, work.sequences)


def _typical(work: Work, large: NDArray[np.bool_], ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    default = np.where(large, LARGE_DEVICE_BATCHED_TOKENS, DEFAULT_BATCHED_TOKENS)
    tokens = np.where(np.isnan(work.batched_tokens), default, work.batched_tokens)
    requests = sequences(work, large)
    return assumed_overheads(tokens, requests, work.width, work.vocabulary, ranks=ranks, eager=work.eager)
