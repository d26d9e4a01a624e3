"""What a pod asks of its node, as the scheduler counts it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.units import Bytes, Millicores
from gpu_rightsizer.observe import manifests

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpu_rightsizer.observe.manifests import Raw

_ACCELERATOR: Final = re.compile(
    r"nvidia\.com/(?:gpu(?:\.shared)?|mig-.+)|aws\.amazon\.com/neuron(?:core|device)?|amd\.com/(?:gpu|[cs]px_.+)"
    r"|habana\.ai/gaudi\d?|google\.com/tpu|gpu\.intel\.com/.+"
)
_MOST: Final = 2**31 - 1  # accelerators, as Kubernetes counts replicas
_CLAIMS: Final = "resource.k8s.io/claim"
_NOTHING: Final[Mapping[str, Decimal]] = {}


@dataclass(frozen=True, slots=True)
class PodRequests:
    """Requests of one pod: millicores and bytes, accelerators by resource name, further extended resources."""

    cpu: Millicores
    memory: Bytes
    ephemeral_storage: Bytes
    accelerators: Mapping[str, int]
    other: Mapping[str, int]


def is_accelerator(resource: str) -> bool:
    """Whether an extended resource is an accelerator."""
    return "/" in resource and _ACCELERATOR.fullmatch(resource) is not None


def container_accelerators(container: Raw) -> dict[str, int]:
    """Accelerators that a container asks for, by resource name."""
    asked = _asked(container)
    return {name: min(int(count), _MOST) for name, count in asked.items() if count > 0 and is_accelerator(name)}


def pod_requests(spec: Raw) -> PodRequests:
    """Effective requests of a pod spec: the larger of running and starting up, plus overhead.

    Kubernetes' rule (KEP-753): while running, containers and sidecars (restartable init containers) add up; while
    starting, each init container stands beside the sidecars declared before it. A request that is absent equals its
    limit. Pod-level resources, where given, stand for the sum.
    """
    running = _sum(_asked(each) for each in manifests.items(spec, "containers"))
    starting: dict[str, Decimal] = {}
    sidecars: dict[str, Decimal] = {}
    for container in manifests.items(spec, "initContainers"):
        asked = _asked(container)
        if manifests.text(container, "restartPolicy") == "Always":
            sidecars = _sum([sidecars, asked])
            starting = _largest(starting, sidecars)
        else:
            starting = _largest(starting, _sum([sidecars, asked]))
    effective = _largest(_sum([running, sidecars]), starting)
    effective |= _asked(spec)
    return _requests(_sum([effective, _quantities(spec, "overhead")]), manifests.items(spec, "resourceClaims"))


def shared_memory(spec: Raw) -> Bytes:
    """Bytes of memory-backed emptyDir volumes that have a size limit; they count as memory of the pod."""
    volumes = [manifests.mapping(volume, "emptyDir") for volume in manifests.items(spec, "volumes")]
    limits = [manifests.quantity(each.get("sizeLimit")) for each in volumes if each.get("medium") == "Memory"]
    return Bytes(_whole(sum((limit for limit in limits if limit is not None), Decimal(0))))


def resources_of(quantities: Raw) -> PodRequests:
    """The same reading of a plain mapping of resources, such as a node's allocatable."""
    return _requests(_parsed(quantities), [])


def _requests(total: Mapping[str, Decimal], claims: list[Raw]) -> PodRequests:
    extended = {name: int(count) for name, count in total.items() if "/" in name or name.startswith("hugepages-")}
    accelerators = {name: min(count, _MOST) for name, count in extended.items() if is_accelerator(name)}
    other = {name: count for name, count in extended.items() if name not in accelerators and count}
    if claims:
        other[_CLAIMS] = len(claims)  # dynamic resource allocation: no class we know offers it
    return PodRequests(
        cpu=Millicores(_whole(total.get("cpu", Decimal(0)) * 1000)),
        memory=Bytes(_whole(total.get("memory", Decimal(0)))),
        ephemeral_storage=Bytes(_whole(total.get("ephemeral-storage", Decimal(0)))),
        accelerators={name: count for name, count in accelerators.items() if count},
        other=other,
    )


def _asked(container: Raw) -> Mapping[str, Decimal]:
    if "resources" not in container:
        return _NOTHING
    limits, requests = _quantities(container, "resources", "limits"), _quantities(container, "resources", "requests")
    return {**limits, **requests}


def _quantities(raw: Raw, *path: str) -> dict[str, Decimal]:
    return _parsed(manifests.mapping(raw, *path))


def _parsed(raw: Raw) -> dict[str, Decimal]:
    parsed = {name: manifests.quantity(value) for name, value in raw.items()}
    return {name: value for name, value in parsed.items() if value is not None}


def _sum(parts: Iterable[Mapping[str, Decimal]]) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, Decimal(0)) + value
    return total


def _largest(one: Mapping[str, Decimal], other: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {name: max(one.get(name, Decimal(0)), other.get(name, Decimal(0))) for name in {**one, **other}}


def _whole(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=ROUND_CEILING))
