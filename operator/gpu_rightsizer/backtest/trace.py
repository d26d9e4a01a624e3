"""Reads a trace of requests or of intervals, from CSV or Parquet, with errors that name the row and the column."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from gpu_rightsizer.explain.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

REQUEST_COLUMNS: Final = ("timestamp", "prompt_tokens", "output_tokens")
INTERVAL_COLUMNS: Final = ("t", "rate", "cv", "in_tok", "out_tok")
_TIMES: Final = frozenset({"timestamp", "t"})
_TOKENS: Final = (1e8, " tokens")  # of one request; more is another unit
_MOST: Final = dict.fromkeys(("prompt_tokens", "output_tokens", "in_tok", "out_tok"), _TOKENS) | {
    "rate": (1e5, " requests/s")  # no deployment of one model serves more
}
_MOST_REQUESTS: Final = 1e7  # of one interval: they are drawn one by one
_MOST_DAYS: Final = 400  # a year and some; more is a time that went astray
_A_DAY_S: Final = 86_400
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
    if not len(columns[kind[0]]):
        raise InvalidTrace(f"{path}: no row below the header")
    clients = _clients(path, columns.get("client"), len(columns[kind[0]]))
    values = {name: _numbers(path, name, columns[name]) for name in kind}
    _refuse_span(path, kind[0], columns[kind[0]], values[kind[0]])
    return list(_by_client(path, kind, clients, values))


def _clients(path: Path, column: Sequence[object] | None, rows: int) -> list[str]:
    """One deployment without a name where no column tells them apart."""
    if column is None:
        return [""] * rows
    names = ["" if each is None else str(each).strip() for each in column]
    if "" in names:
        raise InvalidTrace(f"{path}, row {names.index('') + 2}, column client: empty; name the deployment of every row")
    return names


def _refuse_span(path: Path, name: str, column: Sequence[object], times: NDArray[np.float64]) -> None:
    first, last = int(times.argmin()), int(times.argmax())
    days = (times[last] - times[first]) / _A_DAY_S
    if days > _MOST_DAYS:
        raise InvalidTrace(
            f"{path}, column {name}: {days:,.0f} days from row {first + 2} ({_shown(column[first])}) to row {last + 2} "
            f"({_shown(column[last])}), and at most {_MOST_DAYS} are replayed; correct the one that is wrong"
        )


def _shown(cell: object) -> str:
    return safe(str(cell), 40)


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
        raise InvalidTrace(f"{path}: a column stands twice in the header: {safe(', '.join(header))}")
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
            raise InvalidTrace(f"{path}, row {at + 2}, column {name}: {safe(repr(cell), 60)} is not {form}") from error
    most, unit = _MOST.get(name, (np.inf, ""))
    wrong = np.flatnonzero(~np.isfinite(values) | (values < 0) | (values > most))
    if wrong.size:
        at = int(wrong[0])
        limits = "finite and not negative" if np.isinf(most) else f"between 0 and {most:.0e}{unit}"
        raise InvalidTrace(f"{path}, row {at + 2}, column {name}: {_shown(column[at])} must be {limits}")
    late = np.flatnonzero(values > _EPOCH_MS) if name in _TIMES else wrong
    if late.size:
        at = int(late[0])
        raise InvalidTrace(
            f"{path}, row {at + 2}, column {name}: {_shown(column[at])} looks like milliseconds; "
            "give seconds (divide by 1000)"
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
    step = _step(path, which[order], values["t"][order], order) if kind is INTERVAL_COLUMNS else 0
    begin = 0
    for name, end in zip(names, ends.tolist(), strict=True):
        rows, begin = order[begin:end], end
        own = [values[column][rows] for column in kind]
        if kind is REQUEST_COLUMNS:
            yield Requests(name, *own)
            continue
        many = np.flatnonzero(own[1] * step > _MOST_REQUESTS)
        if many.size:
            raise InvalidTrace(
                f"{path}, row {rows[many[0]] + 2}, column rate: {own[1][many[0]]:g} requests/s are more than "
                f"{_MOST_REQUESTS:,.0f} in an interval of {step} s; give shorter intervals"
            )
        yield Intervals(name, step, *own)


def _step(path: Path, which: NDArray[np.int64], times: NDArray[np.float64], order: NDArray[np.intp]) -> int:
    """Seconds between intervals: the most frequent gap within a client, the smallest of those equally frequent.

    Rows come by client and time; every one must be whole intervals from where most of them are.
    """
    broken = np.flatnonzero(times != np.round(times))
    if broken.size:
        at = broken[np.argmin(order[broken])]
        raise InvalidTrace(
            f"{path}, row {order[at] + 2}, column t: {times[at]} is no whole second; "
            "intervals must begin at whole seconds"
        )
    gaps = np.diff(times)[np.diff(which) == 0]
    if gaps.size == 0:
        raise InvalidTrace(f"{path}, column t: no client has two rows; two intervals are needed to know their length")
    twice = np.flatnonzero((np.diff(times) == 0) & (np.diff(which) == 0))
    if twice.size:
        at = twice[0] + 1
        raise InvalidTrace(
            f"{path}, row {order[at] + 2}, column t: {times[at]:.0f} stands twice for a client, first in row "
            f"{order[at - 1] + 2}; leave one out"
        )
    step = int(_most_frequent(gaps))
    _refuse_off_grid(path, times, order, step)
    return step


def _refuse_off_grid(path: Path, times: NDArray[np.float64], order: NDArray[np.intp], step: int) -> None:
    phase = times % step
    off = np.flatnonzero(phase != _most_frequent(phase))
    if off.size:
        at = off[np.argmin(order[off])]
        raise InvalidTrace(
            f"{path}, row {order[at] + 2}, column t: {times[at]:.0f} is not whole intervals of {step} s "
            "(the usual gap) from the other rows; correct it, or add the intervals without a request, at rate 0"
        )


def _most_frequent(values: NDArray[np.float64]) -> float:
    found, count = np.unique(values, return_counts=True)
    return float(found[count.argmax()])


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
