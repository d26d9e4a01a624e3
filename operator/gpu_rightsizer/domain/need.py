"""What a workload needs: memory, demand with its tail, load, and how far the evidence reaches."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    import numpy as np
    from numpy.typing import NDArray

    from gpu_rightsizer.domain.finding import Finding
    from gpu_rightsizer.domain.readings import Missing
    from gpu_rightsizer.domain.units import Bytes
    from gpu_rightsizer.domain.workload import OomKind


class Tier(StrEnum):
    """How much the evidence allows (T0 never loaded ... T5 long history and a fleet of peers)."""

    T0 = "T0"
    T1 = "T1"
    T2 = "T2"
    T3 = "T3"
    T4 = "T4"
    T5 = "T5"


class RiskState(StrEnum):
    """What a stated probability rests on."""

    MODEL_BASED = "ModelBased"
    CALIBRATED = "Calibrated"


class DemandKind(StrEnum):
    """What a demand is counted in."""

    TOKENS = "Tokens"  # of KV
    BYTES = "Bytes"  # of framebuffer


class Rhythm(StrEnum):
    """Whether there is work in at least half of the time."""

    STEADY = "Steady"
    INTERMITTENT = "Intermittent"


Group: TypeAlias = tuple[DemandKind, Rhythm]  # workloads whose stated risks are compared together


class IdleState(StrEnum):
    """Whether a workload is proven idle; only proven idle may shrink on idleness."""

    IDLE = "Idle"
    BUSY = "Busy"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Idleness:
    """Idle state, for how long, and the share of known blocks in the window without a request.

    `wakes_per_day` counts how often work came back after an idle gap (None: not counted).
    """

    state: IdleState
    idle_for: timedelta | None
    idle_share: float | None
    wakes_per_day: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Bursts:
    """What may come on top of ordinary variation: points (b,) of a posterior, its weights summing to P(any bursts).

    The rate of each point is a Gamma posterior of `count` bursts in `hours`.
    """

    shape: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    count: NDArray[np.float64]
    hours: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Recalibration:
    """What the stated probabilities of workloads like this one turned out to be.

    `scores` (n,), ascending, 0 < score <= 1: the probability that each one's tail, fitted on the time before, gave to
    exceeding what then was the largest demand of a window of `hours`. Uniform where the model is true.
    """

    hours: float
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class DemandTail:
    """The predictive tail of a demand that only blocks' peaks show (tokens or bytes, busiest replica).

    A seasonal Bayesian peaks-over-threshold posterior: `seasonal` the scale per hour class (h,), `threshold` on
    demand/scale, `shape`, `scale`, `weight` the points (g,), `exceedances` the exponent k + c + 1/2 and
    `exposure_hours` T of the rate's Gamma posterior (longer by what part of them bursts are). `peak` is the largest
    demand seen. With a `recalibration` its probabilities are those that came true on the fleet.
    """

    peak: float
    seasonal: NDArray[np.float64]
    threshold: float
    shape: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    exceedances: float
    exposure_hours: float
    cap: float | None = None  # demand that physics cannot exceed (max_num_seqs x max_model_len), or None
    bursts: Bursts | None = None
    recalibration: Recalibration | None = None
    unremembered: DemandTail | None = None  # the same without the incidents that are remembered; None without any


class OverheadSource(StrEnum):
    """Where the memory beyond weights and KV comes from."""

    SOLVED = "Solved"  # from the running pod's KV pool
    ASSUMED = "Assumed"  # from the engine's typical figures


@dataclass(frozen=True, slots=True)
class PreallocatedMemory:
    """Memory of an engine that preallocates. Bytes; `overhead` is per rank, beyond weights and KV, with its error."""

    weights: Bytes
    kv_bytes_per_token: float
    overhead: Bytes
    overhead_error: Bytes
    overhead_source: OverheadSource
    demand: DemandTail | Missing  # tokens


@dataclass(frozen=True, slots=True)
class FramebufferMemory:
    """Memory of an engine that does not preallocate: framebuffer peaks per device are the demand (bytes)."""

    demand: DemandTail | Missing


MemoryNeed: TypeAlias = "PreallocatedMemory | FramebufferMemory | Missing"


@dataclass(frozen=True, slots=True)
class Load:
    """The work of the busiest replica at its peak: requests/s and tokens per request, tokens in flight.

    `requests_per_second` is the highest sustained rate implied by token rates; `concurrency` the largest batch plus
    queue seen; `kv_tokens_per_request` the mean KV a running request holds.
    """

    requests_per_second: float
    concurrency: float
    prompt_tokens: float
    output_tokens: float
    kv_tokens_per_request: float


@dataclass(frozen=True, slots=True)
class DeviceLoad:
    """What the device did at its peak where no engine tells: shares of memory bandwidth and of compute, 0..1."""

    dram_activity: float | None
    gpu_activity: float | None


@dataclass(frozen=True, slots=True)
class HostNeed:
    """Host resources asked and the largest ever used (None: not measured). Millicores and bytes."""

    cpu_requested: int
    memory_requested: int
    cpu_used: int | None
    memory_used: int | None


@dataclass(frozen=True, slots=True)
class WeighedIncident:
    """A device out-of-memory as evidence: where, of which device memory, and the chance that its cause still applies.

    `weight` is relevance times decay with age, 0..1; `demand` is the tokens (or bytes) it happened at, when known;
    `unchanged` that model and settings are known to be those it happened with.
    """

    time: datetime
    kind: OomKind
    instance_class: str
    weight: float
    demand: float | None
    unchanged: bool = True


@dataclass(frozen=True, slots=True)
class Hazard:
    """Evidence for the rate of out-of-memory by configuration: a Gamma posterior per day, before the class is known.

    `exposure_days` includes the prior's 60; each incident adds its weight to the prior's 0.2 events.
    """

    exposure_days: float = 60.0
    incidents: tuple[WeighedIncident, ...] = ()


@dataclass(frozen=True, slots=True)
class Need:
    """The whole need of one workload, and what the evidence forbids.

    `shrink_holds` are findings that forbid any smaller or slower class; `memory_holds` forbid less memory per device
    only. Empty both: everything may be recommended. `symptoms` say that the present class does not hold.
    """

    tier: Tier
    memory: MemoryNeed
    load: Load | Missing
    device: DeviceLoad
    host: HostNeed
    idleness: Idleness
    shrink_holds: tuple[Finding, ...]
    memory_holds: tuple[Finding, ...]
    symptoms: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    hazard: Hazard = Hazard()
