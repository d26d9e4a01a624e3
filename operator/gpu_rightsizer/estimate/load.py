"""The work of the busiest replica at its peak, and what the device did where no engine tells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.need import DeviceLoad, HostNeed, Load, Need
from gpu_rightsizer.domain.readings import Measured, Missing, MissingReason, Signal
from gpu_rightsizer.domain.units import MIB
from gpu_rightsizer.domain.workload import OomKind
from gpu_rightsizer.estimate.backlog import most_unserved

if TYPE_CHECKING:
    from gpu_rightsizer.estimate.overview import Overview

CONTEXT_ROOM: Final = 2.0  # a shorter context limit leaves twice the largest demand ever seen for one request
_MEAN_ROOM: Final = 4.0  # and four mean requests: the gauge of the cache can miss a prompt that is soon done
_MIB_AFTER_OOM = 100 * MIB  # VPA's bump after an OOMKilled: the larger of 20 % and 100 MiB
_SHARE_AFTER_OOM = 1.2


def least_context(need: Need) -> float:
    """Tokens below which no limit of one request may be cut, whatever the gauge of the cache shows.

    By the mean request and by what was in use when memory ran out; infinite while the requests are not known.
    """
    if isinstance(need.load, Missing):
        return math.inf
    failed_at = max((each.demand or 0.0 for each in need.hazard.incidents), default=0.0)
    return max(_MEAN_ROOM * (need.load.prompt_tokens + need.load.output_tokens), CONTEXT_ROOM * failed_at)


def load(seen: Overview) -> Load | Missing:
    """Requests and tokens at the peak, from the highest five-minute token rates.

    Both rates are met: requests/s from generated tokens, and prompts as long as the prompt rate at its peak then asks.
    """
    observation = seen.observation
    for needed in (observation.generation_rate, observation.prompt_rate, observation.running):
        if isinstance(needed, Missing):
            return needed
    for mean in (observation.prompt_tokens, observation.output_tokens):
        if isinstance(mean, Missing):
            return _idle(seen) or mean
    prompt, output = _value(observation.prompt_tokens), _value(observation.output_tokens)
    generated, prompted = seen.peak("generation_rate"), seen.peak("prompt_rate")
    if not (math.isfinite(generated) and math.isfinite(prompted) and output > 0):
        return _idle(seen) or Missing(Signal.GENERATION_RATE, MissingReason.INVALID)
    served = generated / output or (prompted / prompt if prompt > 0 else 0.0)
    per_request = max(prompt, prompted / served) if served > 0 else prompt
    concurrency = seen.peak("running") + max(0.0, _or_zero(seen.peak("waiting")))
    requests = served + (most_unserved(observation) if seen.peak("waiting") > 0 else 0.0)
    return Load(requests, concurrency, per_request, output, prompt + output / 2)


def device_load(seen: Overview) -> DeviceLoad:
    """Peak shares of memory bandwidth and compute, None where not measured."""
    return DeviceLoad(_share(seen.peak("dram_activity")), _share(seen.peak("gpu_activity")))


def host_need(seen: Overview) -> HostNeed:
    """What the host is asked and the largest use seen; after an OOMKilled the use counts 20 % or 100 MiB higher."""
    workload, memory = seen.workload, _whole(seen.peak("host_memory"))
    if memory is not None and any(i.kind is OomKind.HOST for i in workload.incidents):
        memory = max(round(memory * _SHARE_AFTER_OOM), memory + _MIB_AFTER_OOM)
    cpu = _known(seen.peak("host_cpu"))
    return HostNeed(
        cpu_requested=workload.pod.cpu,
        memory_requested=workload.pod.memory + workload.pod.shared_memory,
        cpu_used=None if cpu is None else math.ceil(cpu * 1000),
        memory_used=memory,
    )


def _idle(seen: Overview) -> Load | None:
    """No token was ever generated: a load of zero, known to be so."""
    nothing = seen.peak("generation_rate") == 0 and seen.peak("prompt_rate") == 0
    return Load(0.0, max(0.0, _or_zero(seen.peak("running"))), 0.0, 0.0, 0.0) if nothing else None


def _value(reading: Measured | Missing) -> float:
    return reading.value if isinstance(reading, Measured) else math.nan


def _or_zero(peak: float) -> float:
    return 0.0 if math.isnan(peak) else peak


def _known(peak: float) -> float | None:
    return peak if peak >= 0 else None


def _share(peak: float) -> float | None:
    return min(peak, 1.0) if peak >= 0 else None


def _whole(peak: float) -> int | None:
    return round(peak) if peak >= 0 else None
