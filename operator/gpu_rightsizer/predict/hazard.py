"""The probability of running out of device memory by configuration, on each class: past events as evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.workload import OomKind
from gpu_rightsizer.estimate.incidents import PRIOR_EVENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.need import Hazard, WeighedIncident

_MORE_ROOM = 0.2  # relevance left where a device is larger than the one it happened on: headroom is one verified fix


def configuration_oom(
    hazard: Hazard, memory: NDArray[np.float64], of_class: Mapping[str, float], horizon_days: float
) -> NDArray[np.float64]:
    """P(at least one within the horizon) for devices of `memory` bytes; Gamma-Poisson with a = 0.2 + weights."""
    events = np.full(memory.shape, PRIOR_EVENTS)
    for incident in hazard.incidents:
        events = events + _weights(incident, memory, of_class)
    return np.asarray(-np.expm1(-events * np.log1p(horizon_days / hazard.exposure_days)))


def _weights(
    incident: WeighedIncident, memory: NDArray[np.float64], of_class: Mapping[str, float]
) -> NDArray[np.float64]:
    """An event of load is already in the demand's tail; one of configuration counts less where there is more room."""
    if incident.demand is not None and incident.kind is not OomKind.CUDA_STARTUP:
        return np.zeros(memory.shape)
    there = of_class.get(incident.instance_class)
    if there is None:
        return np.full(memory.shape, incident.weight)
    return np.where(memory > there * 1.01, _MORE_ROOM, 1.0) * incident.weight
