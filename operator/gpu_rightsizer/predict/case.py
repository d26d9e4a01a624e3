"""The physical model for single cases: a model on an accelerator at a concurrency, without any observation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.engines import EngineSettings, EngineType
from gpu_rightsizer.estimate.memory import SOLVED_ERROR, assumed_overhead, rank_kv, rank_weights, weight_bytes
from gpu_rightsizer.predict.memory import visible_memory
from gpu_rightsizer.predict.roofline import INTERFERENCE, decode_step, prefill
from gpu_rightsizer.predict.shapes import Shape, hardware
from gpu_rightsizer.predict.work import DTYPES, Work, engine_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.hardware import Accelerator
    from gpu_rightsizer.domain.models import ModelArchitecture
    from gpu_rightsizer.predict.shapes import Hardware

_ASSUMED_ERROR = 0.35


@dataclass(frozen=True, slots=True)
class Case:
    """One configuration under a closed loop of `concurrency` requests of `prompt` and `output` tokens."""

    model: ModelArchitecture
    accelerator: Accelerator
    concurrency: float = 1.0
    prompt: float = 1024.0
    output: float = 256.0
    engine: EngineType = EngineType.VLLM
    settings: EngineSettings = field(default_factory=EngineSettings)


@dataclass(frozen=True, slots=True)
class Room:
    """KV tokens of one replica: with the overhead as assumed, and with its error given away."""

    expected: float
    sure: float


def mean_tpot(cases: Sequence[Case]) -> NDArray[np.float64]:
    """Predicted mean seconds per output token of each case.

    While one request decodes, each of the others is prefilled once: their prompts' time is spread over its output.
    """
    work, machine = columns(cases)
    batch = np.array([c.concurrency for c in cases])[:, None]
    between = INTERFERENCE * (batch - 1) * prefill(work, machine, work.prompt) / np.maximum(work.output, 1.0)
    return np.asarray((decode_step(work, machine, batch) + between)[:, 0])


def kv_room(case: Case) -> Room:
    """KV tokens that fit; negative where the weights do not."""
    settings, memory = case.settings, float(case.accelerator.memory)
    overhead = assumed_overhead(case.model, settings, settings.tensor_parallel, memory)
    _, machine = columns([case])
    left = settings.gpu_memory_utilization * float(visible_memory(machine)[0, 0]) - rank_weights(case.model, settings)
    per_token = rank_kv(case.model, settings)
    error = SOLVED_ERROR + _ASSUMED_ERROR * overhead
    return Room((left - overhead) / per_token, (left - overhead - error) / per_token)


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
