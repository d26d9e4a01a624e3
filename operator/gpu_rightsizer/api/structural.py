"""From a pydantic model to the structural schema that a CustomResourceDefinition takes."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel

from gpu_rightsizer.api.wire import JsonSchema

_DROPPED: Final = frozenset({"title", "$defs", "$ref", "anyOf", "allOf", "const", "propertyNames"})
_RENAMED: Final = {"minProperties": "minProperties", "maxProperties": "maxProperties"}


def structural(model: type[BaseModel]) -> JsonSchema:
    """The schema with references put in place, optional fields without `null`, and only keywords Kubernetes knows."""
    root = model.model_json_schema(by_alias=True, mode="validation")
    return _walk(root, root.get("$defs", {}))


def _walk(node: JsonSchema, definitions: JsonSchema) -> JsonSchema:
    node = _resolved(node, definitions)
    out = {key: value for key, value in node.items() if key not in _DROPPED}
    if out.get("default", "") is None or out.get("additionalProperties") is False:
        out = {key: value for key, value in out.items() if value is not None and value is not False}
    if "const" in node:
        out["enum"] = [node["const"]]
    if "properties" in out:
        out["properties"] = {name: _walk(child, definitions) for name, child in out["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = _without_description(_walk(out[key], definitions))
    return out


def _resolved(node: JsonSchema, definitions: JsonSchema) -> JsonSchema:
    """Inlines a reference or the one branch that is not null; what stands beside it wins."""
    branches = [node] if "$ref" in node else node.get("anyOf", node.get("allOf", []))
    branches = [branch for branch in branches if branch.get("type") != "null"]
    if not branches:
        return node
    if len(branches) > 1:
        raise ValueError(f"a structural schema has one type for each field, not {branches}")
    beside = {key: value for key, value in node.items() if key not in {"$ref", "anyOf", "allOf"}}
    inner = branches[0]
    if "$ref" in inner:
        inner = definitions[inner["$ref"].rsplit("/", 1)[-1]]
    merged = _resolved(inner, definitions) | beside
    rules = [rule for part in (inner, beside) for rule in part.get("x-kubernetes-validations", [])]
    return merged | ({"x-kubernetes-validations": rules} if rules else {})


def _without_description(node: JsonSchema) -> JsonSchema:
    """List items and map values are described by the field that holds them."""
    return {key: value for key, value in node.items() if key != "description"}
