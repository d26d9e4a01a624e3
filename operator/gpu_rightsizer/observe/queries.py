"""What is asked of Prometheus: a handful of queries as data, the same number whatever the fleet's size."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

BLOCK_SECONDS = 3600
WINDOW_SECONDS = 14 * 86_400
LATENCY_DAYS = 3  # histograms cost a series a bucket; three days bridge a weekend
RATE_SECONDS = 300  # token rates are the highest mean over this long
UP_SECONDS = 600  # the scrape interval of the present is learned over this long

WHO = ("cluster", "namespace", "pod", "exported_namespace", "exported_pod", "job")
DEVICE = ("UUID", "GPU_I_ID")
SIGNAL_LABEL = "signal"  # carries "<slot>|<metric>" in the answers


class Slot(StrEnum):
    """What a series of an answer means to us, whatever the metric was called."""

    KV_USAGE = "kv"  # share of the pool, per engine of a pod
    RUNNING = "running"
    WAITING = "waiting"
    PROMPT_RATE = "prompt"  # tokens/s
    GENERATION_RATE = "generation"  # tokens/s
    REQUESTS = "requests"  # finished in the block
    PREEMPTIONS = "preemptions"  # in the block
    PROMPT_SUM = "promptsum"  # tokens of the block's finished requests
    OUTPUT_SUM = "outputsum"
    TTFT = "ttft"  # p95, seconds
    TPOT = "tpot"  # p95, seconds
    POOL = "pool"  # labels carry the figures, the value is 1
    FB_USED = "fbused"  # MiB
    GPU_ACTIVITY = "gpu"  # share, or percent for GPU_UTIL
    DRAM_ACTIVITY = "dram"  # share
    HOST_MEMORY = "memory"  # bytes
    HOST_CPU = "cpu"  # cores
    ENGINE_COUNT = "engines"  # samples in the block
    DEVICE_COUNT = "devices"
    ENGINE_SUM = "enginesum"  # NaN as soon as one sample of the block is: counts and peaks pass over it
    DEVICE_SUM = "devicesum"
    KV_SUM = "kvsum"
    HOST_COUNT = "hosts"
    UP_COUNT = "up"
    UP_NOW = "upnow"  # samples in the last UP_SECONDS
    ENGINE_NEWEST = "newest"  # Unix seconds
    DEVICE_NEWEST = "devnewest"
    FB_USED_NOW = "usednow"  # MiB
    FB_FREE_NOW = "freenow"


class How(StrEnum):
    """How samples become one figure a block; `{sum}` are the labels kept, `{within}` those one copy each is taken of.

    Copies of one series (two replicas of Prometheus, two jobs) are folded by `max`, engines of a pod and containers
    are then added, each by its own highest figure. Of several engines' quantiles the slowest counts. Whatever can be
    aggregated once a block is: an aggregation within a range costs the store more than reading the samples.
    """

    PEAK = "max by ({by}) (max_over_time({of}[{block}]))"
    SUMMED_PEAK = "sum by ({by}) (max by ({by}, {within}) (max_over_time({of}[{block}])))"
    RATE = "sum by ({by}) (max by ({by}, {within}) (max_over_time(rate({of}[{rate}])[{block}:{rate}])))"
    INCREASE = "sum by ({by}) (max by ({by}, {within}) (increase({of}[{block}])))"
    P95 = "max by ({by}) (histogram_quantile(0.95, rate({of}[{block}])))"
    COUNT = "max by ({by}) (count_over_time({of}[{block}]))"
    SUM = "max by ({by}) (sum_over_time({of}[{block}]))"
    COUNT_NOW = "max by ({by}) (count_over_time({of}[{up}]))"
    NEWEST = "max by ({by}) (timestamp({of}))"
    LAST = "max by ({by}) ({of})"


@dataclass(frozen=True, slots=True)
class Scope:
    """What every selector is narrowed to.

    `matchers` are label and value of the installation (which cluster of a shared store); `namespaces` those of the
    fleet, for series that every pod of a cluster has (empty: all).
    """

    matchers: tuple[tuple[str, str], ...] = ()
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """One slot of a query. `metrics` are aliases, the preferred first: of a pod that has several, the first counts."""

    slot: Slot
    how: How
    metrics: tuple[str, ...]
    by: tuple[str, ...] = WHO
    within: tuple[str, ...] = ()
    match: str = ""  # matchers that always apply
    of_every_pod: bool = False  # every pod of a cluster has it: narrow to the fleet's namespaces

    def promql(self, scope: Scope) -> str:
        """The part's expression; each alias carries its slot and name in the `signal` label."""
        either = f" or on ({', '.join(self.by)}) "
        return either.join(self._alias(metric, scope) for metric in self.metrics)

    def _alias(self, metric: str, scope: Scope) -> str:
        expression = self.how.value.format(
            by=", ".join(self.by),
            within=", ".join(self.within),
            of=metric + self._selector(scope),
            block=f"{BLOCK_SECONDS}s",
            rate=f"{RATE_SECONDS}s",
            up=f"{UP_SECONDS}s",
        )
        return f'label_replace({expression}, "{SIGNAL_LABEL}", "{self.slot}|{metric}", "", "")'

    def _selector(self, scope: Scope) -> str:
        matchers = [self.match] if self.match else []
        matchers += [f"{label}={quoted(value)}" for label, value in scope.matchers]
        if self.of_every_pod and scope.namespaces:
            matchers.append(f"namespace=~{quoted('|'.join(scope.namespaces))}")
        return "{" + ",".join(matchers) + "}" if matchers else ""


@dataclass(frozen=True, slots=True)
class Query:
    """One query. A range query gives a figure per block; an instant one the present.

    An `hourly` one is asked for complete blocks alone, once each hour: histograms cost the store more than all else.
    `weight` is how many samples a pod costs the store in each block while it answers (rates have one evaluation per
    RATE_SECONDS); of histograms, with a series per bucket, thrice as many: there it is time that runs out.
    """

    name: str
    parts: tuple[Part, ...]
    instant: bool = False
    hourly: bool = False
    weight: int = 4
    days: int = WINDOW_SECONDS // 86_400  # how far it looks back

    def promql(self, scope: Scope) -> str:
        """The whole expression."""
        return " or ".join(f"({part.promql(scope)})" for part in self.parts)


def quoted(value: str) -> str:
    """A PromQL string literal."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


_PER_ENGINE = ("engine", "model_name")

# Names: vLLM vllm/v1/metrics/loggers.py; before 0.12 gpu_cache_usage_perc and time_per_output_token_seconds.
# DCGM: dcgm-exporter's default counters; the *_RATIO names are those of DCGM 4.6.0's dcgm_fields.h.
QUERIES: tuple[Query, ...] = (
    Query(
        "engine",
        (
            Part(
                Slot.KV_USAGE,
                How.PEAK,
                ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
                by=(*WHO, "engine"),
            ),
            Part(Slot.RUNNING, How.SUMMED_PEAK, ("vllm:num_requests_running",), within=_PER_ENGINE),
            Part(Slot.WAITING, How.SUMMED_PEAK, ("vllm:num_requests_waiting",), within=_PER_ENGINE),
        ),
    ),
    Query(
        "tokens",
        (
            Part(Slot.PROMPT_RATE, How.RATE, ("vllm:prompt_tokens_total",), within=_PER_ENGINE),
            Part(Slot.GENERATION_RATE, How.RATE, ("vllm:generation_tokens_total",), within=_PER_ENGINE),
        ),
        weight=2 * BLOCK_SECONDS // RATE_SECONDS,
    ),
    Query(
        "requests",
        (
            Part(
                Slot.REQUESTS,
                How.INCREASE,
                ("vllm:request_success_total",),
                within=(*_PER_ENGINE, "finished_reason"),
            ),
            Part(Slot.PREEMPTIONS, How.INCREASE, ("vllm:num_preemptions_total",), within=_PER_ENGINE),
            Part(
                Slot.PROMPT_SUM,
                How.INCREASE,
                ("vllm:request_prompt_tokens_sum", "vllm:prompt_tokens_total"),
                within=_PER_ENGINE,
            ),
            Part(
                Slot.OUTPUT_SUM,
                How.INCREASE,
                ("vllm:request_generation_tokens_sum", "vllm:generation_tokens_total"),
                within=_PER_ENGINE,
            ),
        ),
    ),
    Query(
        "ttft",
        (Part(Slot.TTFT, How.P95, ("vllm:time_to_first_token_seconds_bucket",)),),
        hourly=True,
        weight=75,
        days=LATENCY_DAYS,
    ),
    Query(
        "tpot",
        (
            Part(
                Slot.TPOT,
                How.P95,
                (
                    "vllm:request_time_per_output_token_seconds_bucket",
                    "vllm:inter_token_latency_seconds_bucket",
                    "vllm:time_per_output_token_seconds_bucket",
                ),
            ),
        ),
        hourly=True,
        weight=120,
        days=LATENCY_DAYS,
    ),
    Query(
        "pool",
        (
            Part(
                Slot.POOL,
                How.PEAK,
                ("vllm:cache_config_info",),
                by=(*WHO, "engine", "num_gpu_blocks", "block_size", "gpu_memory_utilization", "cache_dtype"),
            ),
        ),
    ),
    Query(
        "device",
        (
            Part(Slot.FB_USED, How.PEAK, ("DCGM_FI_DEV_FB_USED",)),
            Part(
                Slot.GPU_ACTIVITY,
                How.PEAK,
                (
                    "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
                    "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO",
                    "DCGM_FI_DEV_GPU_UTIL",
                    "DCGM_FI_DEV_GPU_UTIL_RATIO",
                ),
            ),
            Part(
                Slot.DRAM_ACTIVITY,
                How.PEAK,
                ("DCGM_FI_PROF_DRAM_ACTIVE", "DCGM_FI_PROF_DRAM_UTIL_RATIO"),
            ),
        ),
        weight=24,
    ),
    Query(
        "host",
        (
            Part(
                Slot.HOST_MEMORY,
                How.SUMMED_PEAK,
                ("container_memory_working_set_bytes",),
                within=("container",),
                match='container!="",container!="POD"',
                of_every_pod=True,
            ),
            Part(
                Slot.HOST_CPU,
                How.RATE,
                ("container_cpu_usage_seconds_total",),
                within=("container", "cpu"),
                match='container!="",container!="POD"',
                of_every_pod=True,
            ),
        ),
        weight=2 * BLOCK_SECONDS // RATE_SECONDS,
    ),
    Query(
        "coverage",
        (
            Part(Slot.ENGINE_COUNT, How.COUNT, ("vllm:num_requests_running",)),
            Part(Slot.DEVICE_COUNT, How.COUNT, ("DCGM_FI_DEV_FB_USED",)),
            Part(
                Slot.HOST_COUNT,
                How.COUNT,
                ("container_memory_working_set_bytes",),
                match='container!="",container!="POD"',
                of_every_pod=True,
            ),
            Part(Slot.UP_COUNT, How.COUNT, ("up",), by=("cluster", "job")),
        ),
        weight=12,
    ),
    Query(
        "numbers",
        (
            Part(Slot.ENGINE_SUM, How.SUM, ("vllm:num_requests_running",)),
            Part(Slot.KV_SUM, How.SUM, ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")),
            Part(Slot.DEVICE_SUM, How.SUM, ("DCGM_FI_DEV_FB_USED",)),
        ),
        weight=12,
    ),
    Query(
        "now",
        (
            Part(Slot.ENGINE_NEWEST, How.NEWEST, ("vllm:num_requests_running",)),
            Part(Slot.DEVICE_NEWEST, How.NEWEST, ("DCGM_FI_DEV_FB_USED",), by=(*WHO, *DEVICE)),
            Part(Slot.FB_USED_NOW, How.LAST, ("DCGM_FI_DEV_FB_USED",), by=(*WHO, *DEVICE)),
            Part(Slot.FB_FREE_NOW, How.LAST, ("DCGM_FI_DEV_FB_FREE",), by=(*WHO, *DEVICE)),
            Part(Slot.UP_NOW, How.COUNT_NOW, ("up",), by=("cluster", "job")),
        ),
        instant=True,
    ),
)
