"""RightsizingPolicy: guard rails for the namespaces it selects."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from gpu_rightsizer.api.conditions import Condition, Metadata, listed_conditions
from gpu_rightsizer.api.objective import ClassGlobs, Placement, Slo
from gpu_rightsizer.api.scalars import Generation, LabelValue, Region
from gpu_rightsizer.api.wire import Rule, Text, Wire, list_atomic, list_set
from gpu_rightsizer.domain.workload import Mode

LabelKey = Annotated[str, Text(317, 1)]


class SelectorOperator(StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


_WITH_VALUES = frozenset({SelectorOperator.IN, SelectorOperator.NOT_IN})


class SelectorRequirement(Wire):
    """One requirement on a label."""

    key: Annotated[LabelKey, Field(description="The label, for example `team`.")]
    operator: Annotated[
        SelectorOperator,
        Field(description="`In` or `NotIn` one of `values`; `Exists` or `DoesNotExist`, which take no values."),
    ]
    values: Annotated[
        tuple[LabelValue, ...],
        Field(
            max_length=16,
            json_schema_extra=list_atomic(),
            description="The values for `In` and `NotIn`, for example `[chat, search]`. When absent: none.",
        ),
    ] = ()

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            "`values` must be given with `In` and `NotIn`, and may not be given with `Exists` and `DoesNotExist`",
            lambda requirement: (requirement.operator in _WITH_VALUES) == bool(requirement.values),
        ),
    )


class LabelSelector(Wire):
    """Which namespaces, by their labels. All requirements have to hold; none selects every namespace."""

    match_labels: Annotated[
        dict[str, LabelValue],
        Field(
            max_length=16,
            description="Labels and the values they have to carry, for example `{team: chat}`. When absent: none.",
        ),
    ] = Field(default_factory=dict)
    match_expressions: Annotated[
        tuple[SelectorRequirement, ...],
        Field(
            max_length=16,
            json_schema_extra=list_atomic(),
            description="Further requirements on labels, for example that `env` is not in `[test]`. When absent: none.",
        ),
    ] = ()


class Defaults(Wire):
    """Defaults for InferenceDeployments that do not say."""

    slo: Annotated[
        Slo | None,
        Field(description="Defaults for the fields of `spec.slo` that an InferenceDeployment leaves out."),
    ] = None
    placement: Annotated[
        Placement | None,
        Field(description="Defaults for the fields of `spec.placement` that an InferenceDeployment leaves out."),
    ] = None


class RightsizingPolicySpec(Wire):
    """Which namespaces, and what holds in them."""

    namespace_selector: Annotated[
        LabelSelector,
        Field(
            description="The namespaces this policy holds for, by their labels. When absent or empty: every namespace.",
            json_schema_extra={"default": {}},
        ),
    ] = LabelSelector()
    max_mode: Annotated[
        Mode,
        Field(
            description='The most that any InferenceDeployment there may ask for: `"Off"` (in quotes) stops them all, '
            "`Recommend` (the default) allows recommendations."
        ),
    ] = Mode.RECOMMEND
    instance_classes: Annotated[
        ClassGlobs | None,
        Field(
            description="Narrows the classes that may be proposed there, whatever the InferenceDeployment allows. "
            "When absent: not narrowed."
        ),
    ] = None
    regions: Annotated[
        tuple[Region, ...] | None,
        Field(
            max_length=16,
            min_length=1,
            json_schema_extra=list_set(),
            description="No class outside these regions is proposed there, whatever the InferenceDeployment allows; "
            "for example `[eu-central-1]`. When absent: not narrowed.",
        ),
    ] = None
    defaults: Annotated[
        Defaults | None,
        Field(
            description="Defaults for fields that InferenceDeployments there leave out; of several policies the most "
            "cautious value counts. When absent: the built-in defaults."
        ),
    ] = None


class RightsizingPolicyStatus(Wire):
    """Whether the policy is in use, and for how much."""

    observed_generation: Annotated[
        Generation | None, Field(description="The `metadata.generation` that this status is about.")
    ] = None
    deployments: Annotated[
        int | None,
        Field(
            ge=0,
            le=1_000_000,
            description="InferenceDeployments in the namespaces it selects now. Absent: not known.",
        ),
    ] = None
    conditions: Annotated[
        tuple[Condition, ...],
        listed_conditions(
            "What holds about the policy, one entry a type. `Ready` is `False` when it cannot be read: "
            "then nothing is recommended in the namespaces it may select."
        ),
    ] = ()


class RightsizingPolicy(Wire):
    """A RightsizingPolicy holds guard rails for the InferenceDeployments of the namespaces it selects.

    Where several select the same namespace, the most restrictive wins.
    """

    metadata: Metadata
    spec: Annotated[
        RightsizingPolicySpec, Field(description="The namespaces and the guard rails that hold there. Written by you.")
    ]
    status: Annotated[
        RightsizingPolicyStatus,
        Field(description="Whether it is in use. Written by an operator that serves the whole cluster."),
    ] = RightsizingPolicyStatus()
