"""How long one step takes: memory traffic over bandwidth plus a cost per layer, or arithmetic where that is longer.

Decode: T(n) = (weights + n x KV) per rank / (eta x bandwidth) + layers x c, fitted on 429 points of Llama-3.1-8B/70B
and Qwen3-32B on H100, H200 and B200 (ai-dynamo/aiconfigurator silicon samples at 095f58a): median error 4-7 % for vLLM,
10-13 % for TensorRT-LLM, 8-10 % for all engines together. Checked out of the fit: Llama-3-8B on A10G 32.2 ms against
30.3-30.7 measured, Llama-3.1-8B on A100-40 13.9 ms against about 13.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.predict.memory import kv_per_rank
from gpu_rightsizer.predict.precision import flops, reduced
from gpu_rightsizer.predict.work import VLLM_LIKE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_rightsizer.predict.shapes import Hardware
    from gpu_rightsizer.predict.work import Work

# rows: vLLM, TensorRT-LLM, any engine; columns: 1, 2, 4, 8 ranks
_ETA = np.array([[0.99, 0.79, 0.71, 0.54], [0.75, 0.71, 0.63, 0.47], [0.90, 0.75, 0.67, 0.52]])
_LAYER = np.array([[90.0, 65.0, 64.0, 62.0], [47.0, 53.0, 52.0, 52.0], [76.0, 60.0, 57.0, 58.0]]) * 1e-6

# Share of the peak reached in prefill: LLaMA-7B at 2048 tokens: A100 bf16 67 %, H100 fp8 39 %, L40S fp8 52 %
# (aiconfigurator silicon samples); 0.5 and 0.4 are below all of them.
_MFU = 0.5
_MFU_REDUCED = 0.4
_SLOW_LINK = 100e9  # bytes/s below which collectives go over PCIe: not in the fit, which has NVLink alone
_LINK_SHARE = 0.6  # of the nominal rate that a ring over PCIe reaches
_PCIE_LATENCY = 10e-6  # seconds a collective, per doubling of ranks (aiconfigurator's p2p figure)
INTERFERENCE = 0.75
"""Share of a prompt's time that it takes from the decoding of others: steps that carry both read the weights once.

Fitted with benchmarks/physical_model.py on 225 dense vLLM points: median error 8 % at 0.75, against 10 % at 1 and 8 to
19 % at 0.
"""
SIGMA_FITTED = 0.10
SIGMA_ENGINES = 0.17
SIGMA_UNMEASURED = 0.25


def decode_step(work: Work, hardware: Hardware, batch: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds of one decode step of `batch` requests, each holding its mean context."""
    column = _column(hardware.ranks)
    kv = batch * work.kv_per_request * kv_per_rank(work, hardware.ranks)
    traffic = (_weights_read(work, batch) / (hardware.ranks * work.pipeline) + kv) / hardware.bandwidth
    arithmetic = 2.0 * work.active * batch / (_rate(work, hardware) * hardware.ranks)
    busy = np.maximum(traffic / _ETA[work.engine, column], arithmetic)
    collectives = _collectives(work, hardware, batch)
    return np.asarray(busy * work.pipeline + work.layers * _LAYER[work.engine, column] + collectives)


def prefill(work: Work, hardware: Hardware, tokens: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds to process a prompt of `tokens`: 2 x active parameters x tokens, attention, and collectives."""
    matrix = 2.0 * work.active * tokens
    attention = 2.0 * work.layers * work.width * tokens**2
    arithmetic = (matrix + attention) / (_rate(work, hardware) * hardware.ranks)
    weights = work.weights / (hardware.ranks * work.pipeline) / hardware.bandwidth
    floor = np.where(tokens > 0, weights, 0.0)
    return np.asarray(np.maximum(arithmetic, floor) + np.where(tokens > 0, _collectives(work, hardware, tokens), 0.0))


def sigma(work: Work, hardware: Hardware) -> NDArray[np.float64]:
    """Standard deviation of log(measured / predicted) for a class nothing of ours has run on."""
    dense = (work.experts <= 0) | np.isnan(work.experts)
    fitted = (work.engine == VLLM_LIKE) & dense
    return np.where(hardware.measured, np.where(fitted, SIGMA_FITTED, SIGMA_ENGINES), SIGMA_UNMEASURED)


def _column(ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.clip(np.floor(np.log2(np.maximum(ranks, 1))).astype(np.int64), 0, 3)


def _rate(work: Work, hardware: Hardware) -> NDArray[np.float64]:
    """FLOPS of one accelerator that are reached."""
    return flops(work, hardware) * np.where(reduced(work, hardware), _MFU_REDUCED, _MFU)


def _weights_read(work: Work, batch: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bytes of weights one step reads: of a mixture of experts those that some request of the batch is routed to.

    shared + E x (1 - (1 - k/E)^n) x expert, with shared and expert solved from total and active parameters.
    """
    mixture = work.experts > work.experts_per_token
    total = np.where(mixture, work.experts, 2.0)
    each = np.where(mixture, work.experts_per_token, 1.0)
    expert = (work.parameters - work.active) / (total - each)
    shared = work.active - each * expert
    read = shared + total * (1 - (1 - each / total) ** np.maximum(batch, 1.0)) * expert
    return np.asarray(work.weights * np.where(mixture, np.clip(read / work.parameters, 0.0, 1.0), 1.0))


def _collectives(work: Work, hardware: Hardware, tokens: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two all-reduces a layer where ranks talk over PCIe; NVLink's are in the fitted cost per layer."""
    ranks = hardware.ranks
    slow = (ranks > 1) & ~(hardware.link >= _SLOW_LINK)
    link = np.where(np.isnan(hardware.link), 16e9, hardware.link) * _LINK_SHARE
    sent = tokens * work.hidden * 2.0 * 2.0 * (ranks - 1) / ranks / link
    each = sent + _PCIE_LATENCY * np.log2(np.maximum(ranks, 2))
    return np.asarray(np.where(slow, 2.0 * work.layers * each, 0.0))
