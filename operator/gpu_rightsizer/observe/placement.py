"""What ties a pod to nodes: zones of its volumes, selectors and affinity beyond the accelerator, the architecture."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.observe import manifests

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gpu_rightsizer.observe.manifests import Raw

ARCHITECTURE_LABEL: Final = "kubernetes.io/arch"
_OLD_ARCHITECTURE: Final = "beta.kubernetes.io/arch"
_ZONES: Final = frozenset(
    {
        "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/zone",
        "topology.ebs.csi.aws.com/zone",
        "topology.gke.io/zone",
        "topology.disk.csi.azure.com/zone",
    }
)
# Labels that say which machine or accelerator a node is: what a move is meant to change.
_CHOOSES_CLASS: Final = re.compile(
    r"(?:node|beta)\.kubernetes\.io/instance-type|karpenter\.(?:k8s\.aws/instance-|azure\.com/sku-).+"
    r"|nvidia\.com/(?:gpu|mig|cuda)\..+|nvidia\.com/gpu|k8s\.amazonaws\.com/accelerator"
    r"|cloud\.google\.com/(?:gke-(?:accelerator|gpu-|tpu-|max-shared).*|machine-family)|aws\.amazon\.com/neuron.*"
    r"|(?:kubernetes\.azure\.com/)?accelerator|eks\.amazonaws\.com/instance-.+|kubernetes\.io/os|(?:beta\.)?kubernetes\.io/arch"
)


def host_constraints(spec: Raw) -> dict[str, tuple[str, ...]]:
    """What the template demands of nodes besides class and architecture: label to wanted values.

    A value that must not be is written `!value`; an empty tuple asks only that the label exists. Of several
    node-selector terms, of which one must match, only what all of them demand is kept.
    """
    wanted: dict[str, tuple[str, ...]] = {
        key: (value,) for key, value in manifests.labels(spec, "nodeSelector").items()
    }
    wanted |= _alternatives([_demands(term) for term in _required_terms(spec)])
    return {key: values for key, values in sorted(wanted.items()) if not _CHOOSES_CLASS.fullmatch(key)}


def architecture(spec: Raw) -> str:
    """The CPU architecture the template asks for; empty when it asks for none or for several."""
    selector = manifests.labels(spec, "nodeSelector")
    named = selector.get(ARCHITECTURE_LABEL) or selector.get(_OLD_ARCHITECTURE)
    if named:
        return named
    demands = _alternatives([_demands(term) for term in _required_terms(spec)])
    values = demands.get(ARCHITECTURE_LABEL, demands.get(_OLD_ARCHITECTURE, ()))
    return values[0] if len(values) == 1 and not values[0].startswith("!") else ""


class Volumes:
    """Claims and volumes of the cluster, indexed once for the fleet."""

    def __init__(self, claims: Iterable[Raw], volumes: Iterable[Raw]) -> None:
        self._claims = {(manifests.namespace(each), manifests.name(each)): each for each in claims}
        self._volumes = {manifests.name(each): each for each in volumes}

    def zones(self, namespace: str, claim_names: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """Zones in which every volume can be had (empty: any).

        Each inner list holds the claims of one volume over the replicas: a StatefulSet's replicas may each have
        theirs in another zone.
        """
        allowed: set[str] | None = None
        for names in claim_names:
            zones = {zone for name in names for zone in self._claim_zones(namespace, name)}
            if zones:
                allowed = zones if allowed is None else allowed & zones or zones
        return tuple(sorted(allowed or ()))

    def names_like(self, namespace: str, prefix: str) -> list[str]:
        """Claims that a StatefulSet made from one template: `<template>-<set>-<ordinal>`."""
        return [
            name
            for (where, name) in self._claims
            if where == namespace and name.startswith(prefix) and name[len(prefix) :].isdigit()
        ]

    def _claim_zones(self, namespace: str, name: str) -> set[str]:
        claim = self._claims.get((namespace, name))
        volume = self._volumes.get(manifests.text(claim, "spec", "volumeName"))
        terms = manifests.items(volume, "spec", "nodeAffinity", "required", "nodeSelectorTerms")
        return {
            value
            for term in terms
            for key, values in _demands(term).items()
            if key in _ZONES
            for value in values
            if not value.startswith("!")
        }


def claim_names(spec: Raw) -> list[list[str]]:
    """The claims a pod template names, each by itself."""
    named = (
        manifests.text(volume, "persistentVolumeClaim", "claimName") for volume in manifests.items(spec, "volumes")
    )
    return [[name] for name in named if name]


def _required_terms(spec: Raw) -> list[Raw]:
    required = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    return manifests.items(spec, *required)


def _demands(term: Raw) -> dict[str, tuple[str, ...]]:
    demands: dict[str, tuple[str, ...]] = {}
    for expression in manifests.items(term, "matchExpressions"):
        key, operator = manifests.text(expression, "key"), manifests.text(expression, "operator")
        values = tuple(manifests.strings(expression, "values"))
        if operator == "NotIn":
            values = tuple(f"!{value}" for value in values)
        elif operator == "DoesNotExist":
            values = ("!",)
        elif operator in {"Gt", "Lt"}:
            values = tuple(f"{operator}:{value}" for value in values)
        demands[key] = demands.get(key, ()) + values
    return demands


def _alternatives(terms: Sequence[Mapping[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    if not terms:
        return {}
    common = set(terms[0]).intersection(*terms[1:])
    return {key: tuple(dict.fromkeys(value for term in terms for value in term[key])) for key in sorted(common)}
