"""What a vLLM server would show on /metrics during a run: names and labels of vLLM V1.

Names: vllm-project/vllm `vllm/v1/metrics/loggers.py`; deprecations as in its release notes (gpu_cache_usage_perc and
time_per_output_token_seconds served up to 0.11).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from testbed.twin.engine import ReplicaRun
from testbed.twin.histograms import (
    INTER_TOKEN_EDGES,
    REQUEST_LATENCY_EDGES,
    TIME_TO_FIRST_TOKEN_EDGES,
    cumulative,
    token_edges,
)
from testbed.twin.knobs import Knobs, MetricNames
from testbed.twin.metric import Floats, HistogramValues, Metric
from testbed.twin.physics import BLOCK_TOKENS, EngineArgs


@dataclass(frozen=True, slots=True, eq=False)
class Boots:
    """Times at which the process started anew; counters count from the last of them."""

    times_s: Floats

    def since(self, at: Floats, value: Floats, edges: tuple[float, ...], samples: Floats) -> tuple[Floats, Floats]:
        """Cumulative histogram counts and sums since the last start before each sample."""
        counts, sums = cumulative(at, value, edges, samples)
        if not len(self.times_s):
            return counts, sums
        base_counts, base_sums = cumulative(at, value, edges, self.times_s)
        latest = np.searchsorted(self.times_s, samples, side="right")
        zero = np.zeros((1, base_counts.shape[1]))
        return (
            counts - np.concatenate((zero, base_counts))[latest],
            sums - np.concatenate(([0.0], base_sums))[latest],
        )


def boots_of(run: ReplicaRun, knobs: Knobs) -> Boots:
    """Every restart, rollout and out-of-memory of the run."""
    every = [*knobs.restarts_s, *knobs.host_ooms_s, *knobs.rollouts_s, *run.oom_times]
    return Boots(np.sort(np.array(every, dtype=np.float64)))


def engine_metrics(run: ReplicaRun, args: EngineArgs, model: str, knobs: Knobs) -> Iterator[Metric]:
    """All series of one server over the run's sample grid."""
    labels = {"model_name": model, **({"engine": "0"} if knobs.engine_label else {})}
    yield from _gauges(run, labels, knobs)
    yield from _counters(run, labels, knobs)
    for histogram in _histograms(run, knobs):
        yield from histogram.metrics(labels)
    yield _cache_config(run, args, knobs)
    yield _process_start(run, knobs)


def _gauges(run: ReplicaRun, labels: dict[str, str], knobs: Knobs) -> Iterator[Metric]:
    waiting = run.column("waiting")
    usage = np.minimum(run.column("kv") / run.engine.pool_tokens, 1.0)
    yield Metric("vllm:num_requests_running", labels, run.column("running"))
    yield Metric("vllm:num_requests_waiting", labels, waiting)
    if knobs.metric_names is not MetricNames.OLD:
        yield Metric("vllm:kv_cache_usage_perc", labels, usage)
    if knobs.metric_names is not MetricNames.NEW:
        yield Metric("vllm:gpu_cache_usage_perc", labels, usage)
    if knobs.waiting_by_reason and knobs.metric_names is MetricNames.NEW:
        yield Metric("vllm:num_requests_waiting_by_reason", {**labels, "reason": "capacity"}, waiting)
        yield Metric("vllm:num_requests_waiting_by_reason", {**labels, "reason": "deferred"}, np.zeros_like(waiting))


def _counters(run: ReplicaRun, labels: dict[str, str], knobs: Knobs) -> Iterator[Metric]:
    yield Metric("vllm:num_preemptions_total", labels, run.column("preemptions"))
    yield Metric("vllm:prompt_tokens_total", labels, run.column("prompt_tokens"))
    yield Metric("vllm:generation_tokens_total", labels, run.column("generation_tokens"))
    done = run.is_finished
    cut = run.output_tokens < run.arrivals.output_tokens
    boots = boots_of(run, knobs)
    for reason, chosen in (("stop", done & ~cut), ("length", done & cut), ("abort", np.zeros_like(done))):
        at = run.finished_s[chosen]
        counts, _ = boots.since(at, at, (), run.sample_times)
        yield Metric("vllm:request_success_total", {**labels, "finished_reason": reason}, counts[:, 0].copy())


def _histograms(run: ReplicaRun, knobs: Knobs) -> Iterator[HistogramValues]:
    grid, boots, done = run.sample_times, boots_of(run, knobs), run.is_finished
    finished, begun = run.finished_s[done], ~np.isnan(run.first_token_s)

    def of_finished(name: str, values: Floats, edges: tuple[float, ...]) -> HistogramValues:
        return HistogramValues(f"vllm:{name}", edges, *boots.since(finished, values, edges, grid))

    ttft = boots.since(run.first_token_s[begun], run.ttft_s[begun], TIME_TO_FIRST_TOKEN_EDGES, grid)
    yield HistogramValues("vllm:time_to_first_token_seconds", TIME_TO_FIRST_TOKEN_EDGES, *ttft)
    gaps = np.cumsum(run.itl_counts, axis=1), run.itl_sum
    if knobs.metric_names is not MetricNames.OLD:
        yield HistogramValues("vllm:inter_token_latency_seconds", INTER_TOKEN_EDGES, *gaps)
        yield of_finished("request_time_per_output_token_seconds", run.tpot_s[done], INTER_TOKEN_EDGES)
    if knobs.metric_names is not MetricNames.NEW:
        yield HistogramValues("vllm:time_per_output_token_seconds", INTER_TOKEN_EDGES, *gaps)
    yield of_finished("e2e_request_latency_seconds", run.latency_s[done], REQUEST_LATENCY_EDGES)
    yield of_finished("request_queue_time_seconds", (run.admitted_s - run.arrivals.time_s)[done], REQUEST_LATENCY_EDGES)
    sizes = token_edges(run.engine.max_model_len)
    yield of_finished("request_prompt_tokens", run.arrivals.prompt_tokens[done].astype(np.float64), sizes)
    yield of_finished("request_generation_tokens", run.output_tokens[done].astype(np.float64), sizes)


def _cache_config(run: ReplicaRun, args: EngineArgs, knobs: Knobs) -> Metric:
    labels = {
        "block_size": str(BLOCK_TOKENS),
        "cache_dtype": args.kv_cache_dtype,
        "enable_prefix_caching": "True",
        "gpu_memory_utilization": repr(args.gpu_memory_utilization),
        "num_cpu_blocks": "None",
        "num_gpu_blocks": str(run.engine.num_blocks),
        "num_gpu_blocks_override": "None",
        "sliding_window": "None",
        "swap_space": "4",
        **({"engine": "0"} if knobs.engine_label else {}),
    }
    return Metric("vllm:cache_config_info", labels, np.ones(len(run.sample_times)))


def _process_start(run: ReplicaRun, knobs: Knobs) -> Metric:
    """Seconds from the start of the run here; the assembly turns them into Unix time."""
    times = boots_of(run, knobs).times_s
    latest = np.searchsorted(times, run.sample_times, side="right")
    return Metric("process_start_time_seconds", {}, np.concatenate(([0.0], times))[latest])
