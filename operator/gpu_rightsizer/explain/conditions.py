"""Conditions: `Observed`, `Advised` and the summary `Ready`, each with one reason and one steady sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.readings import MissingReason
from gpu_rightsizer.explain import numbers
from gpu_rightsizer.explain.words import say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from gpu_rightsizer.domain.world import Evaluation

OBSERVED: Final = "Observed"
ADVISED: Final = "Advised"
READY: Final = "Ready"

# Findings that say the metrics themselves are not whole; what else is unknown is no fault of theirs.
_UNSEEN: Final = (
    Code.TARGET_MISSING,
    Code.TARGET_CLAIMED_TWICE,
    Code.METRICS_MISSING,
    Code.METRICS_INCOMPLETE,
    Code.SOURCES_DISAGREE,
    Code.ENGINE_METRICS_NEEDED,
    Code.DEVICE_SHARED,
)


@dataclass(frozen=True, slots=True)
class Frame:
    """What every condition of one object shares: its generation, the time, and the conditions it had before."""

    generation: int
    now: datetime
    previous: Sequence[Mapping[str, object]] = ()


def conditions(evaluation: Evaluation, frame: Frame) -> list[dict[str, object]]:
    """The three, sorted by type.

    `Settled` and `WithinBudget` appear with the moves and budgets that give them a meaning.
    """
    observed, advised = _observed(evaluation), _advised(evaluation)
    return [
        condition(ADVISED, *advised, frame),
        condition(OBSERVED, *observed, frame),
        condition(READY, *_ready(observed, advised), frame),
    ]


def refused(code: Code, problems: str, frame: Frame) -> list[dict[str, object]]:
    """All three where the object cannot be evaluated at all: mode Off, or a spec that cannot be used."""
    finding = found(code, problems=problems) if problems else found(code)
    states = ((ADVISED, "Unknown"), (OBSERVED, "Unknown"), (READY, "False"))
    return [condition(kind, status, finding, frame) for kind, status in states]


def condition(kind: str, status: str, finding: Finding, frame: Frame) -> dict[str, object]:
    """One metav1.Condition; the time of the last transition is kept while the status is the same."""
    before = next((each for each in frame.previous if each.get("type") == kind), {})
    kept = before.get("lastTransitionTime") if before.get("status") == status else None
    return {
        "type": kind,
        "status": status,
        "observedGeneration": frame.generation,
        "lastTransitionTime": kept if isinstance(kept, str) else numbers.instant(frame.now),
        "reason": finding.code.value,
        "message": say(finding),
    }


def _observed(evaluation: Evaluation) -> tuple[str, Finding]:
    need = evaluation.need
    held = [one for one in (*need.shrink_holds, *need.memory_holds) if one.code in _UNSEEN]
    if not held:
        return "True", found(Code.METRICS_COMPLETE)
    worst = min(held, key=lambda one: _UNSEEN.index(one.code))
    # A store that did not answer says nothing about the workload.
    failed = any(each.why is MissingReason.SOURCE_FAILED for each in evaluation.world.observation.problems)
    return ("Unknown" if failed else "False"), worst


def _advised(evaluation: Evaluation) -> tuple[str, Finding]:
    decision = evaluation.decision
    return ("Unknown" if decision.action is Action.UNKNOWN else "True"), decision.reasons[0]


def _ready(observed: tuple[str, Finding], advised: tuple[str, Finding]) -> tuple[str, Finding]:
    """What keeps the answer from being used, else what the answer is: it stands in a column of `kubectl get`."""
    for status, finding in (observed, advised):
        if status != "True":
            return "False", finding
    return "True", advised[1]
