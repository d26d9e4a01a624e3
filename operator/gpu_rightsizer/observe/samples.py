"""What Prometheus said so far: figures per block, kept between cycles so that each cycle asks only for what is new.

Blocks are whole hours; a block's figure is asked for at its end, the running block's too (its end lies ahead, so that
the answer covers what there is of it). A cold start asks the same queries over the whole window; later cycles ask from
the last block on that was complete when it was read. Reading in steps and reading at once give the same figures.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from gpu_rightsizer.observe.queries import BLOCK_SECONDS, QUERIES, Query
from gpu_rightsizer.observe.tracks import BLOCKS, Tracks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from gpu_rightsizer.observe.tracks import RawSeries

BLOCKS_A_DAY = 86_400 // BLOCK_SECONDS
BYTES_A_FIGURE = 30  # of a range answer in JSON, time and value
ROOM_BYTES = 24 << 20  # what one answer should stay below; longer windows are asked for in parts
ROOM_SAMPLES = 20_000_000  # what one query should hold in the store's memory (Prometheus refuses 50 million)
LEAST_BLOCKS = 12  # a part that fails is halved the next time, down to this

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to make. Unix seconds; an instant query has start == end."""

    query: Query
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """The window's figures. `last_end` is the end of its last block.

    `tracks` are whole and fresh, by query; `failed` names the queries without a whole answer this cycle and why, and
    what was known of them waits in `aside`; `warned` those whose answer may be partial. `read_to` says up to where
    blocks were complete when they were read, `began_at` the same as the cycle began, `part` how many blocks a query is
    asked for at once after it failed.
    """

    last_end: int
    asked_at: int
    tracks: Mapping[str, Tracks] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    warned: Mapping[str, str] = field(default_factory=dict)
    aside: Mapping[str, Tracks] = field(default_factory=dict)
    read_to: Mapping[str, int] = field(default_factory=dict)
    began_at: Mapping[str, int] = field(default_factory=dict)
    part: Mapping[str, int] = field(default_factory=dict)
    namespaces: tuple[str, ...] = ()

    @property
    def start(self) -> int:
        """Begin of the first block, Unix seconds."""
        return self.last_end - BLOCKS * BLOCK_SECONDS

    @property
    def elapsed(self) -> float:
        """The share of the last block that has passed, 0..1."""
        return float(np.clip(1 - (self.last_end - self.asked_at) / BLOCK_SECONDS, 0, 1))


def empty(now: datetime) -> Samples:
    """Nothing asked yet."""
    return Samples(_block_end(now), int(now.timestamp()))


def advanced(samples: Samples, now: datetime, namespaces: tuple[str, ...] = ()) -> Samples:
    """A new cycle: the window that ends with the running block; what slid out and what is empty is dropped.

    `namespaces` are the fleet's: when they change, what is asked of those alone is forgotten and asked for anew.
    """
    last_end = max(samples.last_end, _block_end(now))
    shift = (last_end - samples.last_end) // BLOCK_SECONDS
    outdated = _scoped() if namespaces != samples.namespaces else frozenset()
    known = {name: tracks for name, tracks in {**samples.aside, **samples.tracks}.items() if name not in outdated}
    read_to = {
        name: end
        for name, end in samples.read_to.items()
        if name not in outdated and end > last_end - _blocks(name) * BLOCK_SECONDS
    }
    return Samples(
        last_end=last_end,
        asked_at=int(now.timestamp()),
        tracks={name: tracks.shifted(shift, _blocks(name)) for name, tracks in known.items() if name in read_to},
        read_to=read_to,
        began_at=read_to,
        part=samples.part,
        namespaces=namespaces,
    )


def plan(samples: Samples, now: datetime, pods: int) -> list[Ask]:
    """What to ask in the cycle that `advanced` began; a cold start over very many pods asks a query in parts."""
    moment = int(now.timestamp())
    asks: list[Ask] = []
    for query in QUERIES:
        asks += [Ask(query, moment, moment)] if query.instant else _ranges(samples, query, pods)
    return asks


def _ranges(samples: Samples, query: Query, pods: int) -> list[Ask]:
    """From the last block that was complete when it was read, once more: late samples may have joined it."""
    read_to, end = samples.read_to.get(query.name, 0), _end(samples, query)
    if read_to == end:  # hourly, and of this hour
        return []
    first = max(read_to, _start(samples, query) + BLOCK_SECONDS)
    step = min(_blocks_at_once(query, pods), samples.part.get(query.name, BLOCKS)) * BLOCK_SECONDS
    return [Ask(query, each, min(end, each + step - BLOCK_SECONDS)) for each in range(first, end + 1, step)]


def _blocks_at_once(query: Query, pods: int) -> int:
    pods = max(1, pods)
    by_answer = ROOM_BYTES // (pods * len(query.parts) * BYTES_A_FIGURE)
    by_store = ROOM_SAMPLES // (pods * query.weight)
    return int(np.clip(min(by_answer, by_store), 1, BLOCKS))


def merged(samples: Samples, ask: Ask, answer: Iterable[RawSeries]) -> Samples:
    """With one answer's figures in place of what was there for the same blocks; parts come oldest first.

    Of several figures for one block the largest counts. What is no series at all is left out: it will be missed.
    """
    name = ask.query.name
    if ask.query.instant:
        return replace(samples, tracks={**samples.tracks, name: Tracks.of_present(answer)})
    first, last = ((end - samples.start) // BLOCK_SECONDS - 1 for end in (ask.start, ask.end))
    known = samples.tracks.get(name) or Tracks.none()
    return replace(
        samples,
        tracks={**samples.tracks, name: known.merged(answer, max(0, first), last + 1, samples.start)},
        read_to={**samples.read_to, name: _read_to(samples, ask)},
        part=_without(samples.part, name) if ask.end == _end(samples, ask.query) else samples.part,
    )


def _read_to(samples: Samples, ask: Ask) -> int:
    """Where the query's complete blocks end now: the running block and what follows a hole do not count."""
    known = max(samples.read_to.get(ask.query.name, 0), _start(samples, ask.query))
    complete = samples.asked_at // BLOCK_SECONDS * BLOCK_SECONDS
    return max(known, min(ask.end, complete)) if ask.start - BLOCK_SECONDS <= known else known


def failed(samples: Samples, query: Query, why: str) -> Samples:
    """Without a whole answer this cycle: nothing of it is fresh; the next cycle asks on from where it got, for less."""
    known = samples.tracks.get(query.name)
    smaller = max(LEAST_BLOCKS, samples.part.get(query.name, BLOCKS) // 2)
    return replace(
        samples,
        tracks=_without(samples.tracks, query.name),
        failed={**samples.failed, query.name: why},
        aside=samples.aside if known is None or query.instant else {**samples.aside, query.name: known},
        part=samples.part if query.instant else {**samples.part, query.name: smaller},
    )


def warned(samples: Samples, query: Query, warnings: Sequence[str]) -> Samples:
    """Its answer came with warnings, so it may be partial: what it covers is asked for again in the next cycle."""
    again = samples.began_at.get(query.name)
    read_to = _without(samples.read_to, query.name) if again is None else {**samples.read_to, query.name: again}
    return replace(samples, warned={**samples.warned, query.name: "; ".join(warnings)}, read_to=read_to)


def _end(samples: Samples, query: Query) -> int:
    """End of the last block that the query is asked for."""
    return samples.asked_at // BLOCK_SECONDS * BLOCK_SECONDS if query.hourly else samples.last_end


def _start(samples: Samples, query: Query) -> int:
    """Begin of the first block that the query looks back to."""
    return samples.last_end - _blocks(query.name) * BLOCK_SECONDS


def _blocks(name: str) -> int:
    return next(query.days for query in QUERIES if query.name == name) * 86_400 // BLOCK_SECONDS


def _scoped() -> frozenset[str]:
    return frozenset(query.name for query in QUERIES if any(part.of_every_pod for part in query.parts))


def _without(mapping: Mapping[str, T], name: str) -> dict[str, T]:
    return {key: value for key, value in mapping.items() if key != name}


def _block_end(now: datetime) -> int:
    return -(-int(now.timestamp()) // BLOCK_SECONDS) * BLOCK_SECONDS
