"""From a pydantic model to the structural schema that a CustomResourceDefinition takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydantic import BaseModel

    from gpu_rightsizer.api.wire import JsonSchema

# What Kubernetes takes, in the order a reader wants it. Everything else (`title`, `$defs`, `propertyNames`) is dropped.
_KEYWORDS: Final = (
    "description",
    "type",
    "format",
    "enum",
    "default",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
    "properties",
    "additionalProperties",
    "items",
)
_WRAPPERS: Final = frozenset({"$ref", "anyOf"})
_RULES: Final = "x-kubernetes-validations"


def structural(model: type[BaseModel]) -> JsonSchema:
    """The schema with references put in place, optional fields without `null`, and only keywords Kubernetes knows."""
    root = model.model_json_schema(by_alias=True, mode="validation")
    return _walk(root, root.get("$defs", {}))


def _walk(node: JsonSchema, definitions: JsonSchema) -> JsonSchema:
    node = _resolved(node, definitions)
    if "const" in node:
        node["enum"] = [node["const"]]
    if node.get("default", ...) in (None, []):
        del node["default"]  # absent and empty mean the same
    if "properties" in node:
        node["properties"] = {name: _walk(child, definitions) for name, child in node["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            node[key] = _without_description(_walk(node[key], definitions))
    return {key: node[key] for key in _KEYWORDS if key in node}


def _resolved(node: JsonSchema, definitions: JsonSchema) -> JsonSchema:
    """A copy with its reference, or its one branch that is not null, put in place; what stands beside it wins."""
    wrapped: list[JsonSchema] = [{"$ref": node["$ref"]}] if "$ref" in node else node.get("anyOf") or []
    branches = [branch for branch in wrapped if branch.get("type") != "null"]
    if not branches:
        return dict(node)
    if len(branches) > 1:
        raise ValueError(f"a structural schema has one type for each field, not {branches}")
    inner = branches[0]
    if "$ref" in inner:
        inner = definitions[inner["$ref"].rsplit("/", 1)[-1]]
    inner = _resolved(inner, definitions)
    beside = {key: value for key, value in node.items() if key not in _WRAPPERS}
    rules = [*inner.get(_RULES, []), *beside.get(_RULES, [])]
    return inner | beside | ({_RULES: rules} if rules else {})


def _without_description(node: JsonSchema) -> JsonSchema:
    """List items and map values are described by the field that holds them."""
    return {key: value for key, value in node.items() if key != "description"}
