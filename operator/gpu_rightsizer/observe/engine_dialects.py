"""How each engine spells the settings that decide its memory and speed: tables only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.engines import EngineType

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one engine spells its settings. Names are without leading dashes, words joined by `-`.

    `values` name the field a flag sets, `switches` flags without a value; `matters` are flags that change memory or
    speed in ways we do not model; `environment` are variables that stand for flags.
    """

    values: Mapping[str, str]
    switches: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    matters: frozenset[str] = frozenset()
    environment: Mapping[str, str] = field(default_factory=dict)
    serve: frozenset[str] = frozenset()  # words after which the model stands
    plain: frozenset[str] = frozenset()  # further switches, which may stand before the model
    lists: frozenset[str] = frozenset()  # flags that take several words


_VLLM: Final = Dialect(
    values={
        "model": "model_name",
        "model-tag": "model_name",
        "served-model-name": "served",
        "tensor-parallel-size": "tensor_parallel",
        "tp": "tensor_parallel",
        "pipeline-parallel-size": "pipeline_parallel",
        "pp": "pipeline_parallel",
        "data-parallel-size": "data_parallel",
        "dp": "data_parallel",
        "gpu-memory-utilization": "gpu_memory_utilization",
        "max-model-len": "max_model_len",
        "max-num-seqs": "max_num_seqs",
        "max-num-batched-tokens": "max_num_batched_tokens",
        "num-gpu-blocks-override": "num_gpu_blocks_override",
        "block-size": "block_size",
        "kv-cache-dtype": "kv_bytes",
        "quantization": "quantization",
        "q": "quantization",
        "dtype": "dtype",
        "load-format": "load_format",
        "cpu-offload-gb": "cpu_offload_gib",
    },
    switches={
        "enforce-eager": ("enforce_eager", True),
        "no-enforce-eager": ("enforce_eager", False),
        "enable-chunked-prefill": ("chunked_prefill", True),
        "no-enable-chunked-prefill": ("chunked_prefill", False),
        "enable-prefix-caching": ("prefix_caching", True),
        "no-enable-prefix-caching": ("prefix_caching", False),
    },
    # --swap-space is left out: it is host memory, which is measured.
    matters=frozenset(
        {
            "config",
            "speculative-config",
            "speculative-model",
            "num-speculative-tokens",
            "spec-decoding",
            "enable-lora",
            "lora-modules",
            "max-loras",
            "max-lora-rank",
            "max-cpu-loras",
            "kv-transfer-config",
            "kv-cache-memory-bytes",
            "kv-offloading-size",
            "enable-expert-parallel",
            "decode-context-parallel-size",
            "prefill-context-parallel-size",
            "dcp",
            "hf-overrides",
            "rope-scaling",
            "rope-theta",
            "nnodes",
            "node-rank",
            "additional-config",
            "override-neuron-config",
            "task",
            "runner",
            "convert",
            "tokens-only",
            "language-model-only",
            "enable-dbo",
            "sc",
        }
    ),
    serve=frozenset({"serve"}),
    plain=frozenset(
        {
            "trust-remote-code",
            "disable-log-requests",
            "disable-log-stats",
            "enable-log-requests",
            "enable-auto-tool-choice",
            "enable-reasoning",
            "enable-lora",
            "enable-expert-parallel",
            "async-scheduling",
            "headless",
        }
    ),
    lists=frozenset({"served-model-name", "lora-modules", "middleware", "cudagraph-capture-sizes"}),
)
_SGLANG: Final = Dialect(
    values={
        "model-path": "model_name",
        "model": "model_name",
        "served-model-name": "served",
        "tp-size": "tensor_parallel",
        "tp": "tensor_parallel",
        "tensor-parallel-size": "tensor_parallel",
        "pp-size": "pipeline_parallel",
        "pipeline-parallel-size": "pipeline_parallel",
        "dp-size": "data_parallel",
        "dp": "data_parallel",
        "data-parallel-size": "data_parallel",
        "mem-fraction-static": "gpu_memory_utilization",
        "context-length": "max_model_len",
        "max-running-requests": "max_num_seqs",
        "chunked-prefill-size": "max_num_batched_tokens",
        "page-size": "block_size",
        "kv-cache-dtype": "kv_bytes",
        "quantization": "quantization",
        "dtype": "dtype",
        "cpu-offload-gb": "cpu_offload_gib",
    },
    switches={"disable-cuda-graph": ("enforce_eager", True), "disable-radix-cache": ("prefix_caching", False)},
    matters=frozenset(
        {
            "config",
            "speculative-algorithm",
            "speculative-draft-model-path",
            "lora-paths",
            "enable-lora",
            "enable-dp-attention",
            "ep-size",
            "enable-ep-moe",
            "disaggregation-mode",
            "max-total-tokens",
            "nnodes",
            "json-model-override-args",
            "is-embedding",
        }
    ),
    serve=frozenset({"serve"}),
)
_TGI: Final = Dialect(
    values={
        "model-id": "model_name",
        "num-shard": "tensor_parallel",
        "max-total-tokens": "max_model_len",
        "max-batch-prefill-tokens": "max_num_batched_tokens",
        "cuda-memory-fraction": "gpu_memory_utilization",
        "quantize": "quantization",
        "dtype": "dtype",
        "kv-cache-dtype": "kv_bytes",
    },
    switches={"sharded": ("sharded", True)},
    matters=frozenset(
        {
            "speculate",
            "lora-adapters",
            "rope-scaling",
            "rope-factor",
        }
    ),
    environment={
        "MODEL_ID": "model-id",
        "NUM_SHARD": "num-shard",
        "MAX_TOTAL_TOKENS": "max-total-tokens",
        "MAX_BATCH_PREFILL_TOKENS": "max-batch-prefill-tokens",
        "CUDA_MEMORY_FRACTION": "cuda-memory-fraction",
        "QUANTIZE": "quantize",
        "DTYPE": "dtype",
    },
)
_TENSORRT: Final = Dialect(
    values={
        "tp-size": "tensor_parallel",
        "pp-size": "pipeline_parallel",
        "max-seq-len": "max_model_len",
        "max-batch-size": "max_num_seqs",
        "max-num-tokens": "max_num_batched_tokens",
    },
    matters=frozenset(
        {
            "extra-llm-api-options",
            "config",
            "kv-cache-free-gpu-memory-fraction",
            "ep-size",
        }
    ),
    serve=frozenset({"trtllm-serve", "serve"}),
)
_LLAMA_CPP: Final = Dialect(
    values={
        "model": "model_name",
        "m": "model_name",
        "hf-repo": "model_name",
        "hf": "model_name",
        "alias": "served",
        "ctx-size": "max_model_len",
        "c": "max_model_len",
        "parallel": "max_num_seqs",
        "np": "max_num_seqs",
    },
    environment={"LLAMA_ARG_MODEL": "model", "LLAMA_ARG_HF_REPO": "hf-repo", "LLAMA_ARG_CTX_SIZE": "ctx-size"},
)
DIALECTS: Final = {
    EngineType.VLLM: _VLLM,
    EngineType.RAY_SERVE: _VLLM,
    EngineType.SGLANG: _SGLANG,
    EngineType.TGI: _TGI,
    EngineType.TENSORRT_LLM: _TENSORRT,
    EngineType.LLAMA_CPP: _LLAMA_CPP,
}
