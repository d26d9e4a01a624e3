"""What cannot be predicted is not promised: latencies that a person stated a limit for, without engine metrics."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.decision import Decision
from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.finding import Code, found
from gpu_rightsizer.domain.hardware import InstanceClass
from gpu_rightsizer.domain.units import GIB
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.explain.words import say
from tests import builders as make
from tests.builders import NOW

OTHER_ACCELERATORS = tuple(each for each in make.LADDER if each.name != "p5.4xlarge")


def decided(*stated: str, classes: tuple[InstanceClass, ...] = OTHER_ACCELERATORS, **changes: object) -> Decision:
    objective = replace(make.objective(), stated=frozenset(stated))
    world = make.world(make.no_engine(), objective=objective, **changes)
    return evaluate([world], classes, NOW)[0].decision


def test_without_a_stated_objective_a_class_of_the_same_memory_may_be_proposed() -> None:
    decision = decided()

    assert decision.action is Action.RESIZE
    assert decision.target is not None
    assert decision.target.configuration.instance.name == "p4de.24xlarge"
    assert found(Code.OBJECTIVE_UNCHECKED, metric="TPOT, TTFT") in decision.reasons


@pytest.mark.parametrize("stated", ["TTFT", "TPOT"])
def test_a_stated_objective_is_not_left_to_chance(stated: str) -> None:
    decision = decided(stated)

    assert decision.action is Action.UNKNOWN
    assert decision.reasons == (
        found(Code.ENGINE_METRICS_NEEDED, engine="VLLM"),
        found(Code.OBJECTIVE_UNCHECKED, metric=stated),
    )
    assert say(decision.reasons[1]) == (
        f"The latency there could not be predicted: {stated}. Scrape the engine's own `/metrics` to make it known."
    )


def test_the_same_accelerator_serves_no_slower() -> None:
    decision = decided("TTFT", "TPOT", classes=make.LADDER)

    assert decision.action is Action.RESIZE
    assert decision.target is not None
    assert decision.target.configuration.instance.name == "p5.4xlarge"


def test_an_engine_that_shows_its_memory_is_held_too() -> None:
    observed = make.no_engine(fb_used=make.diurnal(20 * GIB), gpu_activity=make.diurnal(0.1))
    objective = replace(make.objective(), stated=frozenset({"TTFT"}))
    world = make.world(observed, engine=EngineType.TRITON, objective=objective)

    decision = evaluate([world], OTHER_ACCELERATORS, NOW)[0].decision

    assert decision.action is Action.UNKNOWN
    assert decision.reasons == (found(Code.OBJECTIVE_UNCHECKED, metric="TTFT"),)


def test_an_accelerator_whose_speed_nobody_knows_is_no_want_of_metrics() -> None:
    exotic = make.instance("x1", make.accelerator("x", "NVIDIA X", (9, 0), 81559, 3350, 989), 1, "1.00")
    unknown = replace(exotic, accelerator=replace(exotic.accelerator, bandwidth_gbps=None, tflops_bf16=None))
    objective = replace(make.objective(), stated=frozenset({"TTFT"}))

    decision = evaluate([make.world(objective=objective)], (unknown,), NOW)[0].decision

    assert decision.action is Action.KEEP
    assert [each.failures[0].code for each in decision.rejected] == [Code.ACCELERATOR_UNMEASURED]
