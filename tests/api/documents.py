"""Objects of our kinds as a user would write them: the samples, changed at dotted paths."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gpu_rightsizer.api.read import read_inference_deployment, read_instance_class, read_policy
from testbed.cluster import KubectlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpu_rightsizer.api.read import Stored
    from testbed.cluster import Cluster

SAMPLES = Path(__file__).parents[2] / "manifests" / "samples"
NAMESPACE = "api-tests"
REMOVED = object()

Document = dict[str, Any]  # JSON

READERS: Mapping[str, Callable[[Document], Stored[Any]]] = {
    "InferenceDeployment": read_inference_deployment,
    "InstanceClass": read_instance_class,
    "RightsizingPolicy": read_policy,
}


def sample(file: str) -> Document:
    """One sample manifest, in the namespace of the tests where it has one."""
    thing: Document = yaml.safe_load((SAMPLES / file).read_text())
    if "namespace" in thing["metadata"]:
        thing["metadata"]["namespace"] = NAMESPACE
    return thing


FULL: Mapping[str, Document] = {
    "InferenceDeployment": sample("inferencedeployment.yaml"),
    "InstanceClass": sample("instanceclass.yaml"),
    "RightsizingPolicy": sample("rightsizingpolicy.yaml"),
}


def document(kind: str, changes: Mapping[str, Any] | None = None, *, name: str = "changed") -> Document:
    """The full sample of a kind under another name, with paths below the spec set, or taken out by REMOVED."""
    thing = copy.deepcopy(FULL[kind])
    thing["metadata"]["name"] = name
    for path, value in (changes or {}).items():
        put(thing["spec"], path, value)
    return thing


def put(place: Document, path: str, value: object) -> None:
    """Sets `slo.horizon`, or `regions[]` to a list of the one value."""
    *parents, last = path.split(".")
    for parent in parents:
        place = place.setdefault(parent, {})
    if value is REMOVED:
        place.pop(last, None)
    elif last.endswith("[]"):
        place[last.removesuffix("[]")] = [value]
    else:
        place[last] = value


def refusal(cluster: Cluster, thing: Document) -> list[str]:
    """What the API server says against an object, sorted, without the preamble; empty when it would take it.

    The line that rules were not checked, which comes with every structural error, is left out.
    """
    try:
        cluster.kubectl("apply", "--dry-run=server", "-f", "-", input=json.dumps(thing))
    except KubectlError as error:
        said = error.stderr.split(f'"{thing["metadata"]["name"]}" is invalid: ', 1)[-1]
        lines = [line.removeprefix("* ").strip() for line in said.splitlines()]
        return sorted(line for line in lines if line and not line.startswith(("<nil>", "Warning: ")))
    return []
