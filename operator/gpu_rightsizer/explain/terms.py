"""Closed terms of the domain as people say them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.decide.incidents import Cause
from gpu_rightsizer.domain.readings import MissingReason
from gpu_rightsizer.domain.workload import OomKind
from gpu_rightsizer.explain.text import safe

if TYPE_CHECKING:
    from collections.abc import Mapping

WHY: Final[Mapping[str, str]] = MappingProxyType(
    {
        MissingReason.NO_SERIES: "no series for these pods",
        MissingReason.STALE: "the newest sample is too old",
        MissingReason.PARTIAL: "too few samples or pods",
        MissingReason.INVALID: "values that are no numbers",
        MissingReason.CONTRADICTORY: "two sources disagree",
        MissingReason.SHARED: "the accelerator is shared",
        MissingReason.TOO_SHORT: "too little history",
        MissingReason.SOURCE_FAILED: "the query failed or its answer was partial",
        MissingReason.NOT_FOUND: "it does not exist",
        MissingReason.UNRECOGNISED: "it is not recognised",
    }
)
CAUSE: Final[Mapping[str, str]] = MappingProxyType(
    {
        Cause.APPLIES: "still applies",
        Cause.SETTINGS_CHANGED: "may be gone, the engine's settings changed since",
        Cause.PREFILL_CHUNKED: "may be gone, the engine's settings changed since and prefill is chunked now",
        Cause.OTHER_MODEL: "was with another model",
        Cause.HOST_MEMORY: "was host memory, no matter of the accelerator",
    }
)
KIND: Final[Mapping[str, str]] = MappingProxyType(
    {
        OomKind.CUDA_STARTUP: "device memory, at start",
        OomKind.CUDA_SERVING: "device memory, while serving",
        OomKind.HOST: "host memory",
        OomKind.UNCLASSIFIED: "unclassified",
    }
)


def term(terms: Mapping[str, str], name: str) -> str:
    """The words for a name; the name itself where there are none."""
    return terms.get(name) or safe(name, 80)
