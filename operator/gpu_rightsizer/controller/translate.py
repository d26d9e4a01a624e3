"""From the API's objects to the core's values: deployments under their policies, declared classes, a cluster view."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpu_rightsizer.api import incidents
from gpu_rightsizer.api.declared import declared_class
from gpu_rightsizer.api.narrowing import selects
from gpu_rightsizer.api.read import InvalidSpec, Problem, read_inference_deployment, read_instance_class, read_policy
from gpu_rightsizer.api.to_domain import terms
from gpu_rightsizer.domain.workload import Mode, WorkloadKey
from gpu_rightsizer.observe.fleet import ClusterView, Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpu_rightsizer.api.policy import RightsizingPolicySpec
    from gpu_rightsizer.catalogue.lookup import Catalogue
    from gpu_rightsizer.controller.look import Lists
    from gpu_rightsizer.domain.hardware import InstanceClass

log = logging.getLogger(__name__)

Raw = dict[str, Any]  # as the API server sent it


@dataclass(frozen=True, slots=True)
class Asked:
    """One InferenceDeployment: its raw object, and either what it asks for or why that cannot be read."""

    raw: Raw
    request: Request | None
    problems: str = ""


@dataclass(frozen=True, slots=True)
class _Policy:
    name: str
    generation: int
    spec: RightsizingPolicySpec


def asked(lists: Lists, class_names: Sequence[str]) -> list[Asked]:
    """Every InferenceDeployment under the policies that select its namespace; one bad object spoils no other."""
    labels = {each["metadata"]["name"]: each["metadata"].get("labels") or {} for each in lists["namespaces"]}
    policies = _policies(lists["policies"])
    return [_asked(raw, policies, labels, class_names) for raw in lists["inference_deployments"]]


def _asked(
    raw: Raw, policies: Sequence[_Policy], labels: Mapping[str, Mapping[str, str]], class_names: Sequence[str]
) -> Asked:
    meta = raw["metadata"]
    own = labels.get(meta["namespace"], {"kubernetes.io/metadata.name": meta["namespace"]})
    holding = [(each.name, each.spec) for each in policies if selects(each.spec.namespace_selector, own)]
    try:
        stored = read_inference_deployment(raw)
        wanted = terms(stored.object, holding, class_names)
    except InvalidSpec as error:
        return Asked(raw, None, str(error))
    except (ValueError, ArithmeticError, TypeError, AttributeError) as error:  # stored before the schema forbade it
        log.exception("%s/%s could not be read", meta["namespace"], meta["name"])
        return Asked(raw, None, f"{type(error).__name__}: {error}"[:200])
    if stored.lost:
        log.warning("%s/%s: parts of the status could not be read: %s", meta["namespace"], meta["name"], stored.lost)
    remembered = stored.object.status.incidents if stored.object.status else ()
    return Asked(
        raw,
        Request(
            key=WorkloadKey(meta["namespace"], meta["name"], meta["uid"], meta["generation"]),
            target=wanted.target,
            mode=wanted.mode,
            objective=wanted.objective,
            rules=wanted.rules,
            scale_to_zero=wanted.scale_to_zero,
            overrides=wanted.overrides,
            incidents=tuple(incidents.to_domain(each) for each in remembered),
        ),
    )


def is_off(each: Asked) -> bool:
    """Mode Off: nothing is asked of Prometheus for it and nothing recommended."""
    return each.request is not None and each.request.mode is Mode.OFF


def declared(lists: Lists, catalogue: Catalogue) -> list[InstanceClass]:
    """The InstanceClasses people declared; one that cannot be read is said in the log and left out."""
    found: list[InstanceClass] = []
    for raw in lists["instance_classes"]:
        name = raw["metadata"]["name"]
        try:
            read = read_instance_class(raw).object
        except InvalidSpec as error:
            log.warning("InstanceClass %s is left out: %s", name, error)
            continue
        result = declared_class(read, catalogue.accelerator_by_product, catalogue.instance(name))
        if isinstance(result, Problem):
            log.warning("InstanceClass %s is left out: %s", name, result)
        else:
            found.append(result)
    return found


def view(lists: Lists, requests: Sequence[Request]) -> ClusterView:
    """What the core reads configuration from."""
    return ClusterView(
        requests=requests,
        deployments=lists["deployments"],
        statefulsets=lists["stateful_sets"],
        replicasets=lists["replica_sets"],
        pods=lists["pods"],
        nodes=lists["nodes"],
        hpas=lists["autoscalers"],
        scaledobjects=lists["scaled_objects"],
        pvcs=lists["claims"],
        pvs=lists["volumes"],
    )


def _policies(objects: Sequence[Raw]) -> list[_Policy]:
    found = []
    for raw in objects:
        meta = raw["metadata"]
        try:
            found.append(_Policy(meta["name"], meta["generation"], read_policy(raw).object.spec))
        except InvalidSpec as error:
            log.warning("RightsizingPolicy %s is left out: %s", meta["name"], error)
    return found
