"""The schemas keep the conventions: described, bounded, no floats and no booleans, closed enums, list types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from gpu_rightsizer.api.crd import INFERENCE_DEPLOYMENT, KINDS, Kind, crd, crd_files, render_all
from tests.api.schema import Schema, fields, is_item, is_required, root

if TYPE_CHECKING:
    from collections.abc import Callable

# Values that are somebody else's names, taken as they are written there.
FOREIGN_ENUMS = {
    ".spec.targetRef.apiVersion",  # Kubernetes' API versions
    ".spec.model.weightDtype",  # the engines' `--dtype` and `--quantization`
    ".spec.host.architecture",  # the node label kubernetes.io/arch
    ".status.usage.weightDtype",
}
CAMEL_CASE = re.compile(r"[A-Z][A-Za-z0-9]*")


def breaches(kind: Kind, breaks: Callable[[str, Schema], bool]) -> list[str]:
    return [path for path, node in fields(kind) if breaks(path, node)]


CONVENTIONS: dict[str, Callable[[str, Schema], bool]] = {
    "has a description": lambda path, node: not is_item(path) and len(node.get("description", "")) < 9,
    "has one type": lambda _, node: node.get("type") not in ("object", "array", "string", "integer"),
    "bounds its strings": lambda _, node: node.get("type") == "string" and not ("maxLength" in node or "enum" in node),
    "bounds its integers": lambda _, node: node.get("type") == "integer" and not {"minimum", "maximum"} <= node.keys(),
    "bounds its lists": lambda _, node: node.get("type") == "array" and "maxItems" not in node,
    "types its lists": lambda _, node: node.get("type") == "array" and "x-kubernetes-list-type" not in node,
    "bounds its maps": lambda _, node: "additionalProperties" in node and "maxProperties" not in node,
    "writes enums in CamelCase": lambda path, node: (
        path not in FOREIGN_ENUMS and not all(CAMEL_CASE.fullmatch(value) for value in node.get("enum", []))
    ),
    "names fields in lowerCamelCase": lambda path, _: (
        not is_item(path) and not re.fullmatch(r"[a-z][A-Za-z0-9]*", path.rpartition(".")[2])
    ),
    "ends a description as a sentence": lambda _, node: not node.get("description", ".").endswith("."),
    "teaches the default": lambda _, node: (
        node.get("type") in ("string", "integer")
        and "default" in node
        and not re.search(r"[Dd]efault|[Ee]mpty", node.get("description", ""))
    ),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_field(kind: Kind, convention: str) -> None:
    assert breaches(kind, CONVENTIONS[convention]) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_optional_fields_of_the_spec_say_what_happens_without_them(kind: Kind) -> None:
    """Required ones need not, nor what stands inside an object that says it."""
    untold = [
        path
        for path, node in fields(kind)
        if path.startswith(".spec.")
        and not is_item(path)
        and not is_required(kind, path)
        and not re.search(r"absent|[Dd]efault|[Ee]mpty|with `|where", node["description"])
    ]

    assert untold == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_rule_says_what_to_do_in_the_house_style(kind: Kind) -> None:
    messages = [rule["message"] for _, node in fields(kind) for rule in node.get("x-kubernetes-validations", [])]

    assert messages
    for message in messages:
        assert "`" in message
        assert re.search(r"\bmust\b|\bmay not\b", message)
        assert not re.search(r"[<>]=?", message)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_uninstalling_the_chart_keeps_the_crd(kind: Kind) -> None:
    assert crd(kind)["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert crd(kind)["spec"]["versions"][0]["subresources"] == {"status": {}}
    assert crd(kind)["spec"]["names"]["categories"] == ["inference"]


def test_modes_are_those_that_work() -> None:
    spec = root(INFERENCE_DEPLOYMENT)["properties"]["spec"]["properties"]

    assert spec["mode"]["enum"] == ["Off", "Recommend"]
    assert spec["scaleToZero"]["properties"]["mode"]["enum"] == ["Off", "Recommend"]


def test_fields_that_do_nothing_yet_are_not_accepted() -> None:
    spec = root(INFERENCE_DEPLOYMENT)["properties"]["spec"]["properties"]

    assert list(spec) == ["targetRef", "mode", "engine", "model", "slo", "placement", "scaleToZero"]


def test_one_file_for_each_kind_and_all_of_them_in_one_stream() -> None:
    assert list(crd_files()) == [
        "gpu-rightsizer.dev_inferencedeployments.yaml",
        "gpu-rightsizer.dev_instanceclasses.yaml",
        "gpu-rightsizer.dev_rightsizingpolicies.yaml",
    ]
    assert all(text in render_all() for text in crd_files().values())
    assert crd_files() == crd_files()
