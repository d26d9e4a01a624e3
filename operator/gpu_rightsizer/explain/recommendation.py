"""The recommendation in the shape of the API: bounded, without floats, figures absent where they are unknown."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from gpu_rightsizer.decide.counterfactual import counterfactuals
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.decision import Lever, Realisation
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.readings import BlockSeries, Missing
from gpu_rightsizer.explain import numbers
from gpu_rightsizer.explain.identity import recommendation_id
from gpu_rightsizer.explain.moments import expiry
from gpu_rightsizer.explain.text import safe, shortened
from gpu_rightsizer.explain.usage import main_history, series_span
from gpu_rightsizer.explain.words import say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from gpu_rightsizer.domain.decision import Candidate, Configuration, Counterfactual, Decision, Elastic, Prediction
    from gpu_rightsizer.domain.finding import Finding
    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.world import Evaluation

_VALUES: Final[Mapping[Lever, Callable[[float | str | Decimal], str]]] = MappingProxyType(
    {
        Lever.TPOT_OBJECTIVE: lambda value: numbers.duration(timedelta(seconds=float(value))),
        Lever.TTFT_OBJECTIVE: lambda value: numbers.duration(timedelta(seconds=float(value))),
        Lever.CPU_REQUEST: lambda value: numbers.cores(float(value)),
        Lever.MEMORY_REQUEST: lambda value: numbers.memory(float(value)),
        Lever.MAX_OOM_RISK: lambda value: numbers.probability(float(value)),
        Lever.OOM_COST: lambda value: numbers.usd(Decimal(value)),
    }
    | dict.fromkeys(
        (
            *(Lever.MAX_MODEL_LEN, Lever.MAX_NUM_SEQS, Lever.MAX_NUM_BATCHED_TOKENS),
            *(Lever.GPU_MEMORY_UTILIZATION, Lever.REPLICAS, Lever.WEIGHT_DTYPE),
        ),
        str,
    )
)

Figure = TypeVar("Figure", float, Decimal)

MOST_REASONS: Final = 12
MOST_ALTERNATIVES: Final = 3
MOST_REJECTED: Final = 5
MOST_ARGUMENTS: Final = 16
LONGEST_REJECTION: Final = 240
_DAY_OF_BLOCKS: Final = 24


def recommendation(
    evaluation: Evaluation, now: datetime, *, policy_generation: int = 0, issue: int = 0
) -> dict[str, object]:
    """Every field of the API, in its order; what rejected configurations would hold with is `with_changes`."""
    workload, decision = evaluation.world.workload, evaluation.decision
    parts: dict[str, object] = {
        "id": recommendation_id(workload, decision, policy_generation=policy_generation, issue=issue),
        "brief": brief(decision),
        "action": decision.action.value,
        "confidence": decision.certainty.value,
        "target": _target(decision),
        "elastic": _elastic(decision.elastic) if decision.elastic else None,
        "alternatives": [_alternative(each, decision) for each in decision.alternatives[:MOST_ALTERNATIVES]],
        "cost": cost(decision),
        "risk": _risk(evaluation),
        "predicted": _predicted(evaluation),
        "reasons": sentences(decision.reasons),
        "rejected": [_rejected(each) for each in decision.rejected[:MOST_REJECTED] if each.failures],
        "basis": _basis(evaluation, now),
        "expiresAt": numbers.instant(expiry(workload.key.uid, now)),
    }
    return {key: value for key, value in parts.items() if value not in (None, [], {})}


def brief(decision: Decision) -> str:
    """A word or two for a column: `g6e.xlarge x1`, `0 replicas`, `Keep`."""
    match decision.action:
        case Action.RESIZE if decision.target is not None:
            where = decision.target.configuration
            return f"{safe(where.instance.name, 100)}{_count(decision)}"
        case Action.SCALE_TO_ZERO:
            return "0 replicas"
        case _:
            return decision.action.value


def _count(decision: Decision) -> str:
    """` x2`, or the bounds where an autoscaler sets the number: ` x1-4`; nothing where they are not known."""
    if decision.target is not None and not _is_scaled(decision):
        return f" x{decision.target.configuration.replicas}"
    if decision.elastic is None:
        return ""
    least, most = min(decision.elastic.least), decision.elastic.most
    return f" x{least}-{most}" if least < most else f" x{most}"


def _is_scaled(decision: Decision) -> bool:
    """Whether an autoscaler sets the number: then none is proposed."""
    return any(one.code is Code.AUTOSCALER_OWNS_REPLICAS for one in decision.reasons)


def sentences(reasons: tuple[Finding, ...]) -> list[str]:
    """At most twelve, each once, in order."""
    return list(dict.fromkeys(say(each) for each in reasons))[:MOST_REASONS]


def cost(decision: Decision) -> dict[str, object] | None:
    """What it costs now and there; `Unknown` claims nothing, `Keep` saves nothing."""
    bill = decision.cost
    if bill.current_hourly is None and bill.target_hourly is None:
        return None
    shown = _money(bill.current_hourly, bill.target_hourly, bill.saved_hourly)
    if decision.action is Action.KEEP and bill.current_hourly is not None:
        shown = _money(bill.current_hourly, bill.current_hourly, bill.current_hourly - bill.current_hourly)
    return shown | {"realisation": bill.realisation.value}


def _money(now: Decimal | None, there: Decimal | None, saved: Decimal | None) -> dict[str, object]:
    told = {
        "currentHourlyUSD": _shown(now, numbers.usd),
        "targetHourlyUSD": _shown(there, numbers.usd),
        "savedHourlyUSD": _shown(saved, numbers.usd),
        "savedMonthlyUSD": _shown(saved, lambda hourly: numbers.cents(numbers.monthly(hourly))),
    }
    return {key: value for key, value in told.items() if value is not None}


def _target(decision: Decision) -> dict[str, object] | None:
    if decision.target is None:
        return None
    place = _place(decision.target.configuration)
    if decision.action is Action.RESIZE and _is_scaled(decision):
        del place["replicas"]
    return place


def _elastic(bounds: Elastic) -> dict[str, object]:
    where = bounds.at.configuration
    told: dict[str, object] = {
        "instanceClass": safe(where.instance.name, 253),
        "accelerators": where.accelerators,
        "tensorParallel": where.tensor_parallel,
        "minReplicas": min(bounds.least),
        "maxReplicas": bounds.most,
        "hourlyUSD": numbers.usd(bounds.hourly),
        "insteadHourlyUSD": numbers.usd(bounds.instead),
    }
    if min(bounds.least) == bounds.most:
        return told
    windows = {"windows": _windows(bounds.least)} if len(bounds.least) > 1 else {}
    return (
        told
        | windows
        | {
            "kvUsageTarget": numbers.share(bounds.kv_usage),
            "scaleDownStabilization": numbers.duration(bounds.hold),
            "scaleDownPeriod": numbers.duration(bounds.step),
            "leadTime": numbers.duration(bounds.lead),
            "lateMinutesPerWeek": math.ceil(bounds.late_minutes),
        }
    )


def _windows(least: tuple[int, ...]) -> list[dict[str, object]]:
    """Of equal length, working days before weekends."""
    a_day = len(least) // 2
    hours = 24 // a_day
    return [
        {"days": days, "from": f"{hours * (at % a_day):02d}:00", "minReplicas": least[at]}
        for days, places in (("Working", range(a_day)), ("Weekend", range(a_day, 2 * a_day)))
        for at in places
    ]


def _place(where: Configuration) -> dict[str, object]:
    arguments = sorted(where.engine_args.items())[:MOST_ARGUMENTS]
    return {
        "instanceClass": safe(where.instance.name, 253),
        "accelerators": where.accelerators,
        "replicas": where.replicas,
        "tensorParallel": where.tensor_parallel,
        "engineArgs": {safe(flag, 63): safe(value, 253) for flag, value in arguments},
    }


def _alternative(candidate: Candidate, decision: Decision) -> dict[str, object]:
    place = _place(candidate.configuration)
    if not place["engineArgs"]:
        del place["engineArgs"]
    if _is_scaled(decision):
        del place["replicas"]
    now, there = decision.cost.current_hourly, candidate.hourly
    leaves = decision.cost.realisation is Realisation.NODE_LEAVES
    saved = now - there if leaves and now is not None and there is not None else None
    figures = {
        "hourlyUSD": _shown(there, numbers.usd),
        "savedMonthlyUSD": _shown(saved, lambda hourly: numbers.cents(numbers.monthly(hourly))),
        "oomProbability": _shown(candidate.prediction.oom_probability, numbers.probability),
    }
    return place | {key: value for key, value in figures.items() if value is not None}


def with_changes(advice: Mapping[str, object], evaluation: Evaluation, now: datetime) -> dict[str, object]:
    """The recommendation with the one change that would let each of the nearest rejected configurations pass.

    That asks physics again, some milliseconds for each deployment, so that it is done only where it is written.
    """
    rejected = [each for each in evaluation.decision.rejected[:MOST_REJECTED] if each.failures]
    if not rejected:
        return dict(advice)
    told = zip((_rejected(each) for each in rejected), counterfactuals(evaluation, now), strict=False)
    return {**advice, "rejected": [each | ({"holdsWith": holds_with(what)} if what else {}) for each, what in told]}


def without_changes(advice: Mapping[str, object]) -> dict[str, object]:
    """The recommendation as it was before `with_changes`."""
    listed = advice.get("rejected")
    if not isinstance(listed, list):
        return dict(advice)
    plain = [
        {key: value for key, value in each.items() if key != "holdsWith"} if isinstance(each, dict) else each
        for each in listed
    ]
    return {**advice, "rejected": plain}


def holds_with(what: Counterfactual) -> dict[str, object]:
    """As the API has it: the change, and its value in the notation of the field it is about."""
    return {"change": what.lever.value, "value": _VALUES[what.lever](what.value)}


def _rejected(candidate: Candidate) -> dict[str, object]:
    where, finding = candidate.configuration, candidate.failures[0]
    return {
        "instanceClass": safe(where.instance.name, 253),
        "accelerators": where.accelerators,
        "replicas": where.replicas,
        "reason": finding.code.value,
        "message": shortened(say(finding), LONGEST_REJECTION),
    }


def _risk(evaluation: Evaluation) -> dict[str, object] | None:
    decision, objective = evaluation.decision, evaluation.world.workload.objective
    there = decision.target or decision.current
    if decision.action is Action.UNKNOWN or there is None:
        return None
    now = decision.current.prediction.oom_probability if decision.current else None
    runs = there.prediction if there.configuration.replicas else None  # what does not run has no risk to state
    told = {
        "oomProbability": _shown(runs.oom_probability if runs else None, numbers.probability),
        "currentOomProbability": _shown(now, numbers.probability),
        "sloMissProbability": _shown(runs.slo_miss_probability if runs else None, numbers.probability),
    }
    told |= {
        "horizon": numbers.duration(objective.horizon),
        "state": decision.risk_state.value,
    }
    if decision.compared_up_to is not None:
        told["calibratedUpTo"] = numbers.duration(decision.compared_up_to)
    return {key: value for key, value in told.items() if value is not None}


def _predicted(evaluation: Evaluation) -> dict[str, object] | None:
    decision = evaluation.decision
    there = decision.target or decision.current
    if decision.action in {Action.UNKNOWN, Action.SCALE_TO_ZERO} or there is None:
        return None
    what = there.prediction
    told = {
        "tpot": _shown(what.tpot, numbers.latency),
        "tpotBound": _shown(what.tpot_bound, numbers.latency),
        "ttft": _shown(what.ttft, numbers.latency),
        "ttftBound": _shown(what.ttft_bound, numbers.latency),
        "kvDemandPeak": _shown(_kv_bytes(evaluation, there, what), numbers.memory),
        "memoryNeed": _shown(what.memory_need, numbers.memory),
        "memoryAvailable": _shown(what.memory_available, numbers.memory),
        "binding": what.binding.value if what.binding else None,
    }
    return {key: value for key, value in told.items() if value is not None}


def _kv_bytes(evaluation: Evaluation, there: Candidate, what: Prediction) -> float | None:
    """Bytes per accelerator of the keys and values demanded at the peak."""
    workload = evaluation.world.workload
    if what.kv_demand_tokens is None or isinstance(workload.model, Missing):
        return None
    each = workload.model.kv_bytes_per_token_and_rank(there.configuration.tensor_parallel, workload.settings.kv_bytes)
    return what.kv_demand_tokens * each


def _basis(evaluation: Evaluation, now: datetime) -> dict[str, object]:
    seen = evaluation.world.observation
    length, begin, end = series_span(seen, now)
    told = {
        "span": length,
        "samples": _samples(seen),
        "coverage": numbers.share(seen.coverage),
        "tier": evaluation.need.tier.value,
        "from": begin,
        "to": end,
    }
    return {key: value for key, value in told.items() if value not in (None, "")}


def _samples(seen: Observation) -> int | None:
    """Blocks of history that carry a figure, in whole days of them: the count must not tick every hour."""
    history = main_history(seen)
    if not isinstance(history, BlockSeries):
        return None
    known = int(history.known().sum())
    return known // _DAY_OF_BLOCKS * _DAY_OF_BLOCKS if known > 2 * _DAY_OF_BLOCKS else known


def _shown(figure: Figure | None, show: Callable[[Figure], str]) -> str | None:
    if figure is None or not math.isfinite(figure):
        return None
    return show(figure)
