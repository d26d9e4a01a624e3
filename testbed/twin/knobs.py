"""How a cluster shows a run: names, labels, and what goes wrong on the way to Prometheus.

Spans are `(from_s, to_s)` in seconds from the start of the run; `math.inf` as the end means it never comes back.
"""

from dataclasses import dataclass
from enum import StrEnum

Spans = tuple[tuple[float, float], ...]


class MetricNames(StrEnum):
    """Which generation of vLLM metric names is exported."""

    NEW = "New"  # 0.12 and later: kv_cache_usage_perc, inter_token_latency_seconds
    OLD = "Old"  # up to 0.9: gpu_cache_usage_perc, time_per_output_token_seconds
    BOTH = "Both"  # 0.9.2 to 0.11, where both were served


class DcgmLabels(StrEnum):
    """Where the workload's pod stands in DCGM series as Prometheus stores them."""

    EXPORTED = "Exported"  # exported_pod, since honorLabels is false and the target has labels of its own
    DIRECT = "Direct"  # pod: honorLabels true, or a scrape without pod target labels
    NONE = "None"  # the exporter runs without the Kubernetes mapping


@dataclass(frozen=True, slots=True)
class Knobs:
    """Presentation and faults of one deployment's series."""

    metric_names: MetricNames = MetricNames.NEW
    engine_metrics: bool = True
    waiting_by_reason: bool = True
    engine_label: bool = True
    dcgm: bool = True
    dcgm_labels: DcgmLabels = DcgmLabels.EXPORTED
    dcgm_profiling: bool = True
    dcgm_reserved: bool = True
    hostname_label: str = "Hostname"
    dashed_model_name: bool = False
    idle_devices: bool = True
    scrape_gaps: Spans = ()
    target_loss: Spans = ()
    engine_loss: Spans = ()
    dcgm_loss: Spans = ()
    nan_share: float = 0.0
    sentinel_share: float = 0.0
    restarts_s: tuple[float, ...] = ()
    host_ooms_s: tuple[float, ...] = ()
    rollouts_s: tuple[float, ...] = ()
    engine_job: str = "vllm"
    dcgm_job: str = "nvidia-dcgm-exporter"
    dcgm_namespace: str = "gpu-operator"


PLAIN = Knobs()
