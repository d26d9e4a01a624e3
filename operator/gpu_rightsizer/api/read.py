"""From what the API server stores to the models, with words that name field and fix, keeping what can be kept.

An object may have been stored under an older, looser schema, or by an operator of another version. A spec that does
not hold is refused whole (`InvalidSpec`); of a status, the parts that can be read are kept and the rest is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from pydantic import ValidationError
from typing_extensions import override

from gpu_rightsizer.api.inference_deployment import InferenceDeployment
from gpu_rightsizer.api.instance_class import InstanceClass
from gpu_rightsizer.api.policy import RightsizingPolicy
from gpu_rightsizer.api.wire import RULE_BROKEN, JsonSchema, Wire

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=Wire)
Location = tuple[int | str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One field that does not hold. `field` is its path (`spec.slo.horizon`), `fix` says what is accepted."""

    field: str
    fix: str

    @override
    def __str__(self) -> str:
        """For a condition's message."""
        return f"`{self.field}` {self.fix}" if not self.fix.startswith("`") else f"`{self.field}`: {self.fix}"


class InvalidSpec(ValueError):
    """An object whose spec cannot be worked with; `problems` are sorted by field."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("; ".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Stored(Generic[M]):
    """An object as stored. `lost` names the parts of its status that could not be read; lost state makes us careful."""

    object: M
    lost: tuple[Problem, ...] = ()


def read_inference_deployment(raw: Mapping[str, Any]) -> Stored[InferenceDeployment]:
    """Raises InvalidSpec."""
    return _read(InferenceDeployment, raw)


def read_instance_class(raw: Mapping[str, Any]) -> Stored[InstanceClass]:
    """Raises InvalidSpec."""
    return _read(InstanceClass, raw)


def read_policy(raw: Mapping[str, Any]) -> Stored[RightsizingPolicy]:
    """Raises InvalidSpec."""
    return _read(RightsizingPolicy, raw)


def _read(model: type[M], raw: Mapping[str, Any]) -> Stored[M]:
    try:
        return Stored(model.from_wire(raw))
    except ValidationError as error:
        errors = _own_errors(error.errors(include_url=False))
    invalid = [_problem(each) for each in errors if each["loc"][:1] != ("status",)]
    if invalid:
        raise InvalidSpec(invalid)
    kept = dict(raw) | {"status": _without(raw["status"], [each["loc"][1:] for each in errors])}
    lost = sorted({_problem(each) for each in errors})
    return Stored(model.from_wire(kept), tuple(lost))


def _own_errors(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Less the complaint that a list is too short where only its entries are broken."""
    parents = {error["loc"][:-1] for error in errors}
    return [error for error in errors if error["type"] != "too_short" or error["loc"] not in parents]


def _without(status: Any, locations: Sequence[Location]) -> JsonSchema:
    """The status less its broken parts: the entry of a list where one entry is broken, else the whole field."""
    if not isinstance(status, Mapping):
        return {}
    kept = dict(status)
    for name in {str(location[0]) for location in locations if location}:
        inside = [location[1:] for location in locations if location[:1] == (name,)]
        entries = {rest[0] for rest in inside if rest}
        if isinstance(kept.get(name), list) and all(rest for rest in inside):
            kept[name] = [entry for index, entry in enumerate(kept[name]) if index not in entries]
        else:
            kept.pop(name, None)
    return kept


def _problem(error: ErrorDetails) -> Problem:
    context: Mapping[str, Any] = error.get("ctx", {})
    suffix = str(context.get("field", "")) if error["type"] == RULE_BROKEN else ""
    words = _WORDS.get(error["type"])
    return Problem(_path(error["loc"]) + suffix, words(context) if words else error["msg"])


def _path(location: Location) -> str:
    """`("spec", "regions", 0)` as `spec.regions[0]`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def _one_of(context: Mapping[str, Any]) -> str:
    return "must be one of " + str(context["expected"]).replace("'", "`").replace(" or ", ", ")


_WORDS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    RULE_BROKEN: lambda context: str(context["message"]),
    "value_error": lambda context: str(context["error"]),
    "missing": lambda _: "must be given",
    "enum": _one_of,
    "literal_error": _one_of,
    "string_type": lambda _: "must be a string; put it in quotes",
    "string_too_short": lambda _: "may not be empty",
    "string_too_long": lambda context: f"may have at most {context['max_length']} characters",
    "string_pattern_mismatch": lambda context: f"must match `{context['pattern']}`",
    "too_short": lambda context: f"must hold at least {context['min_length']} entries",
    "too_long": lambda context: f"may hold at most {context['max_length']} entries",
    "greater_than_equal": lambda context: f"must be greater than or equal to {context['ge']}",
    "less_than_equal": lambda context: f"must be less than or equal to {context['le']}",
    "int_type": lambda _: "must be a whole number",
    "int_parsing": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "model_type": lambda _: "must be an object",
    "model_attributes_type": lambda _: "must be an object",
    "dict_type": lambda _: "must be an object",
    "tuple_type": lambda _: "must be a list",
}
