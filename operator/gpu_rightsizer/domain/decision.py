"""Candidates, what rules each out, and the decision among them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta
    from decimal import Decimal

    from gpu_rightsizer.domain.action import Action
    from gpu_rightsizer.domain.finding import Finding
    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.need import RiskState


class Binding(StrEnum):
    """The resource that runs out first on a class."""

    MEMORY = "Memory"
    BANDWIDTH = "Bandwidth"
    COMPUTE = "Compute"
    HOST = "Host"


@dataclass(frozen=True, slots=True)
class Configuration:
    """Where and how replicas would run. `accelerators` is per replica; `engine_args` only what changes."""

    instance: InstanceClass
    accelerators: int
    tensor_parallel: int
    replicas: int
    engine_args: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a configuration would do at the peak it must hold. Seconds, bytes per rank, probabilities over the horizon.

    `tpot` and `ttft` are p50 predictions, `*_bound` the 95 % quantile over the model's error. None is unknown (no
    engine metrics, or a model the physics does not know).
    """

    memory_available: int | None
    memory_need: int | None
    kv_capacity_tokens: float | None
    kv_demand_tokens: float | None
    tpot: float | None
    tpot_bound: float | None
    ttft: float | None
    ttft_bound: float | None
    oom_probability: float | None
    overload_probability: float | None
    slo_miss_probability: float | None
    binding: Binding | None
    measured_accelerator: bool  # a measured point covers this accelerator


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration, its cost, its prediction, and what rules it out (empty: it holds).

    `hourly` is what the replicas cost there in USD/h (whole nodes), `None` when the class has no price.
    """

    configuration: Configuration
    hourly: Decimal | None
    prediction: Prediction
    failures: tuple[Finding, ...]
    notes: tuple[Finding, ...] = ()

    @property
    def holds(self) -> bool:
        """Nothing rules it out."""
        return not self.failures

    def failing_by(self, failures: tuple[Finding, ...]) -> Candidate:
        """The same, ruled out by these."""
        return Candidate(self.configuration, self.hourly, self.prediction, failures, self.notes)


class Lever(StrEnum):
    """What one change could be that lets a rejected configuration pass."""

    TPOT_OBJECTIVE = "TpotObjective"
    TTFT_OBJECTIVE = "TtftObjective"
    MAX_MODEL_LEN = "MaxModelLen"
    MAX_NUM_SEQS = "MaxNumSeqs"
    MAX_NUM_BATCHED_TOKENS = "MaxNumBatchedTokens"
    GPU_MEMORY_UTILIZATION = "GpuMemoryUtilization"
    CPU_REQUEST = "CpuRequest"
    MEMORY_REQUEST = "MemoryRequest"
    REPLICAS = "Replicas"
    WEIGHT_DTYPE = "WeightDtype"
    MAX_OOM_RISK = "MaxOomRisk"
    OOM_COST = "OomCost"


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """One change and the value that would do: seconds, tokens, a share, millicores, bytes, a number, a name or USD."""

    lever: Lever
    value: float | str | Decimal


class Certainty(StrEnum):
    """How sure the recommendation is (`confidence` in the status)."""

    HIGH = "High"
    MEDIUM = "Medium"
    LOW = "Low"


class Realisation(StrEnum):
    """When a saving becomes real."""

    NODE_LEAVES = "NodeLeaves"  # our replicas are alone on their nodes
    NODE_STAYS = "NodeStays"  # others hold accelerators there: nothing is saved until they leave too
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Cost:
    """USD per hour now and there, and what is saved (negative: costs more). `saved` counts only nodes that leave."""

    current_hourly: Decimal | None
    target_hourly: Decimal | None
    saved_hourly: Decimal | None
    realisation: Realisation


@dataclass(frozen=True, slots=True)
class Elastic:
    """Bounds and target for an autoscaler: as many replicas as demand asks, of `at`, whose number holds the peak.

    `least` is one number, or one for each window: four of six hours of a working day (UTC), then of a weekend's.
    `kv_usage` is the share of the KV cache in use to aim at, `hold` how long none is let go after it was last wanted,
    at most one in `step` then; `lead` is from an order to a serving replica. `hourly` is the mean over the replay,
    `instead` that of what would run otherwise; `late_minutes` the most a week in which they could have been too few.
    """

    at: Candidate
    least: tuple[int, ...]
    most: int
    kv_usage: float
    hold: timedelta
    step: timedelta
    lead: timedelta
    hourly: Decimal
    instead: Decimal
    late_minutes: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What should be done about one workload, and everything that led to it.

    `target` is None for Keep and Unknown. `alternatives` also hold, cheapest first; `rejected` are the nearest
    configurations that do not, each with the one finding that rules it out first in `failures`. `elastic` are bounds
    for an autoscaler: where one owns the replicas they are part of what is recommended, else what would cost less.
    """

    action: Action
    certainty: Certainty
    current: Candidate | None
    target: Candidate | None
    cost: Cost
    alternatives: tuple[Candidate, ...]
    rejected: tuple[Candidate, ...]
    reasons: tuple[Finding, ...]
    risk_state: RiskState
    compared_up_to: timedelta | None = None  # how far ahead the stated risk was compared with what happened
    elastic: Elastic | None = None
