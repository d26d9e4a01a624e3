"""The one change that would let a rejected configuration pass, found by predicting and judging it again."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_rightsizer.decide.limits import CONTEXT_STEP, limited, longest_request, takes_limits
from gpu_rightsizer.decide.money import attributed_hourly
from gpu_rightsizer.decide.rulings import is_worth_its_risk, judged
from gpu_rightsizer.decide.situation import situation
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.decision import Counterfactual, Lever
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.domain.options import Change, Options
from gpu_rightsizer.domain.readings import Missing
from gpu_rightsizer.domain.units import Bytes, Millicores
from gpu_rightsizer.estimate.load import least_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from gpu_rightsizer.domain.decision import Candidate, Decision
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.domain.world import Evaluation

MOST: Final = 3
_LITTLE: Final = 1.25  # an objective relaxed by no more than that is the smallest change there is
_MUCH: Final = 3.0  # by more it is another objective
_MOST_RISK: Final = 0.2
_SMALL_STEP: Final = 2048  # tokens; vLLM's own limit on devices below 70 GiB
_LARGE_SHARE: Final = 0.95
_SIXTEEN_BIT: Final = frozenset({WeightDtype.BFLOAT16, WeightDtype.FLOAT16})
_PHYSICS: Final = frozenset(
    {
        *(Code.MEMORY_TOO_SMALL, Code.CONTEXT_TOO_LONG, Code.MEMORY_RISK),
        *(Code.OVERLOADED, Code.TPOT_TOO_SLOW, Code.TTFT_TOO_SLOW),
    }
)
_SIZE: Final = frozenset({Code.MEMORY_TOO_SMALL, Code.CONTEXT_TOO_LONG, Code.MEMORY_RISK, Code.OVERLOADED})


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """One rejected candidate, by the code of each finding against it."""

    workload: Workload
    need: Need
    candidate: Candidate
    against: Mapping[Code, Mapping[str, object]]

    def is_only(self, *codes: Code) -> bool:
        """Nothing else is against it, so that a change which bears on these alone may be enough."""
        return self.against.keys() <= frozenset(codes)


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    what: Counterfactual
    change: Change


def counterfactuals(evaluation: Evaluation, now: datetime) -> tuple[Counterfactual | None, ...]:
    """For each rejected candidate of the decision the least change that lets it pass; None where none was found.

    At most three are told. Where data are wanting, nothing would be trusted, and nothing is said.
    """
    decision, workload, need = evaluation.decision, evaluation.world.workload, evaluation.need
    options = evaluation.candidates
    if decision.action is Action.UNKNOWN or decision.current is None or not isinstance(options, Options):
        return (None,) * len(decision.rejected)
    trials = [_trials(workload, need, each) for each in decision.rejected]
    flat = [(place, each) for place, tried in enumerate(trials) for each in tried]
    predicted = options.otherwise([each.change for _, each in flat])
    found: dict[int, Counterfactual] = {}
    for (place, each), candidate in zip(flat, predicted, strict=True):
        if place in found or candidate is None or len(found) == MOST:
            continue
        if _passes(decision, each.change, candidate, now):
            found[place] = each.what
    return tuple(found.get(place) for place in range(len(trials)))


def _trials(workload: Workload, need: Need, candidate: Candidate) -> list[_Trial]:
    """Changes that bear on what is against it, the least first."""
    case = _Case(workload, need, candidate, {each.code: dict(each.facts) for each in candidate.failures})
    return [trial for lever in _LEVERS for trial in lever(case)]


def _passes(decision: Decision, change: Change, candidate: Candidate, now: datetime) -> bool:
    """Nothing rules it out any more, and it still costs less than what is recommended or runs."""
    current = decision.current
    if current is None or candidate.failures:
        return False
    dearest = decision.target.hourly if decision.target else attributed_hourly(change.workload, current)
    if candidate.hourly is None or dearest is None or candidate.hourly >= dearest:
        return False
    here = judged(situation(change.workload, change.need, (current, candidate), now))
    here = here.ruled(is_worth_its_risk(here, np.array([1])))
    return bool(here.hold[1])


def _slightly_slower(case: _Case) -> Iterator[_Trial]:
    yield from _objectives(case, 1.0, _LITTLE)


def _much_slower(case: _Case) -> Iterator[_Trial]:
    yield from _objectives(case, _LITTLE, _MUCH)


def _objectives(case: _Case, above: float, most: float) -> Iterator[_Trial]:
    objective, predicted = case.workload.objective, case.candidate.prediction
    if case.is_only(Code.TPOT_TOO_SLOW) and predicted.tpot_bound is not None:
        wanted = _round_up(predicted.tpot_bound)
        if above * objective.tpot_p95 < wanted <= most * objective.tpot_p95:
            relaxed = replace(case.workload, objective=replace(objective, tpot_p95=wanted))
            yield _there(case, Lever.TPOT_OBJECTIVE, wanted, relaxed)
    if case.is_only(Code.TTFT_TOO_SLOW) and predicted.ttft_bound is not None:
        wanted = _round_up(predicted.ttft_bound)
        if above * objective.ttft_p95 < wanted <= most * objective.ttft_p95:
            relaxed = replace(case.workload, objective=replace(objective, ttft_p95=wanted))
            yield _there(case, Lever.TTFT_OBJECTIVE, wanted, relaxed)


def _round_up(seconds: float) -> float:
    """To the next 5 ms, or 5 % where that is more: `58 ms` asks for `60 ms`."""
    step = 10.0 ** math.floor(math.log10(max(seconds, 0.01))) / 20
    return round(math.ceil(round(seconds / max(step, 0.005), 6)) * max(step, 0.005), 6)


def _engine_limits(case: _Case) -> Iterator[_Trial]:
    """One limit each: a shorter context, a smaller batch, smaller steps, a larger share of the device."""
    workload, settings = case.workload, case.workload.settings
    if not takes_limits(workload) or not case.is_only(*_PHYSICS) or not _SIZE & case.against.keys():
        return
    capacity, longest = case.candidate.prediction.kv_capacity_tokens, longest_request(workload)
    if capacity is not None and longest is not None and capacity > 0:
        shorter = int(capacity) // CONTEXT_STEP * CONTEXT_STEP
        if least_context(case.need) <= shorter < longest and Code.CONTEXT_TOO_LONG in case.against:
            yield _limit(case, Lever.MAX_MODEL_LEN, "max_model_len", shorter)
        places = int(capacity) // longest
        if 0 < places < (settings.max_num_seqs or math.inf):
            yield _limit(case, Lever.MAX_NUM_SEQS, "max_num_seqs", places)
    if (settings.max_num_batched_tokens or 0) > _SMALL_STEP and "max_num_batched_tokens" in settings.explicit:
        yield _limit(case, Lever.MAX_NUM_BATCHED_TOKENS, "max_num_batched_tokens", _SMALL_STEP)
    if settings.gpu_memory_utilization < _LARGE_SHARE:
        yield _limit(case, Lever.GPU_MEMORY_UTILIZATION, "gpu_memory_utilization", _LARGE_SHARE)


def _limit(case: _Case, lever: Lever, name: str, value: float) -> _Trial:
    change = limited(case.workload, case.need, case.candidate.configuration, {name: value})
    return _Trial(Counterfactual(lever, value), change)


def _requests(case: _Case) -> Iterator[_Trial]:
    """Smaller requests of the pod, where its use leaves room for them."""
    pod = case.workload.pod
    if not case.is_only(Code.HOST_CPU_TOO_SMALL) and not case.is_only(Code.HOST_MEMORY_TOO_SMALL):
        return
    if isinstance(fits := case.against.get(Code.HOST_CPU_TOO_SMALL, {}).get("fits"), int | float):
        smaller = replace(pod, cpu=Millicores(int(fits)))
        yield _there(case, Lever.CPU_REQUEST, fits, replace(case.workload, pod=smaller))
    if isinstance(fits := case.against.get(Code.HOST_MEMORY_TOO_SMALL, {}).get("fits"), int | float):
        smaller = replace(pod, memory=Bytes(int(fits)))
        yield _there(case, Lever.MEMORY_REQUEST, fits, replace(case.workload, pod=smaller))


def _replicas(case: _Case) -> Iterator[_Trial]:
    """One more, or twice as many; nobody else may own the number."""
    now, where = max(case.workload.replicas, 1), case.candidate.configuration
    if case.workload.replicas_owner or not case.is_only(*_PHYSICS):
        return
    for count in sorted({now + 1, 2 * now}):
        if count > where.replicas:
            more = Change(case.workload, case.need, replace(where, replicas=count))
            yield _Trial(Counterfactual(Lever.REPLICAS, count), more)


def _weights(case: _Case) -> Iterator[_Trial]:
    """Weights of 8 bits for those of 16; of float16 where only bfloat16 is unknown to the accelerator."""
    workload, model = case.workload, case.workload.model
    if isinstance(model, Missing):
        return
    now = workload.settings.weight_dtype or model.default_dtype
    if now not in _SIXTEEN_BIT:
        return
    if case.is_only(Code.PRECISION_UNSUPPORTED) and now is WeightDtype.BFLOAT16:
        yield _dtype(case, WeightDtype.FLOAT16)
    elif case.is_only(*_PHYSICS):
        yield _dtype(case, WeightDtype.FP8)


def _dtype(case: _Case, dtype: WeightDtype) -> _Trial:
    settings = replace(case.workload.settings, weight_dtype=dtype)
    return _there(case, Lever.WEIGHT_DTYPE, dtype.value, replace(case.workload, settings=settings))


def _accepted_risk(case: _Case) -> Iterator[_Trial]:
    """The next whole per cent that covers what it adds."""
    added = case.against.get(Code.MEMORY_RISK, {}).get("added")
    if case.is_only(Code.MEMORY_RISK) and isinstance(added, float) and added <= _MOST_RISK:
        wanted = math.ceil(round(added * 100, 6)) / 100
        relaxed = replace(case.workload.objective, max_oom_risk=wanted)
        yield _there(case, Lever.MAX_OOM_RISK, wanted, replace(case.workload, objective=relaxed))


def _cheaper_failures(case: _Case) -> Iterator[_Trial]:
    """What an out-of-memory may cost at most, in whole dollars, so that the saving outweighs the risk added."""
    facts = case.against.get(Code.RISK_OUTWEIGHS_SAVING, {})
    saved, added = facts.get("saved"), facts.get("added")
    if case.is_only(Code.RISK_OUTWEIGHS_SAVING) and isinstance(saved, Decimal) and isinstance(added, float):
        most = (saved / Decimal(str(added))).quantize(Decimal(1), ROUND_FLOOR) - 1
        if most > 0:
            objective = replace(case.workload.objective, oom_cost_usd=most)
            yield _there(case, Lever.OOM_COST, most, replace(case.workload, objective=objective))


def _there(case: _Case, lever: Lever, value: float | str | Decimal, workload: Workload) -> _Trial:
    return _Trial(Counterfactual(lever, value), Change(workload, case.need, case.candidate.configuration))


_LEVERS: Final[Sequence[Callable[[_Case], Iterator[_Trial]]]] = (
    _slightly_slower,
    _engine_limits,
    _requests,
    _replicas,
    _weights,
    _accepted_risk,
    _cheaper_failures,
    _much_slower,
)
