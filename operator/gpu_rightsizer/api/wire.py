"""What every API type is made of: frozen camelCase models, bounded texts, rules that the server and we enforce."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

JsonSchema = dict[str, Any]  # JSON has no narrower type

RULE_BROKEN = "rule_broken"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule said twice: as CEL for the API server and as a predicate for objects that were stored before it existed.

    `message` completes "the field ..." and says what is accepted. `field` is the CEL `fieldPath` that carries the
    error when it is not the object itself. A rule over `oldSelf` has no predicate: only the server sees both.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None = None
    field: str = ""

    def to_schema(self) -> JsonSchema:
        """The entry of `x-kubernetes-validations`."""
        return {"rule": self.cel, "message": self.message} | ({"fieldPath": self.field} if self.field else {})

    def check(self, value: Any) -> None:  # the predicate knows its own type
        """Raises the pydantic error that carries our message."""
        if self.holds is not None and not self.holds(value):
            raise PydanticCustomError(RULE_BROKEN, "{message}", {"message": self.message, "field": self.field})


def rules_schema(rules: tuple[Rule, ...]) -> JsonSchema:
    """The schema fragment of some rules; empty when there are none."""
    return {"x-kubernetes-validations": [rule.to_schema() for rule in rules]} if rules else {}


@dataclass(frozen=True, slots=True)
class Text:
    """Bounds of a string: metadata for `Annotated[str, Text(...)]`.

    With rules, a bad pattern is reported by the rule in words (the pattern stays in the schema for tools).
    """

    max_length: int
    min_length: int = 0
    pattern: str = ""
    rules: tuple[Rule, ...] = ()
    date_format: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Length first, then the rules, then the pattern."""
        bounded = core_schema.str_schema(min_length=self.min_length, max_length=self.max_length)
        ruled = core_schema.no_info_after_validator_function(self._ruled, bounded)
        patterned = core_schema.str_schema(pattern=self.pattern or None)
        text = core_schema.chain_schema([ruled, patterned])
        return core_schema.nullable_schema(text) if NoneType in get_args(source) else text

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        """Plain string keywords plus the CEL."""
        shape: JsonSchema = {"type": "string", "maxLength": self.max_length}
        optional = {"minLength": self.min_length, "pattern": self.pattern, "format": self.date_format}
        return shape | {key: value for key, value in optional.items() if value} | rules_schema(self.rules)

    def _ruled(self, value: str) -> str:
        for rule in self.rules:
            rule.check(value)
        return value


def _wire_name(field: str) -> str:
    """`hourly_usd` is `hourlyUSD` on the wire."""
    name = to_camel(field)
    return name[:-3] + "USD" if name.endswith("Usd") else name


def _add_rules(schema: JsonSchema, model: type[BaseModel]) -> None:
    if issubclass(model, Wire):
        schema.update(rules_schema(model.RULES))


class Wire(BaseModel):
    """Base of every API type: unknown fields are dropped on reading, strictness belongs to the API server."""

    model_config = ConfigDict(
        alias_generator=_wire_name, populate_by_name=True, extra="ignore", frozen=True, json_schema_extra=_add_rules
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _keeps_rules(self) -> Self:
        for rule in self.RULES:
            rule.check(self)
        return self

    def to_wire(self) -> dict[str, Any]:  # JSON
        """The object as the API server stores it: what is unknown is absent, and so are empty lists."""
        filled: dict[str, Any] = _filled(self.model_dump(mode="json", by_alias=True, exclude_none=True))
        return filled

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:  # JSON
        """The inverse of `to_wire`; raises pydantic's ValidationError (see `api.read` for words that help)."""
        return cls.model_validate(raw)


def _filled(value: Any) -> Any:
    """Without the empty lists inside. An empty object stays: a user who writes one means something by it."""
    if isinstance(value, dict):
        return {key: _filled(child) for key, child in value.items() if child != []}
    return [_filled(child) for child in value] if isinstance(value, list) else value


def list_set() -> JsonSchema:
    """Marks a list whose items are unique."""
    return {"x-kubernetes-list-type": "set"}


def list_atomic() -> JsonSchema:
    """Marks a list that is replaced as a whole."""
    return {"x-kubernetes-list-type": "atomic"}


def list_map(*keys: str) -> JsonSchema:
    """Marks a list whose items are merged by key."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
