"""What rules out workloads on shapes, as arrays of codes; the findings with their figures where somebody looks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_rightsizer.domain.decision import Binding, Prediction
from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.domain.options import mask
from gpu_rightsizer.domain.readings import Missing
from gpu_rightsizer.estimate.load import CONTEXT_ROOM, least_context
from gpu_rightsizer.predict.precision import CACHE_REFUSED, REFUSED, SLOWER
from gpu_rightsizer.predict.queue import STABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.domain.world import World
    from gpu_rightsizer.predict.physics import Outlook
    from gpu_rightsizer.predict.shapes import Shapes
    from gpu_rightsizer.predict.work import Row

OVERLOAD_BUDGET = 0.01  # probability over the horizon that a move may add to overload, at least
OVERLOAD_AFTER_SYMPTOMS = 0.1  # in all, where the present class fails already and is no measure
_CONTEXT_STEP = 1024
_IN_ORDER = (
    Code.PRECISION_UNSUPPORTED,
    Code.MEMORY_TOO_SMALL,
    Code.CONTEXT_TOO_LONG,
    Code.OVERLOADED,
    Code.TPOT_TOO_SLOW,
    Code.TTFT_TOO_SLOW,
)
_SCREENED: Final = {code: mask([code]) for code in _IN_ORDER}  # as they are told


@lru_cache(maxsize=len(_SCREENED) ** 2)
def _listed(codes: int) -> tuple[Code, ...]:
    """The codes of these bits, as they are told."""
    return tuple(code for code, bit in _SCREENED.items() if codes & bit)


@dataclass(frozen=True, slots=True, eq=False)
class Screening:
    """Arrays of shape (rows, shapes): bits of the codes that rule a shape out, and the shorter context that lets in.

    `context` is a limit in tokens (0: none is needed, or none would help).
    """

    codes: NDArray[np.int64]
    context: NDArray[np.int64]


def screened(outlook: Outlook, rows: Sequence[Row], worlds: Sequence[World], needs: Sequence[Need]) -> Screening:
    """Every shape of every row. The present one is judged by what it does, not by what a model says of it."""
    about = [worlds[row.world].workload for row in rows]
    context = _shorter_contexts(outlook, about, [needs[row.world] for row in rows])
    known = np.array([not isinstance(each.model, Missing) for each in about], dtype=bool)[:, None]
    tpot, ttft = (_column([getattr(each.objective, name) for each in about]) for name in ("tpot_p95", "ttft_p95"))
    out = (
        (outlook.precision >= REFUSED) & known,
        outlook.need > outlook.available,
        _context_too_long(outlook) & (context == 0),
        _overloaded(outlook, about, [needs[row.world] for row in rows]),
        outlook.tpot_bound > tpot,
        np.isfinite(outlook.ttft_bound) & (outlook.ttft_bound > ttft),
    )
    codes = np.zeros(outlook.need.shape, dtype=np.int64)
    for bit, which in zip(_SCREENED.values(), out, strict=True):
        codes |= which * np.int64(bit)
    for index, (row, shape) in enumerate(zip(rows, outlook.here.tolist(), strict=True)):
        if shape >= 0 and outlook.runs_here(index, shape):
            symptoms = _symptoms(outlook, (index, shape), worlds[row.world], needs[row.world])
            codes[index, shape] = mask(each.code for each in symptoms)
            context[index, shape] = 0
    return Screening(codes, context)


def _column(values: Sequence[float]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)[:, None]


def _context_too_long(outlook: Outlook) -> NDArray[np.bool_]:
    """An engine refuses to start when its longest request does not fit the pool."""
    return np.asarray((outlook.longest > outlook.capacity) & (outlook.capacity > 0))


def _shorter_contexts(outlook: Outlook, about: Sequence[Workload], needs: Sequence[Need]) -> NDArray[np.int64]:
    """A limit the user never set, cut to what fits, where no request seen can have been half as long.

    All KV in use at once bounds any single request: the peak demand is an upper bound of the longest one.
    """
    ours = [each.engine is EngineType.VLLM and "max_model_len" not in each.settings.explicit for each in about]
    wanted = _context_too_long(outlook) & np.array(ours, dtype=bool)[:, None]
    fits = np.where(wanted, outlook.capacity, 0.0) // _CONTEXT_STEP * _CONTEXT_STEP
    known = _column([least_context(need) for need in needs])
    enough = wanted & (fits > 0) & (np.maximum(CONTEXT_ROOM * outlook.demand, known) <= fits)
    return np.where(enough, fits, 0.0).astype(np.int64)


def _overloaded(outlook: Outlook, about: Sequence[Workload], needs: Sequence[Need]) -> NDArray[np.bool_]:
    """Unstable at the peak, or too likely to become so; where no engine tells, beyond what the device can do."""
    use = outlook.flow.utilisation
    unstable = (use > STABLE) & (outlook.need <= outlook.available)
    risky = (use <= STABLE) & (outlook.overload > _most_overload(outlook, about, needs))
    return np.where(np.isnan(use), outlook.device_use > 1.0, unstable | risky)


def _most_overload(outlook: Outlook, about: Sequence[Workload], needs: Sequence[Need]) -> NDArray[np.float64]:
    """The probability allowed: beyond now and the budget; where it fails now, no more than a fixed limit. A column."""
    at = np.maximum(outlook.here, 0)
    now = np.where(outlook.here >= 0, outlook.overload[outlook.like, at[outlook.like]], 0.0)
    limit = np.nan_to_num(now, nan=0.0) + [max(OVERLOAD_BUDGET, each.objective.max_oom_risk) for each in about]
    fails = np.array([bool(each.symptoms) for each in needs], dtype=bool)
    return np.asarray(np.where(fails, np.minimum(limit, OVERLOAD_AFTER_SYMPTOMS), limit)[:, None])


@dataclass(frozen=True, slots=True)
class Judgement:
    """One workload on one shape, whatever class carries it."""

    prediction: Prediction
    failures: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    engine_args: dict[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """Words one entry of the fleet's arrays: `at` is its row and shape."""

    outlook: Outlook
    screening: Screening
    shapes: Shapes
    figures: tuple[NDArray[np.float64], ...]
    binding: NDArray[np.int8]

    @staticmethod
    def of(outlook: Outlook, screening: Screening, shapes: Shapes) -> Judge:
        """With the figures of each entry side by side."""
        return Judge(outlook, screening, shapes, _figures(outlook), _binding(outlook))

    def judge(self, at: tuple[int, int], world: World, need: Need) -> Judgement:
        """The prediction, what rules the shape out, and the shorter context that would let it in."""
        slower = self.outlook.precision.item(at) == SLOWER and not isinstance(world.workload.model, Missing)
        notes = (self._word(Code.PRECISION_SLOWER, at, world),) if slower else ()
        if self.outlook.runs_here(*at):
            return Judgement(self._prediction(at), tuple(_symptoms(self.outlook, at, world, need)), notes, {})
        failures = tuple([self._word(code, at, world) for code in _listed(self.screening.codes.item(at))])
        context = self.screening.context.item(at)
        if not context:
            return Judgement(self._prediction(at), failures, notes, {})
        notes = (*notes, self._word(Code.CONTEXT_TOO_LONG, at, world))
        return Judgement(self._prediction(at), failures, notes, {"--max-model-len": str(context)})

    def _prediction(self, at: tuple[int, int]) -> Prediction:
        figures = [each.item(at) for each in self.figures]
        known = [each if math.isfinite(each) else None for each in figures]
        available, need, capacity, demand, tpot, tpot_bound, ttft, ttft_bound, out_of_memory, overload, slo_miss = known
        return Prediction(
            None if available is None else int(available), None if need is None else int(need),
            capacity, demand, tpot, tpot_bound, ttft, ttft_bound, out_of_memory, overload, slo_miss,
            _RESOURCES[self.binding.item(at)], self.shapes.hardware.measured.item(0, at[1]),
        )  # fmt: skip

    def _word(self, code: Code, at: tuple[int, int], world: World) -> Finding:
        """The figures of one code that was screened there."""
        o, objective = self.outlook, world.workload.objective
        match code:
            case Code.PRECISION_UNSUPPORTED | Code.PRECISION_SLOWER:
                cache = code is Code.PRECISION_UNSUPPORTED and o.precision[at] == CACHE_REFUSED
                dtype = "fp8 KV cache" if cache else _dtype(world.workload)
                return found(code, accelerator=self.shapes.known[at[1]].key, dtype=dtype)
            case Code.MEMORY_TOO_SMALL:
                return found(code, need=float(o.need[at]), available=float(o.available[at]))
            case Code.CONTEXT_TOO_LONG:
                return found(code, context=float(o.longest[at[0], 0]), capacity=float(o.capacity[at]))
            case Code.TPOT_TOO_SLOW:
                return found(code, tpot=float(o.tpot_bound[at]), limit=objective.tpot_p95)
            case Code.TTFT_TOO_SLOW:
                return found(code, ttft=float(o.ttft_bound[at]), limit=objective.ttft_p95)
            case _:
                return self._overload(at)

    def _overload(self, at: tuple[int, int]) -> Finding:
        o = self.outlook
        use, rate = o.flow.utilisation[at], o.rate[at[0], 0]
        if math.isnan(use):
            return found(Code.OVERLOADED, demand=float(o.device_use[at]), capacity=1.0)
        if use > STABLE:
            return found(Code.OVERLOADED, demand=float(rate), capacity=float(rate / use * STABLE))
        facts = {"demand": float(o.demand[at]), "capacity": float(o.capacity[at])}
        known = facts if all(map(math.isfinite, facts.values())) else {}
        return found(Code.OVERLOADED, **known, probability=float(o.overload[at]))


def _symptoms(outlook: Outlook, at: tuple[int, int], world: World, need: Need) -> Iterator[Finding]:
    """What the symptoms say of the present class."""
    o, objective = outlook, world.workload.objective
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


def _figures(o: Outlook) -> tuple[NDArray[np.float64], ...]:
    """The fields of a `Prediction` that are numbers, in their order; what is not finite is unknown."""
    demand = np.where(np.isfinite(o.capacity), o.demand, np.nan)
    fields = (
        *(o.available, o.need, o.capacity, demand, o.flow.tpot, o.tpot_bound, o.flow.ttft, o.ttft_bound),
        *(o.out_of_memory, o.overload, o.slo_miss),
    )
    return tuple(np.broadcast_arrays(*fields))


_RESOURCES: Final = (Binding.MEMORY, Binding.BANDWIDTH, Binding.COMPUTE, None)


def _binding(o: Outlook) -> NDArray[np.int8]:
    """What runs out first: memory, steps (bandwidth) or prompts and the queue (compute); an index of `_RESOURCES`."""
    steps = np.where(np.isnan(o.flow.utilisation), o.device_use, o.flow.utilisation)
    uses = np.stack(np.broadcast_arrays(o.need / o.available, steps, o.flow.prefill_share))
    unknown = np.isnan(uses)
    first = np.argmax(np.where(unknown, -np.inf, uses), axis=0)
    return np.where(unknown.all(axis=0), len(_RESOURCES) - 1, first).astype(np.int8)


def _dtype(workload: Workload) -> str:
    told = workload.settings.weight_dtype
    if told is None and not isinstance(workload.model, Missing):
        told = workload.model.default_dtype
    return (told or WeightDtype.BFLOAT16).value
