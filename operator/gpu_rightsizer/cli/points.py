"""What `predict` is asked: options or rows of a CSV become cases, or the one thing that stands in the way."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from gpu_rightsizer import catalogue
from gpu_rightsizer.domain.engines import EngineSettings, EngineType
from gpu_rightsizer.domain.hardware import Vendor
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.domain.readings import Missing
from gpu_rightsizer.ports import Rejected
from gpu_rightsizer.predict.case import Case, columns, kv_doubt, stored_kv_bytes
from gpu_rightsizer.predict.precision import REFUSED, verdicts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gpu_rightsizer.domain.hardware import Accelerator
    from gpu_rightsizer.domain.models import ModelArchitecture

ENGINES: Final = {
    "vllm": EngineType.VLLM, "trtllm": EngineType.TENSORRT_LLM, "tensorrtllm": EngineType.TENSORRT_LLM,
    "tensorrt-llm": EngineType.TENSORRT_LLM, "nim-trtllm": EngineType.TENSORRT_LLM, "sglang": EngineType.SGLANG,
    "tgi": EngineType.TGI, "rayserve": EngineType.RAY_SERVE, "llamacpp": EngineType.LLAMA_CPP,
    "custom": EngineType.CUSTOM,
}  # fmt: skip
WEIGHTS: Final = {
    "bf16": WeightDtype.BFLOAT16, "fp16": WeightDtype.FLOAT16, "fp8_block": WeightDtype.FP8, "fp4": WeightDtype.NVFP4,
    "int8_wo": WeightDtype.INT8, "int4_wo": WeightDtype.INT4, "awq": WeightDtype.INT4, "gptq": WeightDtype.INT4,
} | {dtype.value: dtype for dtype in WeightDtype}  # fmt: skip
_GPUS: Final = {  # as reports write them
    "h100 80gb sxm": "h100-sxm", "a100 80gb sxm": "a100-80-sxm", "a100 40gb sxm": "a100-40-sxm",
    "rtx pro 6000 se": "rtx-pro-6000-bse", "rtx pro 6000": "rtx-pro-6000-bse",
}  # fmt: skip
_MODELS: Final = {"llama-4-scout": "Llama-4-Scout-17B-16E-Instruct"}
_MOST_RANKS: Final = 8  # within one machine; what links machines is not modelled
_MOST: Final = 1e9
_NOTHING: Final = ("", "nan", "none", "null", "n/a")
_SPLITS: Final = ("tp", "pp", "dp_attn", "moe_ep", "n_gpus")  # 0 there means not split
_NEEDED: Final = ("model", "gpu")


class Unclear(ValueError):
    """What a row or an option says cannot be used; the message names the field and the fix."""


@dataclass(frozen=True, slots=True)
class Point:
    """One question. `case` is None where `why` says that no answer exists; `load` is whether a load was stated.

    `extrapolated` is how the replica is split otherwise than any measured point's is.
    """

    id: str
    case: Case | None
    load: bool = True
    why: str = ""
    extrapolated: str = ""


def read(path: Path) -> list[Point]:
    """Every row of a CSV; raises Rejected where the file is no such table."""
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace").replace("\0", "")
    except OSError as error:
        raise Rejected(f"{path}: {error.strerror or error}") from error
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""))
        names = [name.strip() for name in rows.fieldnames or ()]
        if lacking := [name for name in _NEEDED if name not in names]:
            raise Rejected(f"{path}: the header lacks {' and '.join(lacking)}; it has {', '.join(names) or 'nothing'}")
        rows.fieldnames = names
        found = [_row(row, f"row {number}", len(names)) for number, row in enumerate(rows, start=1)]
    except csv.Error as error:
        raise Rejected(f"{path}: {error}") from error
    if not found:
        raise Rejected(f"{path}: no row below the header")
    return found


def _row(row: Mapping[str | None, object], name: str, columns: int) -> Point:
    """As the reader has it: cells beyond the header stand together below None."""
    named = {key: value for key, value in row.items() if key is not None}
    more = row.get(None)
    if not isinstance(more, list):
        return point(named, name)
    identity = str(named.get("point_id") or "").strip() or name
    why = f"{columns + len(more)} cells, and the header has {columns}; quote a cell that holds a comma"
    return Point(identity, None, why=why)


def point(row: Mapping[str, object], name: str) -> Point:
    """The question of one row; never raises."""
    cells = {key: value.strip() for key, value in row.items() if isinstance(key, str) and isinstance(value, str)}
    identity = cells.get("point_id") or name
    try:
        case, missing = _case(cells)
        _refuse(case)
        split = _extrapolated(cells)
    except Unclear as error:
        return Point(identity, None, why=str(error))
    return Point(identity, case, not missing, missing, split)


def model(name: str) -> ModelArchitecture:
    """Raises Unclear with the nearest names known."""
    known = catalogue.load()
    plain = "-".join(name.split())
    found = known.model(_MODELS.get(plain.casefold(), plain))
    if not isinstance(found, Missing):
        return found
    names = {each.rsplit("/", 1)[-1].casefold(): each for each in known.models}
    raise Unclear(f"model: {name!r} is not in the catalogue{_near(plain.rsplit('/', 1)[-1].casefold(), names)}")


def accelerator(name: str) -> Accelerator:
    """Raises Unclear with the nearest names known."""
    known = catalogue.load()
    found = known.accelerator_by_product(_GPUS.get(" ".join(name.casefold().split()), name))
    if found is not None:
        return found
    names = {each: each for each in known.accelerators}
    raise Unclear(f"gpu: {name!r} is not in the catalogue{_near(name.casefold().replace('_', '-'), names)}")


def engine(name: str) -> EngineType:
    """Raises Unclear with the nearest names known."""
    if (found := ENGINES.get(name.casefold())) is None:
        raise Unclear(f"engine: {name!r} is not modelled{_near(name.casefold(), {each: each for each in ENGINES})}")
    return found


def weights(name: str) -> WeightDtype:
    """Raises Unclear with the nearest names known."""
    if (found := WEIGHTS.get(name.casefold())) is None:
        raise Unclear(
            f"weight_quant: {name!r} is no known type{_near(name.casefold(), {each: each for each in WEIGHTS})}"
        )
    return found


def _case(cells: Mapping[str, str]) -> tuple[Case, str]:
    """The case, and which part of its load is missing."""
    for name in _NEEDED:
        if not cells.get(name):
            raise Unclear(f"{name} is missing")
    architecture, card = model(cells["model"]), accelerator(cells["gpu"])
    kind = engine(cells.get("engine") or "vllm")
    said = "" if _says_nothing(cells.get("weight_quant", "")) else cells["weight_quant"]
    dtype = weights(said) if said else architecture.default_dtype
    settings = EngineSettings(
        tensor_parallel=_ranks(cells),
        pipeline_parallel=_whole(cells, "pp") or 1,
        gpu_memory_utilization=_share(cells, "gpu_memory_utilization"),
        max_model_len=_whole(cells, "max_model_len"),
        max_num_seqs=_whole(cells, "max_num_seqs"),
        max_num_batched_tokens=_whole(cells, "max_num_batched_tokens"),
        weight_dtype=dtype if said else None,
        kv_bytes=_kv_bytes(cells) or stored_kv_bytes(kind, dtype),
        version=cells.get("engine_version", ""),
    )
    case = Case(architecture, card, engine=kind, settings=settings)
    case = case if _kv_bytes(cells) else replace(case, kv_doubt=kv_doubt(case))
    load = {name: _amount(cells, name) for name in ("concurrency", "isl", "osl")}
    prompt, output = load["isl"] or 0.0, load["osl"] or 0.0
    if missing := [name for name, value in load.items() if value is None]:
        said = f"{' and '.join(missing)} missing: no speed without a load"
        return replace(case, prompt=max(prompt + output, 1.0), output=0.0), said
    return replace(case, concurrency=max(load["concurrency"] or 1.0, 1.0), prompt=prompt, output=output), ""


def _ranks(cells: Mapping[str, str]) -> int:
    ranks = _whole(cells, "tp") or _whole(cells, "n_gpus") or 1
    if (shared := _whole(cells, "dp_attn") or 1) > 1:
        raise Unclear(f"dp_attn: attention on {shared} data-parallel ranks is not modelled")
    if ranks > _MOST_RANKS:
        raise Unclear(f"tp: {ranks} ranks span machines, whose links are not modelled; at most {_MOST_RANKS}")
    return ranks


def _refuse(case: Case) -> None:
    """What no such engine starts, and what no figure of ours speaks of."""
    architecture, card, ranks = case.model, case.accelerator, case.settings.tensor_parallel
    if not architecture.generative:
        raise Unclear(f"model: {architecture.name} generates no tokens")
    if card.vendor not in (Vendor.NVIDIA, Vendor.AMD) or not card.bandwidth_gbps or not card.tflops_bf16:
        raise Unclear(f"gpu: the speed of {card.product or card.key} is not modelled")
    if not architecture.allows_tensor_parallel(ranks):
        heads = f"{architecture.heads} heads and {architecture.kv_heads} KV heads"
        raise Unclear(f"tp: {heads} do not split over {ranks} ranks")
    if verdicts(*columns([case]))[0, 0] == REFUSED:
        dtype = case.settings.weight_dtype or architecture.default_dtype
        raise Unclear(f"weight_quant: {case.engine} cannot run {dtype} weights on {card.product}")


def _extrapolated(cells: Mapping[str, str]) -> str:
    if (_whole(cells, "pp") or 1) > 1:
        return "pipeline parallelism is not covered by measured points"
    if (_whole(cells, "moe_ep") or 1) > 1:
        return "expert parallelism is taken as tensor parallelism"
    return ""


def _kv_bytes(cells: Mapping[str, str]) -> float | None:
    said = cells.get("kv_dtype", "").casefold()
    if said in ("", "auto"):
        return None
    if said.startswith(("fp8", "int8")):
        return 1.0
    if said in ("bf16", "fp16", "bfloat16", "float16"):
        return 2.0
    raise Unclear(f"kv_dtype: {said!r} is none of auto, fp8, int8, bf16 and fp16")


def _share(cells: Mapping[str, str], name: str) -> float:
    value = _amount(cells, name)
    if value is None:
        return EngineSettings().gpu_memory_utilization
    if value > 1:
        raise Unclear(f"{name}: {cells[name]!r} is more than 1; it is a share of device memory")
    return value


def _whole(cells: Mapping[str, str], name: str) -> int | None:
    value = _amount(cells, name)
    if value is None:
        return None
    if value != int(value):
        raise Unclear(f"{name}: {cells[name]!r} is not a whole number")
    return int(value)


def _amount(cells: Mapping[str, str], name: str) -> float | None:
    """A positive number; None where nothing is said."""
    text = cells.get(name, "")
    if _says_nothing(text) or (text == "0" and name in _SPLITS):
        return None
    try:
        value = float(text)
    except ValueError:
        raise Unclear(f"{name}: {text!r} is not a number") from None
    if not (math.isfinite(value) and 0 < value <= _MOST):
        raise Unclear(f"{name}: {text!r} must be more than 0 and at most {_MOST:.0e}")
    return value


def _says_nothing(text: str) -> bool:
    return text.casefold() in _NOTHING or text.casefold().startswith("unspecified")


def _near(name: str, names: Mapping[str, str]) -> str:
    close = [names[each] for each in get_close_matches(name, names, n=3, cutoff=0.6)]
    return f"; did you mean {' or '.join(close)}?" if close else ""
