"""From model, engine arguments and GPUs to an engine that either starts, with known speed, or says why not.

Memory per rank follows vLLM's own order (take `u` of what CUDA sees; weights, profiled activations, non-torch
memory and graphs come off; the rest is the KV pool). One iteration takes

    T = max(weights / bandwidth, 2 P (n + p) / rate) + kv_read / bandwidth + attention(p) + layers * overhead
        + n * per_sequence + exchange

for n decoding sequences and p prompt tokens. Error against measured points: see tests/twin/test_facts.py.
"""

from dataclasses import dataclass
from enum import StrEnum

from testbed.twin.hardware import GIB, Gpu
from testbed.twin.models import Model
from testbed.twin.truth import DECODE_EFFICIENCY, FP8_UTILISATION, LAYER_OVERHEAD_S, Truth

WEIGHT_BYTES = {"bfloat16": 2.0, "float16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.53, "nvfp4": 0.5625}
KV_BYTES = {"auto": 2, "bfloat16": 2, "float16": 2, "fp8": 1}
BLOCK_TOKENS = 16
NEVER = 2**62
_MEBI = 1024.0**2
# ai-dynamo/aiconfigurator @095f58a base_backend.py: activation coefficient and NCCL buffers by TP degree
_ACTIVATION = {1: 10, 2: 6, 4: 5, 8: 5}
_NCCL_BYTES = {1: 0.0, 2: 342 * _MEBI, 4: 392 * _MEBI, 8: 392 * _MEBI}
# collective over PCIe: latency per all-reduce and share of the nominal link rate (recalled, NCCL over PCIe hosts)
_PCIE_LATENCY_S = 25e-6
_PCIE_SHARE = 0.65


class StartFailure(StrEnum):
    """Why an engine does not come up. All but the first two end as a CUDA out-of-memory or its vLLM check."""

    PARALLELISM = "TensorParallelDoesNotDivide"
    DTYPE = "DtypeUnsupported"
    WEIGHTS = "WeightsDoNotFit"
    NO_KV = "NoMemoryForKvCache"
    KV_TOO_SMALL = "MaxModelLenExceedsKvCache"
    HOST_MEMORY = "HostMemory"


@dataclass(frozen=True, slots=True)
class EngineArgs:
    """vLLM server arguments; `None` where vLLM resolves the default itself, by the GPU's memory."""

    gpu_memory_utilization: float = 0.9
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    weight_dtype: str = "bfloat16"
    kv_cache_dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class Engine:
    """A started engine. Bytes and tokens are per rank where they differ; seconds; `pool_tokens` is the KV pool."""

    pool_tokens: int
    num_blocks: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    weight_read_s: float
    compute_s_per_token: float
    kv_read_s_per_token: float
    attention_s_per_token2: float
    fixed_s: float
    sequence_s: float
    exchange_s_per_token: float
    request_overhead_s: float
    weight_bytes: float
    kv_bytes_per_token: float
    flops_per_token: float
    attention_flops_per_token2: float
    oom_prompt_tokens: int
    pool_is_hard: bool
    fb_base_bytes: float
    fb_total_bytes: float
    bandwidth_bytes_s: float
    tensor_flops: float
    loading_s: float
    eager_bytes_per_token: float


def resolved(args: EngineArgs, model: Model, gpu: Gpu) -> tuple[int, int, int]:
    """`(max_model_len, max_num_seqs, max_num_batched_tokens)` as vLLM's API server resolves them.

    1024 / 8192 on GPUs of at least 70 GiB, else 256 / 2048 (vLLM SchedulerConfig by usage context, recalled).
    """
    large = gpu.fb_total_mib >= 70 * 1024
    length = args.max_model_len or model.max_context
    sequences = args.max_num_seqs or (1024 if large else 256)
    return length, sequences, args.max_num_batched_tokens or (8192 if large else 2048)


def weight_bytes(model: Model, dtype: str) -> float:
    """All weights; embeddings and the output head stay two bytes wide under quantisation."""
    width = WEIGHT_BYTES[dtype]
    return (model.parameters - model.embedding_parameters) * width + model.embedding_parameters * 2.0


def kv_bytes_per_token(model: Model, tp: int, kv_dtype: str) -> float:
    """KV bytes a token takes on one rank; heads are replicated when there are more ranks than KV heads."""
    if model.is_eager:
        return 0.0
    return 2.0 * model.layers * max(1, model.kv_heads // tp) * model.head_dim * KV_BYTES[kv_dtype]


@dataclass(frozen=True, slots=True)
class Attempt:
    """All that decides how an engine starts."""

    model: Model
    args: EngineArgs
    gpu: Gpu
    tp: int
    truth: Truth


def start(attempt: Attempt, *, host_ram_gib: float = 1e6) -> Engine | StartFailure:
    """The engine once it is up, or the reason it never is."""
    refusal = _refusal(attempt, host_ram_gib)
    if refusal is not None:
        return refusal
    return _start_eager(attempt) if attempt.model.is_eager else _start_preallocating(attempt)


def _refusal(attempt: Attempt, host_ram_gib: float) -> StartFailure | None:
    model, args, gpu, tp = attempt.model, attempt.args, attempt.gpu, attempt.tp
    divides = model.heads % tp == 0 and (model.kv_heads % tp == 0 or tp % model.kv_heads == 0)
    if not divides or tp not in DECODE_EFFICIENCY:
        return StartFailure.PARALLELISM
    # vLLM refuses bfloat16 below compute capability 8.0 and its fp8 kernels (Marlin weight-only) need 8.0 too
    old = gpu.compute_capability < (8, 0)
    if old and args.weight_dtype in ("bfloat16", "fp8", "nvfp4") and not model.is_eager:
        return StartFailure.DTYPE
    if args.kv_cache_dtype == "fp8" and gpu.compute_capability < (8, 9):
        return StartFailure.DTYPE
    if args.weight_dtype == "nvfp4" and gpu.compute_capability < (10, 0):
        return StartFailure.DTYPE
    # safetensors are mapped, so the load peak in host memory is the shard being copied plus the processes
    if host_ram_gib < 4.0 + 2.0 * tp:
        return StartFailure.HOST_MEMORY
    return None


def _start_preallocating(attempt: Attempt) -> Engine | StartFailure:
    model, args, gpu, tp, truth = attempt.model, attempt.args, attempt.gpu, attempt.tp, attempt.truth
    length, sequences, batched = resolved(args, model, gpu)
    weights = weight_bytes(model, args.weight_dtype) / tp
    budget = args.gpu_memory_utilization * gpu.cuda_total_bytes
    if weights + truth.non_torch_bytes > gpu.cuda_total_bytes:
        return StartFailure.WEIGHTS
    left = budget - weights - _overhead_bytes(model, tp, truth, batched, sequences)
    if left <= 0:
        return StartFailure.NO_KV
    per_token = kv_bytes_per_token(model, tp, args.kv_cache_dtype)
    blocks = int(left / (per_token * BLOCK_TOKENS))
    if blocks * BLOCK_TOKENS < length:
        return StartFailure.KV_TOO_SMALL
    slack = gpu.cuda_total_bytes - budget - 0.1e9
    spike = truth.spike_bytes_per_prompt_token
    return _engine(
        attempt,
        pool_tokens=blocks * BLOCK_TOKENS,
        oom_prompt_tokens=int(slack / spike) if spike > 0 else NEVER,
        fb_base_bytes=budget,
    )


def _overhead_bytes(model: Model, tp: int, truth: Truth, batched: int, sequences: int) -> float:
    """What is neither weights nor KV: profiled activations, logits, expert buffers, NCCL, context and graphs."""
    activations = 2.0 * batched * model.heads * model.head_dim * _ACTIVATION[tp]
    logits = 4.0 * sequences * model.vocab / tp
    experts = 2.0 * batched * model.experts_per_token * (3 * model.intermediate / tp + model.hidden)
    profiled = truth.activation_factor * (activations + logits + experts)
    return profiled + _NCCL_BYTES[tp] + truth.non_torch_bytes + truth.graph_bytes


def _start_eager(attempt: Attempt) -> Engine | StartFailure:
    model, args, gpu, truth = attempt.model, attempt.args, attempt.gpu, attempt.truth
    base = weight_bytes(model, args.weight_dtype) + truth.non_torch_bytes
    room = gpu.cuda_total_bytes - base
    if room <= 0:
        return StartFailure.WEIGHTS
    return _engine(
        attempt,
        pool_tokens=int(room / model.eager_bytes_per_token / truth.activation_factor),
        oom_prompt_tokens=NEVER,
        fb_base_bytes=base,
    )


def _engine(
    attempt: Attempt,
    *,
    pool_tokens: int,
    oom_prompt_tokens: int,
    fb_base_bytes: float,
) -> Engine:
    model, args, gpu, tp, truth = attempt.model, attempt.args, attempt.gpu, attempt.tp, attempt.truth
    length, sequences, batched = resolved(args, model, gpu)
    weights = weight_bytes(model, args.weight_dtype) / tp
    kv = kv_bytes_per_token(model, tp, args.kv_cache_dtype)
    bandwidth = gpu.bandwidth_gbps * 1e9 * min(1.0, DECODE_EFFICIENCY[tp] * truth.bandwidth_factor)
    peak = _tensor_rate(args, gpu)
    rate = peak * truth.prefill_mfu * tp * (FP8_UTILISATION if peak > gpu.bf16_tflops * 1e12 else 1.0)
    flops = 2.0 * model.active_parameters
    attention = 2.0 * model.layers * model.heads * model.head_dim
    exchange_fixed, exchange_token = _exchange(model, gpu, tp)
    return Engine(
        pool_tokens=pool_tokens,
        num_blocks=pool_tokens // BLOCK_TOKENS,
        max_num_seqs=sequences,
        max_num_batched_tokens=batched,
        max_model_len=length,
        weight_read_s=weights / bandwidth,
        compute_s_per_token=flops / rate,
        # a server without a KV cache computes every token in flight again at each step (denoising, for example)
        kv_read_s_per_token=flops / rate if model.is_eager else kv / bandwidth,
        attention_s_per_token2=attention / rate,
        fixed_s=model.layers * LAYER_OVERHEAD_S[tp] * truth.overhead_factor + exchange_fixed,
        sequence_s=truth.sequence_overhead_s,
        exchange_s_per_token=exchange_token,
        request_overhead_s=truth.request_overhead_s,
        weight_bytes=weights,
        kv_bytes_per_token=kv,
        flops_per_token=flops / tp,
        attention_flops_per_token2=attention / tp,
        oom_prompt_tokens=oom_prompt_tokens,
        pool_is_hard=model.is_eager,
        fb_base_bytes=fb_base_bytes,
        fb_total_bytes=float(gpu.cuda_total_bytes),
        bandwidth_bytes_s=gpu.bandwidth_gbps * 1e9,
        tensor_flops=peak,
        loading_s=truth.start_s + weights * tp / (truth.load_gbps * GIB),
        eager_bytes_per_token=model.eager_bytes_per_token * truth.activation_factor,
    )


def _tensor_rate(args: EngineArgs, gpu: Gpu) -> float:
    """Dense FLOP/s of one GPU at the precision the matrices are multiplied in (weight-only formats: bf16)."""
    native_fp8 = args.weight_dtype in ("fp8", "nvfp4") and gpu.fp8_tflops is not None
    tflops = gpu.fp8_tflops if native_fp8 and gpu.fp8_tflops is not None else gpu.bf16_tflops
    return tflops * 1e12


def _exchange(model: Model, gpu: Gpu, tp: int) -> tuple[float, float]:
    """Fixed and per-token seconds of the all-reduces over PCIe; those over NVLink are in the fitted overhead."""
    if tp == 1 or gpu.nvlink:
        return 0.0, 0.0
    reduces = 2 * model.layers
    volume = 2.0 * (tp - 1) / tp * model.hidden * 2.0
    return reduces * _PCIE_LATENCY_S, reduces * volume / (gpu.link_gbps * 1e9 * _PCIE_SHARE)
