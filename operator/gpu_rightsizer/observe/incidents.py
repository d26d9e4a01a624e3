"""Failures that pods' states still show, classified, and merged with those remembered."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.workload import Incident, OomKind
from gpu_rightsizer.observe import manifests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpu_rightsizer.observe.manifests import Raw

MOST_REMEMBERED: Final = 16  # `status.incidents` holds no more
_LONGEST_MESSAGE: Final = 256
_KILLED: Final = 137

# Messages of vLLM, PyTorch, SGLang, TGI, TensorRT-LLM and llama.cpp. Another process on the device, or a race while
# profiling, says nothing about size.
_NOT_A_SIZE: Final = re.compile(
    r"Free memory on device .*is less than desired GPU memory utilization"
    r"|Error in memory profiling\. Initial free memory",
    re.DOTALL,
)
_STARTUP: Final = re.compile(
    r"No available memory for the cache blocks|Available KV cache memory: -"
    r"|KV cache is needed, which is larger than the available KV cache memory"
    r"|is larger than the maximum number of tokens that can be stored in KV cache"
    r"|Not enough memory\. Please try to increase --mem-fraction-static"
    r"|Not enough memory to handle \d+ prefill tokens"
    r"|ggml_backend_cuda_buffer_type_alloc_buffer: allocating .* failed"
)
_DEVICE: Final = re.compile(
    r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory|HIP out of memory|CUDA error: out of memory"
    r"|cudaMalloc failed: out of memory|cudaErrorMemoryAllocation|\[TensorRT-LLM\].*out of memory|RESOURCE_EXHAUSTED"
)
_WHILE_STARTING: Final = re.compile(
    r"load_model|load_weights|determine_available_memory|profile_run|initialize_kv_cache|capture_model|init_device"
)
_WHILE_SERVING: Final = re.compile(r"EngineDeadError|execute_model|step_async|run_busy_loop")
# Without a hint in the text: an 8B model with a cold cache is ready after 294 s on an L40S (tensorfuse, 2025).
_STARTUP_LASTS: Final = timedelta(minutes=5)
# CUDA serving failures say most about size, unclassified ones least.
_WEIGHT: Final = {OomKind.CUDA_SERVING: 0, OomKind.CUDA_STARTUP: 1, OomKind.HOST: 2, OomKind.UNCLASSIFIED: 3}


@dataclass(frozen=True, slots=True)
class Termination:
    """How a container ended, as `terminated` in its status tells it."""

    reason: str
    exit_code: int
    message: str
    started: datetime | None
    finished: datetime


def terminations(pod: Raw, container: str) -> list[Termination]:
    """The current and the last end of a container that has restarted or is about to, newest first."""
    for status in manifests.items(pod, "status", "containerStatuses"):
        if manifests.text(status, "name") == container:
            ends = [manifests.mapping(status, state, "terminated") for state in ("state", "lastState")]
            found = [_termination(end) for end in ends]
            return [each for each in found if each is not None]
    return []


def classify(end: Termination) -> OomKind | None:
    """What ran out; None when nothing did: a clean end, a kill that is not for memory, a neighbour on the device.

    `OOMKilled` is always host memory. A CUDA out-of-memory ends as `Error`; exit code 137 without OOMKilled is a
    plain SIGKILL (a failed liveness probe, an eviction).
    """
    if end.reason == "OOMKilled":
        return OomKind.HOST
    if end.exit_code in {0, _KILLED} or _NOT_A_SIZE.search(end.message):
        return None
    if _STARTUP.search(end.message):
        return OomKind.CUDA_STARTUP
    if _DEVICE.search(end.message):
        return _when(end)
    return OomKind.UNCLASSIFIED if end.exit_code == 1 and end.reason == "Error" else None


def merged(remembered: Iterable[Incident], observed: Iterable[Incident], current_hash: str) -> tuple[Incident, ...]:
    """At most 16 incidents, oldest first; what is remembered stays unless more telling ones need its place.

    A crash loop is one failure many times: of the same kind, class, model and settings the newest counts first. Age
    alone never removes one.
    """
    known = {(each.pod, each.container, each.time): each for each in [*observed, *remembered]}
    groups: dict[tuple[object, ...], list[Incident]] = defaultdict(list)
    for each in sorted(
        known.values(), key=lambda incident: (-incident.time.timestamp(), incident.pod, incident.container)
    ):
        groups[each.kind, each.instance_class, each.model, each.settings_hash].append(each)
    ranked = sorted(
        (_rank(each, depth, current_hash), each) for group in groups.values() for depth, each in enumerate(group)
    )
    kept = [each for _, each in ranked[:MOST_REMEMBERED]]
    return tuple(sorted(kept, key=lambda incident: (incident.time, incident.pod, incident.container)))


def summary(message: str) -> str:
    """The telling line of a message, else its last one; at most 256 characters."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    telling = [line for line in lines if _STARTUP.search(line) or _DEVICE.search(line)]
    return (telling or lines or [""])[-1][:_LONGEST_MESSAGE]


def _rank(incident: Incident, depth: int, current_hash: str) -> tuple[object, ...]:
    """Smaller is more telling: first of its group, by what failed, of the present settings, newest; then by name."""
    return (
        depth > 0,
        _WEIGHT[incident.kind],
        incident.settings_hash != current_hash,
        depth,
        -incident.time.timestamp(),
        incident.pod,
        incident.container,
    )


def _termination(end: Raw) -> Termination | None:
    finished, code = manifests.moment(end, "finishedAt"), manifests.whole(end, "exitCode")
    if finished is None or code is None:
        return None
    return Termination(
        reason=manifests.text(end, "reason"),
        exit_code=code,
        message=manifests.text(end, "message"),
        started=manifests.moment(end, "startedAt"),
        finished=finished,
    )


def _when(end: Termination) -> OomKind:
    if _WHILE_STARTING.search(end.message):
        return OomKind.CUDA_STARTUP
    if _WHILE_SERVING.search(end.message):
        return OomKind.CUDA_SERVING
    early = end.started is not None and end.finished - end.started < _STARTUP_LASTS
    return OomKind.CUDA_STARTUP if early else OomKind.CUDA_SERVING
