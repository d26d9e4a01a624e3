"""The whole path from observation to words: every fact is sayable, and measuring again mostly writes nothing."""

from __future__ import annotations

import numpy as np

from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.finding import Finding
from gpu_rightsizer.domain.world import Evaluation, World
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.explain.status import status
from gpu_rightsizer.explain.words import unsaid
from tests.builders import LADDER, LLAMA_70B, NOW, flat, incident, no_engine, nothing_observed, observation, world
from tests.properties.test_explain import noisy_observation

WORLDS = {
    "large": world(),
    "right": world(on="g6.xlarge"),
    "device metrics only": world(no_engine()),
    "blind": world(nothing_observed()),
    "busy": world(observation(requests_per_second=8)),
    "70B": world(observation(pool=1e6), model=LLAMA_70B, tensor_parallel=8),
    "once out of memory": world(incidents=(incident(demand_tokens=90_000.0),)),
    "shared": world(others=7),
    "young": world(observation(days=2)),
    "too small": world(observation(requests_per_second=30, waiting=flat(9.0)), on="g6.xlarge"),
}
EVALUATIONS = dict(zip(WORLDS, evaluate(list(WORLDS.values()), LADDER, NOW), strict=True))


def everything(of: Evaluation) -> set[Finding]:
    of_candidates = (each for candidate in of.candidates for each in (*candidate.failures, *candidate.notes))
    need = of.need
    return {
        *need.notes,
        *need.shrink_holds,
        *need.memory_holds,
        *need.symptoms,
        *of.decision.reasons,
        *of_candidates,
    }


def test_every_fact_found_can_be_said() -> None:
    wrong = {
        (finding.code, unsaid(finding))
        for each in EVALUATIONS.values()
        for finding in everything(each)
        if unsaid(finding)
    }

    assert wrong == set()


def test_each_is_answered_as_it_should_be() -> None:
    actions = {name: each.decision.action for name, each in EVALUATIONS.items()}

    assert actions["blind"] is actions["young"] is Action.UNKNOWN
    assert actions["right"] is Action.KEEP
    assert actions["large"] is actions["too small"] is actions["once out of memory"] is Action.RESIZE


def test_of_a_fleet_measured_again_at_least_nine_in_ten_are_left_alone() -> None:
    first = [status(each, NOW) for each in EVALUATIONS.values()]
    same = total = 0
    for seed in range(4):
        dice = np.random.default_rng(seed)
        again = [World(each.workload, noisy_observation(each.observation, dice)) for each in WORLDS.values()]
        for told, before in zip(evaluate(again, LADDER, NOW), first, strict=True):
            total += 1
            same += status(told, NOW, before) is before

    assert same / total >= 0.9
