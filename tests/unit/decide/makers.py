"""Terse values for decisions: classes, candidates that hold or fail, workloads and needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

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
from gpu_rightsizer.domain.models import ModelArchitecture, WeightDtype
from gpu_rightsizer.domain.need import (
    DeviceLoad,
    FramebufferMemory,
    HostNeed,
    Idleness,
    IdleState,
    Load,
    Need,
    Tier,
)
from gpu_rightsizer.domain.readings import Missing, MissingReason, Signal
from gpu_rightsizer.domain.units import Millicores, UsdPerHour, gib
from gpu_rightsizer.domain.workload import (
    Mode,
    NodeShare,
    Objective,
    PlacementRules,
    PodShape,
    ScaleToZeroRules,
    TargetRef,
    Workload,
    WorkloadKey,
)

if TYPE_CHECKING:
    from gpu_rightsizer.domain.workload import Incident

NOON = datetime(2026, 7, 20, 12, tzinfo=UTC)

# name: (accelerator, GiB each, GB/s, TFLOPS bf16, accelerators, USD/h)
CLASSES = {
    "p5.48xlarge": ("h100", 79.6, 3350, 989, 8, "55.04"),
    "p4d.24xlarge": ("a100-40", 39.5, 1555, 312, 8, "21.96"),
    "p5.4xlarge": ("h100", 79.6, 3350, 989, 1, "6.88"),
    "g6e.12xlarge": ("l40s", 45.0, 864, 362, 4, "10.49"),
    "g6e.2xlarge": ("l40s", 45.0, 864, 362, 1, "2.24"),
    "g6e.xlarge": ("l40s", 45.0, 864, 362, 1, "1.861"),
    "g5.xlarge": ("a10g", 22.5, 600, 70, 1, "1.006"),
    "g6.xlarge": ("l4", 22.5, 300, 121, 1, "0.805"),
    "g4dn.xlarge": ("t4", 15.0, 320, 65, 1, "0.526"),
}


def instance(name: str, *, price: str | None = "", caveat: str = "") -> InstanceClass:
    key, memory, bandwidth, tflops, count, usual = CLASSES[name]
    accelerator = Accelerator(
        key=key,
        product=f"NVIDIA-{key.upper()}",
        vendor=Vendor.NVIDIA,
        architecture="",
        compute_capability=(8, 9),
        memory=gib(memory),
        bandwidth_gbps=bandwidth,
        tflops_bf16=tflops,
        tflops_fp8=None,
        tflops_int8=None,
        tflops_fp4=None,
        link="",
        link_gbps=None,
    )
    cost = None
    if price is not None:
        cost = Price(UsdPerHour(Decimal(price or usual)), Commitment.ON_DEMAND, date(2026, 7, 20), "a price list")
    return InstanceClass(
        name=name,
        accelerator=accelerator,
        accelerators=count,
        accelerator_memory=gib(memory),
        resource="nvidia.com/gpu",
        host=HostShape(Millicores(4000), gib(32), gib(250), "amd64"),
        region="us-east-1",
        price=cost,
        origin=Origin.CATALOGUE,
        provisionable=Provisionable.YES,
        caveat=caveat,
    )


def prediction(*, oom: float | None = 0.002, tpot: float | None = 0.03, measured: bool = True) -> Prediction:
    return Prediction(
        memory_available=gib(40.5),
        memory_need=gib(29.4),
        kv_capacity_tokens=180_000,
        kv_demand_tokens=92_000,
        tpot=tpot,
        tpot_bound=None if tpot is None else tpot * 1.3,
        ttft=0.21,
        ttft_bound=0.4,
        oom_probability=oom,
        overload_probability=0.001,
        slo_miss_probability=0.004,
        binding=Binding.MEMORY,
        measured_accelerator=measured,
    )


def on(
    name: str,
    *failures: Finding,
    accelerators: int | None = None,
    replicas: int = 1,
    hourly: Decimal | str | None = "",
    args: dict[str, str] | None = None,
    oom: float | None = 0.002,
    measured: bool = True,
) -> Candidate:
    """A candidate on one class; it holds unless failures are given. Its cost is the class's price times replicas."""
    place = instance(name)
    count = place.accelerators if accelerators is None else accelerators
    cost = Decimal(CLASSES[name][5]) * replicas if hourly == "" else hourly
    return Candidate(
        Configuration(place, count, count, replicas, args or {}),
        None if cost is None else Decimal(cost),
        prediction(oom=oom, measured=measured),
        failures,
    )


def too_slow() -> Finding:
    return found(Code.TPOT_TOO_SLOW, tpot=0.095, limit=0.075)


def too_small() -> Finding:
    return found(Code.MEMORY_TOO_SMALL, need=gib(29.4), available=gib(20.2))


LLAMA = ModelArchitecture(
    name="meta-llama/Llama-3.1-8B-Instruct",
    parameters=8.03e9,
    active_parameters=8.03e9,
    layers=32,
    hidden=4096,
    heads=32,
    kv_heads=8,
    head_dim=128,
    vocabulary=128256,
    default_dtype=WeightDtype.BFLOAT16,
    max_context=131072,
    kv_bytes_per_token=131072,
)


def workload(
    at: str = "p5.48xlarge",
    *,
    replicas: int = 1,
    others: int = 0,
    nodes: int | None = None,
    incidents: tuple[Incident, ...] = (),
    oom_cost: str = "2000",
    scale_to_zero: bool = False,
    owner: str = "",
) -> Workload:
    place = instance(at)
    count = nodes if nodes is not None else replicas
    return Workload(
        key=WorkloadKey("chat", "llama-8b", "6f1c2d3e-0000-4000-8000-000000000001", 3),
        target=TargetRef("apps/v1", "Deployment", "llama-8b", "vllm"),
        mode=Mode.RECOMMEND,
        objective=Objective(
            ttft_p95=1.0,
            tpot_p95=0.075,
            attainment=0.999,
            max_oom_risk=0.01,
            horizon=timedelta(days=30),
            oom_cost_usd=Decimal(oom_cost),
        ),
        rules=PlacementRules(),
        scale_to_zero=ScaleToZeroRules(scale_to_zero, timedelta(minutes=30), timedelta(seconds=90)),
        engine=EngineType.VLLM,
        settings=EngineSettings(tensor_parallel=place.accelerators, max_model_len=32768),
        settings_hash="5c9e1f",
        model=LLAMA,
        pod=PodShape(
            Millicores(4000), gib(16), gib(10), gib(1), place.accelerators, "nvidia.com/gpu", "amd64"
        ),
        replicas=replicas,
        replicas_owner=owner,
        pods=(),
        placement=place,
        nodes=tuple(
            NodeShare(f"node-{number}", at, place.accelerators, place.accelerators - others, others)
            for number in range(count)
        ),
        shared_device=False,
        incidents=incidents,
        since=NOON - timedelta(days=40),
    )


def need(
    *,
    shrink_holds: tuple[Finding, ...] = (),
    memory_holds: tuple[Finding, ...] = (),
    symptoms: tuple[Finding, ...] = (),
    notes: tuple[Finding, ...] = (),
    idle_for: timedelta | None = None,
    idle_share: float | None = None,
    wakes_per_day: float | None = None,
    tier: Tier = Tier.T4,
) -> Need:
    idle = IdleState.IDLE if idle_for is not None else IdleState.BUSY
    return Need(
        tier=tier,
        memory=FramebufferMemory(Missing(Signal.FB_USED, MissingReason.NO_SERIES)),
        load=Load(3.0, 40, 900, 250, 1500),
        device=DeviceLoad(0.3, 0.4),
        host=HostNeed(4000, gib(16), None, None),
        idleness=Idleness(idle, idle_for, idle_share, wakes_per_day),
        shrink_holds=shrink_holds,
        memory_holds=memory_holds,
        symptoms=symptoms,
        notes=notes,
    )


def unplaced(workload: Workload) -> Workload:
    """The same workload on a class nobody knows."""
    return replace(workload, placement=Missing(Signal.INSTANCE_CLASS, MissingReason.NOT_FOUND, "x1.weird"))
