"""Scaling to zero, as advice: only what is proven idle, priced with its cold starts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.need import IdleState

if TYPE_CHECKING:
    from gpu_rightsizer.decide.situation import Situation
    from gpu_rightsizer.domain.decision import Candidate
    from gpu_rightsizer.domain.workload import ScaleToZeroRules

# A start of 3 min was priced like 30 GPU-minutes when keep-alive rules were compared on 272 clients of ServeGen
# (Alibaba, 2025): the callers who wait cost more than the accelerator that loads.
COLD_STARTS_WORTH: Final = 10
# Cold starts a day under that rule on the same traces, taken where wake-ups were not counted.
TYPICAL_WAKES_PER_DAY: Final = 1.25
# Idleness needs no history of peaks, no model and no engine metrics, where the estimate calls it proven.
_NO_MATTER: Final = frozenset(
    {Code.HISTORY_TOO_SHORT, Code.ENGINE_METRICS_NEEDED, Code.MODEL_UNKNOWN, Code.SETTINGS_UNREAD}
)
_DAY: Final = timedelta(days=1)
_WINDOW: Final = timedelta(minutes=10)  # in which objectives are judged


@dataclass(frozen=True, slots=True, eq=False)
class Parking:
    """Zero replicas: `target.hourly` is what the hours of work and of waking cost on average."""

    target: Candidate
    findings: tuple[Finding, ...]


def parking(situation: Situation) -> Parking | None:
    """Zero replicas where that is allowed, proven and priced; else None."""
    current, rules, idleness = situation.current, situation.workload.scale_to_zero, situation.need.idleness
    if not rules.enabled or idleness.state is not IdleState.IDLE or not _evidence_allows(situation):
        return None
    if current is None or current.hourly is None or idleness.idle_for is None or idleness.idle_share is None:
        return None
    after = parks_after(rules)
    if idleness.idle_for < after or not situation.workload.replicas or _breaks_the_objective(situation):
        return None
    hourly = current.hourly * _running_share(idleness.idle_share, idleness.wakes_per_day, rules)
    target = replace(
        current, configuration=replace(current.configuration, replicas=0), hourly=hourly, failures=(), notes=()
    )
    proof = found(Code.PROVEN_IDLE, idle_for=idleness.idle_for, idle_share=idleness.idle_share, threshold=after)
    return Parking(target, (proof, _waker(situation)))


def parks_after(rules: ScaleToZeroRules) -> timedelta:
    """How long to stay up after the last request: the ski-rental rule, never below `idleAfter`.

    Waiting until the rent paid equals the price B of a cold start costs at most twice the best possible in hindsight
    (Karlin et al. 1988): tau = B / price, here the length of a start times `COLD_STARTS_WORTH`.
    """
    return max(rules.idle_after, rules.cold_start * COLD_STARTS_WORTH)


def _breaks_the_objective(situation: Situation) -> bool:
    """Whether the callers who wait for a start would be more than the objective allows to wait.

    A wake spoils the windows that its start lasts, at least one, out of those with any work (10 minutes each).
    """
    idleness, workload = situation.need.idleness, situation.workload
    if not idleness.wakes_per_day or idleness.idle_share is None:
        return False
    spoiled = idleness.wakes_per_day * max(1, math.ceil(workload.scale_to_zero.cold_start / _WINDOW))
    busy = max((1.0 - idleness.idle_share) * (_DAY / _WINDOW), spoiled)
    return spoiled / busy > 1.0 - workload.objective.attainment


def _running_share(idle_share: float, wakes_per_day: float | None, rules: ScaleToZeroRules) -> Decimal:
    """Share of time that accelerators still run: work, and for each wake-up the start and the wait before parking."""
    if wakes_per_day is None:
        wakes_per_day = TYPICAL_WAKES_PER_DAY if idle_share < 1 else 0.0
    overhead = wakes_per_day * ((rules.cold_start + parks_after(rules)) / _DAY)
    share = min(1.0, max(0.0, 1.0 - idle_share) + overhead)
    return Decimal(str(round(share, 4)))


def _evidence_allows(situation: Situation) -> bool:
    need = situation.need
    return not need.symptoms and all(finding.code in _NO_MATTER for finding in need.shrink_holds)


def _waker(situation: Situation) -> Finding:
    workload = situation.workload
    facts: dict[str, str | int | timedelta] = {
        "owner": f"{workload.target.kind}/{workload.target.name}",
        "replicas": workload.replicas,
        "cold_start": workload.scale_to_zero.cold_start,
    }
    return found(Code.WAKER_NEEDED, **facts)
