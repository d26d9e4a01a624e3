"""Whose series is whose: every series of an answer brought to a workload of the fleet, by the labels it has."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from gpu_rightsizer.observe.coverage import expected_scrapes
from gpu_rightsizer.observe.queries import Slot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.observe.membership import Membership
    from gpu_rightsizer.observe.samples import Samples
    from gpu_rightsizer.observe.tracks import Floats, Key, Rest, Tracks, Who

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

    of: dict[Slot, dict[str, dict[Rest, Floats]]] = field(default_factory=dict)
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


def attribute(workloads: Sequence[Workload], membership: Membership, samples: Samples) -> Attributed:
    """Brings every series home. Copies (two jobs, two Prometheis) of one pod's figure are folded by the larger."""
    homes = _Homes(workloads, membership)
    parts = [Parts() for _ in workloads]
    scrapes: dict[str, Floats] = {}
    scrapes_now: dict[str, float] = {}
    holders: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    foreign: defaultdict[str, int] = defaultdict(int)
    for tracks in samples.tracks.values():
        for signal, keys in _by_signal(tracks).items():
            slot, _, metric = signal.partition("|")
            match SLOTS.get(slot):
                case None:  # not what was asked for: something between us and the store changed the labels
                    continue
                case Slot.UP_COUNT:
                    for key in keys:
                        _fold(scrapes, key.who.job or "", tracks[key])
                case Slot.UP_NOW:
                    scrapes_now |= {key.who.job or "": float(tracks[key][-1]) for key in keys}
                case known:
                    if known is Slot.FB_USED_NOW:
                        _note_devices(keys, holders)
                    brought = _Brought(known, metric, parts, homes, foreign)
                    brought.all(keys, tracks)
    used = {job for part in parts for pods in part.jobs.values() for jobs in pods.values() for job in jobs}
    due = {job: expected_scrapes(scrapes[job], samples.elapsed) for job in used & scrapes.keys()}
    sharing = frozenset(pod for pods in holders.values() if len(pods) > 1 for pod in pods)
    return Attributed(parts, due, scrapes_now, sharing, foreign)


def _by_signal(tracks: Tracks) -> dict[str, list[Key]]:
    found: dict[str, list[Key]] = {}
    for key in tracks:
        found.setdefault(key.signal, []).append(key)
    return found


def _fold(into: dict[str, Floats], key: str, values: Floats) -> None:
    into[key] = np.fmax(into[key], values) if key in into else values


class _Homes:
    """Whose the labels of a series are; each set of labels is looked at once."""

    def __init__(self, workloads: Sequence[Workload], membership: Membership) -> None:
        self._index = {(w.key.namespace, w.target.kind, w.target.name): i for i, w in enumerate(workloads)}
        self._membership = membership
        self._known: dict[Who, Home | None] = {}

    def of(self, who: Who) -> Home | None:
        """None where no workload of the fleet has such a pod."""
        try:
            return self._known[who]
        except KeyError:
            home = self._known[who] = self._found(who)
            return home

    def _found(self, who: Who) -> Home | None:
        """By `exported_pod` first: `pod` may be the exporter."""
        for namespace, pod, label in (
            (who.exported_namespace, who.exported_pod, "exported_pod"),
            (who.namespace, who.pod, "pod"),
        ):
            if not namespace or not pod:
                continue
            owner = self._membership.workload_of(namespace, pod)
            if owner is not None and owner in self._index:
                return self._index[owner], pod, label
        return None


def _note_devices(keys: Sequence[Key], holders: defaultdict[str, set[tuple[str, str]]]) -> None:
    for key in keys:
        rest = dict(key.rest)
        if "UUID" not in rest:
            continue
        who = key.who
        pod, namespace = who.exported_pod, who.exported_namespace
        if pod is None and "exporter" not in (who.pod or ""):
            pod, namespace = who.pod, who.namespace
        if pod:
            holders[f"{rest['UUID']}/{rest.get('GPU_I_ID', '')}"].add((namespace or "", pod))


@dataclass(frozen=True, slots=True, eq=False)
class _Brought:
    """The series of one slot and metric on their way home."""

    slot: Slot
    metric: str
    parts: Sequence[Parts]
    homes: _Homes
    foreign: defaultdict[str, int]

    def all(self, keys: Sequence[Key], tracks: Tracks) -> None:
        """Into the workloads' parts; what is nobody's is counted."""
        clean = _are_clean(self.slot, self.metric, tracks.figures[[tracks.rows[key] for key in keys]])
        for key in keys:
            home = self.homes.of(key.who)
            if home is None:
                self.foreign[key.who.namespace or ""] += self.slot is Slot.KV_USAGE
            elif clean:
                self._add(key, home, tracks[key], 0)
            else:
                self._add(key, home, *_cleaned(self.slot, self.metric, tracks[key]))

    def _add(self, key: Key, home: Home, values: Floats, dropped: int) -> None:
        index, pod, scheme = home
        parts, slot, exporter = self.parts[index], self.slot, _exporter(self.slot)
        if dropped:
            parts.invalid[slot] = parts.invalid.get(slot, 0) + dropped
        parts.metrics.setdefault(slot, set()).add(self.metric)
        parts.schemes.setdefault(exporter, set()).add(scheme)
        parts.clusters.setdefault(exporter, set()).add(key.who.cluster or "")
        if slot in COUNTS:
            parts.jobs.setdefault(slot, {}).setdefault(pod, set()).add(key.who.job or "")
        found = parts.of.setdefault(slot, {}).setdefault(pod, {})
        found[key.rest] = np.fmax(found[key.rest], values) if key.rest in found else values


def _exporter(slot: Slot) -> str:
    if slot in DEVICE_SLOTS:
        return "device"
    return "host" if slot in HOST_SLOTS else "engine"


def _most(slot: Slot) -> float:
    return 1 + SHARE_TOLERANCE if slot in SHARES else MOST_MIB if slot in MIB_SLOTS else MOST


def _are_clean(slot: Slot, metric: str, figures: Floats) -> bool:
    """Whether none is impossible and none percent, as nearly always."""
    low, high = np.fmin.reduce(figures, axis=None, initial=0.0), np.fmax.reduce(figures, axis=None, initial=0.0)
    return bool(low >= 0 and high <= _most(slot)) and metric not in {PERCENT, PERCENT_OR_SHARE}


def _cleaned(slot: Slot, metric: str, values: Floats) -> tuple[Floats, int]:
    """Without impossible figures; percent made a share. A missing block (NaN) is no invalid figure."""
    figures = values / 100.0 if _is_percent(metric, values) else values
    bad = (figures < 0) | (figures > _most(slot))
    return (np.where(bad, np.nan, figures), int(bad.sum())) if bad.any() else (figures, 0)


def _is_percent(metric: str, values: Floats) -> bool:
    """A device that never shows more than 1 may be at 1 % or wholly busy: taken as busy, for idleness wants proof."""
    return metric == PERCENT or (metric == PERCENT_OR_SHARE and bool(np.fmax.reduce(values, initial=0.0) > 1))
