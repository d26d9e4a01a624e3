"""Which pods belong to a target: present ones by their owners, past ones by the names that controllers make."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.observe import manifests

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpu_rightsizer.observe.manifests import Raw

# k8s.io/apimachinery/pkg/util/rand: no vowels, no easily confused characters. A pod-template hash is such an encoding
# of a 32-bit number (at most 10 characters); generated suffixes have 5.
_ALPHABET: Final = "[bcdfghjklmnpqrstvwxz2456789]"
_SUFFIX: Final = re.compile(f"{_ALPHABET}{{5}}")
_HASH: Final = re.compile(f"{_ALPHABET}{{1,10}}")
_ORDINAL: Final = re.compile(r"0|[1-9][0-9]{0,8}")
# k8s.io/apiserver/pkg/storage/names: a generated name keeps 58 characters of its base.
_LONGEST_BASE: Final = 58

Target = tuple[str, str, str]
"""Namespace, kind and name of a workload."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The controller that an object names in its ownerReferences."""

    kind: str
    name: str
    uid: str


def controller_of(raw: Raw) -> Owner | None:
    """The owner marked as controller, else None."""
    for reference in manifests.items(raw, "metadata", "ownerReferences"):
        if reference.get("controller") is True:
            return Owner(*(manifests.text(reference, key) for key in ("kind", "name", "uid")))
    return None


class Membership:
    """Pods of the cluster by their workload, and the workload of a pod name that may be long gone.

    Built once for the fleet from every Deployment and StatefulSet of the cluster, targets or not, so that neighbours
    are known; every question is answered in constant time. A name that could be another workload's
    belongs to nobody: foreign usage is worse than missing usage.
    """

    def __init__(self, workloads: Iterable[Target], replica_sets: Iterable[Raw], pods: Iterable[Raw]) -> None:
        self._workloads = set(workloads)
        self._deployments = _replica_set_owners(replica_sets)
        self._present: dict[Target, list[Raw]] = defaultdict(list)
        self._owner: dict[tuple[str, str], Target] = {}
        self._others: set[tuple[str, str]] = set()
        for pod in pods:
            self._note(pod)
        self._long = _long_names(self._workloads)

    def pods_of(self, namespace: str, kind: str, name: str) -> list[Raw]:
        """Present pods whose owners lead to that workload."""
        return self._present.get((namespace, kind, name), [])

    def forget_objects(self) -> None:
        """Who owns which pod stays known; the pods themselves are let go."""
        self._present.clear()

    def workload_of(self, namespace: str, pod: str) -> Target | None:
        """The workload of a pod, present or past; None when no known workload makes such a name, or several do."""
        present = self._owner.get((namespace, pod))
        if present is not None:
            return present if present in self._workloads else None
        base, _, last = pod.rpartition("-")
        if (namespace, base) in self._others:
            return None
        if _ORDINAL.fullmatch(last) and (namespace, "StatefulSet", base) in self._workloads:
            return namespace, "StatefulSet", base
        return self._deployment_of(namespace, base, last) or self._long_named(namespace, pod)

    def belongs(self, target: Target, namespace: str, pod: str) -> bool:
        """Whether a pod of that name is, or was, one of the target's."""
        return self.workload_of(namespace, pod) == target

    def _note(self, pod: Raw) -> None:
        owner, namespace = controller_of(pod), manifests.namespace(pod)
        if owner is None:
            target = (namespace, "Pod", manifests.name(pod))
        elif owner.kind == "ReplicaSet":
            target = self._deployments.get((namespace, owner.name)) or (namespace, "ReplicaSet", owner.name)
        else:
            target = (namespace, owner.kind, owner.name)
        self._owner[namespace, manifests.name(pod)] = target
        self._present[target].append(pod)
        if target[1] not in {"Deployment", "StatefulSet", "Pod"}:
            self._others.add((namespace, target[2]))

    def _deployment_of(self, namespace: str, base: str, last: str) -> Target | None:
        name, _, template = base.rpartition("-")
        made = _SUFFIX.fullmatch(last) and _HASH.fullmatch(template)
        return self._known_deployment(namespace, name) if made else None

    def _long_named(self, namespace: str, pod: str) -> Target | None:
        """A name whose base was cut: it tells its Deployment only if no other begins alike."""
        if len(pod) != _LONGEST_BASE + 5 or not _SUFFIX.fullmatch(pod[_LONGEST_BASE:]):
            return None
        candidates = [
            target
            for target in self._long.get(namespace, ())
            if _cut_base(target[2]).fullmatch(pod[:_LONGEST_BASE]) is not None
        ]
        return candidates[0] if len(candidates) == 1 else None

    def _known_deployment(self, namespace: str, name: str) -> Target | None:
        target = (namespace, "Deployment", name)
        return target if target in self._workloads else None


def _replica_set_owners(replica_sets: Iterable[Raw]) -> dict[tuple[str, str], Target]:
    owners: dict[tuple[str, str], Target] = {}
    for each in replica_sets:
        owner = controller_of(each)
        if owner is not None and owner.kind == "Deployment":
            namespace = manifests.namespace(each)
            owners[namespace, manifests.name(each)] = (namespace, "Deployment", owner.name)
    return owners


def _long_names(workloads: Iterable[Target]) -> Mapping[str, list[Target]]:
    """Deployments whose pods' base can exceed what a generated name keeps, by namespace."""
    long: dict[str, list[Target]] = defaultdict(list)
    for target in sorted(workloads):
        if target[1] == "Deployment" and len(target[2]) + len("-0123456789-") > _LONGEST_BASE:
            long[target[0]].append(target)
    return long


def _cut_base(deployment: str) -> re.Pattern[str]:
    """What 58 characters of `<deployment>-<hash>-` can look like."""
    room = _LONGEST_BASE - len(deployment)
    if room <= 0:
        return re.compile(re.escape(deployment[:_LONGEST_BASE]))
    known, hashed = re.escape(deployment), max(0, room - 1)
    return re.compile(f"{known}-(?:{_ALPHABET}{{{hashed}}}|{_ALPHABET}{{{max(0, hashed - 1)}}}-?)")
