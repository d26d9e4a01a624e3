"""InferenceDeployment: one inference workload that exists, what may be done about it, and what was found."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gpu_rightsizer.api.conditions import Metadata
from gpu_rightsizer.api.objective import Placement, Slo
from gpu_rightsizer.api.scalars import ContainerName, Duration, ObjectName, ParameterCount
from gpu_rightsizer.api.status import InferenceDeploymentStatus
from gpu_rightsizer.api.wire import Rule, Text, Wire
from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.domain.workload import Mode


class TargetRef(Wire):
    """The workload, in the same namespace."""

    api_version: Annotated[
        Literal["apps/v1"], Field(description="API version of the workload: `apps/v1`, which is also the default.")
    ] = "apps/v1"
    kind: Annotated[
        Literal["Deployment", "StatefulSet"],
        Field(
            description="Kind of the workload: `Deployment` (the default) or `StatefulSet`. It cannot be changed: "
            "another workload is another InferenceDeployment."
        ),
    ] = "Deployment"
    name: Annotated[
        ObjectName,
        Field(
            description="Name of the workload in this namespace, for example `llama-8b`. It may be created later; "
            "until "
            "then the condition `Observed` says that it is not there. It cannot be changed."
        ),
    ]
    container: Annotated[
        ContainerName | None,
        Field(
            description="The container that runs the engine, for example `vllm`. When absent: the only container that "
            "asks for accelerators."
        ),
    ] = None

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.kind == oldSelf.kind",
            "`targetRef.kind` may not change; create another InferenceDeployment for the other workload",
            field=".kind",
        ),
        Rule(
            "self.name == oldSelf.name",
            "`targetRef.name` may not change; create another InferenceDeployment for the other workload",
            field=".name",
        ),
    )


class Engine(Wire):
    """The inference engine."""

    type: Annotated[
        EngineType | None,
        Field(
            description="Which engine serves the model. It decides which metrics are read and whether the engine takes "
            "its memory in advance (then the memory in use says nothing about need). When absent: detected from image, "
            "arguments and metrics. Set it where detection is wrong."
        ),
    ] = None


class Model(Wire):
    """The model, where detection needs help."""

    name: Annotated[
        str | None,
        Text(253, 1),
        Field(
            description="Name of the model, for example `meta-llama/Llama-3.1-8B-Instruct`; its architecture is looked "
            "up in the catalogue. When absent: read from the engine's arguments, environment and metrics."
        ),
    ] = None
    parameters: Annotated[
        ParameterCount | None,
        Field(
            description="Number of parameters with `K`, `M`, `B` or `T`, for example `8.03B`. When absent: the "
            "catalogue's figure for `name`."
        ),
    ] = None
    weight_dtype: Annotated[
        WeightDtype | None,
        Field(
            description="Number format of the stored weights, for example `bfloat16` (2 bytes a parameter) or `fp8` "
            "(1 byte). When absent: read from the arguments, else the model's published format."
        ),
    ] = None
    max_context_length: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000_000,
            description="The longest request you serve, prompt and answer together, in tokens, for example `32768`. "
            "When "
            "absent: the engine's own limit, else the model's.",
        ),
    ] = None


class ScaleToZero(Wire):
    """Whether running no replica is advised while nobody asks."""

    mode: Annotated[
        Mode,
        Field(
            description="`Recommend` (the default): a workload proven idle gets the advice, with its saving and with "
            'what would have to wake it. `"Off"` (in quotes): it is never advised. Never above `spec.mode`.'
        ),
    ] = Mode.RECOMMEND
    idle_after: Annotated[
        Duration,
        Field(
            description="How long no request may have arrived before the workload counts as idle, for example `30m`, "
            "which is also the default. Missing metrics never count as idle."
        ),
    ] = "30m"
    cold_start: Annotated[
        Duration,
        Field(
            description="How long a start from zero takes until the first token: a node, the image, loading the "
            "weights; "
            "for example `90s`. It is what the first caller waits. Default `5m`."
        ),
    ] = "5m"


class InferenceDeploymentSpec(Wire):
    """What is to be judged, and by which rules."""

    target_ref: Annotated[
        TargetRef,
        Field(
            description="The workload that serves the model, in the same namespace. It needs no change of its own "
            "manifest."
        ),
    ]
    mode: Annotated[
        Mode,
        Field(
            description="What the operator may do. `Recommend` (the default): it writes what it would do into the "
            "status "
            'and annotations of this object, and changes nothing else. `"Off"` (in quotes, since YAML takes a bare '
            "Off for `false`): it does not look at the workload."
        ),
    ] = Mode.RECOMMEND
    engine: Annotated[
        Engine | None, Field(description="Facts about the inference engine. When absent: all detected.")
    ] = None
    model: Annotated[
        Model | None, Field(description="Facts about the model. Every field is optional; what is absent is detected.")
    ] = None
    slo: Annotated[
        Slo | None,
        Field(
            description="The service objective that a proposed class has to keep, and the risk that it may add. It is "
            "judged in 10-minute windows with at least 20 finished requests; a window over a limit is a violation. "
            "When "
            "absent: the policy's defaults, else the built-in ones."
        ),
    ] = None
    placement: Annotated[
        Placement | None,
        Field(description="Where the workload may be placed. When absent: the policy's defaults, else any class."),
    ] = None
    scale_to_zero: Annotated[
        ScaleToZero,
        Field(
            description="Advice to run nothing while nobody asks. When absent: `Recommend` after 30m of proven "
            "idleness.",
            json_schema_extra={"default": {}},
        ),
    ] = ScaleToZero()


class InferenceDeployment(Wire):
    """An InferenceDeployment names one inference workload that exists, as a HorizontalPodAutoscaler does.

    The operator measures what the workload needs and recommends the cheapest instance class that holds it, with the
    risk stated.
    """

    metadata: Metadata
    spec: Annotated[
        InferenceDeploymentSpec, Field(description="The workload and the rules it is judged by. Written by you.")
    ]
    status: Annotated[
        InferenceDeploymentStatus,
        Field(description="What was observed and what is recommended. Written by the operator."),
    ] = InferenceDeploymentStatus()
