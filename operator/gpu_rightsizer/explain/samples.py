"""The operator's own metrics as plain values: what each deployment costs, could cost and risks, and how cycles went."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.action import Action

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from gpu_rightsizer.domain.decision import Candidate, Decision
    from gpu_rightsizer.domain.need import Group, Recalibration
    from gpu_rightsizer.domain.world import Evaluation

PREFIX: Final = "gpu_rightsizer_"
_STATED: Final = (0.2, 0.1, 0.05, 0.01)
_NONE: Final[Mapping[str, str]] = MappingProxyType({})

HELP: Final[Mapping[str, str]] = {
    "deployments": "InferenceDeployments by recommended action.",
    "current_hourly_cost_usd": "USD per hour of a deployment as it runs now.",
    "recommended_hourly_cost_usd": "USD per hour of a deployment as recommended; now, where nothing is to change.",
    "savings_recommended_usd_per_hour": "USD per hour that following the recommendation saves; negative costs more.",
    "oom_probability": "Probability of an out-of-memory within the horizon, of the placement now or as recommended.",
    "reliability_windows": "Past weeks that the fleet's stated risks were compared with.",
    "reliability_exceeded": "Those in which demand exceeded what the model alone gave the stated chance of exceeding.",
    "coverage_ratio": "Samples seen over samples expected of a deployment, 0 to 1.",
    "cycle_duration_seconds_count": "Whole cycles since the start.",
    "cycle_duration_seconds_sum": "Seconds that whole cycles took since the start.",
    "cycle_promql_queries": "PromQL queries of the last cycle.",
    "cycle_samples": "Samples that the last cycle read from the metrics store.",
    "cycle_deployments": "InferenceDeployments evaluated in the last cycle.",
    "errors_total": "Errors since the start, by kind.",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample; a name that ends in `_total` is a counter, the others are gauges."""

    name: str
    help: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Cycle:
    """How cycles went: `cycles`, `seconds` and `errors` (by kind) count since the start, the rest is of the last."""

    cycles: int
    seconds: float
    queries: int
    samples: int
    errors: Mapping[str, int]


def deployment_samples(evaluations: Sequence[Evaluation]) -> list[Sample]:
    """Of each deployment; what is unknown has no sample, never a zero."""
    samples = [sample for each in evaluations for sample in _of(each)]
    return samples + [
        _sample("deployments", sum(each.decision.action is action for each in evaluations), {"action": action.value})
        for action in Action
    ]


def reliability_samples(told: Mapping[Group, Recalibration]) -> list[Sample]:
    """The reliability diagram: a true model has windows x stated of them exceeded."""
    samples = []
    for (kind, rhythm), each in told.items():
        about = {"demand": kind.value, "rhythm": rhythm.value}
        samples.append(_sample("reliability_windows", each.scores.size, about))
        samples += [
            _sample("reliability_exceeded", int((each.scores <= stated).sum()), about | {"stated": f"{stated:g}"})
            for stated in _STATED
        ]
    return samples


def cycle_samples(cycle: Cycle, deployments: int) -> list[Sample]:
    """Of the operator itself."""
    return [
        _sample("cycle_duration_seconds_count", cycle.cycles),
        _sample("cycle_duration_seconds_sum", cycle.seconds),
        _sample("cycle_promql_queries", cycle.queries),
        _sample("cycle_samples", cycle.samples),
        _sample("cycle_deployments", deployments),
        *(_sample("errors_total", count, {"kind": kind}) for kind, count in sorted(cycle.errors.items())),
    ]


def _of(evaluation: Evaluation) -> list[Sample]:
    key, decision = evaluation.world.workload.key, evaluation.decision
    figures: list[tuple[str, Decimal | float | None, dict[str, str]]] = [
        ("current_hourly_cost_usd", decision.cost.current_hourly, {}),
        ("recommended_hourly_cost_usd", _recommended(decision), {}),
        ("savings_recommended_usd_per_hour", _saved(decision), {}),
        ("oom_probability", _risk(decision.current), {"placement": "current"}),
        ("oom_probability", _risk(decision.target), {"placement": "recommended"}),
        ("coverage_ratio", evaluation.world.observation.coverage, {}),
    ]
    who = {"namespace": key.namespace, "name": key.name}
    return [_sample(metric, value, who | extra) for metric, value, extra in figures if value is not None]


def _recommended(decision: Decision) -> Decimal | None:
    return decision.cost.current_hourly if decision.target is None else decision.cost.target_hourly


def _saved(decision: Decision) -> Decimal | float | None:
    return 0.0 if decision.action is Action.KEEP else decision.cost.saved_hourly


def _risk(candidate: Candidate | None) -> float | None:
    return candidate.prediction.oom_probability if candidate else None


def _sample(metric: str, value: Decimal | float, labels: Mapping[str, str] = _NONE) -> Sample:
    return Sample(PREFIX + metric, HELP[metric], labels, float(value))
