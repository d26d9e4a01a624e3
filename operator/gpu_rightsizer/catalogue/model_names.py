"""A model's many spellings: paths, organisations, quantised derivatives, and what they say about the weights."""

from __future__ import annotations

import re
from typing import Final

from gpu_rightsizer.domain.models import WeightDtype

# Endings of quantised checkpoints as published on the Hugging Face hub, and how their weights are stored. A GGUF file
# of any width counts as int8, which overstates the narrower ones.
_QUANTISED: Final = (
    (r"nvfp4|fp4", WeightDtype.NVFP4),
    (r"mxfp4", WeightDtype.MXFP4),
    (r"fp8(?:[-_](?:dynamic|kv|static|block|tensor|e4m3|torchao))*", WeightDtype.FP8),
    (r"(?:awq[-_]|gptq[-_]|gptqmodel[-_])?(?:w8a8|w8a16|int8|8bit)", WeightDtype.INT8),
    (r"(?:awq|gptq|gptqmodel|bnb)?[-_]?(?:w4a16(?:[-_]?g?\d+)?|int4|4bit(?:[-_]?g?\d+)?)", WeightDtype.INT4),
    (r"(?:awq|gptq)(?:[-_]marlin)?", WeightDtype.INT4),
    (r"(?:i?q\d(?:_[a-z0-9]+)*|gguf)", WeightDtype.INT8),
    (r"bf16", WeightDtype.BFLOAT16),
    (r"fp16|f16", WeightDtype.FLOAT16),
)
_ENDINGS: Final = tuple(
    (re.compile(rf"[-_.](?:quantized[-_.]|unsloth[-_])?(?:{pattern})$"), dtype) for pattern, dtype in _QUANTISED
)
_NEUTRAL: Final = re.compile(r"[-_.](?:quantized|unsloth|dynamic|hf|bnb|g128|128g|safetensors)$")
_HUB_CACHE: Final = re.compile(r"models--(?P<organisation>.+?)--(?P<name>[^/]+)")
_SNAPSHOT: Final = re.compile(r"/snapshots/.*$")
_TUNED: Final = re.compile(r"[-_](?:instruct|it|chat)(?=$|[-_]hf$|[-_]v?\d)")


def basename(name: str) -> str:
    """The part that names the model, in lower case: no organisation, directory, hub cache or trailing slash."""
    text = _SNAPSHOT.sub("", name.strip().rstrip("/"))
    if cached := _HUB_CACHE.search(text):
        text = cached.group("name")
    return text.rsplit("/", 1)[-1].casefold()


def without_quantisation(base: str) -> tuple[str, WeightDtype | None]:
    """The name of the checkpoint it was quantised from, and how its weights are stored (None: nothing said)."""
    hint: WeightDtype | None = None
    while True:
        for ending, dtype in _ENDINGS:
            if match := ending.search(base):
                base, hint = base[: match.start()], hint or dtype
                break
        else:
            match = _NEUTRAL.search(base)
            if match is None:
                return base, hint
            base = base[: match.start()]


def family(base: str) -> str:
    """One form for base, chat and instruct checkpoints of one architecture: `llama-3.1-8b`.

    Tuning leaves the architecture as it is, so these may stand in for each other.
    """
    text = base.removeprefix("meta-")
    text = re.sub(r"[-_]hf$", "", text)
    return _TUNED.sub("", text).replace("_", "-")
