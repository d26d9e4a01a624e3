"""Whose series is whose: every series of an answer brought to a workload of the fleet, by the labels it has."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.observe.queries import SIGNAL_LABEL, Slot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.observe.membership import Membership
    from gpu_rightsizer.observe.samples import Labels, Samples

GPU_UTIL = frozenset({"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_UTIL_RATIO"})  # percent, whatever the newer name says
SENTINEL = 1e15  # DCGM's "blank" values begin at 0x7ffffffffffffff0; no real figure here comes near
SHARE_TOLERANCE = 0.01
SHARES = frozenset({Slot.KV_USAGE, Slot.GPU_ACTIVITY, Slot.DRAM_ACTIVITY})

Values = "NDArray[np.float64]"


@dataclass(slots=True)
class Parts:
    """One workload's series: by slot, then by pod, then by what tells series of one pod apart (engine, device, ...)."""

    of: dict[Slot, dict[str, dict[Labels, NDArray[np.float64]]]] = field(default_factory=dict)
    metrics: dict[Slot, str] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)  # pod -> the engine's job
    device_jobs: dict[str, str] = field(default_factory=dict)
    schemes: dict[str, str] = field(default_factory=dict)  # "engine" or "device" -> which label named the pod
    clusters: set[str] = field(default_factory=set)
    invalid: int = 0  # figures dropped: NaN beside a series, infinite, negative, blank


@dataclass(frozen=True, slots=True, eq=False)
class Attributed:
    """The fleet's series: one Parts a workload; scrapes per job; device holders; series of pods nobody knows."""

    parts: Sequence[Parts]
    scrapes: Mapping[str, NDArray[np.float64]]  # job -> scrapes a block
    scrapes_now: Mapping[str, float]  # job -> scrapes in the last UP_SECONDS
    holders: Mapping[str, frozenset[tuple[str, str]]]  # device -> pods that its series name
    foreign: Mapping[str, int]  # namespace -> engine series of pods that belong to nothing here


DEVICE_SLOTS = frozenset(
    {
        Slot.FB_USED, Slot.GPU_ACTIVITY, Slot.DRAM_ACTIVITY, Slot.DEVICE_COUNT,
        Slot.DEVICE_NEWEST, Slot.FB_USED_NOW, Slot.FB_FREE_NOW,
    }
)  # fmt: skip
POD_LABELS = ("namespace", "pod", "exported_namespace", "exported_pod", "job", "cluster", SIGNAL_LABEL)


def attribute(workloads: Sequence[Workload], membership: Membership, samples: Samples) -> Attributed:
    """Brings every series home. Copies (two jobs, two Prometheis) of one pod's figure are folded by the larger."""
    index = {(w.key.namespace, w.target.kind, w.target.name): i for i, w in enumerate(workloads)}
    parts = [Parts() for _ in workloads]
    scrapes: dict[str, NDArray[np.float64]] = {}
    scrapes_now: dict[str, float] = {}
    holders: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    foreign: defaultdict[str, int] = defaultdict(int)
    for tracks in samples.tracks.values():
        for key, values in tracks.items():
            labels = dict(key)
            slot, _, metric = labels.get(SIGNAL_LABEL, "").partition("|")
            match Slot(slot):
                case Slot.UP_COUNT:
                    _fold(scrapes, labels.get("job", ""), values)
                case Slot.UP_NOW:
                    scrapes_now[labels.get("job", "")] = float(values[-1])
                case known:
                    home = _home(labels, membership, index)
                    _note_device(known, labels, holders)
                    if home is None:
                        foreign[labels.get("namespace", "")] += known is Slot.KV_USAGE
                    else:
                        _add(parts[home[0]], known, metric, labels, home=home, values=values)
    return Attributed(parts, scrapes, scrapes_now, {k: frozenset(v) for k, v in holders.items()}, foreign)


def _fold(into: dict[str, NDArray[np.float64]], key: str, values: NDArray[np.float64]) -> None:
    into[key] = np.fmax(into[key], values) if key in into else values


def _home(
    labels: Mapping[str, str], membership: Membership, index: Mapping[tuple[str, str, str], int]
) -> tuple[int, str, str] | None:
    """The workload's index, the pod, and the label that named it; `exported_pod` first: `pod` may be the exporter."""
    for prefix in ("exported_", ""):
        namespace, pod = labels.get(f"{prefix}namespace"), labels.get(f"{prefix}pod")
        if not namespace or not pod:
            continue
        owner = membership.workload_of(namespace, pod)
        if owner is not None and owner in index:
            return index[owner], pod, f"{prefix}pod"
    return None


def _note_device(slot: Slot, labels: Mapping[str, str], holders: defaultdict[str, set[tuple[str, str]]]) -> None:
    if slot is not Slot.FB_USED_NOW or "UUID" not in labels:
        return
    pod = labels.get("exported_pod")
    namespace = labels.get("exported_namespace", "")
    if pod is None and "exporter" not in labels.get("pod", ""):
        pod, namespace = labels.get("pod"), labels.get("namespace", "")
    if pod:
        holders[_device(labels)].add((namespace, pod))


def _device(labels: Mapping[str, str]) -> str:
    return f"{labels.get('UUID', '')}/{labels.get('GPU_I_ID', '')}"


def _add(
    parts: Parts,
    slot: Slot,
    metric: str,
    labels: Mapping[str, str],
    *,
    home: tuple[int, str, str],
    values: NDArray[np.float64],
) -> None:
    _, pod, scheme = home
    clean, dropped = _cleaned(slot, metric, values)
    parts.invalid += dropped
    parts.metrics[slot] = metric
    parts.schemes["device" if slot in DEVICE_SLOTS else "engine"] = scheme
    if "cluster" in labels:
        parts.clusters.add(labels["cluster"])
    if slot is Slot.ENGINE_COUNT:
        parts.jobs[pod] = labels.get("job", "")
    if slot is Slot.DEVICE_COUNT:
        parts.device_jobs[pod] = labels.get("job", "")
    rest = frozenset((name, value) for name, value in labels.items() if name not in POD_LABELS)
    found = parts.of.setdefault(slot, {}).setdefault(pod, {})
    found[rest] = np.fmax(found[rest], clean) if rest in found else clean


def _cleaned(slot: Slot, metric: str, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Without impossible figures; percent made a share. A missing block (NaN) is no invalid figure."""
    figures = values / 100.0 if metric in GPU_UTIL else values
    with np.errstate(invalid="ignore"):
        bad = np.isinf(figures) | (figures < 0) | (figures > SENTINEL)
        if slot in SHARES:
            bad |= figures > 1 + SHARE_TOLERANCE
    if not bad.any():
        return figures, 0
    return np.where(bad, np.nan, figures), int(bad.sum())
