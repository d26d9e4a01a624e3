"""Terse builders of domain values: every argument has a sensible default, so that a test names only what it is about.

`world()` is an 8B model on one H100 of a p5.48xlarge with fourteen complete days of light diurnal traffic; change what
the test is about: `world(observed=observation(kv_demand=MISSING_KV))`, `world(on="g6.xlarge")`, `world(model=LLAMA_70B,
tensor_parallel=8)`. Shortcuts for decisions: `candidate("g6e.xlarge", "1.861")`, `need()`.

The last `**changes` of a builder are fields of the noun it builds; `replace` checks their names, hence `Any`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_rightsizer.domain.decision import Binding, Candidate, Configuration, Prediction
from gpu_rightsizer.domain.engines import EngineSettings, EngineType
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.hardware import (
    Accelerator,
    Commitment,
    HostShape,
    InstanceClass,
    Origin,
    Price,
    Provisionable,
    Vendor,
)
from gpu_rightsizer.domain.models import Confidence, ModelArchitecture, WeightDtype
from gpu_rightsizer.domain.need import (
    DeviceLoad,
    HostNeed,
    Idleness,
    IdleState,
    Load,
    Need,
    OverheadSource,
    PreallocatedMemory,
    Tier,
)
from gpu_rightsizer.domain.observation import Attribution, Observation
from gpu_rightsizer.domain.options import Options
from gpu_rightsizer.domain.readings import BlockSeries, Measured, Missing, MissingReason, Signal
from gpu_rightsizer.domain.units import GIB, MIB, Bytes, Millicores, UsdPerHour, gib, mib
from gpu_rightsizer.domain.workload import (
    Incident,
    Mode,
    NodeShare,
    Objective,
    OomKind,
    PlacementRules,
    PodRef,
    PodShape,
    ScaleToZeroRules,
    TargetRef,
    Workload,
    WorkloadKey,
)
from gpu_rightsizer.domain.world import World
from gpu_rightsizer.estimate.tail import Peaks, fit_tails

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.need import DemandTail
    from gpu_rightsizer.domain.options import Change

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)  # a Wednesday noon
HOUR = 3600
DAYS = 14


# hardware -------------------------------------------------------------------------------------------------------------


def accelerator(  # noqa: PLR0917 - a table row
    key: str, product: str, capability: tuple[int, int] | None, memory_mib: int, bandwidth: float, bf16: float,
    *, fp8: float | None = None, int8: float | None = None, fp4: float | None = None, link_gbps: float = 32.0,
    vendor: Vendor = Vendor.NVIDIA,
) -> Accelerator:  # fmt: skip
    """One accelerator from the row of a data sheet."""
    return Accelerator(
        key=key, product=product, vendor=vendor, architecture="", compute_capability=capability, memory=mib(memory_mib),
        bandwidth_gbps=bandwidth, tflops_bf16=bf16, tflops_fp8=fp8, tflops_int8=int8, tflops_fp4=fp4, link="",
        link_gbps=link_gbps, source="test", confidence=Confidence.VERIFIED,
    )  # fmt: skip


T4 = accelerator("t4", "NVIDIA T4", (7, 5), 15360, 320, 65, int8=130)
A10G = accelerator("a10g", "NVIDIA A10G", (8, 6), 23028, 600, 70, int8=140)
L4 = accelerator("l4", "NVIDIA L4", (8, 9), 23034, 300, 121, fp8=242, int8=242)
L40S = accelerator("l40s", "NVIDIA L40S", (8, 9), 46068, 864, 362, fp8=733, int8=733)
A100_40 = accelerator("a100-40-sxm", "NVIDIA A100 40GB", (8, 0), 40960, 1555, 312, int8=624, link_gbps=300)
A100_80 = accelerator("a100-80-sxm", "NVIDIA A100 80GB", (8, 0), 81920, 2039, 312, int8=624, link_gbps=300)
H100 = accelerator("h100-sxm", "NVIDIA H100", (9, 0), 81559, 3350, 989, fp8=1978, int8=1978, link_gbps=450)
H200 = accelerator("h200-sxm", "NVIDIA H200", (9, 0), 143771, 4800, 989, fp8=1978, int8=1978, link_gbps=450)
B200 = accelerator("b200-sxm", "NVIDIA B200", (10, 0), 183359, 7700, 2250, fp8=4500, int8=4500, fp4=9000, link_gbps=900)
INFERENTIA2 = accelerator("inferentia2", "AWS Inferentia2", None, 32768, 880, 190, fp8=190, vendor=Vendor.AWS)


def instance(
    name: str, gpu: Accelerator = L4, count: int = 1, hourly: str | None = "1.00", *, cpu: int = 32,
    memory_gib: int = 128,
    region: str = "us-east-1", commitment: Commitment = Commitment.ON_DEMAND, architecture: str = "amd64",
    provisionable: Provisionable = Provisionable.UNKNOWN, storage_gib: int | None = None, nodes: int = 0,
    allocatable: HostShape | None = None, overhead: str | None = None,
) -> InstanceClass:  # fmt: skip
    """An instance class of `count` accelerators; `hourly` None has no price."""
    price = None
    if hourly is not None:
        extra = None if overhead is None else Decimal(overhead)
        price = Price(UsdPerHour(Decimal(hourly)), commitment, date(2026, 7, 20), "test", extra)
    return InstanceClass(
        name=name, accelerator=gpu, accelerators=count, accelerator_memory=gpu.memory,
        resource="aws.amazon.com/neuron" if gpu.vendor is Vendor.AWS else "nvidia.com/gpu",
        host=host(cpu, memory_gib, storage_gib, architecture), region=region, price=price, origin=Origin.CATALOGUE,
        provisionable=provisionable, nodes=nodes, allocatable=allocatable,
    )  # fmt: skip


def host(cpu: int, memory_gib: float, storage_gib: float | None = None, architecture: str = "amd64") -> HostShape:
    """A machine; CPUs whole, memory and disk in GiB."""
    disk = None if storage_gib is None else gib(storage_gib)
    return HostShape(Millicores(cpu * 1000), gib(memory_gib), disk, architecture)


LADDER = (  # AWS us-east-1, on demand, 2026-07-20
    instance("g4dn.xlarge", T4, 1, "0.526", cpu=4, memory_gib=16),
    instance("inf2.xlarge", INFERENTIA2, 1, "0.758", cpu=4, memory_gib=16),
    instance("g6.xlarge", L4, 1, "0.8048", cpu=4, memory_gib=16),
    instance("g5.xlarge", A10G, 1, "1.006", cpu=4, memory_gib=16),
    instance("g5.2xlarge", A10G, 1, "1.212", cpu=8, memory_gib=32),
    instance("g6e.xlarge", L40S, 1, "1.861", cpu=4, memory_gib=32),
    instance("g6e.2xlarge", L40S, 1, "2.24208", cpu=8, memory_gib=64),
    instance("g6.12xlarge", L4, 4, "4.6016", cpu=48, memory_gib=192),
    instance("g6e.12xlarge", L40S, 4, "10.49264", cpu=48, memory_gib=384),
    instance("p5.4xlarge", H100, 1, "6.88", cpu=16, memory_gib=256),
    instance("p4d.24xlarge", A100_40, 8, "21.957642", cpu=96, memory_gib=1152),
    instance("p4de.24xlarge", A100_80, 8, "27.447", cpu=96, memory_gib=1152),
    instance("p5.48xlarge", H100, 8, "55.04", cpu=192, memory_gib=2048),
    instance("p5en.48xlarge", H200, 8, "63.296", cpu=192, memory_gib=2048),
)
BY_NAME: Mapping[str, InstanceClass] = {c.name: c for c in LADDER}


# models ---------------------------------------------------------------------------------------------------------------


def model(
    name: str = "meta-llama/Llama-3.1-8B-Instruct", billions: float = 8.03, *, active: float | None = None,
    layers: int = 32, hidden: int = 4096, heads: int = 32, kv_heads: int = 8, head_dim: int = 128,
    vocabulary: int = 128256, context: int = 131072, dtype: WeightDtype = WeightDtype.BFLOAT16, experts: int = 0,
    experts_per_token: int = 0, sliding_window: int = 0, windowed_layers: int = 0,
) -> ModelArchitecture:  # fmt: skip
    """A decoder; parameters in billions."""
    return ModelArchitecture(
        name=name, parameters=billions * 1e9, active_parameters=(active or billions) * 1e9, layers=layers,
        hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim, vocabulary=vocabulary, default_dtype=dtype,
        max_context=context, kv_bytes_per_token=2 * 2 * layers * kv_heads * head_dim, experts=experts,
        experts_per_token=experts_per_token, sliding_window=sliding_window, windowed_layers=windowed_layers,
    )  # fmt: skip


LLAMA_8B = model()
LLAMA_70B = model("meta-llama/Llama-3.3-70B-Instruct", 70.554, layers=80, hidden=8192, heads=64)
MIXTRAL_8X7B = model(
    "mistralai/Mixtral-8x7B-Instruct-v0.1", 46.703, active=12.88, vocabulary=32000, context=32768, experts=8,
    experts_per_token=2,
)  # fmt: skip
QWEN_7B = model(
    "Qwen/Qwen2.5-7B-Instruct", 7.615, layers=28, hidden=3584, heads=28, kv_heads=4, vocabulary=152064, context=32768
)


# workloads ------------------------------------------------------------------------------------------------------------


def settings(tensor_parallel: int = 1, max_model_len: int | None = 8192, **changes: Any) -> EngineSettings:
    """Engine settings; any field of `EngineSettings` by name."""
    plain = EngineSettings(tensor_parallel=tensor_parallel, max_model_len=max_model_len, max_num_seqs=256)
    return replace(plain, **changes)


def objective(ttft: float = 2.0, tpot: float = 0.05, risk: float = 0.01, attainment: float = 0.99) -> Objective:
    """TTFT and TPOT p95 in seconds; `risk` is the out-of-memory chance a move may add over 30 days."""
    return Objective(ttft, tpot, attainment, risk, timedelta(days=30), Decimal(1000))


def pod(cpu: int = 2, memory_gib: float = 8, accelerators: int = 1, **changes: Any) -> PodShape:
    """What a replica asks; CPUs whole, memory in GiB."""
    plain = PodShape(
        cpu=Millicores(cpu * 1000), memory=gib(memory_gib), ephemeral_storage=Bytes(0), shared_memory=Bytes(0),
        accelerators=accelerators, resource="nvidia.com/gpu", architecture="amd64",
    )  # fmt: skip
    return replace(plain, **changes)


def incident(
    kind: OomKind = OomKind.CUDA_SERVING, days_ago: float = 30, on: str = "g5.xlarge", **changes: Any
) -> Incident:
    """An out-of-memory of the default workload's model and settings."""
    plain = Incident(
        time=NOW - timedelta(days=days_ago), kind=kind, instance_class=on, pod="chat-0", container="vllm",
        demand_tokens=None, model=LLAMA_8B.name, settings_hash="settings",
    )  # fmt: skip
    return replace(plain, **changes)


def workload(
    name: str = "chat", *, on: str | InstanceClass | Missing = "p5.48xlarge",
    model: ModelArchitecture | Missing = LLAMA_8B,
    engine: EngineType | Missing = EngineType.VLLM, tensor_parallel: int = 1, replicas: int = 1, others: int = 0,
    engine_settings: EngineSettings | None = None, **changes: Any,
) -> Workload:  # fmt: skip
    """A deployment on a class of the ladder (by name); `others` are accelerators that others hold on its node."""
    placement = BY_NAME[on] if isinstance(on, str) else on
    told = engine_settings or settings(tensor_parallel)
    ranks = told.tensor_parallel * told.pipeline_parallel
    nodes: tuple[NodeShare, ...] = ()
    if isinstance(placement, InstanceClass):
        nodes = (NodeShare("node-0", placement.name, placement.accelerators, ranks * replicas, others),)
    pods = tuple(PodRef(f"{name}-{i}", f"uid-{i}", "node-0", True, None, 0, "hash") for i in range(replicas))
    plain = Workload(
        key=WorkloadKey("default", name, f"uid-{name}", 1), target=TargetRef("apps/v1", "Deployment", name, "vllm"),
        mode=Mode.RECOMMEND, objective=objective(), rules=PlacementRules(),
        scale_to_zero=ScaleToZeroRules(True, timedelta(days=7), timedelta(minutes=5)), engine=engine, settings=told,
        settings_hash="settings", model=model, pod=pod(accelerators=ranks), replicas=replicas, replicas_owner="",
        pods=pods, placement=placement, nodes=nodes, shared_device=False, incidents=(), since=None,
    )  # fmt: skip
    return replace(plain, **changes)


# observations ---------------------------------------------------------------------------------------------------------


def series(values: Sequence[float] | NDArray[np.float64], block: int = HOUR, end: datetime = NOW) -> BlockSeries:
    """Blocks that end at `end`; NaN is unknown."""
    array = np.asarray(values, dtype=np.float64)
    start = int(end.timestamp()) - block * len(array)
    return BlockSeries(start, block, array, np.isfinite(array).astype(np.float64))


def flat(value: float, days: float = DAYS, block: int = HOUR) -> BlockSeries:
    """The same figure in every block."""
    return series(np.full(round(days * 86_400 / block), value), block)


def diurnal(peak: float, days: float = DAYS, *, low: float = 0.3, noise: float = 0.1, seed: int = 1) -> BlockSeries:
    """Hourly peaks that swing over the day between `low` x peak and about peak, with lognormal noise."""
    hours = np.arange(round(days * 24))
    of_day = (hours + (NOW.hour - len(hours))) % 24
    wave = low + (1 - low) * 0.5 * (1 - np.cos(2 * np.pi * (of_day - 3) / 24))
    jitter = np.exp(noise * np.random.default_rng(seed).standard_normal(len(hours)))
    return series(peak * wave * jitter)


def missing(what: Signal, why: MissingReason = MissingReason.NO_SERIES, detail: str = "") -> Missing:
    """A signal that is unknown."""
    return Missing(what, why, detail)


def pool_tokens(
    on: InstanceClass = BY_NAME["p5.48xlarge"], architecture: ModelArchitecture = LLAMA_8B, ranks: int = 1, *,
    overhead_gib: float = 2.0, utilization: float = 0.9, weight_bytes: float = 2.0,
) -> float:  # fmt: skip
    """The KV pool an engine would report, by the plain arithmetic of its profile run."""
    visible = on.accelerator_memory * 0.98
    left = utilization * visible - weight_bytes * architecture.parameters / ranks - overhead_gib * GIB
    return max(0.0, left // (architecture.kv_bytes_per_token / min(ranks, architecture.kv_heads)))


def observation(
    *, requests_per_second: float = 1.0, prompt: float = 800, output: float = 200, tpot_seconds: float = 0.009,
    pool: float | None = None, device_bytes: float = H100.memory * 0.98, days: float = DAYS, seed: int = 1,
    **changes: Any,
) -> Observation:  # fmt: skip
    """Complete engine and device metrics of light diurnal traffic; any field of `Observation` by name."""
    concurrency = requests_per_second * output * tpot_seconds
    shape = diurnal(1.0, days, seed=seed)

    def scaled(by: float) -> BlockSeries:
        return replace(shape, values=shape.values * by)

    nothing = flat(0.0, days)
    plain = Observation(
        kv_demand=scaled(max(concurrency, 1.0) * (prompt + output / 2)), running=scaled(max(concurrency, 1.0)),
        waiting=nothing, prompt_rate=scaled(requests_per_second * prompt),
        generation_rate=scaled(requests_per_second * output), requests=scaled(requests_per_second * HOUR),
        replicas=flat(1.0, days),
        ttft=flat(0.1, days), tpot=flat(tpot_seconds, days), preemptions=nothing,
        fb_used=flat(0.9 * device_bytes, days),
        gpu_activity=scaled(0.5), dram_activity=scaled(0.2), host_memory=flat(6 * GIB, days), host_cpu=flat(1.0, days),
        kv_pool=Measured(pool_tokens() if pool is None else pool), fb_total=Measured(device_bytes),
        prompt_tokens=Measured(prompt), output_tokens=Measured(output),
        attribution=Attribution("pod", ("vllm:kv_cache_usage_perc",), 1, 1), newest=NOW, span=timedelta(days=days),
        coverage=1.0, problems=(),
    )  # fmt: skip
    return replace(plain, **changes)


def no_engine(**changes: Any) -> Observation:
    """DCGM alone: the engine tells nothing."""
    told = ("kv_demand", "running", "waiting", "prompt_rate", "generation_rate", "requests", "replicas", "ttft", "tpot",
            "preemptions", "kv_pool", "prompt_tokens", "output_tokens")  # fmt: skip
    signals = (Signal.KV_DEMAND, Signal.RUNNING, Signal.WAITING, Signal.PROMPT_RATE, Signal.GENERATION_RATE,
               Signal.REQUESTS, Signal.REPLICAS, Signal.TTFT, Signal.TPOT, Signal.PREEMPTIONS, Signal.KV_POOL,
               Signal.PROMPT_TOKENS, Signal.OUTPUT_TOKENS)  # fmt: skip
    silent: dict[str, Any] = {name: missing(s) for name, s in zip(told, signals, strict=True)}
    return observation(**(silent | changes))


def nothing_observed() -> Observation:
    """Not one series."""
    gone = {"fb_used": Signal.FB_USED, "gpu_activity": Signal.GPU_ACTIVITY, "dram_activity": Signal.DRAM_ACTIVITY,
            "host_memory": Signal.HOST_MEMORY, "host_cpu": Signal.HOST_CPU, "fb_total": Signal.FB_TOTAL}  # fmt: skip
    silent = {name: missing(signal) for name, signal in gone.items()}
    return no_engine(
        **silent, coverage=0.0, span=timedelta(0), newest=None, attribution=Attribution("", (), 0, 1),
        problems=(missing(Signal.KV_DEMAND), missing(Signal.FB_USED)),
    )  # fmt: skip


def world(observed: Observation | None = None, **changes: Any) -> World:
    """A workload (arguments of `workload`) with what was observed of it."""
    return World(workload(**changes), observed or observation())


# needs, candidates ----------------------------------------------------------------------------------------------------


def tail(values: BlockSeries | None = None, **changes: Any) -> DemandTail:
    """The tail fitted on a series (light diurnal traffic by default)."""
    return fit_tails([Peaks(values or diurnal(4000.0), **changes)])[0]


def need(**changes: Any) -> Need:
    """The need of an 8B model with complete data; any field of `Need` by name."""
    plain = Need(
        tier=Tier.T4,
        memory=PreallocatedMemory(
            weights=Bytes(16_060_000_000), kv_bytes_per_token=131072.0, overhead=gib(2),
            overhead_error=Bytes(512 * MIB), overhead_source=OverheadSource.SOLVED, demand=tail(),
        ),
        load=Load(1.0, 4.0, 800.0, 200.0, 900.0), device=DeviceLoad(0.2, 0.5),
        host=HostNeed(2000, gib(8), 1000, gib(6)), idleness=Idleness(IdleState.BUSY, timedelta(0), 0.0),
        shrink_holds=(), memory_holds=(), symptoms=(), notes=(),
    )  # fmt: skip
    return replace(plain, **changes)


def prediction(**changes: Any) -> Prediction:
    """A comfortable prediction; any field of `Prediction` by name."""
    plain = Prediction(
        memory_available=gib(40), memory_need=gib(20), kv_capacity_tokens=150_000.0, kv_demand_tokens=6_000.0,
        tpot=0.02, tpot_bound=0.026, ttft=0.2, ttft_bound=0.3, oom_probability=0.001, overload_probability=0.001,
        slo_miss_probability=0.001, binding=Binding.BANDWIDTH, measured_accelerator=False,
    )  # fmt: skip
    return replace(plain, **changes)


def configuration(
    on: str | InstanceClass = "g6e.xlarge", *, replicas: int = 1, tensor_parallel: int = 1,
    accelerators: int | None = None, engine_args: Mapping[str, str] | None = None,
) -> Configuration:  # fmt: skip
    """Replicas on a class of the ladder."""
    where = BY_NAME[on] if isinstance(on, str) else on
    return Configuration(where, accelerators or tensor_parallel, tensor_parallel, replicas, engine_args or {})


def candidate(
    on: str | InstanceClass = "g6e.xlarge", hourly: str | None = None, *, failures: tuple[Finding, ...] = (),
    notes: tuple[Finding, ...] = (), predicted: Prediction | None = None, **where: Any,
) -> Candidate:  # fmt: skip
    """A candidate that holds, at the class's price unless told otherwise."""
    placed = configuration(on, **where)
    price = placed.instance.price
    cost = Decimal(hourly) if hourly is not None else (None if price is None else Decimal(price.hourly))
    return Candidate(placed, cost, predicted or prediction(), failures, notes)


def options(*candidates: Candidate, tuned: Candidate | None = None) -> Options:
    """These candidates; with engine limits it would do as `tuned` does (None: what would be cannot be told)."""

    def otherwise(changes: Sequence[Change]) -> list[Candidate | None]:
        if tuned is None:
            return [None] * len(changes)
        return [
            replace(tuned, configuration=each.where, failures=tuned.failures if each.where.engine_args else ())
            for each in changes
        ]

    return replace(Options.of(candidates), otherwise=otherwise)


def too_slow(on: str | InstanceClass, hourly: str | None = None, tpot_bound: float = 0.08) -> Candidate:
    """A candidate whose predicted TPOT is over the objective."""
    late = found(Code.TPOT_TOO_SLOW, tpot_bound_seconds=tpot_bound, objective_seconds=0.05)
    return candidate(on, hourly, failures=(late,), predicted=prediction(tpot=0.06, tpot_bound=tpot_bound))


def too_small(on: str | InstanceClass, hourly: str | None = None) -> Candidate:
    """A candidate whose devices cannot hold the need."""
    lack = found(Code.MEMORY_TOO_SMALL, need_bytes=gib(30), available_bytes=gib(20), tensor_parallel=1)
    return candidate(on, hourly, failures=(lack,), predicted=prediction(memory_need=gib(30), memory_available=gib(20)))
