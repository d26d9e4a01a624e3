"""What dcgm-exporter would show for a node's GPUs during a run.

Fields and labels: NVIDIA/dcgm-exporter `etc/default-counters.csv` and `internal/pkg/rendermetrics`. Utilisation
follows from the engine's own counts of time, bytes and operations; that GPU_UTIL stands near 95 with a single
request is what a vLLM server shows. Power is a rough mix of the three shares (illustrative).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from testbed.twin.engine import ReplicaRun
from testbed.twin.hardware import MIB, Gpu, NodeClass
from testbed.twin.identity import Pod, device_uuid
from testbed.twin.knobs import DcgmLabels, Knobs
from testbed.twin.metric import Floats, Mask, Metric

SENTINEL = 9_223_372_036_854_775_794.0  # DCGM_INT64_NOT_SUPPORTED
IDLE_FB_MIB = 3.0
_DRIVER = "570.172.08"


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """Shares 0..1 of each sample interval, and the memory in bytes at its end."""

    running: Floats
    busy: Floats
    dram: Floats
    tensor: Floats
    fb_used_bytes: Floats


def activity_of(run: ReplicaRun, seed: int) -> Activity:
    """What one rank's GPU did; all ranks of a tensor-parallel group do the same."""
    rng = np.random.default_rng([seed, 0xDC6])
    span = np.diff(run.sample_times, prepend=run.sample_times[0] - _first_step(run.sample_times))
    noise = rng.normal(1.0, 0.01, len(span))
    busy = np.clip(_growth(run, "busy_s") / span, 0.0, 1.0)
    dram = np.clip(_growth(run, "bytes_read") / span / run.engine.bandwidth_bytes_s * noise, 0.0, 0.97)
    tensor = np.clip(_growth(run, "flops") / span / run.engine.tensor_flops * noise, 0.0, 0.95)
    return Activity(run.column("running"), busy, dram, tensor, _memory(run, rng))


def _first_step(times: Floats) -> float:
    return float(times[1] - times[0]) if len(times) > 1 else 60.0


def _growth(run: ReplicaRun, name: str) -> Floats:
    """How much a counter grew in each interval; after a restart, what it holds."""
    values = run.column(name)
    grown = np.diff(values, prepend=0.0)
    return np.where(grown < 0, values, grown)


def _memory(run: ReplicaRun, rng: np.random.Generator) -> Floats:
    """FB_USED in bytes: flat for an engine that preallocates; with the last interval's peak for one that does not."""
    engine = run.engine
    drift = 2.0 * MIB * np.cumsum(rng.random(len(run.sample_times)) < 0.0005)
    held = engine.fb_base_bytes + np.minimum(drift, 96 * MIB)
    held = held + run.column("kv_peak") * engine.eager_bytes_per_token
    loading = 0.45 * engine.weight_bytes + 0.4e9
    return np.minimum(np.where(run.column("up") > 0, held, loading), engine.fb_total_bytes - 8 * MIB)


@dataclass(frozen=True, slots=True, eq=False)
class Occupant:
    """A pod on some devices of a node, for as long as `present`."""

    pod: Pod
    activity: Activity
    devices: tuple[int, ...]
    present: Mask


def node_metrics(
    node: NodeClass, host: str, occupants: tuple[Occupant, ...], knobs: Knobs, seed: int
) -> Iterator[Metric]:
    """All GPUs of a node: those that pods occupy, and the idle rest, which carry no pod's labels."""
    taken: set[int] = set()
    for occupant in occupants:
        for index in occupant.devices:
            taken.add(index)
            labels = _device_labels(node.accelerator, host, index, knobs) | _pod_labels(occupant.pod, knobs)
            for metric in _device(node.accelerator, occupant.activity, labels, knobs, seed + index):
                yield Metric(metric.name, metric.labels, metric.values, occupant.present)
    if knobs.idle_devices:
        count = len(occupants[0].present)
        for index in sorted(set(range(node.gpu_count)) - taken):
            labels = _device_labels(node.accelerator, host, index, knobs)
            yield from _device(node.accelerator, _idle(count), labels, knobs, seed + index)


def _idle(count: int) -> Activity:
    zero = np.zeros(count)
    return Activity(zero, zero, zero, zero, np.full(count, IDLE_FB_MIB * MIB))


def _device_labels(gpu: Gpu, host: str, index: int, knobs: Knobs) -> dict[str, str]:
    name = gpu.dcgm_name.replace(" ", "-") if knobs.dashed_model_name else gpu.dcgm_name
    return {
        "gpu": str(index),
        "UUID": device_uuid(host, index),
        "pci_bus_id": f"00000000:{0x10 + index:02X}:1D.0",
        "device": f"nvidia{index}",
        "modelName": name,
        knobs.hostname_label: host,
        "DCGM_FI_DRIVER_VERSION": _DRIVER,
    }


def _pod_labels(pod: Pod, knobs: Knobs) -> dict[str, str]:
    if knobs.dcgm_labels is DcgmLabels.NONE:
        return {}
    return {"container": pod.container, "namespace": pod.namespace, "pod": pod.name}


def _device(gpu: Gpu, activity: Activity, labels: dict[str, str], knobs: Knobs, seed: int) -> Iterator[Metric]:
    rng = np.random.default_rng([seed, 0xD0])
    used = np.rint(activity.fb_used_bytes / MIB)
    total = gpu.fb_total_mib - gpu.reserved_mib
    yield Metric("DCGM_FI_DEV_FB_USED", labels, used)
    yield Metric("DCGM_FI_DEV_FB_FREE", labels, total - used)
    if knobs.dcgm_reserved:
        yield Metric("DCGM_FI_DEV_FB_RESERVED", labels, np.full(len(used), float(gpu.reserved_mib)))
    seen = rng.integers(94, 101, len(used))
    yield Metric("DCGM_FI_DEV_GPU_UTIL", labels, np.where(activity.running > 0, seen, 0).astype(np.float64))
    mix = 0.30 * activity.busy + 0.35 * activity.dram + 0.45 * activity.tensor
    watts = gpu.idle_watt + (gpu.tdp_watt - gpu.idle_watt) * np.minimum(mix, 1.0)
    yield Metric("DCGM_FI_DEV_POWER_USAGE", labels, np.round(watts * rng.normal(1.0, 0.01, len(watts)), 3))
    yield Metric("DCGM_FI_DEV_XID_ERRORS", labels, np.zeros(len(used)))
    if knobs.dcgm_profiling:
        yield Metric("DCGM_FI_PROF_GR_ENGINE_ACTIVE", labels, np.round(activity.busy * 0.98, 6))
        yield Metric("DCGM_FI_PROF_DRAM_ACTIVE", labels, np.round(activity.dram, 6))
        yield Metric("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", labels, np.round(activity.tensor, 6))
