"""Hypothesis strategies of the domain's nouns; a new noun joins here."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.finding import Code, found
from gpu_rightsizer.domain.hardware import Commitment, InstanceClass, Provisionable
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.domain.readings import BlockSeries, Measured, Missing, MissingReason, Signal
from gpu_rightsizer.domain.workload import Incident, OomKind, PlacementRules, Workload
from gpu_rightsizer.domain.world import World
from tests import builders as make

if TYPE_CHECKING:
    from gpu_rightsizer.domain.decision import Candidate
    from gpu_rightsizer.domain.observation import Observation

HISTORIES = (
    "kv_demand", "running", "waiting", "prompt_rate", "generation_rate", "requests", "replicas", "ttft", "tpot",
    "preemptions",
    "fb_used", "gpu_activity", "dram_activity", "host_memory", "host_cpu",
)  # fmt: skip
READINGS = ("kv_pool", "fb_total", "prompt_tokens", "output_tokens")

missing_values = st.builds(Missing, st.sampled_from(Signal), st.sampled_from(MissingReason), st.just(""))
accelerators = st.sampled_from(
    (make.T4, make.A10G, make.L4, make.L40S, make.A100_40, make.A100_80, make.H100, make.H200)
)
models = st.sampled_from((make.LLAMA_8B, make.LLAMA_70B, make.MIXTRAL_8X7B, make.QWEN_7B))
engines = st.sampled_from(EngineType)
dtypes = st.sampled_from(WeightDtype)
ladder_classes = st.sampled_from(make.LADDER)
findings = st.builds(found, st.sampled_from(Code))
prices = st.decimals("0.10", "100", places=3).map(str)


@st.composite
def classes(draw: st.DrawFn) -> InstanceClass:
    """Any instance class, with and without price, sometimes not to be had."""
    count = draw(st.sampled_from((1, 2, 4, 8)))
    return make.instance(
        f"class-{draw(st.integers(0, 99))}", draw(accelerators), count, draw(st.none() | prices),
        cpu=draw(st.integers(4, 192)), memory_gib=draw(st.integers(16, 2048)),
        commitment=draw(st.sampled_from(Commitment)), provisionable=draw(st.sampled_from(Provisionable)),
    )  # fmt: skip


@st.composite
def block_series(draw: st.DrawFn, *, days: int = 7, scale: float | None = None, gaps: bool = True) -> BlockSeries:
    """Hourly peaks of stationary, diurnal or bursty demand; some blocks unknown."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = scale if scale is not None else draw(st.floats(1.0, 1e6))
    wave = make.diurnal(1.0, days, low=draw(st.floats(0.01, 1.0)), noise=draw(st.floats(0.0, 0.8))).values
    values = size * wave * rng.pareto(draw(st.floats(3.0, 20.0)), len(wave)) if draw(st.booleans()) else size * wave
    if gaps and draw(st.booleans()):
        values = np.where(rng.random(len(values)) < draw(st.floats(0.0, 0.5)), np.nan, values)
        values[0] = size
    return make.series(values)


def observation_arguments() -> st.SearchStrategy[dict[str, Any]]:
    """Arguments of `builders.observation` for light to heavy load: small to print when a law fails."""
    return st.fixed_dictionaries(
        {
            "requests_per_second": st.floats(0.01, 20.0),
            "prompt": st.floats(10, 4000),
            "output": st.floats(10, 1000),
            "tpot_seconds": st.floats(0.004, 0.1),
            "days": st.sampled_from((1, 5, 7, 14)),
            "seed": st.integers(0, 99),
        }
    )


def observations() -> st.SearchStrategy[Observation]:
    """Complete observations of light to heavy load."""
    return observation_arguments().map(lambda arguments: make.observation(**arguments))


@st.composite
def damaged_observations(draw: st.DrawFn) -> Observation:
    """Observations of which something is missing, partial, stale or absurd."""
    whole = draw(observations())
    changes: dict[str, Any] = {}
    for name in draw(st.sets(st.sampled_from(HISTORIES), max_size=len(HISTORIES))):
        history = getattr(whole, name)
        changes[name] = draw(st.sampled_from((_absent(name), _holed(history), _absurd(history), history)))
    for name in draw(st.sets(st.sampled_from(READINGS), max_size=len(READINGS))):
        changes[name] = draw(st.sampled_from((_absent(name), Measured(0.0), Measured(1e12), getattr(whole, name))))
    changes["coverage"] = draw(st.sampled_from((0.0, 0.5, 0.89, 1.0)))
    changes["newest"] = draw(st.sampled_from((None, make.NOW, make.NOW - timedelta(days=2))))
    return replace(whole, **changes)


@st.composite
def incidents(draw: st.DrawFn) -> Incident:
    """Out-of-memory events of any kind and age."""
    return make.incident(
        draw(st.sampled_from(OomKind)), draw(st.floats(0.1, 900)), draw(st.sampled_from(sorted(make.BY_NAME))),
        demand_tokens=draw(st.none() | st.floats(1.0, 1e6)), settings_hash=draw(st.sampled_from(("settings", "other"))),
        model=draw(st.sampled_from((make.LLAMA_8B.name, "another/model"))),
    )  # fmt: skip


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Any deployment that could run on the ladder."""
    where = draw(ladder_classes)
    ranks = draw(st.sampled_from([r for r in (1, 2, 4, 8) if r <= where.accelerators]))
    rules = PlacementRules(
        exclude=draw(st.sampled_from(((), ("p5*",), ("g6.*",)))),
        min_replicas=draw(st.sampled_from((None, 1))), max_replicas=draw(st.sampled_from((None, 4))),
    )  # fmt: skip
    return make.workload(
        on=where, model=draw(models | missing_values), engine=draw(engines | missing_values),
        tensor_parallel=ranks, replicas=draw(st.integers(1, 3)), rules=rules,
        replicas_owner=draw(st.sampled_from(("", "", "HorizontalPodAutoscaler/chat"))),
        incidents=tuple(draw(st.lists(incidents(), max_size=3))), shared_device=draw(st.booleans()),
        objective=make.objective(draw(st.floats(0.05, 10)), draw(st.floats(0.005, 0.2)), draw(st.floats(0.0, 0.1))),
    )  # fmt: skip


@st.composite
def worlds(draw: st.DrawFn, *, whole: bool = False) -> World:
    """A deployment with what was observed of it; `whole` has nothing missing."""
    observed = draw(observations() if whole else observations() | damaged_observations())
    return World(draw(workloads()), observed)


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    """Candidates on the ladder that hold or do not, with any probability."""
    chance = st.none() | st.floats(0.0, 1.0)
    predicted = make.prediction(oom_probability=draw(chance), overload_probability=draw(chance))
    hourly = draw(st.none() | st.decimals(Decimal("0.1"), Decimal(100), places=3))
    plain = make.candidate(
        draw(ladder_classes), failures=tuple(draw(st.lists(findings, max_size=2))), predicted=predicted
    )
    return replace(plain, hourly=hourly)


def _absent(name: str) -> Missing:
    return Missing(_SIGNAL[name], MissingReason.NO_SERIES)


def _holed(history: object) -> object:
    """Every other block unknown."""
    if not isinstance(history, BlockSeries):
        return history
    return replace(history, values=np.where(np.arange(len(history.values)) % 2, np.nan, history.values))


def _absurd(history: object) -> object:
    """Infinite and negative values among the good ones."""
    if not isinstance(history, BlockSeries):
        return history
    values = history.values.copy()
    values[::7], values[::11] = np.inf, -1.0
    return replace(history, values=values)


_SIGNAL = {
    "kv_demand": Signal.KV_DEMAND, "running": Signal.RUNNING, "waiting": Signal.WAITING,
    "prompt_rate": Signal.PROMPT_RATE, "generation_rate": Signal.GENERATION_RATE, "requests": Signal.REQUESTS,
    "replicas": Signal.REPLICAS, "ttft": Signal.TTFT, "tpot": Signal.TPOT, "preemptions": Signal.PREEMPTIONS,
    "fb_used": Signal.FB_USED,
    "gpu_activity": Signal.GPU_ACTIVITY, "dram_activity": Signal.DRAM_ACTIVITY, "host_memory": Signal.HOST_MEMORY,
    "host_cpu": Signal.HOST_CPU, "kv_pool": Signal.KV_POOL, "fb_total": Signal.FB_TOTAL,
    "prompt_tokens": Signal.PROMPT_TOKENS, "output_tokens": Signal.OUTPUT_TOKENS,
}  # fmt: skip
