"""One finding of each code with every fact its sentence can show, and one evaluation of each action."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_rightsizer.decide import decide
from gpu_rightsizer.domain.finding import Code, Fact, Finding, found
from gpu_rightsizer.domain.need import DemandKind, Idleness, IdleState, Recalibration, Rhythm
from gpu_rightsizer.domain.observation import Attribution
from gpu_rightsizer.domain.readings import MissingReason, Signal
from gpu_rightsizer.domain.units import gib
from gpu_rightsizer.domain.workload import ScaleToZeroRules
from gpu_rightsizer.domain.world import Evaluation
from tests.builders import (
    LADDER,
    NOW,
    candidate,
    incident,
    missing,
    need,
    nothing_observed,
    observation,
    options,
    prediction,
    too_slow,
    too_small,
    world,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpu_rightsizer.domain.decision import Candidate
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.world import World

METRICS: Final = (
    "vllm:kv_cache_usage_perc",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:cache_config_info",
    "vllm:time_to_first_token_seconds_bucket",
    "vllm:request_time_per_output_token_seconds_bucket",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    "container_memory_working_set_bytes",
)
WHEN: Final = datetime(2026, 3, 11, 9, 30, tzinfo=UTC)

_FACTS: Final[Mapping[Code, dict[str, Fact]]] = {
    Code.METRICS_MISSING: {"signal": Signal.KV_DEMAND, "why": MissingReason.NO_SERIES, "detail": "pod-a"},
    Code.METRICS_INCOMPLETE: {"signal": "KvDemand", "coverage": 0.62, "needed": 0.9},
    Code.HISTORY_TOO_SHORT: {"span": timedelta(hours=30), "needed": timedelta(days=4)},
    Code.DEMAND_CENSORED: {"share": 0.12, "blocks": 41},
    Code.ENGINE_METRICS_NEEDED: {"engine": "VLLM"},
    Code.MODEL_UNKNOWN: {"model": "acme/tuned-8b"},
    Code.ENGINE_UNKNOWN: {"image": "acme/serve:3"},
    Code.CLASS_UNKNOWN: {"instance_class": "x9.huge"},
    Code.TARGET_CLAIMED_TWICE: {"others": "llama-8b-old"},
    Code.TARGET_MISSING: {"kind": "Deployment", "name": "llama-8b"},
    Code.CONTAINER_UNKNOWN: {"container": "vlm", "containers": "proxy, vllm"},
    Code.RULES_ALLOW_NOTHING: {"rule": "regions: eu-central-1", "policies": "residency"},
    Code.SETTINGS_UNREAD: {"arguments": "--cpu-offload-gb"},
    Code.SOURCES_DISAGREE: {"signal": "Model", "detail": "llama-8b, llama-70b"},
    Code.RECENT_REVISION: {"since": WHEN, "needed": timedelta(days=4)},
    Code.MEMORY_TOO_SMALL: {"need": gib(29.4), "available": gib(20.2)},
    Code.CONTEXT_TOO_LONG: {"context": 131072, "capacity": 40_000.0},
    Code.MEMORY_RISK: {"probability": 0.052, "added": 0.038, "limit": 0.01},
    Code.TPOT_TOO_SLOW: {"tpot": 0.0953, "limit": 0.075},
    Code.TTFT_TOO_SLOW: {"ttft": 1.43, "limit": 1.0},
    Code.OVERLOADED: {"demand": 12.3, "capacity": 9.1, "probability": 0.9},
    Code.TENSOR_PARALLEL_IMPOSSIBLE: {"ranks": 3, "heads": 32, "kv_heads": 8},
    Code.PRECISION_UNSUPPORTED: {"accelerator": "NVIDIA A10G", "dtype": "fp8"},
    Code.HOST_CPU_TOO_SMALL: {"need": 8000, "available": 3920, "used": 1250, "fits": 1500},
    Code.HOST_MEMORY_TOO_SMALL: {"need": gib(64), "available": gib(28.5), "used": gib(11), "fits": gib(13.25)},
    Code.HOST_STORAGE_TOO_SMALL: {"need": gib(300), "available": gib(220)},
    Code.HOST_RESOURCE_MISSING: {"resource": "vpc.amazonaws.com/efa"},
    Code.HOST_ARCHITECTURE: {"available": "arm64", "need": "amd64"},
    Code.VOLUME_ZONE: {"zones": "us-east-1a"},
    Code.NODE_CONSTRAINT: {"key": "node.kubernetes.io/instance-type", "values": "p5.48xlarge"},
    Code.NOT_PROVISIONABLE: {"caveat": "Karpenter counts 0 GPUs"},
    Code.NOT_ALLOWED: {"rule": "instanceClasses.exclude: p4d.*"},
    Code.OTHER_VENDOR: {"vendor": "aws"},
    Code.POOL_TAKEN: {
        "instance_class": "g6e.xlarge",
        "taken": 4,
        "accelerators": 4,
        "by": "chat/llama-8b, search/qwen-7b, other pods (2)",
        "gap": 0.02,
    },
    Code.PRICE_UNKNOWN: {"instance_class": "p5.48xlarge"},
    Code.SMALLER_MEMORY_HELD: {"because": "EngineMetricsNeeded"},
    Code.SHRINK_HELD: {"because": "MetricsMissing"},
    Code.FAILED_THERE_BEFORE: {"time": WHEN, "kind": "CudaServing"},
    Code.RISK_OUTWEIGHS_SAVING: {
        "added": 0.0081,
        "horizon": timedelta(days=30),
        "oom_cost": Decimal(20000),
        "saved": Decimal("120.50"),
    },
    Code.CHEAPER_CLASS_HOLDS: {
        "target": "g6e.xlarge",
        "target_hourly": Decimal("1.861"),
        "current_hourly": Decimal("55.04"),
    },
    Code.NOTHING_CHEAPER: {"considered": 41},
    Code.RULES_ALLOW_NO_OTHER: {"rule": "instanceClasses.include: p5.48xlarge", "policies": "team-chat"},
    Code.SAVING_TOO_SMALL: {"saved": Decimal("0.15"), "share": Decimal("0.074"), "least": Decimal("0.10")},
    Code.UNDER_SIZED: {"instance_class": "g6.xlarge"},
    Code.NOTHING_HOLDS: {"considered": 41},
    Code.PROVEN_IDLE: {"idle_for": timedelta(days=9), "idle_share": 0.97, "threshold": timedelta(minutes=50)},
    Code.TUNE_REMOVES_RISK: {
        "arguments": "--max-num-seqs=64",
        "own": "--max-num-seqs=256",
        "before": 0.08,
        "after": 0.004,
        "ttft": 0.21,
        "hardware": "g6e.xlarge",
        "more": Decimal("1.0562"),
    },
    Code.MEMORY_LEDGER: {
        "weights": gib(15),
        "kv": gib(11.2),
        "overhead": gib(3.2),
        "need": gib(29.4),
        "available": gib(40.5),
    },
    Code.DEMAND_PEAK: {"tokens": 91_740.0, "time": WHEN},
    Code.DEMAND_TAIL: {"tokens": 150_000.0, "probability": 0.01, "horizon": timedelta(days=30)},
    Code.BINDING_RESOURCE: {"resource": "Bandwidth"},
    Code.PRECISION_SLOWER: {"dtype": "fp8", "accelerator": "NVIDIA A10G"},
    Code.ACCELERATOR_UNMEASURED: {"accelerator": "NVIDIA L40S"},
    Code.EVIDENCE_THIN: {"tier": "T3"},
    Code.CATALOGUE_RECALLED: {"entry": "acme/tuned-8b"},
    Code.OBJECTIVE_UNCHECKED: {"metric": "TTFT"},
    Code.OVERHEAD_ASSUMED: {"overhead": gib(3.2), "error": gib(1.6)},
    Code.INCIDENT_WEIGHED: {
        "time": WHEN,
        "instance_class": "g5.xlarge",
        "kind": "CudaServing",
        "demand": 120_000.0,
        "times": 2,
        "cause": "SettingsChanged",
        "weight": 0.12,
        "horizon": timedelta(days=30),
        "first": "g6e.xlarge",
        "first_chance": 0.027,
        "first_without": 0.014,
        "second": "p5.48xlarge",
        "second_chance": 0.016,
        "second_without": 0.014,
        "third": "g5.xlarge",
        "third_chance": 0.19,
        "third_without": 0.057,
        "fourth": "g6.xlarge",
        "fourth_chance": 0.23,
        "fourth_without": 0.061,
        "staying": Decimal(1480),
        "instead": "g6e.xlarge",
        "pays_for": 38.3,
        "oom_cost": Decimal(2000),
        "break_even": 0.73,
        "added": 0.011,
        "host_time": WHEN,
    },
    Code.PAYS_BACK: {"after": timedelta(hours=3), "change": 26.3},
    Code.CHANGED_RECENTLY: {"since": WHEN, "needed": timedelta(hours=72)},
    Code.HOLDS_BARELY: {"target": "g6e.xlarge"},
    Code.PAYBACK_TOO_LONG: {
        "change": 113.0,
        "after": timedelta(days=19),
        "lasts": timedelta(days=11.4),
        "worth": 68.0,
    },
    Code.HOST_REQUEST_UNUSED: {
        "resource": "memory",
        "resource_requested": "64Gi",
        "resource_used": "11Gi",
        "resource_fits": "13Gi",
    },
    Code.RISK_EXTRAPOLATED: {"compared": timedelta(days=7)},
    Code.NODE_LEAVES: {"nodes": 2},
    Code.NODE_STAYS: {"others": 7, "potential": Decimal("5.019")},
    Code.AUTOSCALER_OWNS_REPLICAS: {"owner": "HorizontalPodAutoscaler/llama-8b"},
    Code.ELASTIC_HOLDS: {
        "instance_class": "g6e.xlarge",
        "least": 1,
        "most": 4,
        "hourly": Decimal("3.26"),
        "instead": Decimal("7.444"),
        "minutes": 6.0,
        "lead": timedelta(minutes=6),
    },
    Code.ELASTIC_SETTING: {
        "usage": 0.45,
        "hold": timedelta(hours=1),
        "step": timedelta(minutes=30),
        "lead": timedelta(minutes=6),
        "windows": "1, 2, 3, 2 on working days, 1, 1, 2, 1 on weekends",
    },
    Code.ELASTIC_UNKNOWN: {"block": timedelta(hours=1), "replicas": 4, "instance_class": "g6e.xlarge"},
    Code.REPLICAS_OUT_OF_BOUNDS: {"replicas": 4, "most": 2, "least": 1},
    Code.QUEUE_STANDS: {"share": 0.21, "waiting": 14.0},
    Code.PREEMPTING: {"share": 0.08, "count": 312},
    Code.OBJECTIVE_MISSED: {"metric": "TTFT", "observed": 2.31, "limit": 1.0, "share": 0.06},
    Code.WAKER_NEEDED: {"owner": "Deployment/llama-8b", "replicas": 2, "cold_start": timedelta(seconds=90)},
    Code.CAVEAT: {"text": "capacity in one zone only"},
    Code.EVALUATION_FAILED: {"problems": "ValueError: cannot convert float NaN to integer"},
    Code.RULES_UNREAD: {
        "problems": "RightsizingPolicy team-chat cannot be read: `spec.regions` must be a list; fix it"
    },
    Code.CLOCKS_DISAGREE: {"problems": "the store is more than 30 s ahead"},
    Code.ACCEPTED: {"deployments": 3},
    Code.INVALID_SPEC: {"problems": "`spec.slo.horizon` must be a duration"},
}
FINDINGS: Final[Mapping[Code, Finding]] = {code: found(code, **_FACTS.get(code, {})) for code in Code}


TOLD: Final = {(DemandKind.TOKENS, Rhythm.STEADY): Recalibration(168.0, np.linspace(0.005, 1.0, 200))}


def evaluated(there: World, needs: Need, *candidates: Candidate, tuned: Candidate | None = None) -> Evaluation:
    """What `evaluate` would give for candidates chosen by hand."""
    offered = options(*candidates, tuned=tuned)
    return Evaluation(there, needs, offered, decide(there.workload, needs, offered, NOW))


def resize() -> Evaluation:
    """Much too large, with five alternatives, two rejected and an out-of-memory in the past."""
    past = incident(days_ago=259, demand_tokens=120_000.0)
    usual = [candidate(each) for each in LADDER if each.name not in {"g4dn.xlarge", "inf2.xlarge", "g6.xlarge"}]
    seen = replace(observation(), attribution=Attribution("engine: pod, dcgm: exported_pod, host: pod", METRICS, 1, 1))
    return evaluated(world(seen, incidents=(past,)), need(), *usual, too_small("g4dn.xlarge"), too_slow("g6.xlarge"))


def keep() -> Evaluation:
    return evaluated(world(on="g6.xlarge"), need(), candidate("g6.xlarge"), too_small("g4dn.xlarge"))


def unknown() -> Evaluation:
    held = (FINDINGS[Code.METRICS_MISSING],)
    there = world(nothing_observed())
    return evaluated(there, need(shrink_holds=held, memory=missing(Signal.KV_DEMAND)), candidate("p5.48xlarge"))


def park() -> Evaluation:
    rules = ScaleToZeroRules(True, timedelta(minutes=30), timedelta(minutes=5))
    idle = need(idleness=Idleness(IdleState.IDLE, timedelta(days=9), 1.0))
    return evaluated(world(scale_to_zero=rules), idle, candidate("p5.48xlarge"), candidate("g6e.xlarge"))


def tune() -> Evaluation:
    here = candidate("g6.xlarge", predicted=prediction(oom_probability=0.3))
    limits = candidate("g6.xlarge", predicted=prediction(oom_probability=0.08))
    return evaluated(world(on="g6.xlarge"), need(), here, tuned=limits)


def grow() -> Evaluation:
    symptoms = (FINDINGS[Code.QUEUE_STANDS],)
    return evaluated(
        world(on="g6.xlarge"),
        need(symptoms=symptoms),
        too_slow("g6.xlarge"),
        candidate("g6e.xlarge"),
        too_slow("g5.xlarge"),
    )


def shared_node() -> Evaluation:
    return evaluated(world(others=7), need(), candidate("p5.48xlarge"), candidate("g6e.xlarge"))


def named(evaluation: Evaluation, name: str) -> Evaluation:
    """The same of another InferenceDeployment."""
    workload = evaluation.world.workload
    key = replace(workload.key, name=name, uid=f"uid-{name}")
    return replace(evaluation, world=replace(evaluation.world, workload=replace(workload, key=key)))


ALL: Final = (resize, keep, unknown, park, tune, grow, shared_node)
