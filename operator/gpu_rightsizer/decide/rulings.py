"""What rules a candidate out beyond its own failures: the evidence, the risk it adds, and what that risk costs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.decide.money import potential_hourly
from gpu_rightsizer.decide.situation import has_less_memory, is_slower, is_smaller_or_slower
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.readings import Missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_rightsizer.decide.situation import Situation
    from gpu_rightsizer.domain.decision import Candidate

_SECONDS_PER_HOUR: Final = Decimal(3600)


def has_a_price(candidate: Candidate, _: Situation) -> Finding | None:
    """What it costs must be known, since the cheapest is looked for."""
    if candidate.hourly is not None:
        return None
    return found(Code.PRICE_UNKNOWN, instance_class=candidate.configuration.instance.name)


def keeps_memory(candidate: Candidate, situation: Situation) -> Finding | None:
    """No less memory on an accelerator than the evidence reaches, and none on trust."""
    if situation.current is None:
        return None
    there, here = candidate.configuration, situation.current.configuration
    if situation.need.memory_holds and has_less_memory(there, here):
        return found(Code.SMALLER_MEMORY_HELD, because=situation.need.memory_holds[0].code.value)
    if candidate.prediction.oom_probability is None and _holds_less(candidate, situation.current):
        return found(Code.SMALLER_MEMORY_HELD, because=_why_memory_is_unknown(situation))
    return None


def keeps_speed(candidate: Candidate, situation: Situation) -> Finding | None:
    """Nothing slower where neither the engine nor the device tells how busy it is."""
    need, device = situation.need, situation.need.device
    told = not isinstance(need.load, Missing) or device.dram_activity is not None or device.gpu_activity is not None
    if situation.current is None or told:
        return None
    if not is_slower(candidate.configuration, situation.current.configuration):
        return None
    return found(Code.SHRINK_HELD, because=Code.METRICS_MISSING.value)


def keeps_the_objective(candidate: Candidate, situation: Situation) -> Finding | None:
    """Nothing smaller or slower where a latency that a person set a limit for cannot be predicted.

    What is split the same way, and as large and as fast in everything, serves no slower than now. Where nobody stated
    an objective, a class that the device's own activity shows to be enough may be proposed, and the gap is said.
    """
    there = candidate.prediction
    latencies = {"TTFT": there.ttft, "TPOT": there.tpot}
    unknown = sorted(name for name in situation.workload.objective.stated if latencies[name] is None)
    if not unknown or situation.current is None:
        return None
    where, here = candidate.configuration, situation.current.configuration
    if where.tensor_parallel == here.tensor_parallel and not is_smaller_or_slower(where, here):
        return None
    if isinstance(situation.need.load, Missing):
        return found(Code.OBJECTIVE_UNCHECKED, metric=", ".join(unknown))
    return found(Code.ACCELERATOR_UNMEASURED, accelerator=where.instance.accelerator.product)


def adds_little_risk(candidate: Candidate, situation: Situation) -> Finding | None:
    """At most `maxOomRisk` more out-of-memory probability than the present configuration has."""
    added, limit = added_risk(candidate, situation), situation.workload.objective.max_oom_risk
    if added is None or added <= limit:
        return None
    risk = candidate.prediction.oom_probability or 0.0
    return found(Code.MEMORY_RISK, probability=risk, added=added, limit=limit)


def is_worth_its_risk(candidate: Candidate, situation: Situation) -> Finding | None:
    """What the added risk costs stays below what is saved over the horizon.

    Break-even probability p* = saving / loss: act only below it.
    """
    added = added_risk(candidate, situation)
    saved = potential_hourly(situation.workload, situation.current, candidate)
    if added is None or saved is None or added <= 0:
        return None
    objective = situation.workload.objective
    hours = Decimal(str(objective.horizon.total_seconds())) / _SECONDS_PER_HOUR
    if Decimal(str(added)) * objective.oom_cost_usd < saved * hours:
        return None
    return found(
        Code.RISK_OUTWEIGHS_SAVING,
        added=added,
        horizon=objective.horizon,
        oom_cost=objective.oom_cost_usd,
        saved=max(Decimal(0), saved * hours),
    )


RULINGS: Final[tuple[Callable[[Candidate, Situation], Finding | None], ...]] = (
    has_a_price,
    keeps_memory,
    keeps_speed,
    keeps_the_objective,
    adds_little_risk,
)


def judged(situation: Situation) -> Situation:
    """The same situation, with every ruling added to what rules out each candidate besides the present one."""
    return replace(situation, others=tuple(_judged(each, situation) for each in situation.others))


def added_risk(candidate: Candidate, situation: Situation) -> float | None:
    """Out-of-memory probability more than now; all of it where the present one is unknown, None where its own is."""
    risk = candidate.prediction.oom_probability
    if risk is None:
        return None
    now = situation.current.prediction.oom_probability if situation.current else None
    return risk - (now or 0.0)


def _judged(candidate: Candidate, situation: Situation) -> Candidate:
    rulings = tuple(finding for rule in RULINGS if (finding := rule(candidate, situation)))
    known = {finding.code for finding in candidate.failures}
    new = tuple(finding for finding in rulings if finding.code not in known)
    return replace(candidate, failures=candidate.failures + new) if new else candidate


def _holds_less(candidate: Candidate, current: Candidate) -> bool:
    there, here = candidate.configuration, current.configuration
    less = there.instance.accelerator_memory * there.accelerators < here.instance.accelerator_memory * here.accelerators
    return less or has_less_memory(there, here) or there.replicas < here.replicas


def _why_memory_is_unknown(situation: Situation) -> str:
    memory = situation.need.memory
    return memory.why.value if isinstance(memory, Missing) else Code.METRICS_INCOMPLETE.value
