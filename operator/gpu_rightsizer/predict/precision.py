"""Which weights and KV caches an accelerator can compute with: natively, by unpacking (slower), or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.predict.work import ANY_ENGINE, DTYPES, VLLM_LIKE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_rightsizer.predict.shapes import Hardware
    from gpu_rightsizer.predict.work import Work

NATIVE, SLOWER, REFUSED, CACHE_REFUSED = range(4)

# Least compute capability (times ten) that runs the type at all in vLLM (docs/features/quantization, hardware table):
# bf16 needs Ampere; fp8 and fp4 are unpacked by Marlin kernels from Ampere on; int8 and AWQ need Turing.
_LEAST = {
    WeightDtype.BFLOAT16: 80.0,
    WeightDtype.FLOAT16: 70.0,
    WeightDtype.FP8: 80.0,
    WeightDtype.INT8: 75.0,
    WeightDtype.INT4: 75.0,
    WeightDtype.MXFP4: 80.0,
    WeightDtype.NVFP4: 80.0,
}
# Least capability with the arithmetic itself: fp8 from Ada (8.9) on, fp4 from Blackwell (10.0) on.
_NATIVE = {WeightDtype.FP8: 89.0, WeightDtype.MXFP4: 100.0, WeightDtype.NVFP4: 100.0}
_LEAST_BY_CODE = np.array([_LEAST[d] for d in DTYPES])
_NATIVE_BY_CODE = np.array([_NATIVE.get(d, 0.0) for d in DTYPES])


def verdicts(work: Work, hardware: Hardware) -> NDArray[np.int64]:
    """NATIVE, SLOWER or REFUSED of shape (rows, shapes). Unpacking is vLLM's and its kin's; TensorRT-LLM refuses.

    Hardware of unknown capability passes: its own vendor's rules apply, and other vendors are refused elsewhere.
    """
    capability = hardware.capability
    refused = capability < _LEAST_BY_CODE[work.dtype]
    unpacked = capability < _NATIVE_BY_CODE[work.dtype]
    unpacks = (work.engine == VLLM_LIKE) | (work.engine == ANY_ENGINE)
    return np.where(refused | (unpacked & ~unpacks), REFUSED, np.where(unpacked, SLOWER, NATIVE))


def with_cache(weights: NDArray[np.int64], work: Work, hardware: Hardware, here: NDArray[np.intp]) -> NDArray[np.int64]:
    """The verdicts on weights, and CACHE_REFUSED where the KV cache has a byte an element and the device no fp8.

    vLLM's Triton kernels do not compile it below 8.9 (vllm-project/vllm#26431, #35720); FlashInfer, where it is
    installed, does. What runs on such a device now has shown that it can.
    """
    at = np.maximum(here, 0)
    capability = np.broadcast_to(hardware.capability, weights.shape)
    now = np.where(here >= 0, capability[np.arange(len(at)), at], np.nan)[:, None]
    without = (capability < _NATIVE[WeightDtype.FP8]) & ~(now < _NATIVE[WeightDtype.FP8])
    return np.where((work.kv_element < 2.0) & without & (weights != REFUSED), CACHE_REFUSED, weights)


def flops(work: Work, hardware: Hardware) -> NDArray[np.float64]:
    """Dense FLOPS that the weights are multiplied at, per accelerator; unpacked weights at 16-bit speed."""
    speeds = {WeightDtype.FP8: hardware.fp8, WeightDtype.INT8: hardware.int8}
    fp4 = {WeightDtype.MXFP4: hardware.fp4, WeightDtype.NVFP4: hardware.fp4}
    native = verdicts(work, hardware) == NATIVE
    out = np.broadcast_to(hardware.bf16, np.broadcast_shapes(work.dtype.shape, hardware.bf16.shape)).copy()
    for dtype, speed in (speeds | fp4).items():
        own = (work.dtype == DTYPES.index(dtype)) & native & np.isfinite(speed)
        out = np.where(own, speed, out)
    return out


def reduced(work: Work, hardware: Hardware) -> NDArray[np.bool_]:
    """Whether prefill runs in an arithmetic below 16 bit (its share of the peak reached is lower)."""
    return np.asarray(flops(work, hardware) > hardware.bf16 * 1.01)
