"""Engine limits on the class it already has, where they are enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_rightsizer.decide.situation import rank, same_place
from gpu_rightsizer.domain.finding import Code, Finding, found

if TYPE_CHECKING:
    from gpu_rightsizer.decide.situation import Situation
    from gpu_rightsizer.domain.decision import Candidate


def removes_risk(situation: Situation) -> Candidate | None:
    """Limits that hold and bring an out-of-memory risk above `maxOomRisk` below it; the least change, None without."""
    current, limit = situation.current, situation.workload.objective.max_oom_risk
    risk = current.prediction.oom_probability if current else None
    if risk is None or risk <= limit:
        return None
    enough = (
        each
        for each in limits(situation)
        if (left := each.prediction.oom_probability) is not None and left <= limit and left < risk
    )
    return min(enough, key=rank, default=None)


def limits(situation: Situation) -> tuple[Candidate, ...]:
    """Candidates that hold and change nothing but engine arguments."""
    if situation.current is None:
        return ()
    here = situation.current.configuration
    return tuple(
        each
        for each in situation.others
        if each.holds and each.configuration.engine_args and same_place(each.configuration, here)
    )


def tuning(situation: Situation, target: Candidate) -> Finding:
    """What changes, and what it does to the risk."""
    facts: dict[str, str | float] = {
        "arguments": " ".join(f"{flag}={value}" for flag, value in sorted(target.configuration.engine_args.items()))
    }
    before = situation.current.prediction.oom_probability if situation.current else None
    after = target.prediction.oom_probability
    if before is not None and after is not None:
        facts |= {"before": before, "after": after}
    return found(Code.TUNE_REMOVES_RISK, **facts)
