"""metav1.Condition and object metadata, as far as we read them."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from gpu_rightsizer.api.scalars import Generation, TimeOut
from gpu_rightsizer.api.wire import Text, Wire, list_map


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Wire):
    """One aspect of the state, as every Kubernetes API reports it."""

    type: Annotated[
        str,
        Text(316, 1, r"^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$"),
        Field(description="What the condition is about, for example `Ready`. One entry for each type."),
    ]
    status: Annotated[
        ConditionStatus, Field(description="`True`, `False` or `Unknown`. Unknown is never a silent False.")
    ]
    observed_generation: Annotated[
        Generation | None,
        Field(description="The `metadata.generation` that was judged; older than the object's means not judged yet."),
    ] = None
    last_transition_time: Annotated[TimeOut, Field(description="When `status` last changed, RFC 3339.")]
    reason: Annotated[
        str,
        Text(1024, 1, r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
        Field(description="One CamelCase word for programs; each is documented in `docs/reference/reasons.md`."),
    ]
    message: Annotated[
        str, Text(32768), Field(description="A sentence for people: what is so, and what can be done about it.")
    ]


def listed_conditions(description: str) -> Any:  # as pydantic's Field
    """The field of a status that lists its conditions, at most eight."""
    return Field(max_length=8, json_schema_extra=list_map("type"), description=description)


class Metadata(Wire):
    """The part of an object's metadata that we use. Not part of any schema: the API server owns it."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
