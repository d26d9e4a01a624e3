"""The work of the busiest replica at its peak, and what the device did where no engine tells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gpu_rightsizer.domain.need import DeviceLoad, HostNeed, Load
from gpu_rightsizer.domain.readings import BlockSeries, Measured, Missing, MissingReason, Signal
from gpu_rightsizer.domain.units import MIB
from gpu_rightsizer.domain.workload import OomKind
from gpu_rightsizer.estimate.backlog import most_unserved

if TYPE_CHECKING:
    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.readings import History
    from gpu_rightsizer.domain.workload import Workload

_MIB_AFTER_OOM = 100 * MIB  # VPA's bump after an OOMKilled: the larger of 20 % and 100 MiB
_SHARE_AFTER_OOM = 1.2


def load(observation: Observation) -> Load | Missing:
    """Requests and tokens at the peak, from the highest five-minute token rates.

    Both rates are met: requests/s from generated tokens, and prompts as long as the prompt rate at its peak then asks.
    """
    for needed in (observation.generation_rate, observation.prompt_rate, observation.running):
        if isinstance(needed, Missing):
            return needed
    for mean in (observation.prompt_tokens, observation.output_tokens):
        if isinstance(mean, Missing):
            return _idle(observation) or mean
    prompt, output = _value(observation.prompt_tokens), _value(observation.output_tokens)
    generated, prompted = _peak(observation.generation_rate), _peak(observation.prompt_rate)
    if not (math.isfinite(generated) and math.isfinite(prompted) and output > 0):
        return _idle(observation) or Missing(Signal.GENERATION_RATE, MissingReason.INVALID)
    served = generated / output or (prompted / prompt if prompt > 0 else 0.0)
    per_request = max(prompt, prompted / served) if served > 0 else prompt
    concurrency = _peak(observation.running) + max(0.0, _peak_or_zero(observation.waiting))
    requests = served + most_unserved(observation)
    return Load(requests, concurrency, per_request, output, prompt + output / 2)


def device_load(observation: Observation) -> DeviceLoad:
    """Peak shares of memory bandwidth and compute, None where not measured."""
    return DeviceLoad(_share(observation.dram_activity), _share(observation.gpu_activity))


def host_need(workload: Workload, observation: Observation) -> HostNeed:
    """What the host is asked and the largest use seen; after an OOMKilled the use counts 20 % or 100 MiB higher."""
    memory = _whole(observation.host_memory)
    if memory is not None and any(i.kind is OomKind.HOST for i in workload.incidents):
        memory = max(round(memory * _SHARE_AFTER_OOM), memory + _MIB_AFTER_OOM)
    cpu = _share_free(observation.host_cpu)
    return HostNeed(
        cpu_requested=workload.pod.cpu,
        memory_requested=workload.pod.memory + workload.pod.shared_memory,
        cpu_used=None if cpu is None else math.ceil(cpu * 1000),
        memory_used=memory,
    )


def _idle(observation: Observation) -> Load | None:
    """No token was ever generated: a load of zero, known to be so."""
    nothing = _peak(observation.generation_rate) == 0 and _peak(observation.prompt_rate) == 0
    return Load(0.0, max(0.0, _peak_or_zero(observation.running)), 0.0, 0.0, 0.0) if nothing else None


def _value(reading: Measured | Missing) -> float:
    return reading.value if isinstance(reading, Measured) else math.nan


def _peak(history: History) -> float:
    return history.peak() if isinstance(history, BlockSeries) else math.nan


def _peak_or_zero(history: History) -> float:
    peak = _peak(history)
    return peak if math.isfinite(peak) else 0.0


def _share_free(history: History) -> float | None:
    peak = _peak(history)
    return peak if math.isfinite(peak) and peak >= 0 else None


def _share(history: History) -> float | None:
    peak = _share_free(history)
    return None if peak is None else min(peak, 1.0)


def _whole(history: History) -> int | None:
    peak = _share_free(history)
    return None if peak is None else round(peak)
