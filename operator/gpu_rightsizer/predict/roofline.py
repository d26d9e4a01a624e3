"""How long one step takes: memory traffic over bandwidth, arithmetic where that is longer, and what every step costs.

    T(n) = gemm(n) + attention(n) + all-reduces(n) + layers x layer + n x request

The figures are in `coefficients`; `benchmarks/physical_model.py` fits them and says how far they are off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.predict.coefficients import BLACKWELL, FITTED, HOPPER, OTHER
from gpu_rightsizer.predict.memory import kv_per_rank
from gpu_rightsizer.predict.precision import flops
from gpu_rightsizer.predict.work import DTYPES, VLLM_LIKE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_rightsizer.predict.coefficients import Coefficients
    from gpu_rightsizer.predict.shapes import Hardware
    from gpu_rightsizer.predict.work import Work

_SLOW_LINK = 100e9  # bytes/s below which collectives go over PCIe: not in the fit, which has NVLink alone
_LINK_SHARE = 0.6  # of the nominal rate that a ring over PCIe reaches
_PCIE_LATENCY = 10e-6  # seconds a collective, per doubling of ranks (aiconfigurator's p2p figure)
_TILE_ROWS = 16  # vLLM's fp8 kernels for Hopper change above this batch
_LATENT_FLOPS = 17.0  # of one layer per head width and token of context: 2 x (512 + 576) / 128 (DeepSeek-V3, absorbed)
_SIXTEEN, _EIGHT, _FOUR, _INT4 = 0, 1, 2, 3
_WIDTH = {WeightDtype.FP8: _EIGHT, WeightDtype.INT8: _EIGHT, WeightDtype.INT4: _INT4,
          WeightDtype.MXFP4: _FOUR, WeightDtype.NVFP4: _FOUR}  # fmt: skip
_WIDTH_BY_CODE = np.array([_WIDTH.get(d, _SIXTEEN) for d in DTYPES])
_SHARPNESS = 3  # of the bend from traffic to arithmetic: near it, neither hides the other wholly

INTERFERENCE = FITTED.interference
"""Share of a prompt's time that it takes from the decoding of others: steps that carry both read the weights once."""
Z95 = 1.645  # standard normal score of 95 %: a one-sided bound, and both ends of a 90 % interval
SIGMA_FITTED = 0.10
SIGMA_ENGINES = 0.20
SIGMA_UNMEASURED = 0.25


def decode_step(
    work: Work, hardware: Hardware, batch: NDArray[np.float64], by: Coefficients = FITTED
) -> NDArray[np.float64]:
    """Seconds of one decode step of `batch` requests, each holding its mean context."""
    attention = _attention(work, hardware, batch, by)
    steps = work.layers * _layer(work, by) + np.array(by.request)[work.engine] * batch
    return np.asarray(_gemm(work, hardware, batch, by) + attention + _all_reduces(work, hardware, batch, by) + steps)


def prefill(
    work: Work, hardware: Hardware, tokens: NDArray[np.float64], by: Coefficients = FITTED
) -> NDArray[np.float64]:
    """Seconds to process a prompt of `tokens`: arithmetic, all-reduces, and no less than launching its kernels takes.

    2 x parameters x tokens, and 2 x layers x width x tokens^2 of attention (a quarter more where KV is latent: keys
    are wider than values).
    """
    attention = np.where(work.kv_replicated, 2.5, 2.0) * work.layers * work.width * tokens**2
    arithmetic = (2.0 * _active(work) * tokens + attention) / (_rate(work, hardware, by) * hardware.ranks)
    sent = _ring(work, hardware, tokens, by)
    launched = work.layers * np.array(by.prefill_layer)[work.engine]
    weights = work.weights / (hardware.ranks * work.pipeline) / hardware.bandwidth
    whole = np.hypot(np.maximum(arithmetic, weights) + sent, launched)
    return np.asarray(np.where(tokens > 0, whole, 0.0))


def sigma(work: Work, hardware: Hardware) -> NDArray[np.float64]:
    """Standard deviation of log(measured / predicted) for a class nothing of ours has run on."""
    dense = (work.experts <= 0) | np.isnan(work.experts)
    fitted = (work.engine == VLLM_LIKE) & dense
    return np.where(hardware.measured, np.where(fitted, SIGMA_FITTED, SIGMA_ENGINES), SIGMA_UNMEASURED)


def _gemm(work: Work, hardware: Hardware, batch: NDArray[np.float64], by: Coefficients) -> NDArray[np.float64]:
    """Reading the weights or multiplying with them, whichever is longer, bent where they are alike."""
    share = np.array(by.bandwidth)[_generation(hardware)] * _read_share(work, by)
    traffic = _weights_read(work, batch) / hardware.ranks / hardware.bandwidth / share
    coarse = (work.engine == VLLM_LIKE) & (_WIDTH_BY_CODE[work.dtype] == _EIGHT) & ~_mixed(work)
    coarse = coarse & (_generation(hardware) == HOPPER) & (batch > _TILE_ROWS)
    traffic = traffic * np.where(coarse, 1.0 + by.tile, 1.0)
    arithmetic = 2.0 * _active(work) * batch / (_rate(work, hardware, by) * hardware.ranks)
    return np.asarray((traffic**_SHARPNESS + arithmetic**_SHARPNESS) ** (1 / _SHARPNESS))


def _attention(work: Work, hardware: Hardware, batch: NDArray[np.float64], by: Coefficients) -> NDArray[np.float64]:
    """Reading the KV of the batch; latent KV is small, but each head multiplies with all of it."""
    context = batch * work.kv_per_request
    share = np.array(by.attention)[_generation(hardware)]
    read = context * kv_per_rank(work, hardware.ranks) * work.pipeline / (hardware.bandwidth * share)
    rate = _rate(work, hardware, by) * hardware.ranks * by.latent_flops
    latent = _LATENT_FLOPS * work.width * work.layers * context / rate
    return np.asarray(np.where(work.kv_replicated, np.maximum(read, latent), read))


def _all_reduces(work: Work, hardware: Hardware, batch: NDArray[np.float64], by: Coefficients) -> NDArray[np.float64]:
    """Two a layer: each rank reads the others' rows in one go while they are few, around a ring where they are many."""
    ranks, link = hardware.ranks, hardware.link
    at_once = batch * work.hidden * 2.0 * (ranks - 1) / (link * by.small_message)
    latency = np.array(by.collective)[work.engine]
    fast = 2.0 * work.layers * (latency + at_once)
    ring = 2.0 * work.layers * latency + _ring(work, hardware, batch, by)
    chosen = np.where(_slow(hardware), _ring(work, hardware, batch, by), np.fmin(fast, ring))
    return np.asarray(np.where(ranks > 1, chosen, 0.0))


def _ring(work: Work, hardware: Hardware, tokens: NDArray[np.float64], by: Coefficients) -> NDArray[np.float64]:
    """Two all-reduces a layer of `tokens` rows around a ring: over NVLink, or over PCIe with its latency."""
    ranks, slow = hardware.ranks, _slow(hardware)
    share = np.where(slow, _LINK_SHARE, by.large_message)
    link = np.where(np.isnan(hardware.link), 16e9, hardware.link) * share
    sent = tokens * work.hidden * 2.0 * 2.0 * (ranks - 1) / ranks / link
    latency = np.where(slow, _PCIE_LATENCY * np.log2(np.maximum(ranks, 2)), 0.0)
    return np.asarray(np.where(ranks > 1, 2.0 * work.layers * (sent + latency), 0.0))


def _layer(work: Work, by: Coefficients) -> NDArray[np.float64]:
    """Seconds a layer that no batch and no bandwidth changes."""
    mixed = np.where(_mixed(work), np.array(by.expert_layer)[work.engine], 0.0)
    latent = np.where(work.kv_replicated, by.latent_layer, 0.0)
    return np.asarray(np.array(by.layer)[work.engine] + mixed + latent)


def _read_share(work: Work, by: Coefficients) -> NDArray[np.float64]:
    """What the weights' type and shape leave of the bandwidth: four bits are unpacked, experts are small."""
    width = _WIDTH_BY_CODE[work.dtype]
    dense = np.where(width == _FOUR, by.fp4, 1.0)
    mixed = np.array(by.experts_read)[work.engine]
    return np.asarray(np.where(_mixed(work), mixed, dense) * np.where(width == _INT4, by.int4, 1.0))


def _rate(work: Work, hardware: Hardware, by: Coefficients) -> NDArray[np.float64]:
    """FLOPS of one accelerator that are reached. Weights it has no arithmetic for are multiplied at 16 bit."""
    peak = flops(work, hardware)
    native = np.where(peak > hardware.bf16 * 1.01, _WIDTH_BY_CODE[work.dtype], _SIXTEEN)
    native = np.where(_WIDTH_BY_CODE[work.dtype] == _INT4, _INT4, native)
    share = np.array([by.flops16, by.flops8, by.flops4, by.flops_int4])[native]
    return np.asarray(peak * share * np.where(_mixed(work), by.expert_flops, 1.0))


def _active(work: Work) -> NDArray[np.float64]:
    """Parameters that multiply a token: the input embedding is looked up, not multiplied with."""
    return np.asarray(np.maximum(work.active - work.vocabulary * work.hidden, 0.5 * work.active))


def _weights_read(work: Work, batch: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bytes of weights one step reads: of a mixture of experts those that some request of the batch is routed to.

    shared + E x (1 - (1 - k/E)^n) x expert, with shared and expert solved from total and active parameters.
    """
    mixture = _mixed(work)
    total = np.where(mixture, work.experts, 2.0)
    each = np.where(mixture, work.experts_per_token, 1.0)
    expert = (work.parameters - work.active) / (total - each)
    used = total * (1 - (1 - each / total) ** np.maximum(batch, 1.0)) - each
    looked_up = work.active - _active(work)
    read = np.where(mixture, work.active + used * expert, work.parameters) - looked_up
    return np.asarray(work.weights * np.clip(read / work.parameters, 0.0, 1.0))


def _mixed(work: Work) -> NDArray[np.bool_]:
    return np.asarray(work.experts > work.experts_per_token)


def _slow(hardware: Hardware) -> NDArray[np.bool_]:
    return np.asarray(~(hardware.link >= _SLOW_LINK))


def _generation(hardware: Hardware) -> NDArray[np.int64]:
    """Which column of the fitted shares: Hopper (9.0), Blackwell for data centres (10.x), or any other."""
    hopper, blackwell = hardware.capability == 90.0, (hardware.capability >= 100.0) & (hardware.capability < 110.0)
    return np.where(hopper, HOPPER, np.where(blackwell, BLACKWELL, OTHER)).astype(np.int64)
