"""Published speed points as cases: what each was measured under, and which are left out: by rules, never by error.

The settings that the points' columns lack are those of the launch scripts of SemiAnalysisAI/InferenceX (`benchmarks/`
and `perf-changelog.yaml`, read 2026-11-25), whose runs most silicon samples of ai-dynamo/aiconfigurator are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.cli.points import point
from gpu_rightsizer.estimate.memory import rank_weights

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from gpu_rightsizer.predict.case import Case

    Numbers = NDArray[np.float64]
    Mask = NDArray[np.bool_]
    Row = dict[str, str]

LENGTHS = 0.9  # mean of lengths drawn from 80 to 100 % of the nominal ones (RANDOM_RANGE_RATIO=0.8)
ROUNDS = 10  # prompts a client (--num-prompts 10 x concurrency); of the first round all arrive at once

# --kv-cache-dtype fp8 in the scripts, of the model and engine on accelerators whose name has this in it.
_KV_FP8 = {
    ("meta-llama/Llama-3.1-70B", "vllm"): "",
    ("openai/gpt-oss-120b", "vllm"): "",
    ("deepseek-ai/DeepSeek-R1", "sglang"): "b200",
}
# Of DeepSeek-R1: accelerator, engine, version, precision and TP that also, or only, ran with speculative decoding: the
# `-mtp` configurations of the changelog. The points do not say which of them did.
_SPECULATIVE = (
    ("b200_sxm", "trtllm", "1.1.0rc2.post2"),
    ("b200_sxm", "trtllm", "1.2.0rc6.post3"),
    ("h200_sxm", "trtllm", "1.1.0rc2.post2"),
    ("b200_sxm", "sglang", "0.5.9", "fp8", "8"),
)
_ALIKE = ("isl", "osl", "engine_version", "moe_ep", "tpot_ms")  # what the same measurement has in common


@dataclass(frozen=True, slots=True)
class Points:
    """Published points and their cases; `group` is (model, accelerator), the unit that is left out.

    `speculative` may have been measured with speculative decoding: such points are never fitted. `held` are points
    whose engine was told to hold prompts back, so that their time to the first token is not the hardware's.
    """

    cases: list[Case]
    tpot: Numbers
    ttft: Numbers
    engine: list[str]
    group: list[tuple[str, str]]
    trusted: Mask
    speculative: Mask
    held: Mask
    skipped: dict[str, int]

    def where(self, index: Iterable[int]) -> Points:
        """These points alone."""
        at = list(index)
        cases, engine, group = [self.cases[i] for i in at], [self.engine[i] for i in at], [self.group[i] for i in at]
        marks = self.trusted[at], self.speculative[at], self.held[at]
        return Points(cases, self.tpot[at], self.ttft[at], engine, group, *marks, {})


def read_points(rows: Iterable[Row]) -> Points:
    """What can be fitted: a measured TPOT of a whole case, once each (some are published twice)."""
    skipped: dict[str, int] = defaultdict(int)
    found: list[tuple[Case, Row]] = []
    seen = set()
    for row in rows:
        case, why = _case(row)
        if case is None:
            skipped[why] += 1
        elif (key := (replace(case, prompt=0, output=0), *(row[name] for name in _ALIKE))) in seen:
            skipped["the same again"] += 1
        else:
            seen.add(key)
            found.append((case, row))
    return Points(
        [case for case, _ in found],
        np.array([float(row["tpot_ms"]) / 1e3 for _, row in found]),
        np.array([float(row["ttft_ms"] or "nan") / 1e3 for _, row in found]),
        [row["engine"] for _, row in found],
        [(case.model.name, case.accelerator.key) for case, _ in found],
        np.array([row["trust"] == "A" for _, row in found]),
        np.array([_may_speculate(row) for _, row in found]),
        np.array([_held(row) for _, row in found]),
        dict(skipped),
    )


def _case(row: Row) -> tuple[Case | None, str]:
    """The case of a row, or why it is left out."""
    asked = point(_as_run(row), "row")
    if asked.case is None or not asked.load or not row["tpot_ms"]:
        return None, (asked.why or "no TPOT").split(":")[0]
    if row["weight_quant"].startswith("unspecified"):
        return None, "precision not stated"
    if rank_weights(asked.case.model, asked.case.settings) > asked.case.accelerator.memory:
        return None, "weights larger than the memory"
    if _by_inferencex(row):
        return replace(asked.case, prompt=asked.case.prompt * LENGTHS, output=asked.case.output * LENGTHS), ""
    return asked.case, ""


def _as_run(row: Row) -> Row:
    """With what its columns lack. gpt-oss in "fp4" is its own mxfp4 checkpoint, as the scripts load it."""
    told = dict(row)
    if row["model"].startswith("openai/gpt-oss") and row["weight_quant"] == "nvfp4":
        told["weight_quant"] = "mxfp4"
    if _by_inferencex(row) and _KV_FP8.get((row["model"], row["engine"]), "nowhere") in row["gpu"]:
        told["kv_dtype"] = "fp8"
    return told


def _by_inferencex(row: Row) -> bool:
    """Whether the sample's name carries the date of an InferenceX dump."""
    return re.search(r"id=\d{4}_\d\d_\d\d_", row["source"]) is not None


def _may_speculate(row: Row) -> bool:
    if row["model"] != "deepseek-ai/DeepSeek-R1":
        return False
    asked = (row["gpu"], row["engine"], row["engine_version"], row["weight_quant"], row["tp"])
    return any(asked[: len(each)] == each for each in _SPECULATIVE)


def _held(row: Row) -> bool:
    """SGLang polls every 10 to 30 steps (--scheduler-recv-interval); TensorRT-LLM waits up to 20 (batch_wait_*)."""
    waits = row["engine"] == "trtllm" and row["model"] == "meta-llama/Llama-3.1-70B" and int(row["tp"]) < 8
    return row["engine"] == "sglang" or (waits and row["isl"] == row["osl"] == "1024")
