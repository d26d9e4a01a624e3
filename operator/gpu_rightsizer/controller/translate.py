"""From the API's objects to the core's values: deployments under their policies, declared classes, a cluster view."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from gpu_rightsizer.api import incidents
from gpu_rightsizer.api.declared import declared_class
from gpu_rightsizer.api.read import Problem, read_inference_deployment, read_instance_class
from gpu_rightsizer.api.to_domain import terms
from gpu_rightsizer.api.units import parse_time
from gpu_rightsizer.controller.guides import UNREADABLE, unreadable
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.workload import Advised, Mode, SeenRunning, WorkloadKey
from gpu_rightsizer.observe.fleet import ClusterView, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_rightsizer.api.status import InferenceDeploymentStatus
    from gpu_rightsizer.catalogue.lookup import Catalogue
    from gpu_rightsizer.controller.guides import Guides
    from gpu_rightsizer.controller.look import Lists
    from gpu_rightsizer.domain.hardware import InstanceClass

log = logging.getLogger(__name__)

Raw = dict[str, Any]  # as the API server sent it


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing can be recommended for an object now, and what a person can do."""

    code: Code
    problems: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One InferenceDeployment: its raw object, and either what it asks for or why that cannot be told."""

    raw: Raw
    request: Request | None
    hold: Hold | None = None


def fault(error: Exception) -> Hold:
    """A fault of ours."""
    return Hold(Code.EVALUATION_FAILED, f"{type(error).__name__}: {error}"[:200])


def asked(lists: Lists, guides: Guides, class_names: Sequence[str]) -> list[Asked]:
    """Every InferenceDeployment under the policies that select its namespace; one bad object spoils no other.

    Where it cannot be told which policies hold, or what they say, the deployment is held: a rule that cannot be read
    is not a rule that allows everything.
    """
    for each in guides.policies:
        if each.spec is None:
            log.warning("RightsizingPolicy %s cannot be read: %s", each.name, each.problems)
    return [_asked(raw, guides, class_names) for raw in lists["inference_deployments"]]


def _asked(raw: Raw, guides: Guides, class_names: Sequence[str]) -> Asked:
    meta = raw["metadata"]
    guidance = guides.of(meta["namespace"])
    try:
        stored = read_inference_deployment(raw)
        wanted = terms(stored.object, guidance.holding, class_names)
    except UNREADABLE as error:
        return Asked(raw, None, Hold(Code.INVALID_SPEC, unreadable(error)))
    if guidance.unknown and wanted.mode is not Mode.OFF:
        return Asked(raw, None, Hold(Code.RULES_UNREAD, guidance.unknown))
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
            advised=_advised(stored.object.status, meta["generation"]),
            ran=_ran(stored.object.status),
        ),
    )


def _advised(status: InferenceDeploymentStatus | None, generation: int) -> Advised | None:
    """What stands in the status, while it is about the spec as it is now."""
    if status is None or status.recommendation is None or status.observed_generation != generation:
        return None
    action, target = status.recommendation.action, status.recommendation.target
    if target is None:
        return Advised(action)
    ranks = target.tensor_parallel or 1
    return Advised(action, target.instance_class, target.accelerators or 0, target.replicas or 0, ranks)


def _ran(status: InferenceDeploymentStatus | None) -> SeenRunning | None:
    if status is None or status.current is None:
        return None
    here = status.current
    changed = parse_time(here.changed_at) if here.changed_at else None
    return SeenRunning(here.accelerator or "", here.accelerators or 0, changed)


def is_off(each: Asked) -> bool:
    """Mode Off: nothing is asked of Prometheus for it and nothing recommended."""
    return each.request is not None and each.request.mode is Mode.OFF


class Declared(NamedTuple):
    """An InstanceClass that people declared, or why it cannot be used: the fields and what they accept."""

    raw: Raw
    read: InstanceClass | str


def declared(lists: Lists, catalogue: Catalogue) -> list[Declared]:
    """Every InstanceClass."""
    return [Declared(raw, _read_class(raw, catalogue)) for raw in lists["instance_classes"]]


def usable(classes: Sequence[Declared]) -> list[InstanceClass]:
    """Those that can be used; the others are said in the log."""
    found: list[InstanceClass] = []
    for raw, read in classes:
        if isinstance(read, str):
            log.warning("InstanceClass %s is left out: %s", raw["metadata"]["name"], read)
        else:
            found.append(read)
    return found


def _read_class(raw: Raw, catalogue: Catalogue) -> InstanceClass | str:
    try:
        read = read_instance_class(raw).object
        found = declared_class(read, catalogue.accelerator_by_product, catalogue.instance(raw["metadata"]["name"]))
    except UNREADABLE as error:
        return unreadable(error)
    return str(found) if isinstance(found, Problem) else found


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
