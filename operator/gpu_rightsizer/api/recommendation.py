"""The recommendation as it stands in the status and, as compact JSON, in the annotation."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from gpu_rightsizer.api.scalars import (
    ClassName,
    CountOut,
    QuantityOut,
    Sentence,
    ShareOut,
    SpanOut,
    TimeOut,
    UsdOut,
)
from gpu_rightsizer.api.wire import Text, Wire, list_atomic
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.decision import Binding, Certainty, Lever, Realisation
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.need import RiskState, Tier

EngineArgument = Annotated[str, Text(253)]


class Configuration(Wire):
    """Where and how replicas would run."""

    instance_class: Annotated[ClassName, Field(description="The InstanceClass, for example `g6e.xlarge`.")]
    accelerators: Annotated[CountOut, Field(description="Accelerators of each replica.")]
    replicas: Annotated[
        CountOut | None,
        Field(description="Replicas; `0` is scaled to zero. Absent: an autoscaler owns the number, see `elastic`."),
    ] = None
    tensor_parallel: Annotated[
        CountOut | None, Field(description="Accelerators that one copy of the model is split over.")
    ] = None
    engine_args: Annotated[
        dict[str, EngineArgument],
        Field(
            max_length=16,
            description='Engine arguments that would change, by flag, for example `{--max-num-seqs: "64"}`. Empty: '
            "none.",
        ),
    ] = Field(default_factory=dict)


class Days(StrEnum):
    """Which days a window is of."""

    WORKING = "Working"
    WEEKEND = "Weekend"


class ReplicaWindow(Wire):
    """Six hours of the day and the least number of replicas in them."""

    days: Annotated[Days, Field(description="`Working` (Monday to Friday) or `Weekend`, by UTC.")]
    from_: Annotated[
        str,
        Text(5, 5, r"^([01][0-9]|2[0-3]):00$"),
        Field(
            alias="from",
            description="When it begins, UTC, for example `06:00`. Order the replicas `leadTime` before.",
        ),
    ]
    min_replicas: Annotated[CountOut, Field(description="Replicas at least.")]


class Elastic(Wire):
    """Bounds and a target for an autoscaler. Where one owns the replicas they are what is recommended.

    Elsewhere they are what would cost less.
    """

    instance_class: Annotated[ClassName, Field(description="The InstanceClass, for example `g6e.xlarge`.")]
    accelerators: Annotated[CountOut, Field(description="Accelerators of each replica.")]
    tensor_parallel: Annotated[
        CountOut | None, Field(description="Accelerators that one copy of the model is split over.")
    ] = None
    min_replicas: Annotated[CountOut, Field(description="The least number at any time.")]
    max_replicas: Annotated[
        CountOut, Field(description="The largest number: eight times what holds the peak, or the rules' bound.")
    ]
    windows: Annotated[
        tuple[ReplicaWindow, ...],
        Field(
            max_length=8,
            json_schema_extra=list_atomic(),
            description="The least number by time of day, as a cron trigger of KEDA sets it. Empty: `minReplicas` "
            "always.",
        ),
    ] = ()
    kv_usage_target: Annotated[
        ShareOut | None, Field(description="The share of the KV cache in use to aim at, averaged over replicas.")
    ] = None
    scale_down_stabilization: Annotated[
        SpanOut | None, Field(description="How long a replica is kept after it was last wanted.")
    ] = None
    scale_down_period: Annotated[
        SpanOut | None, Field(description="The time in which at most one replica is let go.")
    ] = None
    lead_time: Annotated[
        SpanOut | None,
        Field(
            description="Taken from an order to a replica that serves: `scaleToZero.coldStart` and a minute to "
            "notice. The promise rests on it."
        ),
    ] = None
    late_minutes_per_week: Annotated[
        int | None,
        Field(
            ge=0,
            le=10_080,
            description="The most minutes in which there could have been too few replicas, in a replay of the "
            "history's peaks.",
        ),
    ] = None
    hourly_usd: Annotated[UsdOut, Field(description="USD per hour on average over that replay.")]
    instead_hourly_usd: Annotated[UsdOut, Field(description="USD per hour, on average, of what would run otherwise.")]


class Alternative(Configuration):
    """Another configuration that also holds."""

    hourly_usd: Annotated[UsdOut | None, Field(description="USD per hour of all replicas there.")] = None
    saved_monthly_usd: Annotated[
        UsdOut | None,
        Field(description="USD saved in a month of 730 hours; negative costs more."),
    ] = None
    oom_probability: Annotated[
        ShareOut | None, Field(description="Probability of running out of memory there within the horizon.")
    ] = None


class HoldsWith(Wire):
    """One change with which a rejected configuration would hold."""

    change: Annotated[
        Lever,
        Field(
            description="What would change: a field of `spec.slo` (`TpotObjective`, `TtftObjective`, `MaxOomRisk`, "
            "`OomCost`), an engine argument (`MaxModelLen`, `MaxNumSeqs`, `MaxNumBatchedTokens`, "
            "`GpuMemoryUtilization`), the pod's requests (`CpuRequest`, `MemoryRequest`), `Replicas` or `WeightDtype`."
        ),
    ]
    value: Annotated[str, Text(63, 1), Field(description="The value that would do, for example `60ms`, `fp8` or `64`.")]


class Rejected(Wire):
    """A configuration that was ruled out."""

    instance_class: Annotated[ClassName, Field(description="The InstanceClass.")]
    accelerators: Annotated[CountOut, Field(description="Accelerators of each replica.")]
    replicas: Annotated[CountOut, Field(description="Replicas.")]
    reason: Annotated[Code, Field(description="The one thing that rules it out, as a word for programs.")]
    message: Annotated[Sentence, Field(description="The same as a sentence with its numbers.")]
    holds_with: Annotated[
        HoldsWith | None,
        Field(
            description="The smallest single change with which it would hold, found by predicting again. At most three "
            "of the list have one; absent also where no such change was found."
        ),
    ] = None


class Cost(Wire):
    """What it costs, and what would be saved."""

    current_hourly_usd: Annotated[
        UsdOut | None, Field(description="USD per hour now. Absent: the price of the current class is not known.")
    ] = None
    target_hourly_usd: Annotated[UsdOut | None, Field(description="USD per hour as recommended.")] = None
    saved_hourly_usd: Annotated[
        UsdOut | None, Field(description="USD per hour saved; negative where the recommendation costs more.")
    ] = None
    saved_monthly_usd: Annotated[UsdOut | None, Field(description="The same for a month of 730 hours.")] = None
    realisation: Annotated[
        Realisation,
        Field(
            description="When the saving is real: `NodeLeaves` (our replicas are alone on their nodes), `NodeStays` "
            "(others hold accelerators there, and nothing is saved until they leave) or `Unknown`."
        ),
    ]


class Risk(Wire):
    """How likely it goes wrong within the horizon. Absent figures are unknown, never zero."""

    oom_probability: Annotated[
        ShareOut | None, Field(description="Probability of an out-of-memory within `horizon`, as recommended.")
    ] = None
    current_oom_probability: Annotated[
        ShareOut | None, Field(description="The same for how the workload runs now.")
    ] = None
    slo_miss_probability: Annotated[
        ShareOut | None, Field(description="Probability that the service objective is missed within `horizon`.")
    ] = None
    horizon: Annotated[SpanOut, Field(description="The time over which the probabilities count.")]
    state: Annotated[
        RiskState,
        Field(
            description="`ModelBased`: computed, not yet compared with what happened. `Calibrated`: compared with what "
            "happened on this fleet."
        ),
    ]
    calibrated_up_to: Annotated[
        SpanOut | None, Field(description="The longest horizon for which it was compared with what happened.")
    ] = None


class Predicted(Wire):
    """What the recommended configuration would do at the peak it has to hold. Absent: not known."""

    tpot: Annotated[SpanOut | None, Field(description="Time per output token, median.")] = None
    tpot_bound: Annotated[
        SpanOut | None, Field(description="Time per output token with the model's error: exceeded with 5 % chance.")
    ] = None
    ttft: Annotated[SpanOut | None, Field(description="Time to first token, median.")] = None
    ttft_bound: Annotated[
        SpanOut | None, Field(description="Time to first token with the model's error: exceeded with 5 % chance.")
    ] = None
    kv_demand_peak: Annotated[
        QuantityOut | None,
        Field(description="Memory for keys and values of the requests at the peak, per accelerator."),
    ] = None
    memory_need: Annotated[QuantityOut | None, Field(description="Memory needed at the peak, per accelerator.")] = None
    memory_available: Annotated[
        QuantityOut | None, Field(description="Memory the engine may use there, per accelerator.")
    ] = None
    binding: Annotated[Binding | None, Field(description="The resource that runs out first there.")] = None


class Basis(Wire):
    """The evidence behind the recommendation."""

    span: Annotated[SpanOut, Field(description="How much history was seen.")]
    samples: Annotated[int | None, Field(ge=0, le=1_000_000_000, description="Samples of history that were seen.")] = (
        None
    )
    coverage: Annotated[ShareOut, Field(description="Samples seen over samples expected in that span.")]
    tier: Annotated[
        Tier,
        Field(
            description="How much the evidence allows: `T0` never loaded; `T1` device metrics only, of an engine that "
            "preallocates; `T2` device metrics only, of one that does not; `T3` under 4 days; `T4` enough; `T5` 14 "
            "days "
            "and a fleet of peers."
        ),
    ]
    from_: Annotated[TimeOut | None, Field(alias="from", description="Begin of the history, RFC 3339.")] = None
    to: Annotated[TimeOut | None, Field(description="End of the history, RFC 3339.")] = None


class Recommendation(Wire):
    """What should be done, and why."""

    id: Annotated[
        str,
        Text(32, 1, r"^[a-z0-9]+$"),
        Field(description="Changes exactly when what would be done changes. An approval names it."),
    ]
    brief: Annotated[
        str | None,
        Text(128),
        Field(description="The recommendation in a word or two, as `kubectl get` shows it: `g6e.xlarge x1`, `Keep`."),
    ] = None
    action: Annotated[
        Action,
        Field(
            description="`Resize` (another class or number), `ScaleToZero`, `Tune` (engine limits on the same class), "
            "`Keep` (right as it is) or `Unknown` (what is missing stands in `reasons`)."
        ),
    ]
    confidence: Annotated[Certainty, Field(description="`High`, `Medium` or `Low`; the reasons say why.")]
    target: Annotated[Configuration | None, Field(description="What to run. Absent with `Keep` and `Unknown`.")] = None
    elastic: Annotated[
        Elastic | None,
        Field(
            description="Bounds for an autoscaler: part of the recommendation where one owns the replicas, else what "
            "would cost less than a fixed number. Absent: not known, or no gain."
        ),
    ] = None
    alternatives: Annotated[
        tuple[Alternative, ...],
        Field(
            max_length=8,
            json_schema_extra=list_atomic(),
            description="Configurations that also hold, cheapest first; one class may have no capacity.",
        ),
    ] = ()
    cost: Annotated[Cost | None, Field(description="What it costs, and what would be saved.")] = None
    risk: Annotated[Risk | None, Field(description="How likely it goes wrong.")] = None
    predicted: Annotated[
        Predicted | None, Field(description="What the recommended configuration would do at the peak.")
    ] = None
    reasons: Annotated[
        tuple[Sentence, ...],
        Field(
            max_length=16,
            json_schema_extra=list_atomic(),
            description="Why, most important first, with the numbers.",
        ),
    ] = ()
    rejected: Annotated[
        tuple[Rejected, ...],
        Field(
            max_length=8,
            json_schema_extra=list_atomic(),
            description="The nearest configurations that were ruled out, each with the one thing that rules it out.",
        ),
    ] = ()
    basis: Annotated[Basis | None, Field(description="The evidence behind it.")] = None
    expires_at: Annotated[
        TimeOut | None,
        Field(description="When the recommendation lapses unless it is confirmed by newer data, RFC 3339."),
    ] = None
