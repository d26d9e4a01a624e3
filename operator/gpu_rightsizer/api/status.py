"""The status of an InferenceDeployment: what runs, what was seen of it, what is recommended, what once failed."""

from typing import Annotated

from pydantic import Field

from gpu_rightsizer.api.conditions import Condition, listed_conditions
from gpu_rightsizer.api.recommendation import Recommendation
from gpu_rightsizer.api.scalars import (
    ClassName,
    ContainerName,
    CountOut,
    Generation,
    NumberOut,
    ObjectName,
    QuantityOut,
    Sentence,
    ShareOut,
    SpanOut,
    TimeOut,
    UsdOut,
)
from gpu_rightsizer.api.wire import Text, Wire, list_atomic, list_map
from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.hardware import Commitment
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.domain.readings import MissingReason, Signal
from gpu_rightsizer.domain.workload import OomKind


class Current(Wire):
    """How the workload runs now."""

    brief: Annotated[
        str | None,
        Text(128),
        Field(description="The placement as `kubectl get` shows it, for example `p5.48xlarge x1`."),
    ] = None
    instance_class: Annotated[
        ClassName | None, Field(description="The InstanceClass its pods stand on. Absent: not known or mixed.")
    ] = None
    accelerator: Annotated[
        str | None, Text(63), Field(description="Product of the accelerators, for example `NVIDIA-H100-80GB-HBM3`.")
    ] = None
    accelerators: Annotated[CountOut | None, Field(description="Accelerators that each replica asks for.")] = None
    replicas: Annotated[CountOut | None, Field(description="Replicas that the workload asks for.")] = None
    tensor_parallel: Annotated[
        CountOut | None, Field(description="Accelerators that one copy of the model is split over.")
    ] = None
    capacity_type: Annotated[Commitment | None, Field(description="What kind of capacity the price buys.")] = None
    changed_at: Annotated[
        TimeOut | None,
        Field(
            description="When it was first seen to run on another accelerator, or another number of them, than before, "
            "RFC 3339. Absent: no such change was seen."
        ),
    ] = None
    hourly_usd: Annotated[
        UsdOut | None, Field(description="USD per hour of all replicas. Absent: the price is not known.")
    ] = None
    monthly_usd: Annotated[UsdOut | None, Field(description="The same for a month of 730 hours.")] = None


class SeriesSeen(Wire):
    """One signal that was observed, and by which series."""

    signal: Annotated[Signal, Field(description="What was looked for, for example `KvUsage`.")]
    metric: Annotated[
        str, Text(253), Field(description="The metric that told it, for example `vllm:kv_cache_usage_perc`.")
    ]
    labels: Annotated[
        str | None,
        Text(253),
        Field(description="The labels that tied its series to the pods, for example `namespace, pod`."),
    ] = None
    coverage: Annotated[
        ShareOut | None, Field(description="Samples seen over samples expected, for example `99%`.")
    ] = None


class SignalMissing(Wire):
    """One signal that is unknown, and why."""

    signal: Annotated[Signal, Field(description="What was looked for.")]
    reason: Annotated[MissingReason, Field(description="Why it is unknown, as a word for programs.")]
    message: Annotated[Sentence | None, Field(description="The same as a sentence, with how to supply it.")] = None


class Usage(Wire):
    """What was observed, over which span. What is unknown is absent, never 0."""

    from_: Annotated[TimeOut | None, Field(alias="from", description="Begin of the span, RFC 3339.")] = None
    to: Annotated[TimeOut | None, Field(description="Newest sample, RFC 3339.")] = None
    span: Annotated[SpanOut | None, Field(description="How much history was seen, for example `14d`.")] = None
    coverage: Annotated[ShareOut | None, Field(description="Samples seen over samples expected in that span.")] = None
    engine: Annotated[EngineType | None, Field(description="The engine that was detected or given.")] = None
    model: Annotated[str | None, Text(253), Field(description="The model that was detected or given.")] = None
    weight_dtype: Annotated[WeightDtype | None, Field(description="Number format of its weights.")] = None
    max_context_length: Annotated[
        int | None, Field(ge=0, le=100_000_000, description="The longest request the engine accepts, in tokens.")
    ] = None
    kv_pool_tokens: Annotated[
        NumberOut | None, Field(description="Tokens of keys and values that one replica can hold.")
    ] = None
    kv_demand_peak_tokens: Annotated[
        NumberOut | None,
        Field(description="Most tokens demanded at once of the busiest replica: in use plus queued."),
    ] = None
    running_peak: Annotated[
        NumberOut | None, Field(description="Most requests in the batch of the busiest replica.")
    ] = None
    waiting_peak: Annotated[NumberOut | None, Field(description="Most requests queued at the busiest replica.")] = None
    requests_per_second_peak: Annotated[
        NumberOut | None, Field(description="Highest rate of requests of the busiest replica, per second.")
    ] = None
    prompt_tokens: Annotated[NumberOut | None, Field(description="Prompt tokens of a request, mean.")] = None
    output_tokens: Annotated[NumberOut | None, Field(description="Output tokens of a request, mean.")] = None
    ttft: Annotated[
        SpanOut | None, Field(description="95th percentile of the time to first token, worst judged window.")
    ] = None
    tpot: Annotated[
        SpanOut | None, Field(description="95th percentile of the time per output token, worst judged window.")
    ] = None
    memory_used_peak: Annotated[
        QuantityOut | None,
        Field(description="Most memory in use on the busiest accelerator, as the driver reports it."),
    ] = None
    memory_total: Annotated[
        QuantityOut | None, Field(description="Memory one accelerator offers, as the driver reports it.")
    ] = None
    gpu_activity_peak: Annotated[ShareOut | None, Field(description="Highest activity of the busiest accelerator.")] = (
        None
    )
    dram_activity_peak: Annotated[
        ShareOut | None, Field(description="Highest activity of the busiest accelerator's memory interface.")
    ] = None
    host_cpu_peak: Annotated[NumberOut | None, Field(description="Most CPU used by a replica, in cores.")] = None
    host_memory_peak: Annotated[QuantityOut | None, Field(description="Most host memory used by a replica.")] = None
    idle_for: Annotated[
        SpanOut | None, Field(description="How long no request has been seen. Absent: busy, or not proven.")
    ] = None
    pods_seen: Annotated[CountOut | None, Field(description="Pods of the workload with metrics.")] = None
    pods_expected: Annotated[CountOut | None, Field(description="Pods of the workload that exist.")] = None
    series: Annotated[
        tuple[SeriesSeen, ...],
        Field(
            max_length=32,
            json_schema_extra=list_map("signal"),
            description="Which series told what. Compare with your own queries.",
        ),
    ] = ()
    missing: Annotated[
        tuple[SignalMissing, ...],
        Field(
            max_length=32,
            json_schema_extra=list_map("signal"),
            description="What is unknown, why, and how to supply it.",
        ),
    ] = ()


class IncidentRecord(Wire):
    """One out-of-memory that is remembered after the metrics have forgotten it."""

    occurred_at: Annotated[TimeOut, Field(description="When it happened, RFC 3339.")]
    cause: Annotated[
        OomKind,
        Field(
            description="`CudaStartup`, `CudaServing` (device memory), `Host` (the container's memory limit: no matter "
            "of the accelerator) or `Unclassified`."
        ),
    ]
    instance_class: Annotated[ClassName | None, Field(description="Where it happened.")] = None
    pod: Annotated[ObjectName | None, Field(description="The pod it happened to.")] = None
    container: Annotated[ContainerName | None, Field(description="The container it happened to.")] = None
    demand_tokens: Annotated[
        NumberOut | None, Field(description="Tokens demanded of the replica at that time. Absent: not known.")
    ] = None
    model: Annotated[str | None, Text(253), Field(description="The model that was served.")] = None
    settings_hash: Annotated[
        str | None,
        Text(64),
        Field(description="Hash of the engine's arguments then: whether the cause still applies is told by it."),
    ] = None
    message: Annotated[
        str | None, Text(512), Field(description="What the container said last; kept of the latest three.")
    ] = None


class InferenceDeploymentStatus(Wire):
    """What was observed and what is recommended."""

    observed_generation: Annotated[
        Generation | None,
        Field(description="The `metadata.generation` that was judged; older than the object's means not judged yet."),
    ] = None
    conditions: Annotated[
        tuple[Condition, ...],
        listed_conditions(
            "`Observed` (metrics fresh and complete), `Advised` (a recommendation exists) and the summary "
            "`Ready`, one entry a type."
        ),
    ] = ()
    current: Annotated[Current | None, Field(description="How the workload runs now, and what that costs.")] = None
    usage: Annotated[Usage | None, Field(description="What was observed, by which series, over which span.")] = None
    recommendation: Annotated[Recommendation | None, Field(description="What should be done, and why.")] = None
    incidents: Annotated[
        tuple[IncidentRecord, ...],
        Field(
            max_length=16,
            json_schema_extra=list_atomic(),
            description="Out-of-memory events that were seen, newest last, at most 16. They outlive the metrics and "
            "weigh in every recommendation.",
        ),
    ] = ()
