"""A fleet from the ServeGen traces: every client as a deployment, and sets of five and twenty that share one.

The traces are rates, variation and mean token counts per client and ten minutes over fourteen days (alibaba/ServeGen
f891d118, Apache-2.0), as two Parquet files: `servegen_clients_10min.parquet` (model, client, t, rate, cv, in_tok,
out_tok) and `servegen_client_tokens_6h.parquet` (model, client, quantiles of token counts). They are not part of this
repository.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_rightsizer.backtest.demand import GRID_S, MINUTE_S, Demand, Service, arrivals, kv_tokens, minute_peaks
from gpu_rightsizer.backtest.trace import Intervals

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

MODELS: Final = ("m-large", "m-mid", "m-small")
INTERVALS, CLIENTS = "servegen_clients_10min.parquet", "servegen_client_tokens_6h.parquet"
DAYS, STEP_S = 14, 600
FIT_MINUTES: Final = 7 * 1440
FOLDS, SETS, SIZES = 5, 180, (5, 20)
MOST_RATE: Final = 3.0  # requests/s on average; faster clients are thinned to it, their shape kept
_PER_DAY: Final = 86_400 // STEP_S
_PER_STEP: Final = STEP_S // MINUTE_S
_P95: Final = 1.645  # standard deviations of a lognormal's P95 above its median


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """Deployments with the fold their clients belong to (no client is in two folds) and how many clients they have."""

    demand: Demand
    fold: NDArray[np.int64]
    clients: NDArray[np.int64]

    def only(self, rows: NDArray[np.bool_]) -> Fleet:
        """Those deployments alone."""
        at = np.flatnonzero(rows)
        d = self.demand
        part = Demand(tuple(d.names[i] for i in at), d.start, d.peaks[at], d.unknown[at])
        return Fleet(part, self.fold[at], self.clients[at])

    def busy(self) -> NDArray[np.bool_]:
        """Active in more than 30 % of the minutes of the fit week: what elastic mode is for (the others may sleep)."""
        return np.asarray((self.demand.peaks[:, :FIT_MINUTES] > 0).mean(axis=1) > 0.3)


@dataclass(frozen=True, slots=True, eq=False)
class _Client:
    name: str
    grid: NDArray[np.float32]
    gaps: NDArray[np.bool_]


def build(folder: Path, seed: int) -> Fleet:
    """Raises FileNotFoundError or ImportError where the traces or pyarrow are absent."""
    rng = np.random.default_rng(seed)
    clients = [c for c in _clients(folder, seed) if c.grid[: FIT_MINUTES * MINUTE_S // GRID_S].max() > 0]
    fold_of = np.empty(len(clients), dtype=np.int64)
    fold_of[rng.permutation(len(clients))] = np.arange(len(clients)) % FOLDS
    members = [np.array([i]) for i in range(len(clients))]
    for size in SIZES:
        folds = [np.flatnonzero(fold_of == number % FOLDS) for number in range(SETS)]
        members += [rng.choice(fold, size, replace=False) for fold in folds]
    peaks = np.stack([_together(clients, each) for each in members])
    unknown = np.stack([np.any([clients[i].gaps for i in each], axis=0) for each in members])
    names = tuple("+".join(clients[i].name for i in each) for each in members)
    fold = np.array([fold_of[each[0]] for each in members])
    return Fleet(Demand(names, 0, peaks, unknown), fold, np.array([len(each) for each in members]))


def _together(clients: list[_Client], members: NDArray[np.int64]) -> NDArray[np.float64]:
    return minute_peaks(np.stack([clients[i].grid for i in members]).sum(axis=0, dtype=np.float64))


def _clients(folder: Path, seed: int) -> list[_Client]:
    rows, spreads = _columns(folder / INTERVALS), _spreads(_columns(folder / CLIENTS))
    found = []
    for model in MODELS:
        own = rows["model"] == model
        gaps = _gaps(rows["t"][own], rows["rate"][own])
        for client in np.unique(rows["client"][own]):
            mine = own & (rows["client"] == client)
            table = _filled(*(rows[n][mine] for n in ("t", "rate", "cv", "in_tok", "out_tok")), gaps=gaps)
            name = f"{model}/{client}"
            rng = np.random.default_rng([seed, MODELS.index(model), int(client)])
            found.append(
                _Client(name, _grid(name, table, spreads.get(name, (0.8, 0.8)), rng), np.repeat(gaps, _PER_STEP))
            )
    return found


def _columns(path: Path) -> dict[str, NDArray[np.generic]]:
    from pyarrow import parquet

    table = parquet.read_table(path)
    return {name: np.array(table.column(name).to_pylist()) for name in table.column_names}


def _gaps(t: NDArray[np.generic], rate: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Intervals in which no client of the model has a request: the collection stopped."""
    total = np.bincount(t.astype(np.int64) // STEP_S, rate.astype(float), DAYS * _PER_DAY)
    return np.asarray(total == 0)


def _filled(
    t: NDArray[np.float64],
    rate: NDArray[np.float64],
    cv: NDArray[np.float64],
    prompt: NDArray[np.float64],
    output: NDArray[np.float64],
    *,
    gaps: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Rate, cv and tokens of every interval, (4, intervals); a gap is filled with the same time a day before."""
    full = np.zeros((4, DAYS * _PER_DAY))
    full[:, t.astype(np.int64) // STEP_S] = [rate, np.where(np.isfinite(cv) & (cv > 0), cv, 1.0), prompt, output]
    for at in np.flatnonzero(gaps):
        if at >= _PER_DAY:
            full[:, at] = full[:, at - _PER_DAY]
    full[1] = np.where(full[1] > 0, full[1], 1.0)
    return full


def _spreads(rows: Mapping[str, NDArray[np.generic]]) -> dict[str, tuple[float, float]]:
    """Standard deviation of the log of prompt and output tokens of each client: median over its windows of P95/P50."""
    found = {}
    keys = np.array([f"{m}/{c}" for m, c in zip(rows["model"], rows["client"], strict=True)])
    for key in np.unique(keys):
        own = keys == key
        pair = []
        for kind in ("input", "output"):
            middle = rows[f"{kind}_tokens_p50"][own].astype(float)
            high = rows[f"{kind}_tokens_p95"][own].astype(float)
            usable = np.isfinite(middle) & (middle > 0) & (high > middle)
            logs = np.log(high[usable] / middle[usable]) / _P95
            pair.append(float(np.clip(np.median(logs), 0.05, 2.0)) if usable.any() else 0.8)
        found[str(key)] = (pair[0], pair[1])
    return found


def _grid(
    name: str, table: NDArray[np.float64], spread: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.float32]:
    rate, cv, prompt, output = table
    thinned = rate * min(1.0, MOST_RATE / max(float(rate.mean()), 1e-12))
    time = STEP_S * np.arange(len(rate), dtype=np.float64)
    drawn = arrivals(Intervals(name, STEP_S, time, thinned, cv, prompt, output), rng, spread)
    points = DAYS * 86_400 // GRID_S
    return kv_tokens(drawn.time, drawn.prompt, drawn.output, Service(), points)[0].astype(np.float32)
