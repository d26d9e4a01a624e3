"""Reads a trace of requests or of intervals, from CSV or Parquet, with errors that name the row and the column."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

REQUEST_COLUMNS: Final = ("timestamp", "prompt_tokens", "output_tokens")
INTERVAL_COLUMNS: Final = ("t", "rate", "cv", "in_tok", "out_tok")
_TIMES: Final = frozenset({"timestamp", "t"})
_MOST_TOKENS: Final = 1e8  # of one request; more is another unit
_EPOCH_MS: Final = 1e11  # seconds since 1970 reach this in the year 5138; milliseconds did in 1973


class InvalidTrace(ValueError):
    """The trace cannot be read as one; the message names the row, the column and the fix."""


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """One client's requests: seconds (Unix, or since the trace's begin) in order, and tokens; all of shape (n,)."""

    client: str
    time: NDArray[np.float64]
    prompt: NDArray[np.float64]
    output: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """One client's traffic by intervals of `step` seconds from `time` (n,): requests/s, variation, mean tokens.

    `cv` is the coefficient of variation of the times between arrivals within the interval.
    """

    client: str
    step: int
    time: NDArray[np.float64]
    rate: NDArray[np.float64]
    cv: NDArray[np.float64]
    prompt: NDArray[np.float64]
    output: NDArray[np.float64]


Traffic: TypeAlias = "Requests | Intervals"


def read(path: Path) -> list[Traffic]:
    """The clients of a trace in the order of their first row; raises InvalidTrace."""
    columns = _parquet(path) if _is_parquet(path) else _csv(path)
    kind = next((k for k in (REQUEST_COLUMNS, INTERVAL_COLUMNS) if set(k) <= set(columns)), None)
    if kind is None:
        raise InvalidTrace(_unknown_columns(path, columns))
    clients = [str(each) for each in columns.get("client", [""] * len(columns[kind[0]]))]
    if not clients:
        raise InvalidTrace(f"{path}: no row below the header")
    values = {name: _numbers(path, name, columns[name]) for name in kind}
    return list(_by_client(path, kind, clients, values))


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise InvalidTrace(f"{path}: {error.strerror or error}") from error


def _csv(path: Path) -> dict[str, list[str]]:
    """Columns by name, as text. Text ending in .gz is unpacked."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, [])]
            if not header:
                raise InvalidTrace(f"{path}: empty; {_wanted()}")
            return _columns(path, header, rows)
    except UnicodeDecodeError as error:
        raise InvalidTrace(f"{path}: neither UTF-8 text nor Parquet (byte {error.start})") from error
    except (OSError, EOFError, csv.Error) as error:
        raise InvalidTrace(f"{path}: {error}") from error


def _columns(path: Path, header: list[str], rows: Iterable[list[str]]) -> dict[str, list[str]]:
    wanted = [i for i, name in enumerate(header) if name in {*REQUEST_COLUMNS, *INTERVAL_COLUMNS, "client"}]
    if len({header[i] for i in wanted}) != len(wanted):
        raise InvalidTrace(f"{path}: a column stands twice in the header: {', '.join(header)}")
    found: list[list[str]] = [[] for _ in wanted]
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != len(header):
            raise InvalidTrace(f"{path}, row {number}: {len(row)} fields, the header has {len(header)}")
        for place, i in enumerate(wanted):
            found[place].append(row[i])
    return {header[i]: column for i, column in zip(wanted, found, strict=True)}


def _parquet(path: Path) -> dict[str, Sequence[object]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise InvalidTrace(
            f"{path} is Parquet, and pyarrow is not installed: pip install 'gpu-rightsizer[parquet]', or give it as CSV"
        ) from error
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise InvalidTrace(f"{path}: not readable as Parquet: {error}") from error
    known = [name for name in table.column_names if name in {*REQUEST_COLUMNS, *INTERVAL_COLUMNS, "client"}]
    return {name: table.column(name).to_pylist() for name in known}


def _numbers(path: Path, name: str, column: Sequence[object]) -> NDArray[np.float64]:
    """Finite and not negative; what is not, is named with its row (the header is row 1)."""
    convert = _seconds if name in _TIMES else _figure
    values = np.empty(len(column))
    for at, cell in enumerate(column):
        try:
            values[at] = convert(cell)
        except (ValueError, TypeError, OverflowError) as error:
            form = "Unix seconds or ISO 8601" if name in _TIMES else "a number"
            raise InvalidTrace(f"{path}, row {at + 2}, column {name}: {cell!r} is not {form}") from error
    most = np.inf if name not in {"prompt_tokens", "output_tokens", "in_tok", "out_tok"} else _MOST_TOKENS
    wrong = np.flatnonzero(~np.isfinite(values) | (values < 0) | (values > most))
    if wrong.size:
        at = int(wrong[0])
        limits = "finite and not negative" if np.isinf(most) else f"between 0 and {most:.0e}"
        raise InvalidTrace(f"{path}, row {at + 2}, column {name}: {column[at]} must be {limits}")
    if name in _TIMES and values.size and values.max() > _EPOCH_MS:
        at = int(values.argmax())
        raise InvalidTrace(
            f"{path}, row {at + 2}, column {name}: {column[at]} looks like milliseconds; give seconds (divide by 1000)"
        )
    return values


def _figure(cell: object) -> float:
    return float(str(cell))


def _seconds(cell: object) -> float:
    """Unix seconds; a time without a zone is UTC."""
    if isinstance(cell, int | float):
        return float(cell)
    if isinstance(cell, datetime):
        moment = cell
    else:
        text = str(cell).strip()
        try:
            return float(text)
        except ValueError:
            moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _by_client(
    path: Path, kind: tuple[str, ...], clients: list[str], values: Mapping[str, NDArray[np.float64]]
) -> Iterable[Traffic]:
    names = list(dict.fromkeys(clients))
    number = {name: at for at, name in enumerate(names)}
    which = np.array([number[name] for name in clients])
    order = np.lexsort((values[kind[0]], which))
    ends = np.searchsorted(which[order], np.arange(len(names)), side="right")
    step = _step(path, values["t"]) if kind is INTERVAL_COLUMNS else 0
    begin = 0
    for name, end in zip(names, ends.tolist(), strict=True):
        rows, begin = order[begin:end], end
        own = [values[column][rows] for column in kind]
        if kind is REQUEST_COLUMNS:
            yield Requests(name, *own)
            continue
        twice = np.flatnonzero(np.diff(own[0]) == 0)
        if twice.size:
            at = int(rows[twice[0] + 1]) + 2
            raise InvalidTrace(f"{path}, row {at}, column t: {own[0][twice[0]]:g} stands twice for client {name!r}")
        yield Intervals(name, step, *own)


def _step(path: Path, times: NDArray[np.float64]) -> int:
    """Seconds between intervals: all times are multiples of it from the first one on."""
    apart = np.unique(times - times.min())
    apart = apart[apart > 0]
    if apart.size == 0:
        raise InvalidTrace(
            f"{path}, column t: every row has the same time; two intervals are needed to know their length"
        )
    step = int(np.gcd.reduce(np.round(apart).astype(np.int64)))
    if step < 1 or np.abs(apart - np.round(apart)).max() > 1e-6:
        raise InvalidTrace(f"{path}, column t: intervals must begin at whole seconds")
    return step


def _unknown_columns(path: Path, columns: Mapping[str, object]) -> str:
    closest = max((REQUEST_COLUMNS, INTERVAL_COLUMNS), key=lambda kind: len(set(kind) & set(columns)))
    missing = [name for name in closest if name not in columns]
    if len(missing) < len(closest):
        return f"{path}: column {', '.join(missing)} is missing; {_wanted()}"
    return f"{path}: no column of a trace in the header; {_wanted()}"


def _wanted() -> str:
    return (
        f"a trace has the columns {','.join(REQUEST_COLUMNS)} (one row a request) or {','.join(INTERVAL_COLUMNS)} "
        "(one row an interval), and client where it holds several"
    )
