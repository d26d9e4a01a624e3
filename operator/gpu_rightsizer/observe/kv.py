"""KV cache in tokens: what a pod's engines can hold, by the configuration they print, and what was demanded of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.readings import Measured, Missing, MissingReason, Signal
from gpu_rightsizer.observe.queries import Slot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.readings import Reading
    from gpu_rightsizer.observe.attribution import Parts
    from gpu_rightsizer.observe.tracks import Rest

    Figures: TypeAlias = NDArray[np.floating]
    Pools: TypeAlias = Mapping[str, Mapping[str, Figures]]  # by pod and engine, tokens in each block

SOURCE = "vllm:cache_config_info"
MOST_TOKENS = 1e12  # no device's memory holds as many


def pools(parts: Parts) -> Pools:
    """Tokens each engine of each pod held, in every block: a configuration holds until another one is seen."""
    found: dict[str, dict[str, Figures]] = {}
    for pod, configurations in parts.of.get(Slot.POOL, {}).items():
        for key, seen in configurations.items():
            labels = dict(key)
            tokens = _tokens(labels)
            if tokens is None or np.isnan(seen).all():
                continue
            track = np.where(np.isfinite(seen), tokens, np.nan)
            engines = found.setdefault(pod, {})
            engine = labels.get("engine", "")
            engines[engine] = np.fmax(engines[engine], track) if engine in engines else track
    return {pod: {engine: _held(track) for engine, track in engines.items()} for pod, engines in found.items()}


def pool_of_smallest(found: Pools, parts: Parts, present: frozenset[str]) -> Reading:
    """Tokens that the smallest present pod can hold now; of pods of the past where none of the present tells."""
    now = {pod: sum(float(track[-1]) for track in engines.values()) for pod, engines in found.items()}
    chosen = [tokens for pod, tokens in now.items() if pod in present] or list(now.values())
    if chosen:
        return Measured(min(chosen))
    if Slot.POOL in parts.of:
        return Missing(Signal.KV_POOL, MissingReason.INVALID, f"{SOURCE} without num_gpu_blocks")
    return Missing(Signal.KV_POOL, MissingReason.NO_SERIES, SOURCE)


def demand(found: Pools, parts: Parts, tokens_a_request: float | None) -> tuple[Figures, Figures] | None:
    """Tokens in use and queued, of the busiest pod in each block, and which blocks are known; None without a pool.

    A pod's use is the sum over its engines of usage x pool. A pod whose pool is not known gets the largest known of
    the workload. Where requests waited and nothing tells how long they are, use alone is only a lower bound.
    """
    largest = max((float(track.max()) for engines in found.values() for track in engines.values()), default=None)
    if largest is None:
        return None
    demands: list[Figures] = []
    knowns: list[NDArray[np.bool_]] = []
    for pod, engines in parts.of.get(Slot.KV_USAGE, {}).items():
        used = np.sum([_use(key, usage, found.get(pod, {}), largest) for key, usage in engines.items()], axis=0)
        waiting = _queue(parts, pod, like=used)
        demands.append(used + waiting * (tokens_a_request or 0.0))
        knowns.append((waiting == 0) | (tokens_a_request is not None))
    return np.fmax.reduce(demands), np.logical_and.reduce(knowns)


def _use(key: Rest, usage: Figures, engines: Mapping[str, Figures], largest: float) -> Figures:
    engine = dict(key).get("engine", "")
    if engine in engines:
        return usage * engines[engine]
    (alone,) = engines.values() if len(engines) == 1 else (np.full_like(usage, largest),)
    return usage * alone


def _queue(parts: Parts, pod: str, like: Figures) -> Figures:
    series = parts.of.get(Slot.WAITING, {}).get(pod)
    if not series:
        return np.zeros_like(like)
    waiting: Figures = np.nan_to_num(np.fmax.reduce(list(series.values())))  # gaps show in the coverage
    return waiting


def _held(track: Figures) -> Figures:
    """Gaps take the value before them; a gap at the begin the first there is."""
    known = np.flatnonzero(np.isfinite(track))
    latest = np.searchsorted(known, np.arange(len(track)), side="right") - 1
    held: Figures = track[known[np.maximum(latest, 0)]]
    return held


def _tokens(labels: Mapping[str, str]) -> float | None:
    try:
        blocks, size = float(labels["num_gpu_blocks"]), float(labels["block_size"])
    except (KeyError, ValueError):  # some versions print `None` until the engine has profiled
        return None
    return blocks * size if blocks > 0 and size > 0 and blocks * size <= MOST_TOKENS else None
