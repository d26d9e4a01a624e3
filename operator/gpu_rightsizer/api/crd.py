"""The CustomResourceDefinitions: one for each kind, generated from the models, deterministic to the byte."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import yaml
from typing_extensions import override

from gpu_rightsizer.api.inference_deployment import InferenceDeployment
from gpu_rightsizer.api.instance_class import InstanceClass
from gpu_rightsizer.api.policy import RightsizingPolicy
from gpu_rightsizer.api.structural import structural

if TYPE_CHECKING:
    from gpu_rightsizer.api.wire import JsonSchema, Wire

GROUP: Final = "gpu-rightsizer.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

_READY: Final = '.status.conditions[?(@.type=="Ready")]'


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column; a wide one is shown with `-o wide` only."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False

    def to_schema(self) -> JsonSchema:
        """The entry of `additionalPrinterColumns`."""
        # The server drops a priority of 0, and then takes every apply that names one for a change: a conflict for Helm.
        wide = {"priority": 1} if self.wide else {}
        return {"name": self.name, "type": self.type, "description": self.description, "jsonPath": self.path} | wide


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of ours: its model, its names and its columns."""

    model: type[Wire]
    plural: str
    short_name: str
    scope: str
    columns: tuple[Column, ...]

    @property
    def name(self) -> str:
        """The kind, for example `InferenceDeployment`."""
        return self.model.__name__

    @property
    def crd_name(self) -> str:
        """Name of its CustomResourceDefinition."""
        return f"{self.plural}.{GROUP}"


AGE: Final = Column("Age", ".metadata.creationTimestamp", "Time since it was created", "date")

INFERENCE_DEPLOYMENT: Final = Kind(
    InferenceDeployment,
    "inferencedeployments",
    "infd",
    "Namespaced",
    (
        Column("Target", ".spec.targetRef.name", "The workload"),
        Column("Mode", ".spec.mode", "What the operator may do"),
        Column("Current", ".status.current.brief", "Class and replicas now"),
        Column("Recommended", ".status.recommendation.brief", "What is recommended"),
        Column("Saving/mo", ".status.recommendation.cost.savedMonthlyUSD", "USD saved in a month of 730 hours"),
        Column("Risk", ".status.recommendation.risk.oomProbability", "Probability of an out-of-memory as recommended"),
        Column("Ready", f"{_READY}.status", "Whether there is a recommendation on complete data"),
        AGE,
        Column("Action", ".status.recommendation.action", "Kind of recommendation", wide=True),
        Column("Confidence", ".status.recommendation.confidence", "How sure it is", wide=True),
        Column("Tier", ".status.recommendation.basis.tier", "How much the evidence allows", wide=True),
        Column("Reason", f"{_READY}.reason", "Why it is ready or not", wide=True),
    ),
)

INSTANCE_CLASS: Final = Kind(
    InstanceClass,
    "instanceclasses",
    "iclass",
    "Cluster",
    (
        Column("Accelerator", ".spec.accelerator.product", "Product of the accelerators"),
        Column("Count", ".spec.accelerator.count", "Accelerators of one node", "integer"),
        Column("Memory", ".spec.accelerator.memory", "Memory of one accelerator"),
        Column("USD/h", ".spec.price.hourlyUSD", "Price of one node"),
        Column("Capacity", ".spec.price.commitment", "What the price buys"),
        Column("Region", ".spec.region", "Region of the nodes"),
        Column("Nodes", ".status.nodes", "Nodes of this class now", "integer"),
        Column("Ready", f"{_READY}.status", "Whether it is in use"),
        AGE,
        Column("CPU", ".spec.host.cpu", "CPU of one node", wide=True),
        Column("Host-Memory", ".spec.host.memory", "Memory of one node", wide=True),
        Column("Provisionable", ".status.provisionable", "Whether such nodes can be had", wide=True),
        Column("Priced", ".spec.price.asOf", "The day the price was read", wide=True),
        Column("Reason", f"{_READY}.reason", "Why it is in use or not", wide=True),
    ),
)

RIGHTSIZING_POLICY: Final = Kind(
    RightsizingPolicy,
    "rightsizingpolicies",
    "rsp",
    "Cluster",
    (
        Column("Max-Mode", ".spec.maxMode", "The most that is allowed"),
        Column("Include", ".spec.instanceClasses.include", "Classes that may be proposed"),
        Column("Exclude", ".spec.instanceClasses.exclude", "Classes that are never proposed"),
        Column("Regions", ".spec.regions", "Regions that may be proposed"),
        Column("Deployments", ".status.deployments", "InferenceDeployments it holds for", "integer"),
        Column("Ready", f"{_READY}.status", "Whether it is in use"),
        AGE,
        Column("Max-OOM-Risk", ".spec.defaults.slo.maxOomRisk", "Default of `slo.maxOomRisk`", wide=True),
        Column("Reason", f"{_READY}.reason", "Why it is in use or not", wide=True),
    ),
)

KINDS: Final = (INFERENCE_DEPLOYMENT, INSTANCE_CLASS, RIGHTSIZING_POLICY)


def crd(kind: Kind) -> JsonSchema:
    """The whole CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd_name, "annotations": {"helm.sh/resource-policy": "keep"}},
        "spec": {
            "group": GROUP,
            "scope": kind.scope,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short_name],
                "categories": ["inference"],
            },
            "versions": [_version(kind)],
        },
    }


def _version(kind: Kind) -> JsonSchema:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [column.to_schema() for column in kind.columns],
        "schema": {"openAPIV3Schema": _object_schema(kind.model)},
    }


def _object_schema(model: type[Wire]) -> JsonSchema:
    properties = structural(model)["properties"]
    properties["metadata"] = {"type": "object"}
    if "status" in properties:
        properties["status"].pop("default", None)
    own = {"apiVersion": _API_VERSION_FIELD, "kind": _KIND_FIELD}
    return {
        "type": "object",
        "description": " ".join(inspect.cleandoc(model.__doc__ or "").split()),
        "required": ["spec"],
        "properties": own | properties,
    }


_API_VERSION_FIELD: Final = {"type": "string", "description": f"Version of this API: `{API_VERSION}`."}
_KIND_FIELD: Final = {"type": "string", "description": "The kind of this object."}

HEADER: Final = "# Generated by `make generate` from operator/gpu_rightsizer/api; do not edit.\n"


class _Dumper(yaml.SafeDumper):
    """Plain block style without anchors, so that the text depends on the content alone."""

    @override
    def ignore_aliases(self, data: object) -> bool:
        return True


def to_yaml(document: JsonSchema) -> str:
    """One YAML document under our header."""
    return HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


def render_all() -> str:
    """Every CRD in one stream, as `gpu-rightsizer crds` prints it."""
    return "---\n".join(crd_files().values())


def crd_files() -> dict[str, str]:
    """File name to content, one for each kind."""
    return {f"{GROUP}_{kind.plural}.yaml": to_yaml(crd(kind)) for kind in KINDS}
