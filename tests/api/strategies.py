"""Hypothesis strategies made from the generated schemas: any document that the structural schema allows."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from gpu_rightsizer.api import scalars

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

Schema = dict[str, Any]  # JSON

# A rule narrows its pattern: texts that keep both, by the CEL of the rule.
_KEEPING: Mapping[str, str] = {
    scalars.DURATION.cel: r"([1-9][0-9]{0,2}d)?[1-9][0-9]{0,3}(h|m|s|ms)",
    scalars.SHARE.cel: r"[1-9][0-9]?(\.[0-9]{1,2})?%",
    scalars.AMOUNT.cel: r"[0-9]{1,8}(\.[0-9]{1,4})?",
    scalars.COUNT.cel: r"[1-9][0-9]{0,3}(\.[0-9]{1,2})?[KMBT]?",
    scalars.POSITIVE_QUANTITY.cel: r"[1-9][0-9]{0,5}(\.[0-9]{1,3})?(m|k|M|G|Ki|Mi|Gi|Ti)?",
    scalars.GLOB.cel: r"[a-z][a-z0-9.*?-]{0,20}",
}
_KEYS = st.text(string.ascii_lowercase + "./-", min_size=1, max_size=20)


def documents(schema: Schema) -> st.SearchStrategy[Any]:
    """Values of a schema. Rules across fields are not kept: filter or repair where they matter."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return _BY_TYPE[schema["type"]](schema)


def _texts(schema: Schema) -> st.SearchStrategy[str]:
    rules = [_KEEPING[rule["rule"]] for rule in schema.get("x-kubernetes-validations", [])]
    if rules:
        return st.from_regex(rules[0], fullmatch=True)
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda moment: moment.isoformat(timespec="seconds") + "Z")
    if schema.get("format") == "date":
        return st.dates().map(lambda day: day.isoformat())
    if "pattern" in schema:
        bounded = st.from_regex(schema["pattern"].removesuffix("$") + r"\Z")
        return bounded.filter(lambda text: schema.get("minLength", 0) <= len(text) <= schema["maxLength"])
    return st.text(min_size=schema.get("minLength", 0), max_size=min(schema["maxLength"], 30))


def _lists(schema: Schema) -> st.SearchStrategy[list[Any]]:
    keys = schema.get("x-kubernetes-list-map-keys", [])
    unique_by: Callable[[Any], Hashable] | None = (lambda item: tuple(item[key] for key in keys)) if keys else None
    if schema["x-kubernetes-list-type"] == "set":
        unique_by = str
    most = min(schema["maxItems"], 3)
    return st.lists(documents(schema["items"]), min_size=schema.get("minItems", 0), max_size=most, unique_by=unique_by)


def _integers(schema: Schema) -> st.SearchStrategy[int]:
    return st.integers(schema["minimum"], schema["maximum"])


def _objects(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    if "additionalProperties" in schema:
        value = documents(schema["additionalProperties"])
        return st.dictionaries(_KEYS, value, min_size=schema.get("minProperties", 0), max_size=3)
    required = schema.get("required", [])
    fields = {name: documents(child) for name, child in schema["properties"].items()}
    return st.fixed_dictionaries(
        {name: fields[name] for name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )


_BY_TYPE: Mapping[str, Callable[[Schema], st.SearchStrategy[Any]]] = {
    "string": _texts,
    "integer": _integers,
    "array": _lists,
    "object": _objects,
}
