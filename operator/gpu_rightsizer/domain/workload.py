"""One inference deployment as configured: identity, target, engine, model, objective, rules and where it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta
    from decimal import Decimal

    from gpu_rightsizer.domain.action import Action
    from gpu_rightsizer.domain.engines import EngineSettings, EngineType
    from gpu_rightsizer.domain.hardware import Commitment, InstanceClass
    from gpu_rightsizer.domain.models import ModelArchitecture, WeightDtype
    from gpu_rightsizer.domain.readings import Missing
    from gpu_rightsizer.domain.units import Bytes, Millicores


class Mode(StrEnum):
    """What the operator may do with a workload."""

    OFF = "Off"
    RECOMMEND = "Recommend"


@dataclass(frozen=True, slots=True)
class WorkloadKey:
    """The InferenceDeployment."""

    namespace: str
    name: str
    uid: str
    generation: int


@dataclass(frozen=True, slots=True)
class TargetRef:
    """The workload it names, in the same namespace. `container` is empty until chosen."""

    api_version: str
    kind: str
    name: str
    container: str = ""


@dataclass(frozen=True, slots=True)
class Objective:
    """The service objective and the risk a move may add. Times in seconds, shares in 0..1.

    `stated` names the latencies (`TTFT`, `TPOT`) that a person set a limit for; the other limits are built in.
    """

    ttft_p95: float
    tpot_p95: float
    attainment: float
    max_oom_risk: float
    horizon: timedelta
    oom_cost_usd: Decimal
    stated: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PlacementRules:
    """Which classes may be proposed: globs over names, regions, kinds of capacity, replica bounds (None: keep).

    `conflict` names the field on which the deployment and its policies agree in nothing (no class is allowed then),
    `policies` the RightsizingPolicies that limit any of these.
    """

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    capacity_types: tuple[Commitment, ...] = ()
    min_replicas: int | None = None
    max_replicas: int | None = None
    conflict: str = ""
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScaleToZeroRules:
    """Whether idling may be turned into advice, after how long, and what waking costs."""

    enabled: bool
    idle_after: timedelta
    cold_start: timedelta


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the user states about engine and model; None is "read it from the workload"."""

    engine: EngineType | None = None
    model_name: str | None = None
    parameters: float | None = None
    weight_dtype: WeightDtype | None = None
    max_context_length: int | None = None


@dataclass(frozen=True, slots=True)
class PodShape:
    """What one replica's pod asks of its node: requests summed over containers, with init containers' maximum.

    `shared_memory` is the size of memory-backed emptyDir volumes (they count as memory). `zones` are those a bound
    volume allows (empty: any). `other` are further extended resources by name. `host_constraints` names what else in
    the template ties the pod to nodes (selectors, affinity): key to wanted values.
    """

    cpu: Millicores
    memory: Bytes
    ephemeral_storage: Bytes
    shared_memory: Bytes
    accelerators: int
    resource: str
    architecture: str
    zones: tuple[str, ...] = ()
    other: Mapping[str, int] = field(default_factory=dict)
    host_constraints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodRef:
    """A pod of the workload that exists now."""

    name: str
    uid: str
    node: str
    ready: bool
    started: datetime | None
    restarts: int
    template_hash: str


@dataclass(frozen=True, slots=True)
class NodeShare:
    """A node our replicas stand on: its accelerators, ours and those that other workloads hold."""

    name: str
    instance_class: str
    accelerators: int
    ours: int
    others: int


class OomKind(StrEnum):
    """What ran out of memory. Host memory is not device memory."""

    CUDA_STARTUP = "CudaStartup"
    CUDA_SERVING = "CudaServing"
    HOST = "Host"
    UNCLASSIFIED = "Unclassified"


@dataclass(frozen=True, slots=True)
class Incident:
    """One remembered failure (`status.incidents`): evidence with a weight, never a veto, never forgotten."""

    time: datetime
    kind: OomKind
    instance_class: str
    pod: str
    container: str
    demand_tokens: float | None
    model: str
    settings_hash: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Advised:
    """What was recommended last for the same spec (`status.recommendation`); the place is that of a Resize."""

    action: Action
    instance_class: str = ""
    accelerators: int = 0
    replicas: int = 0
    tensor_parallel: int = 1


@dataclass(frozen=True, slots=True)
class SeenRunning:
    """On what it ran at the last look (`status.current`; empty: not known or mixed), and when that last changed."""

    accelerator: str  # the product
    accelerators: int
    changed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Workload:
    """Everything about one deployment that is configured or stands in the cluster, before any metric."""

    key: WorkloadKey
    target: TargetRef
    mode: Mode
    objective: Objective
    rules: PlacementRules
    scale_to_zero: ScaleToZeroRules
    engine: EngineType | Missing
    settings: EngineSettings
    settings_hash: str
    model: ModelArchitecture | Missing
    pod: PodShape
    replicas: int
    replicas_owner: str  # "HorizontalPodAutoscaler/x" when an autoscaler owns them, else empty
    pods: tuple[PodRef, ...]
    placement: InstanceClass | Missing
    nodes: tuple[NodeShare, ...]
    shared_device: bool  # time-slicing, MPS or a device seen by several pods
    incidents: tuple[Incident, ...]
    since: datetime | None  # when the current revision (template hash) began
    advised: Advised | None = None
    ran: SeenRunning | None = None
