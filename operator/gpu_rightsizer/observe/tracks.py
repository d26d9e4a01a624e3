"""One query's series over the window as one array: a row a series, a column a block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import numpy as np
from typing_extensions import override

from gpu_rightsizer.observe.queries import BLOCK_SECONDS, SIGNAL_LABEL, WHO, WINDOW_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

BLOCKS = WINDOW_SECONDS // BLOCK_SECONDS

Floats: TypeAlias = "NDArray[np.floating]"
RawSeries: TypeAlias = "tuple[Mapping[str, str], NDArray[np.float64], NDArray[np.float64]]"  # labels, times, values
Rest: TypeAlias = tuple[tuple[str, str], ...]

T = TypeVar("T")
_OURS = frozenset({SIGNAL_LABEL, *WHO})


class Who(NamedTuple):
    """The labels by which a series is brought home, as WHO names them; None where it has no such label."""

    cluster: str | None
    namespace: str | None
    pod: str | None
    exported_namespace: str | None
    exported_pod: str | None
    job: str | None


class Key(NamedTuple):
    """What a series is called. Parts that are alike are one object: a fleet has hundreds of thousands of series."""

    signal: str  # "<slot>|<metric>"
    who: Who
    rest: Rest  # what else tells series apart: engine, device, configuration


def key_of(labels: Mapping[str, str]) -> Key:
    """From a series' labels; what is no text is left out."""
    who = Who(*(_text(labels.get(name)) for name in WHO))
    rest = tuple(sorted((n, text) for n, text in labels.items() if n not in _OURS and isinstance(text, str)))
    return Key(_same(_text(labels.get(SIGNAL_LABEL)) or ""), _same(who), _same(rest))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


@lru_cache(maxsize=1 << 17)
def _same(part: T) -> T:
    """The equal one that was seen before."""
    return part


@dataclass(frozen=True, slots=True, eq=False)
class Tracks(Mapping[Key, Floats]):
    """Figures by series; NaN is no figure.

    `figures` has shape (series, BLOCKS), in single precision: those of a fleet fill the memory. Those of an instant
    query have one column, in double precision: times of samples are among them.
    """

    rows: Mapping[Key, int]
    figures: Floats

    @classmethod
    def none(cls) -> Tracks:
        """No series."""
        return cls({}, np.empty((0, BLOCKS), dtype=np.float32))

    @classmethod
    def of_present(cls, answer: Iterable[RawSeries]) -> Tracks:
        """An instant query's answer; of several figures for one series the larger."""
        present: dict[Key, float] = {}
        for key, _, values in _series(answer):
            value = float(values[-1])
            present[key] = float(np.fmax(present[key], value)) if key in present else value
        return cls(dict(zip(present, range(len(present)), strict=True)), np.array(list(present.values()))[:, None])

    @override
    def __getitem__(self, key: Key) -> Floats:
        track: Floats = self.figures[self.rows[key]]
        return track

    @override
    def __iter__(self) -> Iterator[Key]:
        return iter(self.rows)

    @override
    def __len__(self) -> int:
        return len(self.rows)

    def merged(self, answer: Iterable[RawSeries], first: int, end: int, start: int) -> Tracks:
        """With the answer's figures in place of those of the blocks from `first` to before `end`.

        `start` is the begin of the window, Unix seconds. Of several figures for one block the largest counts.
        """
        rows = dict(self.rows)
        numbers, lengths, times, values = [], [], [], []
        for key, own_times, own_values in _series(answer):
            numbers.append(rows.setdefault(key, len(rows)))
            lengths.append(len(own_times))
            times.append(own_times)
            values.append(own_values)
        figures = np.full((len(rows), BLOCKS), np.nan, dtype=np.float32)
        figures[: len(self)] = self.figures
        figures[:, first:end] = np.nan
        if numbers:
            begun = np.rint((np.concatenate(times) - start) / BLOCK_SECONDS)
            blocks = np.clip(np.nan_to_num(begun, nan=-1.0), -1, BLOCKS + 1).astype(np.int64) - 1
            _put(figures, np.repeat(numbers, lengths), blocks, np.concatenate(values))
        return _without_empty(rows, figures)

    def shifted(self, blocks: int, kept: int) -> Tracks:
        """Moved into the past by that many blocks; of each series the last `kept` blocks stay."""
        if blocks == 0:
            return self
        figures = np.full_like(self.figures, np.nan)
        figures[:, : max(0, BLOCKS - blocks)] = self.figures[:, blocks:]
        figures[:, : BLOCKS - kept] = np.nan
        return _without_empty(self.rows, figures)


def _without_empty(rows: Mapping[Key, int], figures: Floats) -> Tracks:
    """Without series that have no figure at all."""
    shown = np.flatnonzero(~np.isnan(figures).all(axis=1))
    if len(shown) == len(rows):
        return Tracks(rows, figures)
    keys = list(rows)
    return Tracks({keys[row]: number for number, row in enumerate(shown)}, figures[shown])


def _series(answer: Iterable[RawSeries]) -> Iterator[tuple[Key, NDArray[np.float64], NDArray[np.float64]]]:
    """What is no series at all is left out: it will be missed."""
    for labels, times, values in answer:
        if isinstance(labels, Mapping) and times.ndim == 1 and times.shape == values.shape and len(values):
            yield key_of(labels), times, values


def _put(figures: Floats, rows: NDArray[np.int64], blocks: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    """Each value into its place; of several for one place the largest."""
    inside = (blocks >= 0) & (blocks < BLOCKS)
    if not inside.all():
        rows, blocks, values = rows[inside], blocks[inside], values[inside]
    with np.errstate(over="ignore"):  # what is beyond single precision is no figure of anything: infinite, so invalid
        wanted = values.astype(figures.dtype)
    figures[rows, blocks] = wanted
    lost = ~(figures[rows, blocks] >= wanted) & ~np.isnan(wanted)  # another one for the same place came after it
    if lost.any():
        np.fmax.at(figures, (rows[lost], blocks[lost]), wanted[lost])
