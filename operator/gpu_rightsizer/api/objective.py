"""What a user asks of a placement: objective, risk, and the classes that may be proposed. Policies share it."""

from typing import Annotated, ClassVar

from pydantic import Field

from gpu_rightsizer.api.scalars import Amount, Duration, Glob, Region, Share
from gpu_rightsizer.api.wire import Rule, Wire, list_set
from gpu_rightsizer.domain.hardware import Commitment


class Percentiles(Wire):
    """Limits on percentiles of a latency."""

    p95: Annotated[
        Duration,
        Field(
            description="Limit on the 95th percentile, for example `75ms` or `1s`. A limit that is a bucket edge of "
            "the "
            "engine's histogram is judged exactly, any other by the next higher edge."
        ),
    ]


class Slo(Wire):
    """The service objective and the out-of-memory risk."""

    ttft: Annotated[
        Percentiles | None,
        Field(
            description="Time from a request's arrival to its first token. When absent: the policy's default, else "
            "p95 of 2s."
        ),
    ] = None
    tpot: Annotated[
        Percentiles | None,
        Field(
            description="Time per output token of a request after the first; inter-token latency where the engine "
            "exports only that, and the recommendation says so. When absent: the policy's default, else p95 of 100ms."
        ),
    ] = None
    attainment: Annotated[
        Share | None,
        Field(
            description="Share of 10-minute windows with at least 20 finished requests in which every latency limit "
            "has "
            "to hold, for example `99.9%`. When absent: the policy's default, else 99.9%."
        ),
    ] = None
    max_oom_risk: Annotated[
        Share | None,
        Field(
            description="How much probability of running out of memory within `horizon` a change may add to what the "
            "workload already has, for example `1%`; `0%` allows none. Both absolute risks are always shown. When "
            "absent: the policy's default, else 1%."
        ),
    ] = None
    horizon: Annotated[
        Duration | None,
        Field(
            description="The time over which the risk is counted, for example `30d`. When absent: the policy's "
            "default, "
            "else 30d."
        ),
    ] = None
    oom_cost: Annotated[
        Amount | None,
        Field(
            description='What one out-of-memory costs you, in USD, for example `"2000"`: lost requests, credits and '
            "engineers' hours. It is weighed against the saving. When absent: the policy's default, else 2000."
        ),
    ] = None

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.attainment) || self.attainment.matches('[1-9]')",
            "`attainment` must be greater than `0%`, for example `99.9%`",
            lambda slo: slo.attainment is None or any(digit in slo.attainment for digit in "123456789"),
            ".attainment",
        ),
    )


class ClassGlobs(Wire):
    """Which instance classes may be proposed, by name."""

    include: Annotated[
        tuple[Glob, ...],
        Field(
            max_length=32,
            json_schema_extra=list_set(),
            description="Names or globs (`*` any characters, `?` one) of InstanceClasses that may be proposed, for "
            "example `g6e.*`. When absent or empty: every class.",
        ),
    ] = ()
    exclude: Annotated[
        tuple[Glob, ...],
        Field(
            max_length=32,
            json_schema_extra=list_set(),
            description="Names or globs of InstanceClasses that are never proposed, for example `*.metal`. They win "
            "over `include`. When absent: none.",
        ),
    ] = ()

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.exclude) || !('*' in self.exclude)",
            '`exclude` may not hold `*`, which would leave no class; use `mode: "Off"` to stop recommendations',
            lambda globs: "*" not in globs.exclude,
            ".exclude",
        ),
        Rule(
            "!has(self.include) || !has(self.exclude) || !self.include.exists(glob, glob in self.exclude)",
            "`include` and `exclude` may not hold the same entry; remove it from one of them",
            lambda globs: not set(globs.include) & set(globs.exclude),
        ),
    )


class ReplicaBounds(Wire):
    """How many replicas may be proposed."""

    min: Annotated[
        int | None,
        Field(
            ge=1,
            le=1000,
            description="The fewest replicas that may be proposed, 1 to 1000, for example `2` for availability. "
            "When absent: the number that runs now is kept as the lower bound.",
        ),
    ] = None
    max: Annotated[
        int | None,
        Field(
            ge=1,
            le=1000,
            description="The most replicas that may be proposed, 1 to 1000, for example `8`. When absent: the number "
            "that runs now is kept as the upper bound.",
        ),
    ] = None

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.min) || !has(self.max) || self.min <= self.max",
            "`min` must be less than or equal to `max`",
            lambda bounds: bounds.min is None or bounds.max is None or bounds.min <= bounds.max,
        ),
    )


class Placement(Wire):
    """Which places may be proposed."""

    instance_classes: Annotated[
        ClassGlobs | None,
        Field(
            description="Narrows the InstanceClasses that may be proposed. When absent: the policy's default, else "
            "every class; a policy may narrow them further."
        ),
    ] = None
    regions: Annotated[
        tuple[Region, ...] | None,
        Field(
            max_length=16,
            min_length=1,
            json_schema_extra=list_set(),
            description="Data residency: no class outside these regions is ever proposed, for example `us-east-1`. "
            "When absent: the policy's default, else the region it runs in, or any where that is not known.",
        ),
    ] = None
    capacity_types: Annotated[
        tuple[Commitment, ...] | None,
        Field(
            max_length=4,
            min_length=1,
            json_schema_extra=list_set(),
            description="Kinds of capacity that may be proposed: `OnDemand`, `Reserved`, `Owned` and `Spot` (can be "
            "taken away at short notice; proposed only when listed). When absent: the policy's default, else OnDemand, "
            "Reserved and Owned.",
        ),
    ] = None
    replicas: Annotated[
        ReplicaBounds | None,
        Field(
            description="Bounds of the replica count that may be proposed. When absent: the policy's default, else the "
            "count is kept."
        ),
    ] = None
