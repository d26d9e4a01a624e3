"""Walks a generated schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpu_rightsizer.api.crd import Kind, crd

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema = dict[str, Any]  # JSON
Node = tuple[str, Schema]

_NOT_OURS = (".metadata", ".apiVersion", ".kind")


def root(kind: Kind) -> Schema:
    """The schema of the whole object."""
    schema: Schema = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def fields(kind: Kind) -> Iterator[Node]:
    """Every field but those that the API server owns, with its path; `[]` is a list's item, `{}` a map's value."""
    return ((path, node) for path, node in _below(root(kind), "") if path not in _NOT_OURS)


def is_item(path: str) -> bool:
    """An item or a value, not a field with a name of its own."""
    return path.endswith(("[]", "{}"))


def is_required(kind: Kind, path: str) -> bool:
    """Whether the object that holds the field cannot be without it."""
    parent, _, name = path.rpartition(".")
    return name in dict(_below(root(kind), "")).get(parent, {}).get("required", [])


def _below(schema: Schema, path: str) -> Iterator[Node]:
    for name, child in schema.get("properties", {}).items():
        yield from _within(child, f"{path}.{name}")


def _within(schema: Schema, path: str) -> Iterator[Node]:
    yield path, schema
    yield from _below(schema, path)
    if "items" in schema:
        yield from _within(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _within(schema["additionalProperties"], f"{path}{{}}")
