"""Whether a replica's pod finds room beside the accelerators: CPU, memory, disk, resources, zone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.hardware import HostShape
from gpu_rightsizer.domain.units import GIB, MIB, Bytes, Millicores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.workload import PodShape, Workload

# What a node of a class that does not exist yet keeps for itself.
# Hypervisor: Karpenter's VM_MEMORY_OVERHEAD_PERCENT default of 7.5 % (karpenter.sh settings reference).
_HYPERVISOR = 0.075
# kubelet: EKS reserves 255 MiB + 11 MiB a pod and evicts at 100 MiB; 6 %, 1 %, 0.5 %, 0.5 % of the first four cores
# and 0.25 % of further ones (amazon-eks-ami nodeadm and bootstrap.sh). Pods: 110, the kubelet's default.
_PODS = 110
_EVICTION = 100 * MIB
_CORE_SHARES = (60, 10, 5, 5)  # millicores of the first four cores
_FURTHER_CORE = 2.5
# DaemonSets: assumed; CNI, kube-proxy, CSI, device plugin, exporters and a log agent ask about this much.
_DAEMONSET_CPU = 350
_DAEMONSET_MEMORY = 600 * MIB
_DISK_SHARE = 0.90  # the kubelet evicts at 10 % free (imagefs, nodefs)
_HEADROOM = 1.2  # over the largest use ever seen, for a smaller request

_INSTANCE_LABELS = frozenset({
    "node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type", "karpenter.k8s.aws/instance-family",
    "karpenter.k8s.aws/instance-gpu-name", "karpenter.k8s.aws/instance-type", "nvidia.com/gpu.product",
})  # fmt: skip  # what a recommendation changes
_REGION_LABEL = "topology.kubernetes.io/region"
_ZONE_LABEL = "topology.kubernetes.io/zone"
_ARCH_LABEL = "kubernetes.io/arch"


@dataclass(frozen=True, slots=True)
class HostFit:
    """How many replicas a node takes by its host alone, what rules it out, and what is worth saying."""

    replicas_per_node: int
    failures: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()
    share: float = 0.0  # of the scarcer of CPU and memory that one replica asks


def allocatable(instance: InstanceClass) -> HostShape:
    """What pods can have: as the nodes say (after DaemonSets), else the machine less what a node keeps."""
    if instance.allocatable is not None:
        return instance.allocatable
    host = instance.host
    cores = host.cpu // 1000
    kubelet_cpu = sum(_CORE_SHARES[:cores]) + _FURTHER_CORE * max(0, cores - len(_CORE_SHARES))
    kubelet_memory = 255 * MIB + 11 * MIB * _PODS + _EVICTION
    memory = host.memory * (1 - _HYPERVISOR) - kubelet_memory - _DAEMONSET_MEMORY
    disk = host.ephemeral_storage
    return HostShape(
        Millicores(int(host.cpu - kubelet_cpu - _DAEMONSET_CPU)),
        Bytes(int(memory)),
        None if disk is None else Bytes(int(disk * _DISK_SHARE)),
        host.architecture,
    )


def host_fit(workload: Workload, need: Need, instance: InstanceClass, offered: HostShape) -> HostFit:
    """Host fit of one replica on a class that offers so much."""
    pod = workload.pod
    memory = pod.memory + pod.shared_memory
    failures = (
        *_architecture(pod, offered),
        *_too_small(Code.HOST_CPU_TOO_SMALL, pod.cpu, offered.cpu, need.host.cpu_used, 100),
        *_too_small(Code.HOST_MEMORY_TOO_SMALL, memory, offered.memory, need.host.memory_used, GIB // 4),
        *_storage(pod, offered),
        *_resources(pod),
        *_zones(pod, instance),
        *_constraints(pod, instance),
    )
    by_host = min(_times(offered.cpu, pod.cpu), _times(offered.memory, memory))
    share = max(pod.cpu / max(offered.cpu, 1), memory / max(offered.memory, 1))
    return HostFit(max(1, by_host), failures, tuple(_unused(workload, need, offered)), share)


def _times(offered: int, asked: int) -> int:
    return offered // asked if asked > 0 else 1_000_000


def _too_small(code: Code, asked: int, offered: int, used: int | None, step: int) -> Iterator[Finding]:
    """More asked than there is; with the smaller request that would do, where use shows one."""
    if asked <= offered:
        return
    fits = _sufficient(used, step)
    if used is not None and fits is not None and fits <= offered:
        yield found(code, need=asked, available=offered, used=used, fits=fits)
    else:
        yield found(code, need=asked, available=offered)


def _sufficient(used: int | None, step: int) -> int | None:
    """The largest use and 20 %, rounded up."""
    return None if used is None else math.ceil(used * _HEADROOM / step) * step


def _unused(workload: Workload, need: Need, offered: HostShape) -> Iterator[Finding]:
    """A request that was never used and alone keeps the class out."""
    pod, host = workload.pod, need.host
    cpu = _sufficient(host.cpu_used, 100)
    if cpu is not None and host.cpu_used is not None and pod.cpu > offered.cpu >= cpu:
        yield found(
            Code.HOST_REQUEST_UNUSED, resource="cpu", resource_requested=_cores(pod.cpu),
            resource_used=_cores(host.cpu_used), resource_fits=_cores(cpu),
        )  # fmt: skip
    memory, asked = _sufficient(host.memory_used, GIB // 4), pod.memory + pod.shared_memory
    if memory is not None and host.memory_used is not None and asked > offered.memory >= memory:
        yield found(
            Code.HOST_REQUEST_UNUSED, resource="memory", resource_requested=_mebibytes(asked),
            resource_used=_mebibytes(host.memory_used), resource_fits=_mebibytes(memory),
        )  # fmt: skip


def _cores(millicores: int) -> str:
    """A Kubernetes quantity."""
    return f"{millicores}m" if millicores % 1000 else str(millicores // 1000)


def _mebibytes(count: int) -> str:
    """A Kubernetes quantity, rounded up."""
    return f"{math.ceil(count / MIB)}Mi"


def _architecture(pod: PodShape, offered: HostShape) -> Iterator[Finding]:
    if pod.architecture and offered.architecture and pod.architecture != offered.architecture:
        yield found(Code.HOST_ARCHITECTURE, available=offered.architecture, need=pod.architecture)


def _storage(pod: PodShape, offered: HostShape) -> Iterator[Finding]:
    if offered.ephemeral_storage is not None and pod.ephemeral_storage > offered.ephemeral_storage:
        yield found(Code.HOST_STORAGE_TOO_SMALL, need=pod.ephemeral_storage, available=offered.ephemeral_storage)


def _resources(pod: PodShape) -> Iterator[Finding]:
    """No class but the present one is known to carry a further extended resource (EFA, huge pages)."""
    for name, count in sorted(pod.other.items()):
        if count > 0:
            yield found(Code.HOST_RESOURCE_MISSING, resource=name)


def _zones(pod: PodShape, instance: InstanceClass) -> Iterator[Finding]:
    if pod.zones and instance.region and not any(zone.startswith(instance.region) for zone in pod.zones):
        yield found(Code.VOLUME_ZONE, zones=", ".join(sorted(pod.zones)))


def _constraints(pod: PodShape, instance: InstanceClass) -> Iterator[Finding]:
    """Labels the template asks for that a node of this class is known not to carry."""
    for key, wanted in sorted(pod.host_constraints.items()):
        if key in _INSTANCE_LABELS or not wanted or _carries(instance, key, wanted):
            continue
        yield found(Code.NODE_CONSTRAINT, key=key, values=", ".join(wanted))


def _carries(instance: InstanceClass, key: str, wanted: tuple[str, ...]) -> bool:
    if key == _ARCH_LABEL:
        return instance.host.architecture in wanted
    if key == _REGION_LABEL:
        return not instance.region or instance.region in wanted
    if key == _ZONE_LABEL:
        return not instance.region or any(zone.startswith(instance.region) for zone in wanted)
    known = instance.node_selector.get(key)
    return known is None or known in wanted
