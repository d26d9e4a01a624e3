"""Past out-of-memory events as evidence with a weight: never a veto, never free."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gpu_rightsizer.domain.need import Hazard, WeighedIncident
from gpu_rightsizer.domain.readings import BlockSeries, Missing
from gpu_rightsizer.domain.workload import OomKind
from gpu_rightsizer.estimate.tail import PastExceedance

if TYPE_CHECKING:
    from datetime import datetime

    from gpu_rightsizer.domain.readings import History
    from gpu_rightsizer.domain.workload import Incident, Workload

PRIOR_EVENTS = 0.2
PRIOR_DAYS = 60.0
HALF_LIFE_DAYS = 180.0
SETTINGS_CHANGED = 0.2
_OTHER_MODEL = 0.1


def hazard(workload: Workload, span_days: float, now: datetime) -> Hazard:
    """The rate of device out-of-memory by configuration; host memory is another resource and never counts."""
    device = [i for i in workload.incidents if i.kind is not OomKind.HOST]
    ages = [_age_days(i, now) for i in device]
    exposure = max([span_days, *ages])
    weighed = tuple(_weighed(i, age, workload) for i, age in zip(device, ages, strict=True))
    return Hazard(PRIOR_DAYS + _discounted(exposure), weighed)


def probability(events: float, exposure_days: float, horizon_days: float) -> float:
    """P(at least one event within the horizon) under a Gamma(events, exposure) rate."""
    return -math.expm1(-events * math.log1p(horizon_days / exposure_days))


def past_exceedances(hazard: Hazard, demand: History) -> tuple[PastExceedance, ...]:
    """Incidents of load type: demand reached at least what is remembered, and the time until the window was quiet."""
    if not isinstance(demand, BlockSeries):
        return ()
    return tuple(
        PastExceedance(i.demand, i.weight, max(0.0, (demand.start - i.time.timestamp()) / 3600))
        for i in hazard.incidents
        if i.demand is not None and i.demand > 0 and i.kind is not OomKind.CUDA_STARTUP
    )


def _weighed(incident: Incident, age_days: float, workload: Workload) -> WeighedIncident:
    relevance = _relevance(incident, workload)
    return WeighedIncident(
        incident.time,
        incident.kind,
        incident.instance_class,
        relevance * _decay(age_days),
        incident.demand_tokens,
        relevance == 1.0 and incident.settings_hash == workload.settings_hash,
    )


def _relevance(incident: Incident, workload: Workload) -> float:
    """The chance that the cause still applies: 1; 0.2 after the settings changed; 0.1 for another model."""
    model = workload.model
    if incident.model and not isinstance(model, Missing) and incident.model != model.name:
        return _OTHER_MODEL
    read = not isinstance(workload.engine, Missing)  # settings that could not be read are not known to have changed
    changed = read and bool(incident.settings_hash) and incident.settings_hash != workload.settings_hash
    return SETTINGS_CHANGED if changed else 1.0


def _age_days(incident: Incident, now: datetime) -> float:
    return max(0.0, (now - incident.time).total_seconds() / 86_400)


def _decay(age_days: float) -> float:
    return float(2.0 ** (-age_days / HALF_LIFE_DAYS))


def _discounted(days: float) -> float:
    """Days of exposure, each counted with the weight an event of its age would have."""
    return HALF_LIFE_DAYS / math.log(2) * (1 - _decay(days))
