"""What rules out a workload on a shape, from the arrays: one finding each, with its figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_rightsizer.domain.decision import Binding, Prediction
from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.domain.readings import Missing
from gpu_rightsizer.predict.precision import REFUSED, SLOWER
from gpu_rightsizer.predict.queue import STABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.domain.world import World
    from gpu_rightsizer.predict.physics import Outlook
    from gpu_rightsizer.predict.shapes import Shapes

OVERLOAD_BUDGET = 0.01  # probability over the horizon that a move may add to overload, at least
OVERLOAD_AFTER_SYMPTOMS = 0.1  # in all, where the present class fails already and is no measure
_CONTEXT_STEP = 1024
_CONTEXT_ROOM = 2.0  # a shorter limit must leave twice the largest demand ever seen for one request


@dataclass(frozen=True, slots=True)
class Judgement:
    """One workload on one shape, whatever class carries it."""

    prediction: Prediction
    failures: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    engine_args: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """Reads one part of the fleet's arrays."""

    outlook: Outlook
    shapes: Shapes

    def judge(self, row: int, shape: int, world: World, need: Need) -> Judgement:
        """The prediction, what rules the shape out, and the shorter context that would let it in."""
        at = (row, shape)
        if shape == self.outlook.here[row]:
            failures = tuple(_symptoms(self, at, world, need))
            return Judgement(self._prediction(at), failures, tuple(self._slower(at, world)))
        args = self._shorter_context(at, world)
        notes = [*self._slower(at, world), *(self._context(at) if args else ())]
        failures = (
            *self._precision(at, world.workload),
            *self._memory(at),
            *(() if args else self._context(at)),
            *self._load(at, world, need),
            *self._latency(at, world),
        )
        return Judgement(self._prediction(at), failures, tuple(notes), args)

    def _prediction(self, at: tuple[int, int]) -> Prediction:
        o = self.outlook
        return Prediction(
            memory_available=_whole(o.available[at]),
            memory_need=_whole(o.need[at]),
            kv_capacity_tokens=_known(o.capacity[at]),
            kv_demand_tokens=_known(o.demand[at]) if math.isfinite(o.capacity[at]) else None,
            tpot=_known(o.flow.tpot[at]),
            tpot_bound=_known(o.tpot_bound[at]),
            ttft=_known(o.flow.ttft[at]),
            ttft_bound=_known(o.ttft_bound[at]),
            oom_probability=_known(o.out_of_memory[at]),
            overload_probability=_known(o.overload[at]),
            slo_miss_probability=_known(o.slo_miss[at]),
            binding=self.binding(at),
            measured_accelerator=bool(self.shapes.hardware.measured[0, at[1]]),
        )

    def binding(self, at: tuple[int, int]) -> Binding | None:
        """What runs out first: memory, steps (bandwidth) or prompts and the queue (compute)."""
        o = self.outlook
        uses = {
            Binding.MEMORY: float(o.need[at] / o.available[at]),
            Binding.BANDWIDTH: float(o.flow.utilisation[at]),
            Binding.COMPUTE: float(o.flow.prefill_share[at]),
        }
        if math.isnan(uses[Binding.BANDWIDTH]):
            uses[Binding.BANDWIDTH] = float(o.device_use[at])
        known = {resource: use for resource, use in uses.items() if not math.isnan(use)}
        return max(known, key=lambda resource: known[resource]) if known else None

    def _precision(self, at: tuple[int, int], workload: Workload) -> Iterator[Finding]:
        if self.outlook.precision[at] == REFUSED and not isinstance(workload.model, Missing):
            yield found(Code.PRECISION_UNSUPPORTED, accelerator=self._accelerator(at), dtype=_dtype(workload))

    def _slower(self, at: tuple[int, int], world: World) -> Iterator[Finding]:
        if self.outlook.precision[at] == SLOWER and not isinstance(world.workload.model, Missing):
            yield found(Code.PRECISION_SLOWER, accelerator=self._accelerator(at), dtype=_dtype(world.workload))

    def _accelerator(self, at: tuple[int, int]) -> str:
        return self.shapes.known[at[1]].key

    def _memory(self, at: tuple[int, int]) -> Iterator[Finding]:
        need, available = self.outlook.need[at], self.outlook.available[at]
        if need > available:
            yield found(Code.MEMORY_TOO_SMALL, need=float(need), available=float(available))

    def _context(self, at: tuple[int, int]) -> Iterator[Finding]:
        """An engine refuses to start when its longest request does not fit the pool."""
        longest, capacity = self.outlook.longest[at[0], 0], self.outlook.capacity[at]
        if longest > capacity > 0:
            yield found(Code.CONTEXT_TOO_LONG, context=float(longest), capacity=float(capacity))

    def _shorter_context(self, at: tuple[int, int], world: World) -> tuple[tuple[str, str], ...]:
        """A limit the user never set, cut to what fits, where no request seen can have been half as long.

        All KV in use at once bounds any single request: the peak demand is an upper bound of the longest one.
        """
        settings, engine = world.workload.settings, world.workload.engine
        longest, capacity = self.outlook.longest[at[0], 0], self.outlook.capacity[at]
        theirs = "max_model_len" in settings.explicit or engine is not EngineType.VLLM
        if theirs or not longest > capacity > 0:
            return ()
        fits = int(capacity // _CONTEXT_STEP * _CONTEXT_STEP)
        demand = self.outlook.demand[at]
        if not (fits > 0 and _CONTEXT_ROOM * demand <= fits):
            return ()
        return (("--max-model-len", str(fits)),)

    def _load(self, at: tuple[int, int], world: World, need: Need) -> Iterator[Finding]:
        """Unstable at the peak, or too likely to become so."""
        o = self.outlook
        use, rate = o.flow.utilisation[at], o.rate[at[0], 0]
        if math.isnan(use):
            yield from self._device(at)
        elif use > STABLE and o.need[at] <= o.available[at]:
            yield found(Code.OVERLOADED, demand=float(rate), capacity=float(rate / use * STABLE))
        elif use <= STABLE and self._is_risky(at, world, need):
            facts = {"demand": float(o.demand[at]), "capacity": float(o.capacity[at])}
            known = facts if all(map(math.isfinite, facts.values())) else {}
            yield found(Code.OVERLOADED, **known, probability=float(o.overload[at]))

    def _is_risky(self, at: tuple[int, int], world: World, need: Need) -> bool:
        """Too likely to become unstable: beyond now and the budget; where it fails now, beyond a fixed limit."""
        here, there = self.outlook.here[at[0]], self.outlook.overload[at]
        if math.isnan(there):
            return False
        now = self.outlook.overload[at[0], here] if here >= 0 else 0.0
        budget = max(OVERLOAD_BUDGET, world.workload.objective.max_oom_risk)
        limit = (0.0 if math.isnan(now) else now) + budget
        return bool(there > (min(limit, OVERLOAD_AFTER_SYMPTOMS) if need.symptoms else limit))

    def _device(self, at: tuple[int, int]) -> Iterator[Finding]:
        use = self.outlook.device_use[at]
        if use > 1.0:
            yield found(Code.OVERLOADED, demand=float(use), capacity=1.0)

    def _latency(self, at: tuple[int, int], world: World) -> Iterator[Finding]:
        tpot, ttft = self.outlook.tpot_bound[at], self.outlook.ttft_bound[at]
        objective = world.workload.objective
        if tpot > objective.tpot_p95:
            yield found(Code.TPOT_TOO_SLOW, tpot=float(tpot), limit=objective.tpot_p95)
        if math.isfinite(ttft) and ttft > objective.ttft_p95:
            yield found(Code.TTFT_TOO_SLOW, ttft=float(ttft), limit=objective.ttft_p95)


def _symptoms(judge: Judge, at: tuple[int, int], world: World, need: Need) -> Iterator[Finding]:
    """The present class is judged by what it does, not by what a model says of it."""
    o, objective = judge.outlook, world.workload.objective
    for symptom in need.symptoms:
        facts = dict(symptom.facts)
        match symptom.code:
            case Code.QUEUE_STANDS:
                yield found(Code.OVERLOADED)
            case Code.PREEMPTING:
                sizes = {"need": float(o.need[at]), "available": float(o.available[at])}
                yield found(Code.MEMORY_TOO_SMALL, **(sizes if sizes["need"] > sizes["available"] else {}))
            case Code.OBJECTIVE_MISSED if facts.get("metric") == "TPOT":
                yield found(Code.TPOT_TOO_SLOW, tpot=facts["observed"], limit=objective.tpot_p95)
            case Code.OBJECTIVE_MISSED:
                yield found(Code.TTFT_TOO_SLOW, ttft=facts["observed"], limit=objective.ttft_p95)
            case _:
                pass


def _dtype(workload: Workload) -> str:
    told = workload.settings.weight_dtype
    if told is None and not isinstance(workload.model, Missing):
        told = workload.model.default_dtype
    return (told or WeightDtype.BFLOAT16).value


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _whole(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None
