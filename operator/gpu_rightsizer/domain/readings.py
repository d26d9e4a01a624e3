"""What was measured, or why it is unknown: a value never stands in for a missing one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray


class Signal(StrEnum):
    """A thing we want to know about a workload, whatever its metric is called."""

    KV_USAGE = "KvUsage"  # share of the KV pool in use, 0..1
    KV_POOL = "KvPool"  # tokens of KV one replica can hold
    KV_DEMAND = "KvDemand"  # tokens demanded of the busiest replica: in use plus queued
    REPLICAS = "Replicas"  # that serve
    RUNNING = "Running"  # requests in the batch
    WAITING = "Waiting"  # requests queued in the engine
    PROMPT_RATE = "PromptRate"  # prompt tokens per second
    GENERATION_RATE = "GenerationRate"  # generated tokens per second
    REQUESTS = "Requests"  # finished requests per block
    PROMPT_TOKENS = "PromptTokens"  # mean prompt tokens of a request
    OUTPUT_TOKENS = "OutputTokens"  # mean generated tokens of a request
    TTFT = "Ttft"  # p95 time to first token, seconds
    TPOT = "Tpot"  # p95 time per output token, seconds
    PREEMPTIONS = "Preemptions"  # per block
    FB_USED = "FramebufferUsed"  # bytes, busiest device
    FB_TOTAL = "FramebufferTotal"  # bytes a device offers to CUDA (used + free)
    GPU_ACTIVITY = "GpuActivity"  # 0..1, graphics engine active (GPU_UTIL / 100 where that is absent)
    DRAM_ACTIVITY = "DramActivity"  # 0..1, memory interface active
    HOST_MEMORY = "HostMemory"  # bytes, working set of the container
    HOST_CPU = "HostCpu"  # cores
    CONTAINER = "Container"  # the one that serves
    ENGINE = "Engine"  # which engine runs
    MODEL = "Model"  # which model, with its architecture
    INSTANCE_CLASS = "InstanceClass"  # where the replicas run now
    TARGET = "Target"  # the workload the InferenceDeployment names
    HISTORY = "History"  # enough of the past


class MissingReason(StrEnum):
    """Why a signal is unknown."""

    NO_SERIES = "NoSeries"  # the store has no such series for these pods
    STALE = "Stale"  # newest sample older than three scrape intervals
    PARTIAL = "Partial"  # too few of the expected samples or pods
    INVALID = "Invalid"  # NaN, infinite, negative, sentinel
    CONTRADICTORY = "Contradictory"  # two sources disagree
    SHARED = "Shared"  # the device is shared: nothing on it is one pod's alone
    TOO_SHORT = "TooShort"  # not enough history
    SOURCE_FAILED = "SourceFailed"  # the query failed, or its answer was partial
    NOT_FOUND = "NotFound"  # the object or catalogue entry does not exist
    UNRECOGNISED = "Unrecognised"  # present, but not something we know


@dataclass(frozen=True, slots=True)
class Missing:
    """A signal that is unknown, and why; `detail` is a name or figure that helps (never a sentence)."""

    what: Signal
    why: MissingReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """One current value. `coverage` is samples seen over samples expected, 0..1."""

    value: float
    coverage: float = 1.0
    newest: datetime | None = None


Reading: TypeAlias = Measured | Missing


@dataclass(frozen=True, slots=True, eq=False)
class BlockSeries:
    """One figure per block of time, oldest first; NaN is unknown.

    `start` is the Unix time in seconds of the first block's begin, `block` a block's length in seconds;
    `values` and `coverage` have shape (blocks,), coverage in 0..1.
    """

    start: int
    block: int
    values: NDArray[np.floating]
    coverage: NDArray[np.floating]

    def known(self) -> NDArray[np.bool_]:
        """Which blocks carry a value."""
        known: NDArray[np.bool_] = np.isfinite(self.values)
        return known

    def times(self) -> NDArray[np.int64]:
        """Begin of each block, Unix seconds."""
        return self.start + self.block * np.arange(len(self.values), dtype=np.int64)

    def peak(self) -> float:
        """The largest known value; NaN when none is known."""
        peak = float(self.values.max(initial=-np.inf))
        if not math.isfinite(peak):  # some value is not known
            peak = float(self.values[self.known()].max(initial=-np.inf))
        return peak if math.isfinite(peak) else math.nan

    def known_until(self) -> int | None:
        """Unix time at which the last known block ends; None when none is known."""
        last = len(self.values) - 1
        if last < 0 or not math.isfinite(self.values[last]):
            last = int(np.flatnonzero(self.known())[-1]) if self.known().any() else -1
        return None if last < 0 else self.start + (last + 1) * self.block

    def span_seconds(self) -> int:
        """From the first known block's begin to the last known block's end; 0 when none is known."""
        where = np.flatnonzero(self.known())
        return int((where[-1] - where[0] + 1) * self.block) if where.size else 0

    def known_share(self) -> float:
        """Known blocks over all blocks within the known span; 0.0 when none is known."""
        where = np.flatnonzero(self.known())
        return float(where.size / (where[-1] - where[0] + 1)) if where.size else 0.0


History: TypeAlias = BlockSeries | Missing
