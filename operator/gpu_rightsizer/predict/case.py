"""The physical model for single cases: a model on an accelerator at a concurrency, without any observation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.engines import EngineSettings, EngineType
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.estimate.memory import (
    DEFAULT_BATCHED_TOKENS,
    DEFAULT_SEQUENCES,
    SOLVED_ERROR,
    assumed_overhead,
    rank_kv,
    rank_weights,
    weight_bytes,
)
from gpu_rightsizer.predict.coefficients import FITTED
from gpu_rightsizer.predict.memory import visible_memory
from gpu_rightsizer.predict.roofline import decode_step, first_token, prefill
from gpu_rightsizer.predict.shapes import Shape, hardware
from gpu_rightsizer.predict.work import DTYPES, Work, engine_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.hardware import Accelerator
    from gpu_rightsizer.domain.models import ModelArchitecture
    from gpu_rightsizer.predict.coefficients import Coefficients
    from gpu_rightsizer.predict.shapes import Hardware

_ASSUMED_ERROR = 0.35
_WHOLE_CONTEXT = 32768  # vLLM before V1 chunks prefill above
_V1 = (0, 8)  # of vLLM, the first whose default is the V1 engine
_BLOCK = 16


@dataclass(frozen=True, slots=True)
class Case:
    """One configuration under a closed loop of `concurrency` requests of `prompt` and `output` tokens.

    `kv_doubt` is how many times more KV than `settings` says may be expected to fit: 1 where its type is known.
    """

    model: ModelArchitecture
    accelerator: Accelerator
    concurrency: float = 1.0
    prompt: float = 1024.0
    output: float = 256.0
    engine: EngineType = EngineType.VLLM
    settings: EngineSettings = field(default_factory=EngineSettings)
    kv_doubt: float = 1.0


@dataclass(frozen=True, slots=True)
class Room:
    """KV tokens of one replica: with the overhead as assumed, and with its error given away."""

    expected: float
    sure: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that run at once and that hold a place, one of each case; fewer than asked where KV is short."""

    running: NDArray[np.float64]
    admitted: NDArray[np.float64]


def mean_tpot(cases: Sequence[Case], by: Coefficients = FITTED) -> NDArray[np.float64]:
    """Predicted mean seconds per output token of each case.

    While one request decodes, each of the others is prefilled once: their prompts' time is spread over its output.
    Where more are admitted than run, as vLLM does and preempts, those that wait count too.
    """
    work, machine = columns(cases)
    batch = batches(cases)
    running = batch.running[:, None]
    prompts = by.interference * (running - 1) * prefill(work, machine, work.prompt, by) / np.maximum(work.output, 1.0)
    return np.asarray((decode_step(work, machine, running, by) + prompts)[:, 0] * batch.admitted / batch.running)


def mean_ttft(cases: Sequence[Case], by: Coefficients = FITTED) -> NDArray[np.float64]:
    """Predicted mean seconds to the first token: the prompt, what it waits for, and the wait for a place.

    In a closed loop of n requests and A places one waits (n - A) / A times as long as a request takes.
    """
    work, machine = columns(cases)
    batch = batches(cases)
    step = decode_step(work, machine, batch.running[:, None], by)
    own = first_token(work, machine, work.prompt, step, by)[:, 0]
    stay = own + np.array([c.output for c in cases]) * mean_tpot(cases, by)
    asked = np.array([c.concurrency for c in cases])
    return np.asarray(own + stay * (asked - batch.admitted) / batch.admitted)


def batches(cases: Sequence[Case]) -> Batch:
    """What KV memory holds of each case's concurrency; all of it where memory is not known to fit at all.

    TensorRT-LLM admits what it can finish (prompt and output reserved); others admit a prompt that fits.
    """
    room = np.array([kv_room(c).expected * c.kv_doubt for c in cases])
    asked = np.array([c.concurrency for c in cases])
    prompt, output = np.array([c.prompt for c in cases]), np.array([c.output for c in cases])
    reserves = np.array([c.engine is EngineType.TENSORRT_LLM for c in cases])
    runs = np.maximum(room / np.where(reserves, prompt + output, prompt + output / 2), 1.0)
    holds = np.maximum(room / np.where(reserves, prompt + output, np.maximum(prompt, 1.0)), runs)
    known = room > 0
    return Batch(np.where(known, np.minimum(asked, runs), asked), np.where(known, np.minimum(asked, holds), asked))


def kv_room(case: Case) -> Room:
    """KV tokens that fit; negative where the weights do not."""
    settings, memory = case.settings, float(case.accelerator.memory)
    overhead = assumed_overhead(case.model, settings, settings.tensor_parallel, memory)
    _, machine = columns([case])
    left = settings.gpu_memory_utilization * float(visible_memory(machine)[0, 0]) - rank_weights(case.model, settings)
    per_token = rank_kv(case.model, settings)
    error = SOLVED_ERROR + _ASSUMED_ERROR * overhead
    return Room((left - overhead) / per_token, (left - overhead - error) / per_token)


def longest_context(case: Case) -> int:
    """Tokens of the largest context that starts for sure, the overhead's error given away; 0 where none does.

    vLLM before V1 profiles with a whole context at once up to 32,768 tokens, and in pieces of 2,048 above (0.5 to 0.7:
    chunked prefill by default there); it counts as growing from below.
    """
    limit = case.settings.max_model_len or case.model.max_context
    if not _profiles_whole_contexts(case):
        return _rounded(min(kv_room(case).sure, limit))
    low, high = 0, min(limit, _WHOLE_CONTEXT)
    while high - low > _BLOCK:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if kv_room(_profiled(case, middle)).sure >= middle else (low, middle)
    if kv_room(_profiled(case, high)).sure < high:
        return _rounded(low)
    return _rounded(max(high, min(kv_room(_profiled(case, limit)).sure, limit)))


def stored_kv_bytes(engine: EngineType, dtype: WeightDtype) -> float:
    """Bytes of an element of KV where nobody says.

    NVFP4 checkpoints carry fp8 KV, and TensorRT-LLM takes it from any quantised one (ModelOpt's kv_cache_quant_algo).
    """
    quantised = dtype not in (WeightDtype.BFLOAT16, WeightDtype.FLOAT16)
    if dtype is WeightDtype.NVFP4 or (engine is EngineType.TENSORRT_LLM and quantised):
        return 1.0
    return 2.0


def kv_doubt(case: Case) -> float:
    """For `Case.kv_doubt` where nobody says how KV is stored.

    fp8 checkpoints of ModelOpt carry fp8 KV, which vLLM takes over since V1; other fp8 checkpoints leave it at 16 bit.
    Not knowing which, one expects the geometric mean, and counts on 16 bit where something has to fit for sure.
    """
    dtype = case.settings.weight_dtype or case.model.default_dtype
    unsure = case.engine is EngineType.VLLM and dtype is WeightDtype.FP8 and not _profiles_whole_contexts(case)
    return 2.0**0.5 if unsure else 1.0


def _profiles_whole_contexts(case: Case) -> bool:
    version = re.match(r"v?(\d+)\.(\d+)", case.settings.version)
    told = case.settings.max_num_batched_tokens is not None
    if version is None or told or case.engine is not EngineType.VLLM:
        return False
    return (int(version[1]), int(version[2])) < _V1


def _profiled(case: Case, context: int) -> Case:
    tokens = DEFAULT_BATCHED_TOKENS if context > _WHOLE_CONTEXT else max(DEFAULT_BATCHED_TOKENS, context)
    requests = case.settings.max_num_seqs or DEFAULT_SEQUENCES
    return replace(case, settings=replace(case.settings, max_num_batched_tokens=tokens, max_num_seqs=requests))


def _rounded(tokens: float) -> int:
    """Whole KV blocks."""
    return int(max(tokens, 0.0)) // _BLOCK * _BLOCK


def columns(cases: Sequence[Case]) -> tuple[Work, Hardware]:
    """The cases as columns, each on its own shape."""
    shapes = [Shape(c.accelerator.key, c.accelerator.memory, c.settings.tensor_parallel) for c in cases]
    machine = hardware(shapes, [c.accelerator for c in cases]).at(np.arange(len(cases)))

    def column(values: Sequence[float], kind: type[np.generic] = np.float64) -> NDArray[np.generic]:
        return np.array(values, dtype=kind)[:, None]

    models, settings = [c.model for c in cases], [c.settings for c in cases]
    arrays = {
        "weights": column([weight_bytes(c.model, c.settings) for c in cases]),
        "kv_per_token": column([c.model.kv_bytes_per_token * c.settings.kv_bytes / 2 for c in cases]),
        "kv_element": column([s.kv_bytes for s in settings]),
        "kv_heads": column([m.kv_heads for m in models]),
        "kv_replicated": column([m.kv_replicated for m in models], np.bool_),
        "layers": column([m.layers for m in models]),
        "hidden": column([m.hidden for m in models]),
        "width": column([m.heads * m.head_dim for m in models]),
        "vocabulary": column([m.vocabulary for m in models]),
        "parameters": column([m.parameters for m in models]),
        "active": column([m.active_parameters for m in models]),
        "experts": column([m.experts for m in models]),
        "experts_per_token": column([m.experts_per_token for m in models]),
        "windowed": column([m.windowed_layers / m.layers for m in models]),
        "window": column([m.sliding_window for m in models]),
        "dtype": column([DTYPES.index(c.settings.weight_dtype or c.model.default_dtype) for c in cases], np.int64),
        "engine": column([engine_code(c.engine) for c in cases], np.int64),
        "pipeline": column([s.pipeline_parallel for s in settings]),
        "utilization": column([s.gpu_memory_utilization for s in settings]),
        "batched_tokens": column([s.max_num_batched_tokens or np.nan for s in settings]),
        "sequences": column([s.max_num_seqs or np.nan for s in settings]),
        "eager": column([s.enforce_eager for s in settings], np.bool_),
        "rate": column([np.nan for _ in cases]),
        "prompt": column([c.prompt for c in cases]),
        "output": column([c.output for c in cases]),
        "kv_per_request": column([c.prompt + c.output / 2 for c in cases]),
        "long_prompt": column([c.prompt for c in cases]),
        "longest": column([c.settings.max_model_len or c.model.max_context for c in cases]),
    }
    return Work(**arrays), machine  # type: ignore[arg-type]  # the dtypes are those of the fields
