"""KV pools that vLLM V1 servers printed when they started, from public reports, and what is predicted for them."""

from __future__ import annotations

from dataclasses import dataclass

from gpu_rightsizer.cli.points import point
from gpu_rightsizer.domain.units import GIB
from gpu_rightsizer.estimate.memory import rank_kv
from gpu_rightsizer.predict.case import kv_room


@dataclass(frozen=True, slots=True)
class Started:
    """One start: GiB per rank that the log calls available for KV, and the command's settings as columns."""

    name: str
    row: dict[str, str]
    gib: float
    source: str

    def predicted(self) -> tuple[float, float]:
        """GiB expected and for sure."""
        case = point(self.row, self.name).case
        if case is None:
            raise ValueError(point(self.row, self.name).why)
        room, each = kv_room(case), rank_kv(case.model, case.settings)
        return room.expected * each / GIB, room.sure * each / GIB


_VLLM = "https://github.com/vllm-project/vllm"
STARTED = (
    Started(
        "Qwen3-235B-A22B-FP8 on 4 H100, July 2025",
        {"model": "Qwen/Qwen3-235B-A22B-FP8", "gpu": "h100_sxm", "tp": "4", "engine": "vllm"},
        8.11,
        f"{_VLLM}/issues/21348",
    ),
    Started(
        "gpt-oss-20b on A100-80, 0.19.0, memory share 0.65",
        {"model": "openai/gpt-oss-20b", "gpu": "a100_80_sxm", "engine": "vllm", "gpu_memory_utilization": "0.65",
         "max_model_len": "131072"},
        36.56,
        "https://myoceane.fr/index.php/ai-vllm-a100-gemma-4/",
    ),
)  # fmt: skip
