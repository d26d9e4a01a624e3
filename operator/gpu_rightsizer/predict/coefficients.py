"""The shares of nominal speed that engines reach and the fixed costs of their steps, as fitted on published points."""

from __future__ import annotations

from dataclasses import dataclass

HOPPER, BLACKWELL, OTHER = 0, 1, 2
"""Generations of hardware that the points tell apart, in the order of `bandwidth` and `attention`."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Seconds and shares of nominal rates; three numbers are vLLM, TensorRT-LLM, any engine, or the generations.

    A step costs `layer` a layer, `expert_layer` more where experts are mixed, both times (hidden / 8192)^`wide`;
    `latent_layer` more where KV is latent and `block_layer` where the mixture is in 8 bits: activations are then scaled
    in blocks, by kernels of their own. It costs `request` for each request of the batch and `collective` for each of
    two all-reduces a layer. `bandwidth` is reached reading weights, times `experts_read` for experts and `fp4` for
    other weights of 4 bits; integers of 4 bits are unpacked at `int4` bytes/s of an accelerator at most. `attention` is
    the share reached reading KV. `routing` is how evenly experts are asked for: the shape of a gamma distribution of
    their popularity, infinite where all are alike. `small_message` and `large_message` are the shares of the link that
    all-reduces of a decode step and of a prompt reach. `flops16`, `flops8`, `flops4` and `flops_int4` are the shares of
    peak arithmetic, times `expert_flops` where experts are mixed and `latent_flops` in latent attention.
    `prefill_layer` is the least time of a prompt's step a layer: its kernels are launched one by one, without a CUDA
    graph. `tile` is what vLLM's fp8 kernels for more than 16 rows cost more on Hopper. `interference` is the share of a
    prompt's time that it takes from the decoding of others. A first token takes `first_delay` seconds and `first_steps`
    decode steps beside its prompt, where no experts are mixed and where they are.
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
    wide: float
    block_layer: float
    latent_flops: float
    tile: float
    routing: float
    interference: float
    first_delay: tuple[float, float]
    first_steps: tuple[float, float]


FITTED = Coefficients(
    layer=(5.55e-05, 4.25e-05, 4.64e-05),
    expert_layer=(1.9e-05, 1.54e-05, 2.08e-05),
    request=(1.09e-05, 1.12e-05, 1.15e-05),
    collective=(6.88e-06, 5.76e-06, 6.05e-06),
    prefill_layer=(0.000228, 0.000182, 0.000211),
    experts_read=(0.929, 0.966, 0.845),
    bandwidth=(0.891, 0.904, 0.904),
    attention=(0.839, 0.774, 0.835),
    fp4=0.771,
    int4=2.7e12,
    small_message=0.521,
    large_message=0.397,
    flops16=0.642,
    flops8=0.397,
    flops4=0.295,
    flops_int4=0.482,
    expert_flops=0.51,
    latent_layer=2.43e-05,
    wide=0.141,
    block_layer=2.98e-05,
    latent_flops=0.303,
    tile=0.353,
    routing=1.7,
    interference=0.794,
    first_delay=(0.0216, 0.00254),
    first_steps=(1.0, 8.13),
)
"""Of ai-dynamo/aiconfigurator's silicon samples at 095f58a (2026-08-21), fitted on 2026-11-25."""
