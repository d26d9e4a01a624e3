"""What each workload asks of hardware, as columns of numbers: one row a workload and number of replicas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.domain.need import Load, PreallocatedMemory
from gpu_rightsizer.domain.readings import BlockSeries, Missing
from gpu_rightsizer.estimate.memory import weight_bytes
from gpu_rightsizer.predict.windows import longest_prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.engines import EngineSettings
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.world import World

VLLM_LIKE, TRT_LIKE, ANY_ENGINE = 0, 1, 2
_ENGINE = {EngineType.VLLM: VLLM_LIKE, EngineType.RAY_SERVE: VLLM_LIKE, EngineType.TENSORRT_LLM: TRT_LIKE}
DTYPES = tuple(WeightDtype)
_BUSY_SHARE = 0.75  # quantile of the generation rate above which blocks count as busy


@dataclass(frozen=True, slots=True)
class Row:
    """A workload of the fleet at a number of replicas; `share` is the load of one replica over what it is now."""

    world: int
    replicas: int
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Columns of shape (rows, 1). NaN is unknown; bytes, tokens, seconds, requests/s of the busiest replica.

    `windowed` is the share of layers that attend to the last `window` tokens alone.
    """

    weights: NDArray[np.float64]
    kv_per_token: NDArray[np.float64]
    kv_element: NDArray[np.float64]
    kv_heads: NDArray[np.float64]
    kv_replicated: NDArray[np.bool_]
    layers: NDArray[np.float64]
    hidden: NDArray[np.float64]
    width: NDArray[np.float64]
    vocabulary: NDArray[np.float64]
    parameters: NDArray[np.float64]
    active: NDArray[np.float64]
    experts: NDArray[np.float64]
    experts_per_token: NDArray[np.float64]
    windowed: NDArray[np.float64]
    window: NDArray[np.float64]
    dtype: NDArray[np.int64]
    engine: NDArray[np.int64]
    pipeline: NDArray[np.float64]
    utilization: NDArray[np.float64]
    batched_tokens: NDArray[np.float64]
    sequences: NDArray[np.float64]
    eager: NDArray[np.bool_]
    rate: NDArray[np.float64]
    prompt: NDArray[np.float64]
    output: NDArray[np.float64]
    kv_per_request: NDArray[np.float64]
    long_prompt: NDArray[np.float64]
    longest: NDArray[np.float64]


def work(rows: Sequence[Row], worlds: Sequence[World], needs: Sequence[Need]) -> Work:
    """The columns of every row."""
    columns = [_column(worlds[row.world], needs[row.world], row.share) for row in rows]
    arrays = {
        name: np.array([column[name] for column in columns], dtype=_KINDS.get(name, np.float64))[:, None]
        for name in Work.__dataclass_fields__
    }
    return Work(**arrays)


_KINDS: dict[str, type[np.generic]] = {
    "kv_replicated": np.bool_, "eager": np.bool_, "dtype": np.int64, "engine": np.int64,
}  # fmt: skip


def engine_code(engine: EngineType) -> int:
    """Which row of the fitted speeds an engine has."""
    return _ENGINE.get(engine, ANY_ENGINE)


def busy_tpots(worlds: Sequence[World]) -> NDArray[np.float64]:
    """Median p95 TPOT (s) and generation rate (tokens/s) of each one's busiest quarter of blocks, (n, 2).

    NaN where not measured, or not on the same blocks.
    """
    out = np.full((len(worlds), 2), np.nan)
    pairs = [_on_the_same_blocks(each.observation) for each in worlds]
    for length in {len(pair[0]) for pair in pairs if pair is not None}:
        rows = [row for row, pair in enumerate(pairs) if pair is not None and len(pair[0]) == length]
        told = np.array([pair for pair in pairs if pair is not None and len(pair[0]) == length])
        out[rows] = _busiest(told[:, 0], told[:, 1])
    return out


def _on_the_same_blocks(seen: Observation) -> tuple[NDArray[np.floating], NDArray[np.floating]] | None:
    tpot, rate = seen.tpot, seen.generation_rate
    if not isinstance(tpot, BlockSeries) or not isinstance(rate, BlockSeries):
        return None
    alike = (tpot.start, tpot.block, len(tpot.values)) == (rate.start, rate.block, len(rate.values))
    return (tpot.values, rate.values) if alike else None


def _busiest(tpot: NDArray[np.float64], rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Medians over the blocks of each row in which its rate is in the upper quarter of those with work."""
    known = np.isfinite(tpot) & np.isfinite(rate) & (rate > 0) & (tpot > 0)
    least = _quantiles(np.where(known, rate, np.nan), _BUSY_SHARE)
    busy = known & (rate >= least[:, None])
    return np.stack([_quantiles(np.where(busy, each, np.nan), 0.5) for each in (tpot, rate)], axis=1)


def _quantiles(values: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Of the known values of each row, linear between the two nearest; as `np.nanquantile`, which loops over rows."""
    ordered = np.sort(values, axis=1)  # NaN last
    last = np.maximum(np.count_nonzero(~np.isnan(values), axis=1) - 1, 0)
    rows, place = np.arange(len(values)), share * last
    low = place.astype(np.intp)
    below, above, part = ordered[rows, low], ordered[rows, np.minimum(low + 1, last)], place - low
    return np.asarray(np.where(part >= 0.5, above - (above - below) * (1 - part), below + (above - below) * part))


def _column(world: World, need: Need, share: float) -> dict[str, float]:
    return _model(world, need) | _settings(world) | _load(need, share, world.workload.objective.attainment)


def _model(world: World, need: Need) -> dict[str, float]:
    model, settings = world.workload.model, world.workload.settings
    if isinstance(model, Missing):
        names = ("weights", "kv_per_token", "kv_heads", "layers", "hidden", "width", "vocabulary", "parameters",
                 "active", "experts", "experts_per_token", "windowed", "window")  # fmt: skip
        return dict.fromkeys(names, np.nan) | {"kv_replicated": 0, "dtype": 0}
    memory = need.memory
    ours = memory.weights if isinstance(memory, PreallocatedMemory) else weight_bytes(model, settings)
    return {
        "weights": float(ours), "kv_per_token": model.kv_bytes_per_token * settings.kv_bytes / 2,
        "kv_heads": model.kv_heads, "kv_replicated": model.kv_replicated, "layers": model.layers,
        "hidden": model.hidden, "width": model.heads * model.head_dim, "vocabulary": model.vocabulary,
        "parameters": model.parameters, "active": model.active_parameters, "experts": model.experts,
        "experts_per_token": model.experts_per_token,
        "windowed": model.windowed_layers / model.layers, "window": model.sliding_window,
        "dtype": DTYPES.index(settings.weight_dtype or model.default_dtype),
    }  # fmt: skip


def _settings(world: World) -> dict[str, float]:
    settings, engine = world.workload.settings, world.workload.engine
    model = world.workload.model
    longest = settings.max_model_len or (np.nan if isinstance(model, Missing) else model.max_context)
    return {
        "engine": ANY_ENGINE if isinstance(engine, Missing) else engine_code(engine),
        "kv_element": settings.kv_bytes,
        "pipeline": settings.pipeline_parallel, "utilization": settings.gpu_memory_utilization,
        "batched_tokens": _told(settings, "max_num_batched_tokens"), "sequences": _told(settings, "max_num_seqs"),
        "eager": settings.enforce_eager, "longest": longest,
    }  # fmt: skip


def _told(settings: EngineSettings, limit: str) -> float:
    """A limit that goes with the workload; NaN where each device gives its own."""
    return np.nan if limit in settings.by_device else getattr(settings, limit) or np.nan


def _load(need: Need, share: float, attainment: float) -> dict[str, float]:
    load = need.load
    if not isinstance(load, Load):
        return dict.fromkeys(("rate", "prompt", "output", "kv_per_request", "long_prompt"), np.nan)
    return {
        "rate": load.requests_per_second * share, "prompt": load.prompt_tokens, "output": load.output_tokens,
        "kv_per_request": load.kv_tokens_per_request,
        "long_prompt": longest_prompt(load.prompt_tokens, load.requests_per_second * share, attainment),
    }  # fmt: skip
