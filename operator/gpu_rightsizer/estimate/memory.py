"""The memory a replica needs: weights, KV per token and the overhead solved from the running pod."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.engines import takes_large_defaults
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.domain.need import OverheadSource
from gpu_rightsizer.domain.readings import BlockSeries, Measured, Missing, Signal
from gpu_rightsizer.domain.units import GIB, MIB, Bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_rightsizer.domain.engines import EngineSettings
    from gpu_rightsizer.domain.models import ModelArchitecture
    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.readings import Reading
    from gpu_rightsizer.estimate.overview import Overview

SOLVED_ERROR = GIB // 2
_LEAST_OVERHEAD = 0.1 * GIB  # less than a CUDA context's own workspace: something else is wrong
_LARGEST_OVERHEAD = 12 * GIB
_LEDGER_TOLERANCE = 0.05  # of framebuffer use below weights and pool: still rounding
_ASSUMED_ERROR = 0.35  # of an assumed overhead
_LEAST_DEVICE = GIB  # no accelerator, and no slice of one, has less
CUDA_SHARE = 0.98  # of the driver's total that CUDA sees (L4: 22.03 GiB of 23,034 MiB, 475 MiB kept back)
_TIED_BELOW = 5e9  # smaller models share the input and output embedding
DEFAULT_BATCHED_TOKENS = 2048  # vLLM SchedulerConfig
LARGE_DEVICE_BATCHED_TOKENS = 8192  # vLLM's OpenAI server on devices of 70 GiB and more
DEFAULT_SEQUENCES = 256
LARGE_DEVICE_SEQUENCES = 1024


@dataclass(frozen=True, slots=True)
class Overhead:
    """Bytes per rank beyond weights and KV, its error, where it comes from, and what is to be said about it."""

    value: Bytes
    error: Bytes
    source: OverheadSource
    notes: tuple[Finding, ...] = ()
    holds: tuple[Finding, ...] = ()


def weight_bytes(model: ModelArchitecture, settings: EngineSettings) -> float:
    """All weights in bytes. Quantised checkpoints keep the embedding and the output head in 16 bit.

    Checked: Llama-3.1-8B-FP8 is 9.08 GB = 6.98e9 x 1 + 1.05e9 x 2 (neuralmagic checkpoint), within the 2 % of scales.
    Mixtures in 4 bits keep all but their experts in 16: Kimi-K2.5 is 595 GB, gpt-oss-120b 65 GB.
    """
    dtype = settings.weight_dtype or model.default_dtype
    if model.checkpoint_bytes is not None and dtype is model.default_dtype:
        return float(model.checkpoint_bytes)
    if dtype in (WeightDtype.BFLOAT16, WeightDtype.FLOAT16):
        return model.parameters * dtype.bytes_per_parameter
    if dtype.bytes_per_parameter < 1 and model.experts > model.experts_per_token:
        unused = model.experts / (model.experts - model.experts_per_token)  # a token leaves all but k of the experts
        experts = (model.parameters - model.active_parameters) * unused
        return experts * dtype.bytes_per_parameter + 2.0 * (model.parameters - experts)
    copies = 1 if model.parameters < _TIED_BELOW else 2
    embeddings = min(float(copies * model.vocabulary * model.hidden), model.parameters)
    return (model.parameters - embeddings) * dtype.bytes_per_parameter + 2.0 * embeddings


def assumed_overhead(
    model: ModelArchitecture, settings: EngineSettings, tensor_parallel: int, device_memory: float
) -> float:
    """Overhead per rank of one workload where no pod tells, in bytes."""
    return float(
        assumed_overheads(
            np.float64(batched_tokens(settings, device_memory)),
            np.float64(max_sequences(settings, device_memory)),
            np.float64(model.heads * model.head_dim),
            np.float64(model.vocabulary),
            ranks=np.asarray(tensor_parallel),
            eager=np.asarray(settings.enforce_eager),
        )
    )


def assumed_overheads(
    tokens: NDArray[np.float64] | np.float64,
    requests: NDArray[np.float64] | np.float64,
    width: NDArray[np.float64] | np.float64,
    vocabulary: NDArray[np.float64] | np.float64,
    *,
    ranks: NDArray[np.int64],
    eager: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Activations, logits, collectives, CUDA graphs and context per rank, in bytes; arguments broadcast.

    Activations 2 x tokens x width x c with c = 10, 6, 5, 5 and collectives 0, 342, 392, 392 MiB for 1, 2, 4, 8 ranks:
    ai-dynamo/aiconfigurator base_backend.py at 095f58a. Context and CUDA graphs 0.5 GiB each: typical of vLLM.
    """
    column = np.clip(np.floor(np.log2(np.maximum(ranks, 1))).astype(np.int64), 0, 3)
    activations = 2.0 * tokens * width * _ACTIVATION[column]
    logits = 4.0 * requests * vocabulary / np.maximum(ranks, 1)
    graphs = np.where(eager, 0.0, 0.5 * GIB)
    return np.asarray(activations + logits + _COLLECTIVES[column] * MIB + graphs + 0.5 * GIB)


_ACTIVATION = np.array([10.0, 6.0, 5.0, 5.0])
_COLLECTIVES = np.array([0.0, 342.0, 392.0, 392.0])


def batched_tokens(settings: EngineSettings, device_memory: float) -> int:
    """Tokens of one step: as told, else vLLM's default for the device's size."""
    if settings.max_num_batched_tokens is not None:
        return settings.max_num_batched_tokens
    return LARGE_DEVICE_BATCHED_TOKENS if takes_large_defaults(device_memory, "") else DEFAULT_BATCHED_TOKENS


def max_sequences(settings: EngineSettings, device_memory: float) -> int:
    """Requests of one batch: as told, else vLLM's default for the device's size."""
    if settings.max_num_seqs is not None:
        return settings.max_num_seqs
    return LARGE_DEVICE_SEQUENCES if takes_large_defaults(device_memory, "") else DEFAULT_SEQUENCES


def device_memory(seen: Overview) -> float | None:
    """What CUDA sees of one device of the present class, in bytes."""
    if (total := offered(seen.observation.fb_total, seen.peak("fb_used"))) is not None:
        return total
    placement = seen.workload.placement
    return None if isinstance(placement, Missing) else placement.accelerator_memory * CUDA_SHARE


def device_total(observation: Observation) -> float | None:
    """Bytes a device offers as its exporter says; None where that can be no accelerator's memory."""
    used = observation.fb_used
    return offered(observation.fb_total, used.peak() if isinstance(used, BlockSeries) else np.nan)


def offered(total: Reading, most_used: float) -> float | None:
    """The same, given the most bytes that were ever used."""
    if not isinstance(total, Measured) or not total.value >= _LEAST_DEVICE:
        return None
    return None if total.value < most_used else total.value


def pool_tokens(observation: Observation) -> float | None:
    """KV tokens of one replica as the engine reports them; None where no engine could serve with them."""
    pool = observation.kv_pool
    return pool.value if isinstance(pool, Measured) and pool.value >= 1 else None


def overhead(seen: Overview, model: ModelArchitecture) -> Overhead:
    """Solved from the running pod, per rank: u x M - weights - pool x KV bytes; assumed where it cannot be."""
    settings, pool, memory = seen.workload.settings, pool_tokens(seen.observation), device_memory(seen)
    if memory is None:
        return _assumed(settings, model, 0.0)
    if pool is None:
        return _assumed(settings, model, memory)
    if settings.num_gpu_blocks_override is not None or settings.cpu_offload_gib > 0:
        return _assumed(settings, model, memory)
    ledger = rank_weights(model, settings) + pool * rank_kv(model, settings)
    solved = settings.gpu_memory_utilization * memory - ledger
    if not _LEAST_OVERHEAD <= solved <= _LARGEST_OVERHEAD:
        return _assumed(settings, model, memory, solved)
    holds = _disagreement(seen.peak("fb_used"), ledger)
    return Overhead(Bytes(round(solved)), Bytes(SOLVED_ERROR), OverheadSource.SOLVED, holds=holds)


def rank_weights(model: ModelArchitecture, settings: EngineSettings) -> float:
    """Weights on each rank, bytes."""
    return weight_bytes(model, settings) / (settings.tensor_parallel * settings.pipeline_parallel)


def rank_kv(model: ModelArchitecture, settings: EngineSettings) -> float:
    """Bytes of KV per token on each rank."""
    per_rank = model.kv_bytes_per_token_and_rank(settings.tensor_parallel, settings.kv_bytes)
    return per_rank / settings.pipeline_parallel


def _assumed(
    settings: EngineSettings, model: ModelArchitecture, memory: float, solved: float | None = None
) -> Overhead:
    value = assumed_overhead(model, settings, settings.tensor_parallel, memory)
    error = SOLVED_ERROR + _ASSUMED_ERROR * value
    note = found(Code.OVERHEAD_ASSUMED, overhead=round(value), error=round(error))
    impossible = solved is not None and solved < 0 and not model.sliding_window
    holds = (found(Code.SOURCES_DISAGREE, signal=Signal.KV_POOL.value, detail=model.name),) if impossible else ()
    return Overhead(Bytes(round(value)), Bytes(round(error)), OverheadSource.ASSUMED, (note,), holds)


def _disagreement(used: float, ledger: float) -> tuple[Finding, ...]:
    """Framebuffer use well below weights and pool cannot be: model, precision or memory share was misread."""
    if not used > 0 or used >= ledger * (1 - _LEDGER_TOLERANCE):
        return ()
    detail = f"{used / GIB:.1f} GiB in use, {ledger / GIB:.1f} GiB of weights and pool"
    return (found(Code.SOURCES_DISAGREE, signal=Signal.FB_USED.value, detail=detail),)
