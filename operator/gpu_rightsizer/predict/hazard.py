"""The probability of running out of device memory by configuration, on each class: past events as evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.workload import OomKind
from gpu_rightsizer.estimate.incidents import PRIOR_EVENTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from gpu_rightsizer.domain.need import Hazard, WeighedIncident

_MORE_ROOM = 0.2  # relevance left where a device is larger than the one it happened on: headroom is one verified fix


def configuration_oom(
    hazards: Sequence[Hazard], memory: NDArray[np.float64], of_class: Mapping[str, float], horizon_days: ArrayLike
) -> NDArray[np.float64]:
    """P(at least one within the horizon) of each workload on devices of `memory` bytes; horizons are a column.

    Gamma-Poisson with a = 0.2 + weights.
    """
    devices = np.ravel(memory)
    events = np.full((len(hazards), devices.size), PRIOR_EVENTS)
    for row, hazard in enumerate(hazards):
        for incident in hazard.incidents:
            events[row] += _weights(incident, devices, of_class)
    exposure = np.array([hazard.exposure_days for hazard in hazards])[:, None]
    return np.asarray(-np.expm1(-events * np.log1p(np.asarray(horizon_days) / exposure)))


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
