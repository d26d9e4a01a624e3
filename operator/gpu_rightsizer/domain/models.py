"""Language models as a sizing engine sees them: parameters, layers, heads, bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Confidence(StrEnum):
    """How much a catalogue fact is trusted."""

    VERIFIED = "Verified"  # read in the named source
    COMPUTED = "Computed"  # derived from verified facts
    RECALLED = "Recalled"  # general knowledge; check before relying on it
    DECLARED = "Declared"  # the user said so


class WeightDtype(StrEnum):
    """How weights are stored; the values are those of `spec.model.weightDtype`."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"
    MXFP4 = "mxfp4"
    NVFP4 = "nvfp4"

    @property
    def bytes_per_parameter(self) -> float:
        """Stored bytes per parameter, scales included.

        bf16/fp16 2; fp8/int8 1.02 (scales up to 2 %); int4 0.56 (AWQ/GPTQ, group 128); mxfp4 0.53; nvfp4 0.5625.
        """
        return _BYTES[self]


_BYTES = {
    WeightDtype.BFLOAT16: 2.0,
    WeightDtype.FLOAT16: 2.0,
    WeightDtype.FP8: 1.02,
    WeightDtype.INT8: 1.02,
    WeightDtype.INT4: 0.56,
    WeightDtype.MXFP4: 0.53,
    WeightDtype.NVFP4: 0.5625,
}


@dataclass(frozen=True, slots=True)
class ModelArchitecture:
    """One model. Parameters are counts; `kv_bytes_per_token` is for 2-byte KV, over all layers and heads.

    For MLA models the latent cache is replicated on every tensor-parallel rank (`kv_replicated`). Of
    `layers`, `windowed_layers` attend to the last `sliding_window` tokens alone (0: none do); there KV per token is an
    upper bound. `checkpoint_bytes` is set where the default checkpoint mixes types, so that parameters x
    `default_dtype` would be wrong (gpt-oss: mxfp4 experts, bf16 rest).
    """

    name: str
    parameters: float
    active_parameters: float
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    default_dtype: WeightDtype
    max_context: int
    kv_bytes_per_token: int
    kv_replicated: bool = False
    experts: int = 0
    experts_per_token: int = 0
    sliding_window: int = 0
    windowed_layers: int = 0
    generative: bool = True
    checkpoint_bytes: int | None = None
    source: str = ""
    confidence: Confidence = Confidence.VERIFIED

    def allows_tensor_parallel(self, ranks: int) -> bool:
        """Heads must split evenly; KV heads split or replicate evenly."""
        even = self.kv_heads % ranks == 0 or ranks % self.kv_heads == 0
        return ranks >= 1 and self.heads % ranks == 0 and even

    def kv_bytes_per_token_and_rank(self, ranks: int, kv_bytes: float = 2.0) -> float:
        """Bytes of KV per token on each of `ranks` tensor-parallel ranks; `kv_bytes` is per element (1 for fp8)."""
        scale = kv_bytes / 2.0
        if self.kv_replicated:
            return self.kv_bytes_per_token * scale
        return self.kv_bytes_per_token * scale / min(ranks, self.kv_heads)
