"""Readers for public request traces; each gives `Arrivals`.

Formats: ServeGen per client (alibaba/ServeGen, parquet or CSV `model, client, t, rate, cv, in_tok, out_tok` at 600 s),
Mooncake (kvcache-ai/Mooncake, CSV `t_ms, input_tokens, output_tokens`), and any CSV with
`timestamp, prompt_tokens, output_tokens` (seconds or ISO 8601) or `t, rate, cv, in_tok, out_tok`. `.gz` is unpacked.
Parquet needs pyarrow, which the project does not depend on.
"""

import csv
import gzip
import importlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from testbed.twin.arrivals import DAY_S, Arrivals, Family, Floats, Lengths, Sequence, merged, nothing

STEP_S = 600.0
UNIX_S = 1e8  # a trace of three years ends before; Unix time is beyond it since 1973
Row = Mapping[str, str]


class TraceUnreadable(ValueError):
    """The file is no known trace format, or needs what is not installed; the message says which."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A trace file as the demand of a deployment, begun again when it ends; `keep` is the share of requests taken."""

    path: str
    client: str | None = None
    model: str | None = None
    keep: float = 1.0

    def draw(self, span_s: float, seed: int) -> Arrivals:
        """Arrivals of [0, span)."""
        once = read(Path(self.path), client=self.client, model=self.model, seed=seed)
        once = once.where(np.random.default_rng([seed, 0x4EE9]).random(len(once)) < self.keep)
        if not len(once):
            return nothing()
        length = float(once.time_s[-1]) + 1.0
        rounds = range(int(span_s // length) + 1)
        times = np.concatenate([once.time_s + turn * length for turn in rounds])
        every = Arrivals(times, np.tile(once.prompt_tokens, len(rounds)), np.tile(once.output_tokens, len(rounds)))
        return every.between(0.0, span_s)


def read(path: Path, *, client: str | None = None, model: str | None = None, seed: int = 0) -> Arrivals:
    """Arrivals of a trace file; `client` and `model` select rows where the format has them.

    Raises TraceUnreadable for unknown columns and for parquet without pyarrow.
    """
    rows = _parquet_rows(path) if path.suffix == ".parquet" else _csv_rows(path)
    chosen = [
        row
        for row in rows
        if (client is None or row.get("client") == client) and (model is None or row.get("model") == model)
    ]
    if not chosen:
        return nothing()
    columns = set(chosen[0])
    if {"t_ms", "input_tokens", "output_tokens"} <= columns:
        return _single(chosen, ("t_ms", "input_tokens", "output_tokens"), 1e-3)
    if {"timestamp", "prompt_tokens", "output_tokens"} <= columns:
        return _single(chosen, ("timestamp", "prompt_tokens", "output_tokens"), 1.0)
    if {"t", "rate", "in_tok", "out_tok"} <= columns:
        return _aggregated(chosen, seed)
    raise TraceUnreadable(f"{path}: columns {sorted(columns)} are no known trace format")


def _csv_rows(path: Path) -> Iterable[Row]:
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    return csv.DictReader(io.StringIO(data.decode()))


def _parquet_rows(path: Path) -> Iterable[Row]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as missing:
        raise TraceUnreadable(
            f"{path}: parquet needs pyarrow (pip install pyarrow); CSV is read without it"
        ) from missing
    columns = parquet.read_table(path).to_pydict()
    names = list(columns)
    return [dict(zip(names, map(str, values), strict=True)) for values in zip(*columns.values(), strict=True)]


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()


def _single(rows: list[Row], names: tuple[str, str, str], scale: float) -> Arrivals:
    time = np.array([_seconds(row[names[0]]) for row in rows]) * scale
    order = np.argsort(time, kind="stable")
    tokens = [np.array([int(float(row[name])) for row in rows], dtype=np.int32)[order] for name in names[1:]]
    return Arrivals(time[order] - time[order[0]], np.maximum(tokens[0], 1), np.maximum(tokens[1], 1))


def _aggregated(rows: list[Row], seed: int) -> Arrivals:
    """Rows without requests may be missing; `t` counts from midnight, or is Unix time."""
    at = _column(rows, "t")
    origin = float(at.min() // DAY_S * DAY_S) if at.min() > UNIX_S else 0.0
    step = STEP_S if not (at % STEP_S).any() else float(np.diff(np.unique(at)).min())
    clients = sorted({row.get("client", "") for row in rows})
    parts = [
        _client([row for row in rows if row.get("client", "") == name], origin, step, seed + index)
        for index, name in enumerate(clients)
    ]
    return merged(tuple(parts))


def _client(rows: list[Row], origin: float, step: float, seed: int) -> Arrivals:
    """One client: gaps and lengths are drawn so that each step keeps its rate, variation and mean token counts."""
    slots = np.rint((_column(rows, "t") - origin) / step).astype(np.int64)
    rates = np.zeros(int(slots.max()) + 1)
    rates[slots] = _column(rows, "rate")
    cv = float(np.clip(np.nan_to_num(np.median(_column(rows, "cv", 1.0)), nan=1.0), 0.2, 5.0))
    family = Family(Sequence(tuple(rates), step), Lengths(prompt_mean=1.0, output_mean=1.0), cv=cv, wander=0.0)
    times = family.draw(len(rates) * step, seed).time_s
    means = [np.ones(len(rates)), np.ones(len(rates))]
    for mean, name in zip(means, ("in_tok", "out_tok"), strict=True):
        mean[slots] = np.maximum(np.nan_to_num(_column(rows, name), nan=1.0), 1.0)
    rng = np.random.default_rng([seed, 0x7261])
    slot = np.minimum((times / step).astype(np.int64), len(rates) - 1)
    tokens = [np.maximum(np.rint(mean[slot] * _spread(rng, len(times))), 1).astype(np.int32) for mean in means]
    return Arrivals(times, tokens[0], tokens[1])


def _column(rows: list[Row], name: str, default: float = float("nan")) -> Floats:
    return np.array([float(row.get(name) or default) for row in rows])


def _spread(rng: np.random.Generator, count: int) -> Floats:
    sigma = 0.7  # within-window spread of ServeGen clients' token counts is of this order
    return rng.lognormal(-(sigma**2) / 2, sigma, count)
