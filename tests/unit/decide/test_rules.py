"""Rules that leave no class: which rule, where it is written, and what is answered then."""

from __future__ import annotations

import pytest

from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.finding import Code, found
from gpu_rightsizer.domain.hardware import Commitment
from gpu_rightsizer.domain.workload import PlacementRules
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.explain.annotations import summary
from gpu_rightsizer.explain.status import status
from gpu_rightsizer.explain.words import say
from tests import builders as make
from tests.builders import NOW

PRESENT_ALONE = PlacementRules(include=("p5.48xlarge",))


def told(rules: PlacementRules, observed: object = None) -> dict[str, object]:
    world = make.world(observed or make.observation(), rules=rules)  # type: ignore[arg-type] # an Observation or None
    return dict(status(evaluate([world], make.LADDER, NOW)[0], NOW))


def conditions(of: dict[str, object]) -> dict[str, tuple[str, str, str]]:
    listed = of["conditions"]
    assert isinstance(listed, list)
    return {each["type"]: (each["status"], each["reason"], each["message"]) for each in listed}


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (PlacementRules(include=("p9.*", "x*")), "none passes instanceClasses.include: p9.*, x*. Change"),
        (PlacementRules(exclude=("g*", "p*")), "none passes instanceClasses.exclude: g*, p*. Change"),
        (PlacementRules(regions=("eu-west-1",)), "none passes regions: eu-west-1. Change"),
        (PlacementRules(capacity_types=(Commitment.SPOT,)), "none passes capacityTypes: Spot. Change"),
        (PlacementRules(include=(), conflict="regions"), "none passes regions. Change"),
        (
            PlacementRules(include=("g6e.*",), exclude=("g6e.*",)),
            "none passes instanceClasses.exclude: g6e.*; instanceClasses.include: g6e.*. Change",
        ),
    ],
)
def test_the_rule_that_leaves_nothing_is_named(rules: PlacementRules, named: str) -> None:
    advised = conditions(told(rules))["Advised"]

    assert advised[:2] == ("Unknown", "RulesAllowNothing")
    assert named in advised[2]


def test_word_for_word_in_status_condition_and_annotation() -> None:
    out = told(PlacementRules(regions=("eu-west-1",), policies=("residency",)))

    sentence = (
        "The rules allow no class, not even the present one: none passes regions: eu-west-1. Change that field in "
        "`spec.placement` or in the RightsizingPolicy residency."
    )
    advice = out["recommendation"]
    assert isinstance(advice, dict)
    assert advice["reasons"][0] == sentence
    assert conditions(out)["Ready"] == ("False", "RulesAllowNothing", sentence)
    assert summary(out) == (
        "p5.48xlarge x1: unknown, the rules allow no class, not even the present one: none passes regions: eu-west-1"
    )


def test_a_rule_that_keeps_it_where_it_is_is_named_too() -> None:
    out = told(PlacementRules(include=("p5.48xlarge",)))

    # Fewer accelerators of the same class are weighed.
    assert conditions(out)["Advised"][1:] == (
        "RulesAllowNoOther",
        (
            "The rules allow no class but the present one: no other passes instanceClasses.include: p5.48xlarge. To be "
            "shown others, widen that field in `spec.placement`."
        ),
    )
    assert conditions(out)["Ready"][0] == "True"


def test_rules_that_leave_something_are_not_named() -> None:
    reasons = str(told(PlacementRules(include=("p5.48xlarge", "g4dn.*")))["recommendation"])

    assert "The rules allow no class" not in reasons


def test_an_under_sized_workload_is_told_so_and_which_rule_forbids_more() -> None:
    busy = make.observation(waiting=make.flat(40.0), running=make.flat(40.0))
    decision = evaluate(
        [make.world(busy, on="g6.xlarge", rules=PlacementRules(regions=("eu-west-1",)))], make.LADDER, NOW
    )[0].decision

    assert decision.action is Action.UNKNOWN
    assert decision.reasons[:2] == (
        found(Code.RULES_ALLOW_NOTHING, rule="regions: eu-west-1", policies=""),
        found(Code.UNDER_SIZED, instance_class="g6.xlarge"),
    )


def test_missing_metrics_do_not_hide_the_rule() -> None:
    out = told(PlacementRules(regions=("eu-west-1",)), make.nothing_observed())

    assert conditions(out)["Advised"][1] == "RulesAllowNothing"


@pytest.mark.parametrize(
    ("count", "rules", "outside"),
    [
        (
            4, PlacementRules(max_replicas=2),
            "4, more than 2, which is `replicas.max`",
        ),
        (
            1, PlacementRules(min_replicas=2),
            "1, fewer than 2, which is `replicas.min`",
        ),
    ],
)  # fmt: skip
def test_replicas_outside_the_bounds_are_said_and_brought_within(
    count: int, rules: PlacementRules, outside: str
) -> None:
    evaluation = evaluate([make.world(replicas=count, rules=rules)], make.LADDER, NOW)[0]

    target = evaluation.decision.target
    assert target is not None
    assert target.configuration.replicas == 2
    sentence = (
        f"The replicas that run are outside the rules: {outside}. Only numbers within the bounds are proposed; change "
        "them in `spec.placement`."
    )
    assert sentence in [say(each) for each in evaluation.decision.reasons]


def test_an_autoscaler_has_bounds_of_its_own() -> None:
    world = make.world(replicas=4, replicas_owner="HorizontalPodAutoscaler/chat", rules=PlacementRules(max_replicas=2))

    reasons = evaluate([world], make.LADDER, NOW)[0].decision.reasons

    assert Code.REPLICAS_OUT_OF_BOUNDS not in {each.code for each in reasons}
