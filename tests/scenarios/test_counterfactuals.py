"""What would let the nearest rejected classes pass: each word of it is checked by deciding again with that change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gpu_rightsizer.decide.counterfactual import MOST, counterfactuals
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.decision import Candidate, Counterfactual, Lever
from gpu_rightsizer.domain.options import Options
from gpu_rightsizer.domain.units import Millicores
from gpu_rightsizer.domain.world import Evaluation, World
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.explain.status import status
from tests.builders import (
    LADDER,
    LLAMA_70B,
    MIXTRAL_8X7B,
    NOW,
    incident,
    nothing_observed,
    objective,
    observation,
    pod,
    settings,
    world,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpu_rightsizer.domain.options import Change
    from gpu_rightsizer.domain.workload import Workload

H100_POOL = 3e5


def evaluated(of: World) -> Evaluation:
    (evaluation,) = evaluate([of], LADDER, NOW)
    return evaluation


def told(of: World) -> dict[str, tuple[str, object]]:
    """By rejected class: the reason, and what it would hold with."""
    advice = status(evaluated(of), NOW)["recommendation"]
    assert isinstance(advice, dict)
    return {each["instanceClass"]: (each["reason"], each.get("holdsWith")) for each in advice.get("rejected", [])}


def on_h100(rate: float = 1.0, **about: Any) -> World:
    return world(observation(requests_per_second=rate, pool=H100_POOL), on="p5.4xlarge", **about)


def test_a_latency_a_little_over_the_objective_holds_with_a_little_more() -> None:
    of = on_h100(0.3, objective=objective(tpot=0.03))

    assert told(of)["g6e.2xlarge"] == ("TpotTooSlow", {"change": "TpotObjective", "value": "35ms"})


def test_more_than_a_little_asks_for_smaller_weights_first() -> None:
    of = on_h100(0.3, objective=objective(tpot=0.025))

    assert told(of)["g6e.2xlarge"] == ("TpotTooSlow", {"change": "WeightDtype", "value": "fp8"})


def test_two_replicas_where_they_cost_less_than_what_runs() -> None:
    assert told(on_h100(4.0))["g6e.2xlarge"] == ("Overloaded", {"change": "Replicas", "value": "2"})


def test_a_request_of_the_pod_that_it_never_uses() -> None:
    of = on_h100(1.0, pod=pod(8, 8))

    assert told(of)["g6e.2xlarge"] == ("HostCpuTooSmall", {"change": "CpuRequest", "value": "1200m"})


def test_a_context_that_nobody_uses() -> None:
    long = settings(max_model_len=131072 * 2, explicit=frozenset({"max_model_len"}))
    of = on_h100(1.0, engine_settings=long)

    reason, change = told(of)["g6e.2xlarge"]
    assert reason == "ContextTooLong"
    assert isinstance(change, dict)
    assert change["change"] == "MaxModelLen"
    assert 100_000 < int(change["value"]) < 200_000


def test_where_no_single_change_is_enough_nothing_is_said() -> None:
    too_much = told(world(observation(pool=1e6), model=LLAMA_70B, tensor_parallel=8))

    assert too_much["g5.2xlarge"] == ("MemoryTooSmall", None)
    assert too_much["g4dn.xlarge"] == ("PrecisionUnsupported", None)


def test_nothing_is_said_where_data_are_wanting() -> None:
    of = evaluated(world(nothing_observed()))

    assert of.decision.action is Action.UNKNOWN
    assert set(counterfactuals(of, NOW)) <= {None}


FLEET = {
    f"{rate}/s {tpot}s {ttft}s": on_h100(rate, objective=objective(tpot=tpot, ttft=ttft), pod=pod(cpu, 8))
    for rate in (0.3, 1.0, 3.0)
    for tpot, ttft in ((0.02, 2.0), (0.035, 0.5), (0.05, 2.0), (0.1, 0.15))
    for cpu in (2, 6)
} | {
    "an event on the class": on_h100(1.0, incidents=(incident(days_ago=30, on="g6e.xlarge"),)),
    "a costly failure": on_h100(
        0.3,
        incidents=(incident(days_ago=30, on="g6e.xlarge"),),
        objective=replace(objective(risk=0.5), oom_cost_usd=10**6),
    ),
    "a long context": on_h100(1.0, engine_settings=settings(max_model_len=65536)),
    "experts": world(observation(pool=2e6), model=MIXTRAL_8X7B, tensor_parallel=8),
}


@pytest.mark.parametrize("of", FLEET.values(), ids=FLEET)
def test_with_the_change_made_the_same_class_holds(of: World) -> None:
    evaluation = evaluated(of)
    for rejected, what in zip(evaluation.decision.rejected, counterfactuals(evaluation, NOW), strict=True):
        if what is None or what.lever in PREDICTED_ALONE:
            continue
        again = evaluated(World(changed(of, what), of.observation))
        name = rejected.configuration.instance.name
        assert name in {each.configuration.instance.name for each in holding(again)}, what


PREDICTED_ALONE = {  # the pool that was seen is that of the present limits and weights: nothing can be observed anew
    *(Lever.MAX_MODEL_LEN, Lever.MAX_NUM_SEQS, Lever.MAX_NUM_BATCHED_TOKENS),
    *(Lever.GPU_MEMORY_UTILIZATION, Lever.WEIGHT_DTYPE),
}


def test_the_fleet_reaches_many_levers() -> None:
    found = [what for of in FLEET.values() for what in counterfactuals(evaluated(of), NOW) if what]

    assert {each.lever for each in found} >= {
        *(Lever.TPOT_OBJECTIVE, Lever.TTFT_OBJECTIVE, Lever.REPLICAS, Lever.CPU_REQUEST),
        *(Lever.WEIGHT_DTYPE, Lever.MAX_OOM_RISK, Lever.OOM_COST),
    }


def test_at_most_three_are_told() -> None:
    assert all(sum(each is not None for each in counterfactuals(evaluated(of), NOW)) <= MOST for of in FLEET.values())


def test_while_nothing_changes_physics_is_not_asked_again() -> None:
    evaluation = evaluated(on_h100(4.0))
    asked: list[int] = []

    def counted(changes: Sequence[Change]) -> Sequence[Candidate | None]:
        asked.append(len(changes))
        assert isinstance(evaluation.candidates, Options)
        return evaluation.candidates.otherwise(changes)

    assert isinstance(evaluation.candidates, Options)
    watched = replace(evaluation, candidates=replace(evaluation.candidates, otherwise=counted))
    first = status(watched, NOW)
    assert len(asked) == 1

    assert status(watched, NOW, first) is first
    assert len(asked) == 1


def changed(of: World, what: Counterfactual) -> Workload:
    workload, value = of.workload, what.value
    slo = {
        Lever.TPOT_OBJECTIVE: "tpot_p95",
        Lever.TTFT_OBJECTIVE: "ttft_p95",
        Lever.MAX_OOM_RISK: "max_oom_risk",
        Lever.OOM_COST: "oom_cost_usd",
    }
    if what.lever in slo:
        field: dict[str, Any] = {slo[what.lever]: value}
        return replace(workload, objective=replace(workload.objective, **field))
    if what.lever is Lever.REPLICAS:
        assert isinstance(value, int)
        return replace(workload, rules=replace(workload.rules, min_replicas=1, max_replicas=value))
    assert what.lever is Lever.CPU_REQUEST
    return replace(workload, pod=replace(workload.pod, cpu=Millicores(int(value))))


def holding(evaluation: Evaluation) -> Iterator[Candidate]:
    decision = evaluation.decision
    yield from (each for each in (decision.target, *decision.alternatives) if each is not None)
