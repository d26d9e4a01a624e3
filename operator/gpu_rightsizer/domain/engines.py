"""Inference engines and the settings that decide their memory and speed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gpu_rightsizer.domain.units import GIB

if TYPE_CHECKING:
    from gpu_rightsizer.domain.models import WeightDtype


LARGE_DEVICE = 70 * GIB
"""vLLM V1's API server resolves 1,024 sequences and 8,192 tokens a step on devices of at least 70 GiB other than A100s,
else 256 and 2,048 (vllm tests/engine/test_arg_utils.py, test_defaults_with_usage_context)."""


def takes_large_defaults(memory: float, product: str) -> bool:
    """Whether vLLM takes the larger limits on a device of so many bytes, where it is told none."""
    return memory >= LARGE_DEVICE and "a100" not in product.casefold()


class EngineType(StrEnum):
    """The engine; the values are those of `spec.engine.type`."""

    VLLM = "VLLM"
    SGLANG = "SGLang"
    TGI = "TGI"
    TRITON = "Triton"
    TENSORRT_LLM = "TensorRTLLM"
    LLAMA_CPP = "LlamaCpp"
    RAY_SERVE = "RayServe"
    CUSTOM = "Custom"

    @property
    def preallocates(self) -> bool:
        """Takes its share of device memory at start, so that framebuffer use says nothing of need."""
        return self in _PREALLOCATING


_PREALLOCATING = frozenset({EngineType.VLLM, EngineType.SGLANG, EngineType.TENSORRT_LLM, EngineType.RAY_SERVE})


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What the engine was told, after defaults. `explicit` names the fields the user set; the rest are the engine's.

    `None` means that neither the user nor the engine version tells. Token and sequence limits are per replica;
    `gpu_memory_utilization` is a share of device memory; `kv_bytes` is bytes per KV element. `by_device` names the
    limits that the engine took from the device it runs on: on another it would take others.
    """

    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    gpu_memory_utilization: float = 0.9
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    num_gpu_blocks_override: int | None = None
    block_size: int = 16
    weight_dtype: WeightDtype | None = None
    kv_bytes: float = 2.0
    enforce_eager: bool = False
    chunked_prefill: bool | None = None
    prefix_caching: bool | None = None
    cpu_offload_gib: float = 0.0
    model_name: str = ""
    version: str = ""
    explicit: frozenset[str] = frozenset()
    by_device: frozenset[str] = frozenset()
    in_shell: bool = False  # the arguments stand inside a shell string: read, but never to be changed by us
    unread: tuple[str, ...] = ()  # arguments that change memory or speed and that we do not understand
