"""An Evaluation as the whole status of its InferenceDeployment, in the shape of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_rightsizer.explain.conditions import Frame, conditions, refused
from gpu_rightsizer.explain.fitting import fitted
from gpu_rightsizer.explain.recommendation import recommendation, with_changes, without_changes
from gpu_rightsizer.explain.steady import steady
from gpu_rightsizer.explain.usage import current, incidents, usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from gpu_rightsizer.domain.finding import Code
    from gpu_rightsizer.domain.world import Evaluation


def status(
    evaluation: Evaluation,
    now: datetime,
    previous: Mapping[str, object] | None = None,
    *,
    policy_generation: int = 0,
    issue: int = 0,
) -> Mapping[str, object]:
    """The whole status; exactly `previous` when nothing but noise has changed, so that the caller need not write.

    What rejected configurations would hold with costs the most to tell, so that it is told where something changed.
    """
    workload = evaluation.world.workload
    advice = recommendation(evaluation, now, policy_generation=policy_generation, issue=issue)
    new: dict[str, object] = {
        "observedGeneration": workload.key.generation,
        "conditions": conditions(evaluation, Frame(workload.key.generation, now, _conditions(previous))),
        "current": current(evaluation, now),
        "usage": usage(evaluation),
        "recommendation": advice,
    }
    remembered = incidents(workload)
    if remembered:
        new["incidents"] = remembered
    before = _plain(previous) if previous else None
    if before is not None and steady(fitted(new), before) is before:
        return previous or before
    return fitted(new | {"recommendation": with_changes(advice, evaluation, now)})


def _plain(status: Mapping[str, object]) -> Mapping[str, object]:
    advice = status.get("recommendation")
    return {**status, "recommendation": without_changes(advice)} if isinstance(advice, dict) else status


def status_without_evaluation(
    code: Code, generation: int, now: datetime, previous: Mapping[str, object] | None = None, problems: str = ""
) -> Mapping[str, object]:
    """For an object that is not evaluated: mode Off, or a spec that cannot be used. What is remembered is kept."""
    new: dict[str, object] = {
        "observedGeneration": generation,
        "conditions": refused(code, problems, Frame(generation, now, _conditions(previous))),
    }
    if previous and previous.get("incidents"):
        new["incidents"] = previous["incidents"]
    return steady(new, previous)


def _conditions(previous: Mapping[str, object] | None) -> Sequence[Mapping[str, object]]:
    stored = previous.get("conditions") if previous else None
    return [each for each in stored if isinstance(each, dict)] if isinstance(stored, list) else []
