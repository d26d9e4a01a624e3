"""What Prometheus said so far: figures per block, kept between cycles so that each cycle asks only for what is new.

Blocks are whole hours; a block's figure is asked for at its end, the running block's too (its end lies ahead, so that
the answer covers what there is of it). A cold start asks the same queries over the whole window.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from gpu_rightsizer.observe.queries import BLOCK_SECONDS, QUERIES, WINDOW_SECONDS, Query

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

BLOCKS = WINDOW_SECONDS // BLOCK_SECONDS
BYTES_A_FIGURE = 30  # of a range answer in JSON, time and value
ROOM_BYTES = 48 << 20  # what one answer should stay below; longer windows are asked for in parts

Labels: TypeAlias = "frozenset[tuple[str, str]]"
Tracks: TypeAlias = "Mapping[Labels, NDArray[np.float64]]"
RawSeries: TypeAlias = "tuple[Mapping[str, str], NDArray[np.float64], NDArray[np.float64]]"  # labels, times, values


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to make. Unix seconds; an instant query has start == end."""

    query: Query
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """The window's figures. `last_end` is the end of its last block; tracks have shape (BLOCKS,), NaN is no figure.

    `failed` names the queries without a whole answer this cycle and why; `warned` those whose answer may be partial.
    """

    last_end: int
    tracks: Mapping[str, Tracks] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    warned: Mapping[str, str] = field(default_factory=dict)

    @property
    def start(self) -> int:
        """Begin of the first block, Unix seconds."""
        return self.last_end - BLOCKS * BLOCK_SECONDS


def empty(now: datetime) -> Samples:
    """Nothing asked yet."""
    return Samples(_block_end(now))


def plan(samples: Samples, now: datetime, pods: int) -> list[Ask]:
    """What to ask now: every query once; a cold start over so many pods may have to ask a query in parts."""
    moment, end = int(now.timestamp()), _block_end(now)
    asks: list[Ask] = []
    for query in QUERIES:
        if query.instant:
            asks.append(Ask(query, moment, moment))
        elif query.name in samples.tracks and query.name not in samples.failed:
            asks.append(Ask(query, max(samples.last_end, end - (BLOCKS - 1) * BLOCK_SECONDS), end))
        else:
            asks += _cold(query, end, pods)
    return asks


def _cold(query: Query, end: int, pods: int) -> list[Ask]:
    a_block = max(1, pods) * len(query.parts) * BYTES_A_FIGURE
    blocks = int(np.clip(ROOM_BYTES // a_block, 1, BLOCKS))
    first = end - (BLOCKS - 1) * BLOCK_SECONDS
    starts = range(first, end + 1, blocks * BLOCK_SECONDS)
    return [Ask(query, start, min(end, start + (blocks - 1) * BLOCK_SECONDS)) for start in starts]


def advanced(samples: Samples, now: datetime) -> Samples:
    """The same figures in the window that ends with the running block; what slid out and what is empty is dropped."""
    end = _block_end(now)
    shift = (end - samples.last_end) // BLOCK_SECONDS
    if shift <= 0:
        return Samples(samples.last_end, samples.tracks)
    tracks = {name: _shifted(found, shift) for name, found in samples.tracks.items()}
    return Samples(end, tracks)


def merged(samples: Samples, ask: Ask, answer: Iterable[RawSeries]) -> Samples:
    """With one answer's figures in place of what was there for the same blocks."""
    known = dict(samples.tracks.get(ask.query.name, {}))
    if ask.query.instant:
        known = {frozenset(labels.items()): values[-1:] for labels, _, values in answer}
        return _with(samples, ask.query.name, known)
    asked = _indices(samples, np.arange(ask.start, ask.end + 1, BLOCK_SECONDS))
    fresh: dict[Labels, NDArray[np.float64]] = {}
    for labels, times, values in answer:
        key = frozenset(labels.items())
        track = known.get(key)
        track = np.full(BLOCKS, np.nan) if track is None else track.copy()
        track[asked] = np.nan
        track[_indices(samples, times)] = values
        fresh[key] = track
    for key, track in known.items():
        if key not in fresh:
            emptied = track.copy()
            emptied[asked] = np.nan
            fresh[key] = emptied
    return _with(samples, ask.query.name, fresh)


def failed(samples: Samples, query: Query, why: str) -> Samples:
    """Without an answer this cycle: nothing of it is fresh, and the next cycle asks for the whole window again."""
    tracks = {name: found for name, found in samples.tracks.items() if name != query.name}
    return Samples(samples.last_end, tracks, {**samples.failed, query.name: why}, samples.warned)


def warned(samples: Samples, query: Query, warnings: Sequence[str]) -> Samples:
    """Its answer came with warnings: it may be partial."""
    return Samples(
        samples.last_end, samples.tracks, samples.failed, {**samples.warned, query.name: "; ".join(warnings)}
    )


def _with(samples: Samples, name: str, tracks: Tracks) -> Samples:
    return Samples(samples.last_end, {**samples.tracks, name: tracks}, samples.failed, samples.warned)


def _shifted(tracks: Tracks, shift: int) -> Tracks:
    moved: dict[Labels, NDArray[np.float64]] = {}
    for key, track in tracks.items():
        if len(track) != BLOCKS:
            continue  # an instant's; asked anew every cycle
        kept = np.full(BLOCKS, np.nan)
        if shift < BLOCKS:
            kept[: BLOCKS - shift] = track[shift:]
        if np.isfinite(kept).any():
            moved[key] = kept
    return moved


def _indices(samples: Samples, ends: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Which blocks end at these times."""
    found = np.rint((np.asarray(ends, dtype=np.float64) - samples.start) / BLOCK_SECONDS).astype(np.int64) - 1
    return found[(found >= 0) & (found < BLOCKS)]


def _block_end(now: datetime) -> int:
    return -(-int(now.timestamp()) // BLOCK_SECONDS) * BLOCK_SECONDS
