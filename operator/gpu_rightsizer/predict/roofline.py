"""How long one step takes: memory traffic over bandwidth, arithmetic where that is longer, and what every step costs.

    T(n) = gemm(n) + attention(n) + all-reduces(n) + layers x layer + n x request

The figures are in `coefficients`; `benchmarks/physical_model.py` fits them and says how far they are off.
"""

from __future__ import annotations

from dataclasses import dataclass
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
_WIDE = 8192.0  # of the hidden state, at which the costs of a layer are stated
_LATENT_FLOPS = 17.0  # of one layer per head width and token of context: 2 x (512 + 576) / 128 (DeepSeek-V3, absorbed)
_SIXTEEN, _EIGHT, _FOUR, _INT4 = 0, 1, 2, 3
_WIDTH = {WeightDtype.FP8: _EIGHT, WeightDtype.INT8: _EIGHT, WeightDtype.INT4: _INT4,
          WeightDtype.MXFP4: _FOUR, WeightDtype.NVFP4: _FOUR}  # fmt: skip
_WIDTH_BY_CODE = np.array([_WIDTH.get(d, _SIXTEEN) for d in DTYPES])
_BYTES_BY_CODE = np.array([d.bytes_per_parameter for d in DTYPES])

INTERFERENCE = FITTED.interference
"""Share of a prompt's time that it takes from the decoding of others: steps that carry both read the weights once."""
Z95 = 1.645  # standard normal score of 95 %: a one-sided bound, and both ends of a 90 % interval
SIGMA_FITTED = 0.085
SIGMA_EXPERTS = 0.13
SIGMA_ENGINES = 0.11
SIGMA_ENGINES_EXPERTS = 0.18
SIGMA_UNMEASURED = 0.25
SIGMA_FIRST = 0.4
"""Standard deviation of log(measured / predicted) time to the first token, wherever it is predicted."""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Decode steps of a work on hardware, as what does not depend on the batch: seconds, of shape (rows, shapes).

    A step is the longer of `read` + `expert` x (share of experts used) and `multiply` x n, and `fixed` + `each` x n.
    `unused` is ln(1 - k/E), of the chance that a request leaves an expert alone; `tile` is what large batches cost.
    """

    read: NDArray[np.float64]
    expert: NDArray[np.float64]
    unused: NDArray[np.float64]
    tile: NDArray[np.float64]
    multiply: NDArray[np.float64]
    fixed: NDArray[np.float64]
    each: NDArray[np.float64]
    routing: float

    def decode(self, batch: NDArray[np.float64]) -> NDArray[np.float64]:
        """Seconds of one step of `batch` requests, each holding its mean context.

        Traffic and arithmetic are joined as (a^3 + b^3)^(1/3): where they are alike, neither hides the other wholly.
        """
        read = self.read
        if (self.unused < 0).any():
            read = read + self._experts(batch)
        if (self.tile > 1).any():
            read = read * np.where(batch > _TILE_ROWS, self.tile, 1.0)
        multiply = self.multiply * batch
        longer = np.cbrt(read * read * read + multiply * multiply * multiply)
        return np.asarray(longer + self.fixed + self.each * batch)

    def _experts(self, batch: NDArray[np.float64]) -> NDArray[np.float64]:
        """Reading the experts that the others of the batch are routed to.

        Were all alike, a share 1 - (1 - k/E)^(n - 1) of those that the first leaves; popularity differs, as gamma
        variables of shape `routing` do, and the share is 1 - (1 - ln(1 - k/E) x (n - 1) / routing)^-routing.
        """
        asked = -self.unused * np.maximum(batch - 1.0, 0.0) / self.routing
        return np.asarray(self.expert * (1.0 - (1.0 + asked) ** -self.routing))


def steps(work: Work, hardware: Hardware, by: Coefficients = FITTED) -> Steps:
    """All of a decode step that does not depend on the batch.

    Integers of four bits are unpacked in registers: at the pace of the bandwidth where that is low (Marlin), and no
    faster on B200 than on H200.
    """
    read, expert = _weights_read(work)
    width = _WIDTH_BY_CODE[work.dtype]
    share = np.array(by.bandwidth)[_generation(hardware)] * _read_share(work, by) * hardware.bandwidth
    if (width == _INT4).any():
        share = np.where(width == _INT4, np.minimum(share, by.int4), share)
    share = share * hardware.ranks
    coarse = (work.engine == VLLM_LIKE) & (width == _EIGHT) & ~_mixed(work)
    coarse = coarse & (_generation(hardware) == HOPPER)
    latency, sent = _all_reduces(work, hardware, by)
    return Steps(
        read=read / share,
        expert=expert / share,
        unused=np.log1p(-np.where(_mixed(work), work.experts_per_token / np.maximum(work.experts, 1.0), 0.0)),
        tile=np.where(coarse, 1.0 + by.tile, 1.0),
        multiply=2.0 * _active(work) / (_rate(work, hardware, by) * hardware.ranks),
        fixed=work.layers * _layer(work, by) + latency,
        each=_attention(work, hardware, by) + sent + np.array(by.request)[work.engine],
        routing=by.routing,
    )


def decode_step(
    work: Work, hardware: Hardware, batch: NDArray[np.float64], by: Coefficients = FITTED
) -> NDArray[np.float64]:
    """Seconds of one decode step of `batch` requests, each holding its mean context."""
    return steps(work, hardware, by).decode(batch)


def prefill(
    work: Work, hardware: Hardware, tokens: NDArray[np.float64], by: Coefficients = FITTED
) -> NDArray[np.float64]:
    """Seconds to process a prompt of `tokens`: arithmetic, all-reduces, and no less than launching its kernels takes.

    2 x parameters x tokens, and 2 x layers x width x tokens^2 of attention (a quarter more where KV is latent: keys
    are wider than values).
    """
    attention = np.where(work.kv_replicated, 2.5, 2.0) * work.layers * work.width * tokens**2
    arithmetic = (2.0 * _active(work) * tokens + attention) / (_rate(work, hardware, by) * hardware.ranks)
    latency, sent = _ring(work, hardware, by)
    sent = np.where(hardware.ranks > 1, latency + sent * tokens, 0.0)
    launched = work.layers * np.array(by.prefill_layer)[work.engine]
    weights = work.weights / (hardware.ranks * work.pipeline) / hardware.bandwidth
    whole = np.hypot(np.maximum(arithmetic, weights) + sent, launched)
    return np.asarray(np.where(tokens > 0, whole, 0.0))


def first_token(
    work: Work,
    hardware: Hardware,
    tokens: NDArray[np.float64],
    step: NDArray[np.float64],
    by: Coefficients = FITTED,
) -> NDArray[np.float64]:
    """Seconds until a prompt of `tokens` that has a place is answered, where decode steps take `step` seconds.

    Beside the prompt itself: what server and client take, and steps that it waits for and shares.
    """
    kind = _mixed(work).astype(np.int64)
    beside = np.array(by.first_delay)[kind] + np.array(by.first_steps)[kind] * step
    return np.asarray(beside + prefill(work, hardware, tokens, by))


def sigma(work: Work, hardware: Hardware) -> NDArray[np.float64]:
    """Standard deviation of log(measured / predicted) TPOT for a class nothing of ours has run on."""
    mixed = _mixed(work)
    vllm = np.where(mixed, SIGMA_EXPERTS, SIGMA_FITTED)
    others = np.where(mixed, SIGMA_ENGINES_EXPERTS, SIGMA_ENGINES)
    return np.where(hardware.measured, np.where(work.engine == VLLM_LIKE, vllm, others), SIGMA_UNMEASURED)


def _attention(work: Work, hardware: Hardware, by: Coefficients) -> NDArray[np.float64]:
    """Reading the KV of a request; latent KV is small, but each head multiplies with all of it."""
    share = np.array(by.attention)[_generation(hardware)]
    read = _context_read(work) * kv_per_rank(work, hardware.ranks) * work.pipeline / (hardware.bandwidth * share)
    rate = _rate(work, hardware, by) * hardware.ranks * by.latent_flops
    latent = _LATENT_FLOPS * work.width * work.layers * work.kv_per_request / rate
    return np.asarray(np.where(work.kv_replicated, np.maximum(read, latent), read))


def _context_read(work: Work) -> NDArray[np.float64]:
    """Tokens of a request's KV that a step reads, in the mean over layers: some see a window alone."""
    beyond = np.maximum(work.kv_per_request - work.window, 0.0)
    return np.asarray(work.kv_per_request - work.windowed * beyond)


def _all_reduces(work: Work, hardware: Hardware, by: Coefficients) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two a layer: their latency, and seconds for each request sent.

    Each rank reads the others' rows in one go while they are few, around a ring where they are many.
    """
    ranks, slow = hardware.ranks, _slow(hardware)
    at_once = work.hidden * 2.0 * (ranks - 1) / (hardware.link * by.small_message)
    latency, ring = _ring(work, hardware, by)
    fast = 2.0 * work.layers * np.array(by.collective)[work.engine]
    shared = ranks > 1
    waits = np.where(slow, latency, fast) * shared
    sent = np.where(slow, ring, np.fmin(2.0 * work.layers * at_once, ring))
    return waits, np.where(shared, sent, 0.0)


def _ring(work: Work, hardware: Hardware, by: Coefficients) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two all-reduces a layer around a ring: their latency over PCIe, and seconds for each row sent."""
    ranks, slow = hardware.ranks, _slow(hardware)
    share = np.where(slow, _LINK_SHARE, by.large_message)
    link = np.where(np.isnan(hardware.link), 16e9, hardware.link) * share
    sent = work.hidden * 2.0 * 2.0 * (ranks - 1) / ranks / link
    latency = np.where(slow & (ranks > 1), _PCIE_LATENCY * np.log2(np.maximum(ranks, 2)), 0.0)
    return np.asarray(2.0 * work.layers * latency), np.asarray(2.0 * work.layers * sent)


def _layer(work: Work, by: Coefficients) -> NDArray[np.float64]:
    """Seconds a layer that no batch and no bandwidth changes."""
    mixed = np.where(_mixed(work), np.array(by.expert_layer)[work.engine], 0.0)
    blocks = np.where(_mixed(work) & (_WIDTH_BY_CODE[work.dtype] == _EIGHT), by.block_layer, 0.0)
    latent = np.where(work.kv_replicated, by.latent_layer, 0.0)
    wide = (work.hidden / _WIDE) ** by.wide
    return np.asarray((np.array(by.layer)[work.engine] + mixed + blocks) * wide + latent)


def _read_share(work: Work, by: Coefficients) -> NDArray[np.float64]:
    """What the weights' type and shape leave of the bandwidth: four bits have scales, experts are small."""
    width = _WIDTH_BY_CODE[work.dtype]
    dense = np.where(width == _FOUR, by.fp4, 1.0)
    mixed = np.array(by.experts_read)[work.engine]
    return np.asarray(np.where(_mixed(work), mixed, dense))


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


def _weights_read(work: Work) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bytes of weights that one request's step reads, and those of the experts that it leaves to others.

    The size of an expert is solved from total and active parameters. Four-bit checkpoints of mixtures quantise the
    experts alone (gpt-oss, Kimi-K2.5, nvidia/DeepSeek-R1-0528-NVFP4-v2): the rest is in 16 bit.
    """
    mixture = _mixed(work)
    total, each = np.where(mixture, work.experts, 2.0), np.where(mixture, work.experts_per_token, 1.0)
    expert = np.where(mixture, (work.parameters - work.active) / (total - each), 0.0)
    routed = expert * total
    narrow = _BYTES_BY_CODE[work.dtype]
    wide = np.where(mixture & (narrow < 1.0), 2.0, narrow)
    stored = routed * narrow + (work.parameters - routed) * wide
    others = work.parameters - routed - (work.active - _active(work))
    always = others * wide + expert * each * narrow
    return work.weights * always / stored, work.weights * expert * (total - each) * narrow / stored


def _mixed(work: Work) -> NDArray[np.bool_]:
    return np.asarray(work.experts > work.experts_per_token)


def _slow(hardware: Hardware) -> NDArray[np.bool_]:
    return np.asarray(~(hardware.link >= _SLOW_LINK))


def _generation(hardware: Hardware) -> NDArray[np.int64]:
    """Which column of the fitted shares: Hopper (9.0), Blackwell for data centres (10.x), or any other."""
    hopper, blackwell = hardware.capability == 90.0, (hardware.capability >= 100.0) & (hardware.capability < 110.0)
    return np.where(hopper, HOPPER, np.where(blackwell, BLACKWELL, OTHER)).astype(np.int64)
