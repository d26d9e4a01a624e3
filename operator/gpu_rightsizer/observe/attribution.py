"""Whose series is whose: every series of an answer brought to a workload of the fleet, by the labels it has."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from gpu_rightsizer.observe.coverage import expected_scrapes
from gpu_rightsizer.observe.queries import SIGNAL_LABEL, Slot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.observe.membership import Membership
    from gpu_rightsizer.observe.samples import Samples
    from gpu_rightsizer.observe.tracks import Floats, Labels

PERCENT = "DCGM_FI_DEV_GPU_UTIL"
PERCENT_OR_SHARE = "DCGM_FI_DEV_GPU_UTIL_RATIO"  # the same field by a name that promises a share; nothing says which
SHARE_TOLERANCE = 0.01
SLOTS = {slot.value: slot for slot in Slot}
SHARES = frozenset({Slot.KV_USAGE, Slot.GPU_ACTIVITY, Slot.DRAM_ACTIVITY})
# DCGM's "blank" values are 0x7ffffff0 and up in 32 bits, 2^47 as a float, 0x7ffffffffffffff0 and up in 64
# (dcgm_fields.h): no framebuffer has as many MiB, and nothing else counted here comes near the last.
MOST_MIB = float(1 << 24)
MOST = 1e15
MIB_SLOTS = frozenset({Slot.FB_USED, Slot.FB_USED_NOW, Slot.FB_FREE_NOW})
COUNTS = frozenset({Slot.ENGINE_COUNT, Slot.DEVICE_COUNT, Slot.HOST_COUNT})

Home: TypeAlias = "tuple[int, str, str]"  # the workload's index, the pod, the label that named it


@dataclass(slots=True)
class Parts:
    """One workload's series: by slot, then by pod, then by what tells series of one pod apart (engine, device, ...)."""

    of: dict[Slot, dict[str, dict[Labels, Floats]]] = field(default_factory=dict)
    metrics: dict[Slot, set[str]] = field(default_factory=dict)
    jobs: dict[Slot, dict[str, set[str]]] = field(default_factory=dict)  # by counting slot and pod: who scrapes it
    schemes: dict[str, set[str]] = field(default_factory=dict)  # "engine", "device", "host": which label named the pod
    clusters: dict[str, set[str]] = field(default_factory=dict)  # exporter -> values of the label, "" for none
    invalid: dict[Slot, int] = field(default_factory=dict)  # figures dropped: infinite, negative, blank, above 100 %


@dataclass(frozen=True, slots=True, eq=False)
class Attributed:
    """The fleet's series: one Parts a workload; scrapes per job; device holders; series of pods nobody knows."""

    parts: Sequence[Parts]
    due: Mapping[str, Floats]  # job -> scrapes due of one target in each block
    scrapes_now: Mapping[str, float]  # job -> scrapes in the last UP_SECONDS
    sharing: frozenset[tuple[str, str]]  # pods on a device that is another pod's as well
    foreign: Mapping[str, int]  # namespace -> engine series of pods that belong to nothing here


DEVICE_SLOTS = frozenset(
    {
        Slot.FB_USED, Slot.GPU_ACTIVITY, Slot.DRAM_ACTIVITY, Slot.DEVICE_COUNT, Slot.DEVICE_SUM,
        Slot.DEVICE_NEWEST, Slot.FB_USED_NOW, Slot.FB_FREE_NOW,
    }
)  # fmt: skip
HOST_SLOTS = frozenset({Slot.HOST_MEMORY, Slot.HOST_CPU, Slot.HOST_COUNT})
NAMES = ("exported_namespace", "exported_pod", "namespace", "pod")
POD_LABELS = ("namespace", "pod", "exported_namespace", "exported_pod", "job", "cluster", SIGNAL_LABEL)


def attribute(workloads: Sequence[Workload], membership: Membership, samples: Samples) -> Attributed:
    """Brings every series home. Copies (two jobs, two Prometheis) of one pod's figure are folded by the larger."""
    index = {(w.key.namespace, w.target.kind, w.target.name): i for i, w in enumerate(workloads)}
    parts = [Parts() for _ in workloads]
    scrapes: dict[str, Floats] = {}
    scrapes_now: dict[str, float] = {}
    holders: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    foreign: defaultdict[str, int] = defaultdict(int)
    homes: dict[tuple[str | None, ...], Home | None] = {}
    for tracks in samples.tracks.values():
        for key, values in tracks.items():
            labels = dict(key)
            slot, _, metric = labels.get(SIGNAL_LABEL, "").partition("|")
            match SLOTS.get(slot):
                case None:  # not what was asked for: something between us and the store changed the labels
                    continue
                case Slot.UP_COUNT:
                    _fold(scrapes, labels.get("job", ""), values)
                case Slot.UP_NOW:
                    scrapes_now[labels.get("job", "")] = float(values[-1])
                case known:
                    names = tuple(labels.get(name) for name in NAMES)
                    if names not in homes:
                        homes[names] = _home(labels, membership, index)
                    home = homes[names]
                    _note_device(known, labels, holders)
                    if home is None:
                        foreign[labels.get("namespace", "")] += known is Slot.KV_USAGE
                    else:
                        _add(parts[home[0]], known, metric, labels, home=home, values=values)
    used = {job for part in parts for pods in part.jobs.values() for jobs in pods.values() for job in jobs}
    due = {job: expected_scrapes(scrapes[job], samples.elapsed) for job in used & scrapes.keys()}
    sharing = frozenset(pod for pods in holders.values() if len(pods) > 1 for pod in pods)
    return Attributed(parts, due, scrapes_now, sharing, foreign)


def _fold(into: dict[str, Floats], key: str, values: Floats) -> None:
    into[key] = np.fmax(into[key], values) if key in into else values


def _home(labels: Mapping[str, str], membership: Membership, index: Mapping[tuple[str, str, str], int]) -> Home | None:
    """By `exported_pod` first: `pod` may be the exporter."""
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
    home: Home,
    values: Floats,
) -> None:
    _, pod, scheme = home
    clean, dropped = _cleaned(slot, metric, values)
    if dropped:
        parts.invalid[slot] = parts.invalid.get(slot, 0) + dropped
    parts.metrics.setdefault(slot, set()).add(metric)
    parts.schemes.setdefault(_exporter(slot), set()).add(scheme)
    parts.clusters.setdefault(_exporter(slot), set()).add(labels.get("cluster", ""))
    if slot in COUNTS:
        parts.jobs.setdefault(slot, {}).setdefault(pod, set()).add(labels.get("job", ""))
    rest = frozenset((name, value) for name, value in labels.items() if name not in POD_LABELS)
    found = parts.of.setdefault(slot, {}).setdefault(pod, {})
    found[rest] = np.fmax(found[rest], clean) if rest in found else clean


def _exporter(slot: Slot) -> str:
    if slot in DEVICE_SLOTS:
        return "device"
    return "host" if slot in HOST_SLOTS else "engine"


def _cleaned(slot: Slot, metric: str, values: Floats) -> tuple[Floats, int]:
    """Without impossible figures; percent made a share. A missing block (NaN) is no invalid figure."""
    figures = values / 100.0 if _is_percent(metric, values) else values
    most = 1 + SHARE_TOLERANCE if slot in SHARES else MOST_MIB if slot in MIB_SLOTS else MOST
    if np.fmin.reduce(figures) >= 0 and np.fmax.reduce(figures) <= most:  # as nearly always
        return figures, 0
    bad = (figures < 0) | (figures > most)
    return np.where(bad, np.nan, figures), int(bad.sum())


def _is_percent(metric: str, values: Floats) -> bool:
    """A device that never shows more than 1 may be at 1 % or wholly busy: taken as busy, for idleness wants proof."""
    return metric == PERCENT or (metric == PERCENT_OR_SHARE and bool(np.fmax.reduce(values, initial=0.0) > 1))
