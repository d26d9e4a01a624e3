"""What rules a candidate out beyond its own failures: the evidence, the risk it adds, and what that risk costs."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_rightsizer.decide.money import attributed_hourly
from gpu_rightsizer.decide.situation import (
    Ruling,
    Situation,
    has_less_memory,
    is_slower,
    is_smaller_or_slower,
    same_place,
)
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.readings import Missing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.decision import Candidate, Configuration

_SECONDS_PER_HOUR: Final = Decimal(3600)
_CLEARLY: Final = 1e-9  # of the present cost: what is clear as floats by that margin is clear as Decimals


def has_a_price(situation: Situation) -> Ruling:
    """What it costs must be known, since the cheapest is looked for."""

    def word(candidate: Candidate) -> Finding:
        return found(Code.PRICE_UNKNOWN, instance_class=candidate.configuration.instance.name)

    return Ruling(Code.PRICE_UNKNOWN, ~situation.options.places.priced, word)


def keeps_memory(situation: Situation) -> Ruling | None:
    """No less memory on an accelerator than the evidence reaches, and none on trust."""
    held, unknown = situation.need.memory_holds, np.isnan(situation.options.risk)
    if situation.current is None or not (held or unknown.any()):
        return None
    here = situation.current.configuration
    less = situation.compared(has_less_memory) if held else np.zeros_like(unknown)

    def word(candidate: Candidate) -> Finding:
        known = held and has_less_memory(candidate.configuration, here)
        return found(
            Code.SMALLER_MEMORY_HELD, because=held[0].code.value if known else _why_memory_is_unknown(situation)
        )

    return Ruling(Code.SMALLER_MEMORY_HELD, less | (unknown & situation.compared(_holds_less)), word)


def keeps_speed(situation: Situation) -> Ruling | None:
    """Nothing slower where neither the engine nor the device tells how busy it is."""
    need, device = situation.need, situation.need.device
    if not isinstance(need.load, Missing) or device.dram_activity is not None or device.gpu_activity is not None:
        return None
    finding = found(Code.SHRINK_HELD, because=Code.METRICS_MISSING.value)
    return Ruling(Code.SHRINK_HELD, situation.compared(is_slower), lambda _: finding)


def keeps_the_objective(situation: Situation) -> Ruling | None:
    """Nothing smaller or slower where a latency that a person set a limit for cannot be predicted.

    What is split the same way, and as large and as fast in everything, serves no slower than now. Where nobody stated
    an objective, a class that the device's own activity shows to be enough may be proposed, and the gap is said.
    """
    stated, options = sorted(situation.workload.objective.stated), situation.options
    if situation.here is None or not stated:
        return None
    unknown = np.logical_or.reduce([options.unpredicted[name] for name in stated])

    def unchecked(candidate: Candidate) -> Finding:
        there = {"TTFT": candidate.prediction.ttft, "TPOT": candidate.prediction.tpot}
        return found(Code.OBJECTIVE_UNCHECKED, metric=", ".join(name for name in stated if there[name] is None))

    def unmeasured(candidate: Candidate) -> Finding:
        accelerator = candidate.configuration.instance.accelerator
        return found(Code.ACCELERATOR_UNMEASURED, accelerator=accelerator.product)

    out = unknown & situation.compared(_may_serve_slower)
    if isinstance(situation.need.load, Missing):
        return Ruling(Code.OBJECTIVE_UNCHECKED, out, unchecked)
    return Ruling(Code.ACCELERATOR_UNMEASURED, out, unmeasured)


def adds_little_risk(situation: Situation) -> Ruling:
    """At most `maxOomRisk` more out-of-memory probability than the present configuration has."""
    limit = situation.workload.objective.max_oom_risk

    def word(candidate: Candidate) -> Finding:
        risk = candidate.prediction.oom_probability or 0.0
        return found(Code.MEMORY_RISK, probability=risk, added=risk - _risk_now(situation), limit=limit)

    return Ruling(Code.MEMORY_RISK, added_risk(situation) > limit, word)


RULINGS: Final[tuple[Callable[[Situation], Ruling | None], ...]] = (
    has_a_price,
    keeps_memory,
    keeps_speed,
    keeps_the_objective,
    adds_little_risk,
)


def judged(situation: Situation) -> Situation:
    """The same situation with every ruling."""
    return situation.ruled(*(rule(situation) for rule in RULINGS))


def has_room(situation: Situation, taken: Mapping[str, Finding]) -> Ruling | None:
    """Not a class that others have in full; where it runs now it may stay."""
    if not taken:
        return None
    out = np.array([each.instance.name in taken for each in situation.options.places.configurations], dtype=bool)
    out &= ~situation.compared(same_place)
    return Ruling(Code.POOL_TAKEN, out, lambda candidate: taken[candidate.configuration.instance.name])


def is_worth_its_risk(situation: Situation, cheaper: NDArray[np.intp]) -> Ruling:
    """What the added risk costs stays below what is saved over the horizon; asked of those that hold.

    Break-even probability p* = saving / loss: act only below it.
    """
    objective, current = situation.workload.objective, situation.current
    ours = attributed_hourly(situation.workload, current) if current else None
    hours = Decimal(str(objective.horizon.total_seconds())) / _SECONDS_PER_HOUR
    out = np.zeros(len(situation.options), dtype=bool)

    def saved(candidate: Candidate) -> Decimal:
        return ((ours or Decimal(0)) - (candidate.hourly or Decimal(0))) * hours

    def word(candidate: Candidate) -> Finding:
        added = (candidate.prediction.oom_probability or 0.0) - _risk_now(situation)
        return found(
            Code.RISK_OUTWEIGHS_SAVING,
            added=added,
            horizon=objective.horizon,
            oom_cost=objective.oom_cost_usd,
            saved=max(Decimal(0), saved(candidate)),
        )

    if ours is not None:
        added, dollars = added_risk(situation)[cheaper], situation.options.places.dollars[cheaper]
        left = (float(ours) - dollars - _CLEARLY * float(ours)) * float(hours) - added * float(objective.oom_cost_usd)
        for at in np.flatnonzero((added > 0) & ~(left > 0)).tolist():
            candidate = situation.options[int(cheaper[at])]
            out[cheaper[at]] = not Decimal(str(float(added[at]))) * objective.oom_cost_usd < saved(candidate)
    return Ruling(Code.RISK_OUTWEIGHS_SAVING, out, word)


def added_risk(situation: Situation) -> NDArray[np.float64]:
    """Out-of-memory probability more than now; all of it where the present one is unknown, NaN where its own is."""
    return situation.options.risk - _risk_now(situation)


def _risk_now(situation: Situation) -> float:
    return (situation.current.prediction.oom_probability if situation.current else None) or 0.0


def _holds_less(there: Configuration, here: Configuration) -> bool:
    less = there.instance.accelerator_memory * there.accelerators < here.instance.accelerator_memory * here.accelerators
    return less or has_less_memory(there, here) or there.replicas < here.replicas


def _may_serve_slower(there: Configuration, here: Configuration) -> bool:
    return there.tensor_parallel != here.tensor_parallel or is_smaller_or_slower(there, here)


def _why_memory_is_unknown(situation: Situation) -> str:
    memory = situation.need.memory
    return memory.why.value if isinstance(memory, Missing) else Code.METRICS_INCOMPLETE.value
