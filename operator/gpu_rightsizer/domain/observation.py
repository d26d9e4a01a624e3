"""What the metrics said about one workload over a window, with its coverage; unknown is `Missing`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from gpu_rightsizer.domain.readings import History, Missing, Reading


@dataclass(frozen=True, slots=True)
class Attribution:
    """How series were tied to the workload: label scheme, metric names used, pods seen over pods expected."""

    scheme: str  # "pod" or "exported_pod", per exporter: "engine: pod, dcgm: exported_pod"
    metrics: tuple[str, ...]
    pods_seen: int
    pods_expected: int
    foreign_series: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One workload's usage. Histories hold the peak of each block for the busiest replica unless said otherwise.

    kv_demand      tokens of KV in use plus queued (waiting x mean prompt + half output), busiest replica
    running        requests in the batch, busiest replica
    waiting        requests queued, busiest replica
    prompt_rate    prompt tokens/s, highest 5-minute mean in the block, busiest replica
    generation_rate generated tokens/s, likewise
    requests       finished requests in the block, all replicas together
    replicas       that served in the block, however shortly: a rollout counts old and new
    ttft, tpot     p95 seconds in the block, slowest engine
    preemptions    count in the block, all replicas together
    fb_used        bytes, busiest device
    gpu_activity, dram_activity   0..1, busiest device
    host_memory    bytes, busiest replica; host_cpu cores, busiest replica
    kv_pool        tokens one replica can hold (smallest replica)
    fb_total       bytes a device offers to CUDA (used + free)
    prompt_tokens, output_tokens  mean per request over the window
    """

    kv_demand: History
    running: History
    waiting: History
    prompt_rate: History
    generation_rate: History
    requests: History
    replicas: History
    ttft: History
    tpot: History
    preemptions: History
    fb_used: History
    gpu_activity: History
    dram_activity: History
    host_memory: History
    host_cpu: History
    kv_pool: Reading
    fb_total: Reading
    prompt_tokens: Reading
    output_tokens: Reading
    attribution: Attribution
    newest: datetime | None
    span: timedelta  # of the engine's history, or of the device's where no engine metric exists
    coverage: float  # samples seen over expected in that span, 0..1
    problems: tuple[Missing, ...]  # everything that keeps this from being complete, worst first
