"""An engine's command line as settings: vLLM in full, the other engines as far as memory and parallelism go."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.engines import EngineSettings, EngineType, takes_large_defaults
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.domain.readings import Missing
from gpu_rightsizer.observe.engine_detection import version_key
from gpu_rightsizer.observe.engine_dialects import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpu_rightsizer.observe.command_line import CommandLine
    from gpu_rightsizer.observe.engine_dialects import Dialect


# Variables by which widely used images are told the model.
_MODEL_VARIABLES: Final = ("MODEL_ID", "MODEL_NAME", "HF_MODEL_ID", "VLLM_MODEL", "MODEL_PATH", "MODEL")

# Whole numbers and the most that each can be: what lies beyond is a slip of the pen, and unread.
_WHOLE: Final = {
    "tensor_parallel": 1024,
    "pipeline_parallel": 1024,
    "data_parallel": 4096,
    "max_model_len": 100_000_000,
    "max_num_seqs": 1_000_000,
    "max_num_batched_tokens": 100_000_000,
    "num_gpu_blocks_override": 1_000_000_000,
    "block_size": 65_536,
}
_MOST_GIB: Final = 65_536  # of host memory to offload to
_LONGEST_NUMBER: Final = 18  # characters
_NAMES: Final = frozenset({"model_name", "served"})
_HARMLESS: Final = {
    "task": ("auto", "generate"),
    "runner": ("auto", "generate"),
    "convert": ("auto", "none"),
    "nnodes": ("1",),
    "node-rank": ("0",),
    "ep-size": ("1",),
}
_LONGEST_UNREAD: Final = 120
_SHARES: Final = frozenset({"gpu_memory_utilization"})
_SIZES: Final = frozenset({"cpu_offload_gib"})
_SETTINGS: Final = frozenset(each.name for each in fields(EngineSettings))

# What --quantization says about stored weights; formats that hold several types say nothing by themselves.
_QUANTISATION: Final = {
    **{dtype.value: dtype for dtype in WeightDtype},
    "fbgemm-fp8": WeightDtype.FP8,
    "ptpc-fp8": WeightDtype.FP8,
    "w8a8-fp8": WeightDtype.FP8,
    "modelopt": WeightDtype.FP8,
    "eetq": WeightDtype.INT8,
    "w8a8-int8": WeightDtype.INT8,
    "experts-int8": WeightDtype.INT8,
    "bitsandbytes": WeightDtype.INT4,
    "bitsandbytes-nf4": WeightDtype.INT4,
    "bitsandbytes-fp4": WeightDtype.INT4,
    "awq": WeightDtype.INT4,
    "awq-marlin": WeightDtype.INT4,
    "modelopt-fp4": WeightDtype.NVFP4,
}
_KV_BYTES: Final = {
    "auto": 2.0,
    "bfloat16": 2.0,
    "bf16": 2.0,
    "float16": 2.0,
    "fp16": 2.0,
    "half": 2.0,
    "fp8": 1.0,
    "fp8-e4m3": 1.0,
    "fp8-e5m2": 1.0,
    "fp8-inc": 1.0,
    "int8": 1.0,
}
_ACTIVATIONS: Final = {
    "bfloat16": WeightDtype.BFLOAT16,
    "float16": WeightDtype.FLOAT16,
    "half": WeightDtype.FLOAT16,
}
_DECIMAL: Final = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY: Final = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

# gpu_memory_utilization was 0.9 and reads 0.92 in vllm/config/cache.py of v0.25.0, v0.27.1 and v0.30.0. An unknown
# version counts as new: a share taken too large overstates what the present pod takes beside weights and KV.
_NEW_UTILISATION: Final = (0, 25)
# vLLM V1, whose limits depend on the device, became the default in 0.8.0. V0 takes 256 sequences.
_V1: Final = (0, 8)


@dataclass(frozen=True, slots=True)
class EngineReading:
    """Settings as told (`settings`), the names the model goes by (best first), and what is still open about weights.

    `activation_dtype` is what --dtype asks for; `quantisation` a format whose stored type its name leaves open.
    """

    settings: EngineSettings
    names: tuple[str, ...]
    activation_dtype: WeightDtype | None = None
    quantisation: str = ""


def read_settings(engine: EngineType | Missing, command: CommandLine, version: str) -> EngineReading:
    """What the command line and environment tell. An engine without a known dialect yields defaults and names."""
    dialect = None if isinstance(engine, Missing) else DIALECTS.get(engine)
    told = _Told()
    if dialect is not None:
        _read_environment(dialect, command.environment, told)
        _read_words(dialect, command, told)
    told.unread.extend(command.unread)
    return _reading(engine, told, command, version)


def with_device_defaults(
    settings: EngineSettings, engine: EngineType | Missing, memory: int, product: str
) -> EngineSettings:
    """The limits of vLLM where the user set none; they depend on the device (`memory` in bytes). Others stay open."""
    if engine is not EngineType.VLLM:
        return settings
    version = version_key(settings.version)
    if version and version < _V1:
        return settings if settings.max_num_seqs is not None else replace(settings, max_num_seqs=256)
    sequences, tokens = (1024, 8192) if takes_large_defaults(memory, product) else (256, 2048)
    return replace(
        settings,
        max_num_seqs=sequences if settings.max_num_seqs is None else settings.max_num_seqs,
        max_num_batched_tokens=tokens if settings.max_num_batched_tokens is None else settings.max_num_batched_tokens,
        by_device=frozenset({"max_num_seqs", "max_num_batched_tokens"}) - settings.explicit,
    )


def settings_hash(engine: EngineType | Missing, settings: EngineSettings) -> str:
    """16 hex digits that change when the engine, the model or an argument that matters changes; order does not."""
    told = {name: str(getattr(settings, name)) for name in sorted(settings.explicit)}
    what = [str(engine) if isinstance(engine, EngineType) else "", settings.model_name, told, sorted(settings.unread)]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def whole_number(text: str) -> int | None:
    """`32768`, `32k` (thousands), `32K` (1024s), `1M`, `25.6k`: as vLLM reads them; else None."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgtKMGT])?", text.strip(), re.ASCII)
    if match is None or len(match.group(1)) > _LONGEST_NUMBER or ("." in text and match.group(2) not in _DECIMAL):
        return None
    suffix = match.group(2) or ""
    return round(float(match.group(1)) * (_DECIMAL.get(suffix) or _BINARY.get(suffix) or 1))


class _Told:
    """What has been read so far; a later word replaces an earlier one."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.unread: list[str] = []

    def take(self, target: str, flag: str, text: str) -> None:
        """One flag and its value, remembered as unread when the value makes no sense."""
        value = None if "$" in text and target not in _NAMES else _value(target, text)
        if value is None:
            self.note(flag, text)
        else:
            self.values[target] = value

    def note(self, flag: str, text: str | None) -> None:
        """A flag that matters and is not understood, unless its value says that nothing is changed."""
        if text is None or text not in _HARMLESS.get(flag, ()):
            self.unread.append(f"--{flag}" if text is None else f"--{flag}={text}"[:_LONGEST_UNREAD])


def _value(target: str, text: str) -> object | None:
    if target in _WHOLE:
        number = whole_number(text)
        return number if number is not None and 0 < number <= _WHOLE[target] else None
    if target in _SHARES:
        share = _number(text)
        return share if share is not None and 0 < share <= 1 else None
    if target in _SIZES:
        size = _number(text)
        return size if size is not None and size <= _MOST_GIB else None
    if target == "kv_bytes":
        return _KV_BYTES.get(text.casefold().replace("_", "-"))
    return text or None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _read_environment(dialect: Dialect, environment: Mapping[str, str], told: _Told) -> None:
    for variable, flag in dialect.environment.items():
        if variable in environment:
            told.take(dialect.values[flag], flag, environment[variable])


def _read_words(dialect: Dialect, command: CommandLine, told: _Told) -> None:
    words = list(command.words)
    _read_positional(dialect, command, told)
    index = 0
    while index < len(words):
        flag, equals, text = _split(words[index])
        index += 1
        if not flag:
            continue
        follows = words[index] if not equals and index < len(words) else None
        index += _read_flag(dialect, flag, text if equals else None, follows, told)


def _split(word: str) -> tuple[str, str, str]:
    """`--max_model_len=4096` as (`max-model-len`, `=`, `4096`); an empty name when it is no flag."""
    if not word.startswith("-") or re.fullmatch(r"-\d.*", word):
        return "", "", ""
    name, equals, text = word.lstrip("-").partition("=")
    return name.replace("_", "-"), equals, text


def _read_flag(dialect: Dialect, flag: str, given: str | None, follows: str | None, told: _Told) -> int:
    """Reads one flag; how many of the following words belong to it."""
    text = given if given is not None else follows
    if flag in dialect.switches:
        return _read_switch(*dialect.switches[flag], given, follows, told)
    if flag in dialect.values:
        if text is None:
            told.unread.append(f"--{flag}")
            return 0
        told.take(dialect.values[flag], flag, text)
        return 0 if given is not None else 1
    if flag.partition(".")[0] not in dialect.matters:
        return 0
    takes = given is None and follows is not None and not _split(follows)[0]
    told.note(flag, given if given is not None else follows if takes else None)
    return 1 if takes else 0


def _read_switch(target: str, on: bool, given: str | None, follows: str | None, told: _Told) -> int:
    says = {"true": on, "false": not on}
    if given is not None:
        told.values[target] = says.get(given.casefold(), on)
        return 0
    told.values[target] = says.get((follows or "").casefold(), on)
    return 1 if (follows or "").casefold() in says else 0


def _read_positional(dialect: Dialect, command: CommandLine, told: _Told) -> None:
    """The model as the first word after `serve` that is no flag's value; an image's entry point may get it bare."""
    words = list(command.words)
    starts = [index for index, word in enumerate(words) if word.rsplit("/", 1)[-1] in dialect.serve]
    if not dialect.serve or (command.has_command and not starts):
        return
    rest = words[starts[-1] + 1 :] if starts else words
    bare = _bare_words(dialect, rest)
    if bare and (starts or bare[0] == words[0]):
        told.values["model_name"] = bare[0]


def _bare_words(dialect: Dialect, words: list[str]) -> list[str]:
    """Words that are neither flags nor their values."""
    bare: list[str] = []
    index = 0
    while index < len(words):
        flag, equals, _ = _split(words[index])
        if not flag:
            bare.append(words[index])
        index += 1
        if flag and not equals and flag not in dialect.switches and flag not in dialect.plain:
            most = len(words) if flag in dialect.lists else index + 1
            while index < min(most, len(words)) and not _split(words[index])[0]:
                index += 1
    return bare


def _reading(engine: EngineType | Missing, told: _Told, command: CommandLine, version: str) -> EngineReading:
    quantisation, weights = _weights(told)
    values = {name: value for name, value in told.values.items() if name in _SETTINGS}
    if weights is not None:
        values["weight_dtype"] = weights
    settings = EngineSettings(
        version=version,
        gpu_memory_utilization=_default_utilisation(engine, version),
        in_shell=command.in_shell,
        explicit=frozenset(values) - {"model_name"},
        unread=tuple(dict.fromkeys(told.unread)),
    )
    settings = replace(settings, **values)  # type: ignore[arg-type] # names and types are those of _value
    names = _names(told, command.environment)
    if not settings.model_name and names:
        settings = replace(settings, model_name=names[0])
    activation = _ACTIVATIONS.get(str(told.values.get("dtype", "")).casefold())
    return EngineReading(settings, names, activation, quantisation)


def _default_utilisation(engine: EngineType | Missing, version: str) -> float:
    key = version_key(version)
    old = engine is not EngineType.VLLM or (key and key < _NEW_UTILISATION)
    return 0.9 if old else 0.92


def _weights(told: _Told) -> tuple[str, WeightDtype | None]:
    """The open quantisation format, and the stored type where the arguments tell it."""
    if str(told.values.get("dtype", "")).casefold() in {"float32", "float"}:
        told.unread.append("--dtype=float32")
    format_ = str(told.values.get("quantization") or "").casefold().replace("_", "-")
    if not format_ and told.values.get("load_format") == "bitsandbytes":
        format_ = "bitsandbytes"
    if format_ in {"", "none", "null"}:
        return "", None
    known = _QUANTISATION.get(format_)
    return ("", known) if known is not None else (format_, None)


def _names(told: _Told, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The model argument, the name it is served under, then the variables that commonly hold it."""
    candidates: Sequence[object] = [told.values.get("model_name"), told.values.get("served")]
    spoken = [environment.get(variable) for variable in _MODEL_VARIABLES]
    found = [str(name) for name in [*candidates, *spoken] if name and "$" not in str(name)]
    return tuple(dict.fromkeys(found))
