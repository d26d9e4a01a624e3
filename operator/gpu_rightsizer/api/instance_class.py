"""InstanceClass: one kind of place a replica can run, with its accelerator, host and price."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gpu_rightsizer.api.conditions import Condition, Metadata, listed_conditions
from gpu_rightsizer.api.scalars import (
    Amount,
    Day,
    FreeText,
    Generation,
    LabelValue,
    NodeCount,
    Quantity,
    QuantityOut,
    Region,
    Share,
)
from gpu_rightsizer.api.wire import Rule, Text, Wire, list_atomic
from gpu_rightsizer.domain.hardware import Commitment, Provisionable

MIG_RESOURCE = "nvidia.com/mig-"


class TolerationOperator(StrEnum):
    """How a toleration is compared with a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Wire):
    """A toleration that a pod needs on these nodes."""

    key: Annotated[
        str, Text(317), Field(description="The taint's key, for example `nvidia.com/gpu`. When empty: every taint.")
    ] = ""
    operator: Annotated[
        TolerationOperator, Field(description="`Exists` (any value) or `Equal` (this `value`; the default).")
    ] = TolerationOperator.EQUAL
    value: Annotated[LabelValue, Field(description="The taint's value, with `Equal`. Empty by default.")] = ""
    effect: Annotated[
        TaintEffect | None, Field(description="The effect that is tolerated. When absent: every effect.")
    ] = None

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.operator != 'Exists' || !has(self.value) || self.value == ''",
            "`value` must be left out with `operator: Exists`",
            lambda toleration: toleration.operator != TolerationOperator.EXISTS or not toleration.value,
        ),
        Rule(
            "self.operator == 'Exists' || (has(self.key) && self.key != '')",
            "`key` must be given unless `operator` is `Exists`",
            lambda toleration: toleration.operator == TolerationOperator.EXISTS or bool(toleration.key),
        ),
    )


def _mig_agrees(accelerator: "AcceleratorSpec") -> bool:
    wanted = MIG_RESOURCE + accelerator.mig_profile.replace("+", ".")
    return not accelerator.resource.startswith(MIG_RESOURCE) or accelerator.resource == wanted


class AcceleratorSpec(Wire):
    """The accelerators of one node of this class."""

    product: Annotated[
        str,
        Text(63, 1),
        Field(
            description="Product name as the node label `nvidia.com/gpu.product` gives it, for example `NVIDIA-L40S`; "
            "bandwidth and arithmetic are looked up in the catalogue by it."
        ),
    ]
    resource: Annotated[
        str,
        Text(253, 1),
        Field(
            description="The extended resource a pod asks for: `nvidia.com/gpu` (the default), "
            "`nvidia.com/mig-1g.10gb` "
            "or `aws.amazon.com/neuron`."
        ),
    ] = "nvidia.com/gpu"
    count: Annotated[
        int, Field(ge=1, le=1024, description="How many of the resource one node offers, 1 to 1024, for example `8`.")
    ]
    memory: Annotated[
        Quantity | None,
        Field(
            description="Memory of one accelerator (or MIG slice) as the driver reports it, not as marketed: `46068Mi` "
            "for a 48 GB L40S. When absent: the catalogue's figure for the product."
        ),
    ] = None
    mig_profile: Annotated[
        str,
        Text(32, 0, r"^([0-9]g\.[0-9]+gb(\+[a-z.]+)?)?$"),
        Field(description="MIG profile of the slices, for example `1g.10gb`. Empty (the default): whole accelerators."),
    ] = ""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!self.resource.startsWith('nvidia.com/mig-') || self.resource == 'nvidia.com/mig-' + "
            "self.migProfile.replace('+', '.')",
            "`migProfile` must name the profile of `resource`, for example `1g.10gb` with `nvidia.com/mig-1g.10gb`",
            _mig_agrees,
            ".migProfile",
        ),
    )


class HostSpec(Wire):
    """The machine around the accelerators, as a node reports its capacity."""

    cpu: Annotated[Quantity, Field(description='CPU of one node, in cores, for example `"4"`.')]
    memory: Annotated[Quantity, Field(description="Memory of one node, for example `32Gi`.")]
    ephemeral_storage: Annotated[
        Quantity | None,
        Field(description="Local disk for images and scratch, for example `250Gi`. When absent: not checked."),
    ] = None
    architecture: Annotated[
        Literal["amd64", "arm64"],
        Field(
            description="CPU architecture as `kubernetes.io/arch` gives it: `amd64` (the default) or `arm64`. Images "
            "built for the other one do not start there."
        ),
    ] = "amd64"


class PriceSpec(Wire):
    """What one node costs."""

    hourly_usd: Annotated[
        Amount,
        Field(
            description='USD per hour of one node, for example `"1.861"`. For your own hardware: purchase and power, '
            "spread over its life."
        ),
    ]
    commitment: Annotated[
        Commitment,
        Field(
            description="What the price buys: `OnDemand` (the default), `Reserved`, `Spot` or `Owned`. Compared with "
            "`placement.capacityTypes`."
        ),
    ] = Commitment.ON_DEMAND
    overhead: Annotated[
        Share,
        Field(
            description="What invoices add for network, storage and support, as a share of the price, for example "
            "`25%`. "
            "Default `0%`."
        ),
    ] = "0%"
    as_of: Annotated[
        Day | None,
        Field(description="The day the price was read, for example `2026-07-20`. When absent: not stated."),
    ] = None
    source: Annotated[
        FreeText | None,
        Field(description="Where the price was read, for example a contract number. When absent: not stated."),
    ] = None


class InstanceClassSpec(Wire):
    """The nodes, their accelerators and their price."""

    node_selector: Annotated[
        dict[str, LabelValue],
        Field(
            min_length=1,
            max_length=16,
            description="Labels that nodes of this class carry, for example `{node.kubernetes.io/instance-type: "
            "g6e.xlarge}`; pods placed there select by them.",
        ),
    ]
    tolerations: Annotated[
        tuple[Toleration, ...],
        Field(
            max_length=16,
            json_schema_extra=list_atomic(),
            description="Tolerations that a pod needs to run there. When absent: none.",
        ),
    ] = ()
    accelerator: Annotated[AcceleratorSpec, Field(description="The accelerators of one node.")]
    host: Annotated[
        HostSpec | None,
        Field(
            description="CPU, memory and disk of one node. When absent: the allocatable of such a node, else the "
            "catalogue's figures; where neither is known, the class is not proposed."
        ),
    ] = None
    region: Annotated[
        Region | None,
        Field(
            description="Region of the nodes, for example `us-east-1`. When absent: the nodes' label "
            "`topology.kubernetes.io/region`."
        ),
    ] = None
    price: Annotated[
        PriceSpec | None,
        Field(
            description="What one node costs. When absent: the catalogue's price for the instance type; where there is "
            "none, the class is not proposed, since no saving can be stated."
        ),
    ] = None


class InstanceClassStatus(Wire):
    """What was found about the class in this cluster."""

    observed_generation: Annotated[
        Generation | None, Field(description="The `metadata.generation` that this status is about.")
    ] = None
    nodes: Annotated[NodeCount | None, Field(description="Nodes of this class now. Absent: not counted yet.")] = None
    allocatable: Annotated[
        dict[str, QuantityOut],
        Field(
            max_length=32,
            description="What pods can use of one such node, by resource, after the system's and DaemonSets' share.",
        ),
    ] = Field(default_factory=dict)
    provisionable: Annotated[
        Provisionable | None,
        Field(
            description='`"Yes"`: nodes of it exist or have been had; `"No"`: known not to work, the condition says '
            "why; `Unknown`: never seen here."
        ),
    ] = None
    conditions: Annotated[
        tuple[Condition, ...],
        listed_conditions(
            "What holds about the class, one entry a type. `Ready` is `False` when it cannot be used; the "
            "message names the field."
        ),
    ] = ()


class InstanceClass(Wire):
    """An InstanceClass is one kind of place a replica can run: nodes, accelerators, host and price.

    A declared one wins over those found on nodes, which win over the built-in catalogue.
    """

    metadata: Metadata
    spec: Annotated[InstanceClassSpec, Field(description="The nodes, their accelerators and their price.")]
    status: Annotated[
        InstanceClassStatus,
        Field(description="What was found in this cluster. Written by an operator that serves all of it."),
    ] = InstanceClassStatus()
