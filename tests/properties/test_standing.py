"""Noise about a limit does not move the recommendation to and fro; what really changes still does."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.workload import Advised
from gpu_rightsizer.domain.world import World
from gpu_rightsizer.evaluate import evaluate
from tests.builders import LADDER, NOW, objective, observation, pod, world

if TYPE_CHECKING:
    from gpu_rightsizer.domain.decision import Decision
    from gpu_rightsizer.domain.observation import Observation

NOISE = 0.01  # of demand, from one look to the next: more than 14 days that move on by an hour
LOOKS = 8


def decision(of: World) -> Decision:
    (evaluation,) = evaluate([of], LADDER, NOW)
    return evaluation.decision


def louder(seen: Observation, by: float) -> Observation:
    names = ("kv_demand", "running", "prompt_rate", "generation_rate", "requests")
    known = {name: getattr(seen, name) for name in names}
    return replace(seen, **{name: replace(each, values=each.values * by) for name, each in known.items()})


def advised(by: Decision) -> Advised:
    if by.target is None or by.action is not Action.RESIZE:
        return Advised(by.action)
    where = by.target.configuration
    return Advised(by.action, where.instance.name, where.accelerators, where.replicas, where.tensor_parallel)


def told(by: Decision) -> tuple[str, str]:
    return by.action.value, by.target.configuration.instance.name if by.target else ""


def sequence(of: World, noise: list[float], *, remembering: bool) -> list[tuple[str, str]]:
    """What is told look by look, each knowing what was told before."""
    seen, before = [], None
    for by in noise:
        now = decision(World(replace(of.workload, advised=before), louder(of.observation, by)))
        seen.append(told(now))
        before = advised(now) if remembering else None
    return seen


def changes(seen: list[tuple[str, str]]) -> int:
    return sum(a != b for a, b in pairwise(seen))


def at_the_edge(rate: float, of_what: str) -> World:
    """A workload whose limit lies exactly where its recommended class is."""
    plain = world(observation(requests_per_second=rate, pool=3e5), on="p5.4xlarge", pod=pod(2, 8))
    target = decision(plain).target
    if target is None:
        return plain
    what = target.prediction
    slo = plain.workload.objective
    match of_what:
        case "TPOT":
            slo = replace(slo, tpot_p95=what.tpot_bound or slo.tpot_p95)
        case "TTFT":
            slo = replace(slo, ttft_p95=what.ttft_bound or slo.ttft_p95)
        case _:
            now = decision(plain).current
            assert now is not None
            added = (what.oom_probability or 0.0) - (now.prediction.oom_probability or 0.0)
            slo = replace(slo, max_oom_risk=max(added, 1e-6))
    return World(replace(plain.workload, objective=slo), plain.observation)


EDGES = {f"{rate}/s {what}": at_the_edge(rate, what) for rate in (0.3, 1.0, 2.0) for what in ("TPOT", "TTFT", "risk")}


@pytest.mark.parametrize("of", EDGES.values(), ids=EDGES)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(noise=st.lists(st.floats(1 - NOISE, 1 + NOISE), min_size=LOOKS, max_size=LOOKS))
def test_noise_about_a_limit_changes_the_recommendation_at_most_once(of: World, noise: list[float]) -> None:
    assert changes(sequence(of, noise, remembering=True)) <= 1


def test_without_what_was_told_before_it_would_go_to_and_fro() -> None:
    """The test above can fail."""
    noise = [1 + NOISE * (-1) ** look for look in range(LOOKS)]

    assert sum(changes(sequence(of, noise, remembering=False)) > 1 for of in EDGES.values()) >= len(EDGES) // 3


def test_what_is_clearly_cheaper_takes_its_place() -> None:
    of = world(observation(requests_per_second=1.0, pool=3e5), on="p5.4xlarge")
    dearer = Advised(Action.RESIZE, "g6e.2xlarge", 1, 1, 1)

    assert told(decision(of)) == ("Resize", "g6e.xlarge")
    assert told(decision(World(replace(of.workload, advised=dearer), of.observation))) == ("Resize", "g6e.xlarge")


def test_a_load_that_grows_is_followed_at_once() -> None:
    of = world(observation(requests_per_second=1.0, pool=3e5), on="p5.4xlarge")
    before = advised(decision(of))

    grown = decision(World(replace(of.workload, advised=before), louder(of.observation, 6.0)))

    assert told(grown) != told(decision(of))


def test_a_load_that_falls_is_followed_once_there_is_room() -> None:
    of = world(observation(requests_per_second=4.0, pool=3e5), on="p5.4xlarge", objective=objective(tpot=0.05))
    kept = World(replace(of.workload, advised=Advised(Action.KEEP)), of.observation)

    assert decision(kept).action is Action.KEEP
    assert decision(World(kept.workload, louder(of.observation, 0.25))).action is Action.RESIZE
