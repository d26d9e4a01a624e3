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
    layer=(5.4e-05, 4.3e-05, 4.95e-05),
    expert_layer=(2.24e-05, 1.32e-05, 2.24e-05),
    request=(8.04e-06, 9.01e-06, 1.07e-05),
    collective=(6.73e-06, 5.78e-06, 6.15e-06),
    prefill_layer=(0.000226, 0.000262, 0.00021),
    experts_read=(0.883, 1.07, 0.843),
    bandwidth=(0.9, 0.937, 0.906),
    attention=(1.06, 0.876, 0.835),
    fp4=0.741,
    int4=0.665,
    small_message=0.529,
    large_message=0.433,
    flops16=0.643,
    flops8=0.403,
    flops4=0.298,
    flops_int4=0.484,
    expert_flops=0.529,
    latent_layer=2.51e-05,
    latent_flops=0.347,
    tile=0.315,
    interference=0.805,
)
"""Of ai-dynamo/aiconfigurator's silicon samples at 095f58a (2026-08-21), fitted on 2026-11-25."""
