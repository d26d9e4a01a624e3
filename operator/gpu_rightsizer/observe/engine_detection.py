"""Which engine a container runs, told by its command first and by its image else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.readings import Missing, MissingReason, Signal

if TYPE_CHECKING:
    from gpu_rightsizer.observe.command_line import CommandLine

# Order matters: Ray and Triton start other engines; the engine that holds the memory decides.
_BY_COMMAND: Final = (
    (re.compile(r"(^|/)ray$|(^|/)serve$|ray\.serve|(^|/)vllm-ray"), EngineType.RAY_SERVE),
    (re.compile(r"vllm\.entrypoints|(^|/)vllm$"), EngineType.VLLM),
    (re.compile(r"sglang\.launch_server|(^|/)sglang$"), EngineType.SGLANG),
    (re.compile(r"(^|/)text-generation-launcher$"), EngineType.TGI),
    (re.compile(r"(^|/)trtllm-serve$|tensorrt_llm"), EngineType.TENSORRT_LLM),
    (re.compile(r"(^|/)tritonserver$"), EngineType.TRITON),
    (re.compile(r"(^|/)llama-server$|llama_cpp\.server"), EngineType.LLAMA_CPP),
)
_BY_IMAGE: Final = (
    (re.compile(r"rayproject/|/ray(-llm|-ml)?:|(^|/)ray(-llm|-ml)?:"), EngineType.RAY_SERVE),
    (re.compile(r"tritonserver.*trtllm|tensorrt-?_?llm|trt-?llm"), EngineType.TENSORRT_LLM),
    (re.compile(r"tritonserver.*vllm|vllm"), EngineType.VLLM),
    (re.compile(r"sglang"), EngineType.SGLANG),
    (re.compile(r"text-generation-inference|(^|/)tgi(:|-|$)"), EngineType.TGI),
    (re.compile(r"tritonserver"), EngineType.TRITON),
    (re.compile(r"llama[.-]?cpp|llama-server"), EngineType.LLAMA_CPP),
)
_VERSION: Final = re.compile(r"(?:^|[-_])v?(\d+\.\d+(?:\.\d+)*)")


def detect_engine(image: str, command: CommandLine) -> EngineType | Missing:
    """The engine; Missing when neither command nor image tells."""
    for pattern, engine in _BY_COMMAND:
        if any(pattern.search(word) for word in _programs(command)):
            return _behind_triton(engine, image)
    for pattern, engine in _BY_IMAGE:
        if pattern.search(image.casefold()):
            return engine
    return Missing(Signal.ENGINE, MissingReason.UNRECOGNISED, image)


def image_version(image: str) -> str:
    """`0.9.2` of `vllm/vllm-openai:v0.9.2-x`; empty for `latest`, a digest or no tag."""
    repository, _, tag = image.partition("@")[0].rpartition(":")
    if not repository or "/" in tag:
        return ""
    found = _VERSION.search(tag)
    return found.group(1) if found else ""


def version_key(version: str) -> tuple[int, ...]:
    """A version to compare by; empty when unknown."""
    return tuple(int(part) for part in version.split(".")) if version else ()


def _programs(command: CommandLine) -> list[str]:
    """The words that can name a program: the first ones, up to the first flag that is not `-m`."""
    if not command.has_command:
        return [word for word in command.words[:1] if word != "serve"]  # whose it is, the image tells
    programs: list[str] = []
    for word in command.words[:8]:
        if word.startswith("-") and word not in {"-m", "-u", "--"}:
            break
        programs.append(word)
    # `vllm serve` is vLLM, although a bare `serve` is Ray's.
    return programs[:1] if programs and programs[0].rsplit("/", 1)[-1] in {"vllm", "sglang"} else programs


def _behind_triton(engine: EngineType, image: str) -> EngineType:
    """Triton's image tag names the backend that holds the memory."""
    if engine is not EngineType.TRITON:
        return engine
    backends = {"trtllm": EngineType.TENSORRT_LLM, "vllm": EngineType.VLLM}
    return next((backend for word, backend in backends.items() if word in image.casefold()), engine)
