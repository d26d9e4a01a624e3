"""What stands: a recommendation is not taken back and made again with every small change of the load.

What was recommended last stays while it holds. Anything else must hold with room to spare, and save clearly more: on
the way in the limits are narrower than on the way out, so that noise about a limit moves nothing twice.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.decide.money import LEAST_SHARE, potential_hourly
from gpu_rightsizer.decide.payback import payback
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.readings import Missing, MissingReason
from gpu_rightsizer.predict.findings import OVERLOAD_BUDGET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    from gpu_rightsizer.decide.situation import Situation
    from gpu_rightsizer.domain.decision import Candidate, Configuration
    from gpu_rightsizer.domain.workload import Workload

_SPARE: Final = 1.05  # of latency and memory: an hour's peak repeats no better
_SPARE_OF_PROBABILITY: Final = 1.25  # a tail multiplies what it is fed
_SETTLED: Final = frozenset({Action.RESIZE, Action.TUNE, Action.KEEP})
_NONE: Final = Decimal(0)


def stays(here: Situation, indices: NDArray[np.intp]) -> Candidate | None:
    """What was recommended last, if it is among these and its change still pays for itself, without a margin."""
    advised = here.workload.advised
    if advised is None or advised.action is not Action.RESIZE:
        return None
    for index in indices.tolist():
        if _is_advised(here, here.configuration(index)):
            each = here.candidate(index)
            back = payback(here, each)
            return each if back is None or back.worth >= back.change else None
    return None


def moves_on(here: Situation, few: Iterator[Candidate], standing: Candidate | None) -> Candidate | None:
    """The first that may take the place of what stands: on the first look any, later what holds with room to spare."""
    if not _was_settled(here):
        return next(few, None)
    clear = (each for each in few if holds_clearly(here, each))
    if standing is None:
        return next(clear, None)
    limit = (1 - LEAST_SHARE) * (standing.hourly or _NONE)
    return next((each for each in clear if (each.hourly or _NONE) <= limit), standing)


def holds_clearly(here: Situation, candidate: Candidate) -> bool:
    """With room to spare in everything that is measured."""
    objective, what, current = here.workload.objective, candidate.prediction, here.current
    pairs = (
        (what.tpot_bound, objective.tpot_p95),
        (what.ttft_bound, objective.ttft_p95),
        (what.memory_need, what.memory_available),
    )
    if any(need is not None and most is not None and need * _SPARE > most for need, most in pairs):
        return False
    now = current.prediction if current else None
    added = (what.oom_probability or 0.0) - ((now.oom_probability if now else None) or 0.0)
    if added * _SPARE_OF_PROBABILITY > objective.max_oom_risk:
        return False
    saved = potential_hourly(here.workload, current, candidate) or _NONE
    hours = objective.horizon.total_seconds() / 3600
    if added > 0 and added * _SPARE_OF_PROBABILITY * float(objective.oom_cost_usd) >= float(saved) * hours:
        return False
    more = (what.overload_probability or 0.0) - ((now.overload_probability if now else None) or 0.0)
    return more * _SPARE_OF_PROBABILITY <= max(OVERLOAD_BUDGET, objective.max_oom_risk)


def last_change(workload: Workload, now: datetime) -> datetime | None:
    """When it was last seen to move to another accelerator, or another number of them; None where no move was seen.

    Another image or argument is none: what is deployed every day is judged all the same.
    """
    before, here = workload.ran, workload.placement
    if before is None:
        return None
    if isinstance(here, Missing):
        return now if here.why is MissingReason.CONTRADICTORY and before.accelerator else before.changed_at
    same = (before.accelerator, before.accelerators) == (here.accelerator.product, workload.pod.accelerators)
    return before.changed_at if same or not before.accelerator else now


def _was_settled(here: Situation) -> bool:
    advised = here.workload.advised
    return advised is not None and advised.action in _SETTLED


def _is_advised(here: Situation, where: Configuration) -> bool:
    """That very place; where an autoscaler owns the number of replicas, with any."""
    advised = here.workload.advised
    if advised is None:
        return False
    same = (advised.instance_class, advised.accelerators, advised.tensor_parallel) == (
        where.instance.name,
        where.accelerators,
        where.tensor_parallel,
    )
    return same and (bool(here.workload.replicas_owner) or advised.replicas == where.replicas)
