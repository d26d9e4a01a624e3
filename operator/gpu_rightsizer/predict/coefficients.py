"""The shares of nominal speed that engines reach and the fixed costs of their steps, as fitted on published points."""

from __future__ import annotations

from dataclasses import dataclass

HOPPER, BLACKWELL, OTHER = 0, 1, 2
"""Generations of hardware that the points tell apart, in the order of `bandwidth` and `attention`."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Seconds and shares of nominal rates; three numbers are vLLM, TensorRT-LLM, any engine, or the generations.

    A step costs `layer` a layer, `expert_layer` more where experts are mixed and `latent_layer` where KV is latent;
    `request` for each request of the batch; `collective` for each of two all-reduces a layer. `bandwidth` is reached
    reading weights, times `experts_read` for experts, `fp4` and `int4`; `attention` reading KV. `small_message` and
    `large_message` are the shares of the link that all-reduces of a decode step and of a prompt reach. `flops16`,
    `flops8`, `flops4` and `flops_int4` are the shares of peak arithmetic, times `expert_flops` where experts are mixed
    and `latent_flops` in latent attention. `prefill_layer` is the least time of a prompt's step a layer: its kernels
    are launched one by one, without a CUDA graph. `tile` is what vLLM's fp8 kernels for more than 16 rows cost more on
    Hopper. `interference` is the share of a prompt's time that it takes from the decoding of others.
    """

    layer: tuple[float, float, float]
    expert_layer: tuple[float, float, float]
    request: tuple[float, float, float]
    collective: tuple[float, float, float]
    prefill_layer: tuple[float, float, float]
    experts_read: tuple[float, float, float]
    bandwidth: tuple[float, float, float]
    attention: tuple[float, float, float]
    fp4: float
    int4: float
    small_message: float
    large_message: float
    flops16: float
    flops8: float
    flops4: float
    flops_int4: float
    expert_flops: float
    latent_layer: float
    latent_flops: float
    tile: float
    interference: float


FITTED = Coefficients(
    layer=(5.21e-05, 4.38e-05, 5.13e-05),
    expert_layer=(2.2e-05, 1.19e-05, 2.34e-05),
    request=(8.23e-06, 8.48e-06, 1.21e-05),
    collective=(7.02e-06, 5.49e-06, 6.2e-06),
    prefill_layer=(0.000286, 0.000283, 0.00022),
    experts_read=(0.89, 1.12, 0.859),
    bandwidth=(0.898, 0.945, 0.904),
    attention=(1.1, 0.927, 0.815),
    fp4=0.691,
    int4=0.643,
    small_message=0.556,
    large_message=0.373,
    flops16=0.618,
    flops8=0.407,
    flops4=0.325,
    flops_int4=0.499,
    expert_flops=0.504,
    latent_layer=2.47e-05,
    latent_flops=0.33,
    tile=0.309,
    interference=0.815,
)
"""Of ai-dynamo/aiconfigurator's silicon samples at 095f58a (2026-08-21), fitted on 2026-11-25."""
