"""Remembered failures between the status and the core."""

from __future__ import annotations

from gpu_rightsizer.api.status import IncidentRecord
from gpu_rightsizer.api.units import format_time, parse_time
from gpu_rightsizer.domain.workload import Incident


def to_domain(record: IncidentRecord) -> Incident:
    """Raises BadValue where the time cannot be read."""
    return Incident(
        time=parse_time(record.occurred_at),
        kind=record.cause,
        instance_class=record.instance_class or "",
        pod=record.pod or "",
        container=record.container or "",
        demand_tokens=float(record.demand_tokens) if record.demand_tokens is not None else None,
        model=record.model or "",
        settings_hash=record.settings_hash or "",
        message=record.message or "",
    )


def to_wire(incident: Incident) -> IncidentRecord:
    """Cut to what the schema holds; a demand is a whole number of tokens."""
    demand = incident.demand_tokens
    return IncidentRecord(
        occurred_at=format_time(incident.time),
        cause=incident.kind,
        instance_class=incident.instance_class or None,
        pod=incident.pod or None,
        container=incident.container or None,
        demand_tokens=None if demand is None else str(round(demand)),
        model=incident.model or None,
        settings_hash=incident.settings_hash or None,
        message=incident.message[:512] or None,
    )
