"""Checks the physical model against published measurements: decode speed by group, and the memory that still fits.

    python benchmarks/physical_model.py --points measured_points.csv --memory memory_fit_points.csv \
        --output benchmarks/results/physical_model.md

The points are the caller's: columns `model, gpu, tp, engine, weight_quant, concurrency, isl, osl, tpot_ms, trust` and
`model, gpu, tp, weight_quant, gpu_memory_utilization, value` (the largest context that starts, a power of two or the
model's own limit; 0: does not fit). A file that is not there is said to be absent, and nothing is claimed about it.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer import catalogue
from gpu_rightsizer.domain.engines import EngineSettings, EngineType
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.domain.readings import Missing
from gpu_rightsizer.predict.case import Case, columns, kv_room, mean_tpot
from gpu_rightsizer.predict.roofline import sigma

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpu_rightsizer.domain.hardware import Accelerator
    from gpu_rightsizer.domain.models import ModelArchitecture

_ENGINES = {"vllm": EngineType.VLLM, "trtllm": EngineType.TENSORRT_LLM, "nim-trtllm": EngineType.TENSORRT_LLM,
            "sglang": EngineType.SGLANG, "tgi": EngineType.TGI}  # fmt: skip
_DTYPES = {"bf16": WeightDtype.BFLOAT16, "fp16": WeightDtype.FLOAT16, "fp8": WeightDtype.FP8,
           "fp8_block": WeightDtype.FP8, "int8": WeightDtype.INT8, "int4_wo": WeightDtype.INT4,
           "nvfp4": WeightDtype.NVFP4, "fp4": WeightDtype.NVFP4}  # fmt: skip
_GPUS = {"h100 80gb sxm": "h100-sxm", "h100": "h100-sxm", "h200": "h200-sxm", "b200": "b200-sxm", "gb200": "gb200",
         "a100 80gb sxm": "a100-80-sxm", "l40s": "l40s", "rtx pro 6000 se": "rtx-pro-6000-bse"}  # fmt: skip
_MODELS = {"meta-llama/Llama-3.1-70B": "meta-llama/Llama-3.1-70B-Instruct", "Llama 3.3 70B": "Llama-3.3-70B-Instruct",
           "Llama 3.1 405B": "Llama-3.1-405B-Instruct", "Llama 3.1 8B": "Llama-3.1-8B-Instruct",
           "Llama-3-8B": "Meta-Llama-3-8B-Instruct", "Llama-3-70B": "Llama-3.1-70B-Instruct",
           "LLaMA 7B": "Llama-2-7b-hf", "Llama-2-7b": "Llama-2-7b-hf", "Llama-2-13b": "Llama-2-13b-hf",
           "Llama-2-70b": "Llama-2-70b-hf", "Llama 4 Scout": "Llama-4-Scout-17B-16E-Instruct",
           "Mistral-7B-Instruct-v0.2": "Mistral-7B-Instruct-v0.3",
           "Meta-Llama-3.1-8B-FP8": "Llama-3.1-8B-Instruct",
           "Meta-Llama-3.1-70B-Instruct-FP8": "Llama-3.1-70B-Instruct"}  # fmt: skip
_FITTED = {"Llama-3.1-8B", "Llama-3.1-70B", "Qwen3-32B"}  # the models whose small-batch points the speeds come from
_MOST_RANKS = 8  # of one instance


@dataclass(frozen=True, slots=True)
class Measured:
    """One published point and its case."""

    group: tuple[str, str, int]
    kind: str
    case: Case
    tpot: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=Path, help="CSV of measured latencies")
    parser.add_argument("--memory", type=Path, help="CSV of largest contexts that start")
    parser.add_argument("--output", type=Path, help="also write the report here")
    asked = parser.parse_args(arguments)
    lines = ["# The physical model against published measurements", ""]
    lines += _section("Decode speed", asked.points, _speed)
    lines += _section("Memory", asked.memory, _memory)
    report = "\n".join(lines)
    print(report)
    if asked.output:
        command = "python benchmarks/physical_model.py --points measured_points.csv --memory memory_fit_points.csv"
        asked.output.parent.mkdir(parents=True, exist_ok=True)
        asked.output.write_text(f"{report}\n\nCommand: `{command}`\n", encoding="utf-8")
    return 0


def _section(title: str, path: Path | None, report: object) -> list[str]:
    if path is None or not path.is_file():
        where = "no file was given" if path is None else f"{path} is absent"
        return [f"## {title}", "", f"Not checked: {where}.", ""]
    with path.open(encoding="utf-8", newline="") as source:
        rows = list(csv.DictReader(source))
    assert callable(report)  # noqa: S101 - one of the two functions below
    return [f"## {title}", "", *report(rows), ""]


def _speed(rows: list[dict[str, str]]) -> list[str]:
    points: list[Measured] = []
    skipped: dict[str, int] = defaultdict(int)
    for row in rows:
        point = _point(row)
        if isinstance(point, str):
            skipped[point] += 1
        else:
            points.append(point)
    predicted = mean_tpot([p.case for p in points])
    spread = sigma(*columns([p.case for p in points]))[:, 0]
    ratio = np.array([p.tpot for p in points]) / predicted
    inside = np.abs(np.log(ratio)) <= 1.645 * spread
    lines = [f"{len(points)} of {len(rows)} rows can be predicted; left out: "
             + ", ".join(f"{count} {why}" for why, count in sorted(skipped.items())) + ".", ""]  # fmt: skip
    lines += ["Error is |predicted - measured| / measured; coverage is of the stated 90 % interval.", ""]
    lines += _table(points, ratio, inside, lambda p: p.kind, "kind")
    lines += _table(points, ratio, inside, lambda p: f"{p.group[0]} {p.group[1]} TP{p.group[2]}", "group")
    return lines


def _table(points: list[Measured], ratio: object, inside: object, key: object, name: str) -> list[str]:
    assert isinstance(ratio, np.ndarray) and isinstance(inside, np.ndarray) and callable(key)  # noqa: S101, PT018
    groups: dict[str, list[int]] = defaultdict(list)
    for index, point in enumerate(points):
        groups[key(point)].append(index)
    lines = [f"| {name} | points | median error | p90 error | measured/predicted, median | coverage |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    rows = []
    for label, members in groups.items():
        error = np.abs(1 / ratio[members] - 1)
        rows.append((float(np.median(error)), label, members, error))
    for median, label, members, error in sorted(rows, reverse=True, key=lambda r: r[0]):
        lines.append(
            f"| {label} | {len(members)} | {median:.1%} | {np.quantile(error, 0.9):.1%} "
            f"| {np.median(ratio[members]):.2f} | {inside[members].mean():.0%} |"
        )
    return [*lines, ""]


def _point(row: dict[str, str]) -> Measured | str:
    """The case of a row, or why it has none."""
    case = _case(row)
    if isinstance(case, str):
        return case
    try:
        tpot, batch = float(row["tpot_ms"]) / 1e3, float(row["concurrency"])
        prompt, output = float(row["isl"]), float(row["osl"])
    except ValueError:
        return "without TPOT, concurrency or lengths"
    if not row["trust"].startswith("A"):
        return "not of trust A"
    if (row["dp_attn"] or "1") != "1" or (row["moe_ep"] or "1") not in ("1", "0") or (row["pp"] or "1") != "1":
        return "with data, expert or pipeline parallelism"
    case = Case(case.model, case.accelerator, batch, prompt, output, case.engine, case.settings)
    kind = _kind(case, row["model"])
    return Measured((row["engine"], case.accelerator.key, case.settings.tensor_parallel), kind, case, tpot)


def _kind(case: Case, name: str) -> str:
    engine = "vLLM" if case.engine is EngineType.VLLM else "other engines"
    family = "mixture of experts" if case.model.experts else "dense"
    batch = "batch <= 16" if case.concurrency <= 16 else "batch > 16"
    fitted = "model in the fit" if any(f in name for f in _FITTED) else "model not in the fit"
    return f"{engine}, {family}, {batch}, {fitted}"


def _case(row: dict[str, str]) -> Case | str:
    model, gpu = _model(row["model"]), _accelerator(row["gpu"])
    dtype = _DTYPES.get(row["weight_quant"])
    if model is None:
        return "of a model the catalogue lacks"
    if gpu is None:
        return "of an accelerator the catalogue lacks"
    if dtype is None or not row["tp"]:
        return "without precision or parallelism"
    if row["engine"] not in _ENGINES:
        return "of an engine without a model"
    if int(row["tp"]) > _MOST_RANKS:
        return f"over more than {_MOST_RANKS} ranks"
    share = float(row.get("gpu_memory_utilization") or 0.9)
    settings = EngineSettings(
        tensor_parallel=int(row["tp"]), weight_dtype=dtype, gpu_memory_utilization=share, kv_bytes=2.0
    )
    return Case(model, gpu, engine=_ENGINES[row["engine"]], settings=settings)


def _model(name: str) -> ModelArchitecture | None:
    found = catalogue.load().model(_MODELS.get(name, name))
    return None if isinstance(found, Missing) else found


def _accelerator(name: str) -> Accelerator | None:
    key = _GPUS.get(name.lower(), name.replace("_", "-"))
    return catalogue.load().accelerators.get(key)


def _memory(rows: list[dict[str, str]]) -> list[str]:
    """Each point at its context (fits), and at the next power of two where the limit is not the model's own."""
    lines = ["Without a running pod the overhead is assumed; `sure` gives its error away, as recommendations do.", ""]
    for reading in ("expected", "sure"):
        outcomes: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            case = _case(row)
            if row["observed"] != "max_context_that_starts" or isinstance(case, str):
                outcomes["left out"].append(f"{row['model']} on {row['gpu']}")
                continue
            label = f"{row['model']} on {row['gpu']} TP{row['tp']}"
            for outcome in _verdicts(case, int(row["value"]), reading):
                outcomes[outcome].append(label)
        lines += [f"| verdict, {reading} | points |", "|---|---|"]
        lines += [f"| {outcome} | {len(where)} |" for outcome, where in sorted(outcomes.items())]
        lines += ["", *(f"- {o}: {', '.join(w)}" for o, w in sorted(outcomes.items()) if o.startswith("false")), ""]
    return lines


def _verdicts(case: Case, starts: int, reading: str) -> Iterable[str]:
    if starts > 0:
        yield "true fits" if _fits(case, starts, reading) else "false does not fit"
    longer = 2 * starts if starts else 2048
    if longer <= case.model.max_context:
        yield "false fits" if _fits(case, longer, reading) else "true does not fit"


def _fits(case: Case, context: int, reading: str) -> bool:
    """VLLM 0.5 profiles with as many tokens as the context has, above 32k (chunked prefill on) with 2048 at most."""
    told = case.settings
    tokens = 2048 if context > 32768 else max(2048, context)
    settings = EngineSettings(
        tensor_parallel=told.tensor_parallel, weight_dtype=told.weight_dtype, max_num_seqs=256,
        gpu_memory_utilization=told.gpu_memory_utilization, max_num_batched_tokens=tokens,
    )  # fmt: skip
    room = kv_room(Case(case.model, case.accelerator, settings=settings))
    return (room.expected if reading == "expected" else room.sure) >= context


if __name__ == "__main__":
    sys.exit(main())
