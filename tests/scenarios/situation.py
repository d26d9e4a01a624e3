"""A situation written in YAML as the domain's values: what runs, what is needed, and what each class would do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from gpu_rightsizer.api.units import parse_duration
from gpu_rightsizer.decide import decide
from gpu_rightsizer.domain.finding import Code, Fact, Finding, found
from gpu_rightsizer.domain.need import (
    DemandTail,
    Idleness,
    IdleState,
    OverheadSource,
    PreallocatedMemory,
    Recalibration,
    Tier,
)
from gpu_rightsizer.domain.readings import MissingReason, Signal
from gpu_rightsizer.domain.workload import Incident, OomKind, ScaleToZeroRules, Workload
from gpu_rightsizer.domain.world import Evaluation, World
from tests.builders import (
    LLAMA_8B,
    LLAMA_70B,
    NOW,
    candidate,
    missing,
    need,
    nothing_observed,
    observation,
    options,
    prediction,
    workload,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gpu_rightsizer.domain.decision import Candidate
    from gpu_rightsizer.domain.need import Need

MODELS = {"8B": LLAMA_8B, "70B": LLAMA_70B}
Parsed = dict[str, Any]  # YAML has no narrower type


@dataclass(frozen=True, slots=True)
class Situation:
    """One file: the sentence it is about, and the evaluation it leads to."""

    about: str
    evaluation: Evaluation


def read(path: Path) -> Situation:
    """KeyError or TypeError on what the format does not know: a misspelt key must not pass."""
    written: Parsed = yaml.safe_load(path.read_text())
    about = written.pop("about")
    there = _workload(written.pop("runs"))
    needs = _need(written.pop("need", {}))
    classes = written.pop("classes")
    tuned = next((_candidate(each) for each in classes if each.pop("limits", False)), None)
    candidates = options(*(_candidate(each) for each in classes if each), tuned=tuned)
    seen = nothing_observed() if written.pop("observed", True) is False else observation()
    if written:
        raise KeyError(f"{path.name}: unknown keys {sorted(written)}")
    return Situation(about, Evaluation(World(there, seen), needs, candidates, decide(there, needs, candidates, NOW)))


def _workload(written: Parsed) -> Workload:
    changes: Parsed = {}
    if "scaleToZero" in written:
        rules = written.pop("scaleToZero")
        changes["scale_to_zero"] = ScaleToZeroRules(
            True, parse_duration(rules["idleAfter"]), parse_duration(rules["coldStart"])
        )
    if "incidents" in written:
        changes["incidents"] = tuple(_incident(each) for each in written.pop("incidents"))
    if "autoscaler" in written:
        changes["replicas_owner"] = written.pop("autoscaler")
    plain = workload(
        on=written.pop("class"),
        model=MODELS[written.pop("model", "8B")],
        tensor_parallel=written.pop("tensorParallel", 1),
        replicas=written.pop("replicas", 1),
        others=written.pop("others", 0),
        **changes,
    )
    cost = written.pop("oomCost", None)
    if written:
        raise KeyError(f"runs: unknown keys {sorted(written)}")
    return plain if cost is None else replace(plain, objective=replace(plain.objective, oom_cost_usd=Decimal(cost)))


def _incident(written: Parsed) -> Incident:
    return Incident(
        time=datetime.fromisoformat(written["at"]),
        kind=OomKind(written.get("kind", "CudaServing")),
        instance_class=written["class"],
        pod="llama-8b-0",
        container="vllm",
        demand_tokens=written.get("demandTokens"),
        model=MODELS[written.get("model", "8B")].name,
        settings_hash=written.get("settings", "settings"),
        message=written.get("message", ""),
    )


def _need(written: Parsed) -> Need:
    changes: Parsed = {
        name: tuple(_finding(each) for each in written.pop(key, []))
        for name, key in (
            ("shrink_holds", "shrinkHolds"),
            ("memory_holds", "memoryHolds"),
            ("symptoms", "symptoms"),
            ("notes", "notes"),
        )
    }
    changes["tier"] = Tier(written.pop("tier", "T4"))
    changes["memory"] = _memory(written)
    if "idle" in written:
        idle = written.pop("idle")
        changes["idleness"] = Idleness(
            IdleState.IDLE, parse_duration(idle["for"]), idle["share"], idle.get("wakesPerDay")
        )
    if written:
        raise KeyError(f"need: unknown keys {sorted(written)}")
    return need(**changes)


def _memory(written: Parsed) -> object:
    if written.pop("memoryKnown", True) is False:
        return missing(Signal.KV_DEMAND, MissingReason.NO_SERIES)
    memory = need().memory
    assert isinstance(memory, PreallocatedMemory)
    assert isinstance(memory.demand, DemandTail)
    return replace(
        memory,
        overhead_source=OverheadSource(written.pop("overhead", "Solved")),
        demand=replace(memory.demand, recalibration=_recalibration(written.pop("calibrated", None))),
    )


def _recalibration(compared: str | None) -> Recalibration | None:
    """Of a model that came true, compared as far ahead as that."""
    if compared is None:
        return None
    return Recalibration(parse_duration(compared) / timedelta(hours=1), np.linspace(0.01, 1.0, 100))


def _candidate(written: Parsed) -> Candidate:
    predicted = prediction(
        oom_probability=written.pop("oom", 0.001),
        tpot=written.pop("tpot", 0.02),
        measured_accelerator=written.pop("measured", True),
    )
    return candidate(
        written.pop("class"),
        written.pop("hourly", None),
        failures=tuple(_finding(each) for each in written.pop("fails", [])),
        predicted=predicted,
        engine_args=written.pop("args", {}),
        replicas=written.pop("replicas", 1),
        tensor_parallel=written.pop("tensorParallel", 1),
        **written,
    )


def _finding(written: Mapping[str, Parsed | None]) -> Finding:
    """`{TpotTooSlow: {tpot: 0.095, limit: 0.075}}`; text in duration notation becomes a span of time."""
    ((code, facts),) = written.items()
    return found(Code(code), **{name: _fact(name, value) for name, value in (facts or {}).items()})


def _fact(name: str, value: Fact) -> Fact:
    spans = {"span", "needed", "horizon", "idle_for", "threshold", "cold_start"}
    if name in spans and isinstance(value, str):
        span: timedelta = parse_duration(value)
        return span
    return value
