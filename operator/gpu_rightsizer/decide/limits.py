"""Limits of the engine as changes of a workload: what would be told to it, and the settings it would then have."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.options import Change
from gpu_rightsizer.domain.readings import Missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpu_rightsizer.domain.decision import Configuration
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.workload import Workload

FLAGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "max_num_seqs": "--max-num-seqs",
        "max_model_len": "--max-model-len",
        "max_num_batched_tokens": "--max-num-batched-tokens",
        "gpu_memory_utilization": "--gpu-memory-utilization",
    }
)
CONTEXT_STEP: Final = 1024


def takes_limits(workload: Workload) -> bool:
    """These are vLLM's; what was told to it must have been read whole."""
    return workload.engine is EngineType.VLLM and not workload.settings.unread


def longest_request(workload: Workload) -> int | None:
    """Tokens that one request may hold."""
    told = workload.settings.max_model_len
    return told or (None if isinstance(workload.model, Missing) else workload.model.max_context)


def limited(workload: Workload, need: Need, where: Configuration, limits: Mapping[str, float]) -> Change:
    """The workload with these settings, there."""
    names = frozenset(limits)
    settings = replace(
        workload.settings,
        explicit=workload.settings.explicit | names,
        by_device=workload.settings.by_device - names,
        **limits,  # type: ignore[arg-type]  # fields of EngineSettings by name
    )
    told = {FLAGS[name]: f"{value:g}" if isinstance(value, float) else str(value) for name, value in limits.items()}
    return Change(replace(workload, settings=settings), need, replace(where, engine_args={**where.engine_args, **told}))


def set_by_the_user(workload: Workload, arguments: Mapping[str, str]) -> tuple[str, ...]:
    """Which of these arguments stand there already, with the values they have now."""
    return tuple(
        f"{flag}={getattr(workload.settings, name)}"
        for name, flag in FLAGS.items()
        if flag in arguments and name in workload.settings.explicit
    )
