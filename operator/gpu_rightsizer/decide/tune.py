"""Engine limits on the class it already has, where they are enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_rightsizer.decide.situation import same_place
from gpu_rightsizer.domain.finding import Code, Finding, found

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gpu_rightsizer.decide.situation import Situation
    from gpu_rightsizer.domain.decision import Candidate


def removes_risk(situation: Situation) -> Candidate | None:
    """Limits that hold and bring an out-of-memory risk above `maxOomRisk` below it; the least change, None without."""
    current, limit = situation.current, situation.workload.objective.max_oom_risk
    risk = current.prediction.oom_probability if current else None
    if risk is None or risk <= limit:
        return None
    left = situation.options.risk
    enough = limits(situation, (left <= limit) & (left < risk))
    return situation.candidate(int(enough[0])) if enough.size else None


def limits(situation: Situation, which: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Those of them that hold and change nothing but engine arguments, cheapest first."""
    tuned = situation.hold & (situation.options.changes > 0) & situation.compared(same_place)
    return situation.those(which & tuned)


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
