"""How one installation runs: what the command line said. Nothing of it can come from a custom resource."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_rightsizer.adapters.prometheus_session import PrometheusSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """One installation. `namespaces` empty: the whole cluster."""

    prometheus: PrometheusSettings
    namespaces: tuple[str, ...] = ()
    interval: timedelta = timedelta(minutes=5)
    cluster_matchers: tuple[tuple[str, str], ...] = ()  # label and value, put into every query
    lease_namespace: str = "gpu-rightsizer"
    lease_name: str = "gpu-rightsizer"
    identity: str = "gpu-rightsizer"
    kubeconfig: str | None = None
    metrics_port: int = 8080
    health_port: int = 8081
    concurrent_writes: int = field(default=16)
