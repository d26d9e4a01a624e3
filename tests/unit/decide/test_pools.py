"""Owned and reserved capacity is shared: who gets it, what the others are told, and what limits nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gpu_rightsizer.decide.pools import pools
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.hardware import Commitment, Provisionable
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.explain.words import say
from tests import builders as make
from tests.builders import BY_NAME, LADDER, NOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.world import Evaluation, World


def owned(name: str, nodes: int, held: int = 0, hourly: str = "0.50", **changes: object) -> InstanceClass:
    """A class of the ladder that is owned, with nodes that stand here."""
    like = BY_NAME[name]
    made = make.instance(
        f"own-{name}", like.accelerator, like.accelerators, hourly, commitment=Commitment.OWNED, nodes=nodes,
        provisionable=Provisionable.YES,
    )  # fmt: skip
    return replace(made, held=held, **changes)  # type: ignore[arg-type]


def fleet(count: int, **changes: object) -> list[World]:
    return [make.world(name=f"chat-{i}", **changes) for i in range(count)]  # type: ignore[arg-type]


def placed(evaluations: Sequence[Evaluation]) -> list[str]:
    targets = [each.decision.target for each in evaluations]
    return [target.configuration.instance.name if target else "" for target in targets]


def told(evaluation: Evaluation) -> list[str]:
    return [say(one) for one in evaluation.decision.reasons if one.code is Code.POOL_TAKEN]


def test_where_all_find_room_nothing_is_shared_out() -> None:
    found = evaluate(fleet(3), [*LADDER, owned("g6e.xlarge", 3)], NOW)

    assert placed(found) == ["own-g6e.xlarge"] * 3
    assert not any(told(each) for each in found)


def test_the_fleet_takes_no_more_than_there_is_and_the_others_are_told_who_has_it() -> None:
    found = evaluate(fleet(4), [*LADDER, owned("g6e.xlarge", 2)], NOW)

    alone = placed(evaluate(fleet(1), LADDER, NOW))[0]
    assert placed(found) == ["own-g6e.xlarge"] * 2 + [alone] * 2
    assert [told(each) for each in found[:2]] == [[], []]
    assert told(found[2]) == [
        "What there is of the class is taken: own-g6e.xlarge, 2 of 2 accelerators, by default/chat-0, default/chat-1."
    ]
    assert found[2].decision.reasons[0].code is Code.CHEAPER_CLASS_HOLDS
    assert Code.POOL_TAKEN in {each.failures[0].code for each in found[2].decision.rejected}


def test_who_saves_more_by_it_gets_it() -> None:
    cheap_otherwise = make.world(name="a-small", on="g6e.xlarge")
    dear_otherwise = make.world(
        name="b-large", on="p5.48xlarge", rules=replace(make.workload().rules, include=("p5.48xlarge", "own-*"))
    )

    found = evaluate([cheap_otherwise, dear_otherwise], [*LADDER, owned("g6e.xlarge", 1)], NOW)

    assert placed(found)[1] == "own-g6e.xlarge"
    assert placed(found)[0] != "own-g6e.xlarge"


def test_accelerators_that_other_pods_hold_are_not_given_out() -> None:
    found = evaluate(fleet(2), [*LADDER, owned("g6e.xlarge", 3, held=2)], NOW)

    assert placed(found).count("own-g6e.xlarge") == 1
    assert told(found[1]) == [
        "What there is of the class is taken: own-g6e.xlarge, 3 of 3 accelerators, by default/chat-0, other pods (2)."
    ]


def test_who_stands_there_and_stays_counts() -> None:
    here = owned("g6e.xlarge", 1, held=1)
    settled = make.world(name="settled", on=here)

    found = evaluate([settled, *fleet(1)], [*LADDER, here], NOW)

    assert found[0].decision.action is Action.KEEP
    assert placed(found)[1] not in {"", "own-g6e.xlarge"}
    assert told(found[1]) == [
        "What there is of the class is taken: own-g6e.xlarge, 1 of 1 accelerators, by default/settled."
    ]


def test_who_has_nowhere_else_to_go_stays_and_is_told_first() -> None:
    only = replace(make.workload().rules, include=("p5.48xlarge", "own-*"))

    found = evaluate(fleet(2, rules=only), [*LADDER, owned("g6e.xlarge", 1)], NOW)

    assert found[1].decision.action is Action.KEEP
    assert found[1].decision.reasons[0].code is Code.POOL_TAKEN


@pytest.mark.parametrize("count", [1, 12])
def test_who_is_too_small_comes_before_whatever_the_others_save(count: int) -> None:
    """Ten cents an hour for each replica against 55 USD; twelve save more than ten times the dearest."""
    here = owned("g6e.xlarge", count, hourly="0.10")
    seen = make.observation(
        pool=make.pool_tokens(BY_NAME["g6.xlarge"]), device_bytes=make.L4.memory * 0.98, waiting=make.flat(20.0),
        preemptions=make.flat(50.0), requests_per_second=1.5, tpot_seconds=0.045, replicas=make.flat(count),
    )  # fmt: skip
    rules = make.workload().rules
    limits = replace(rules, include=(here.name, "g6.xlarge"), min_replicas=count, max_replicas=count)
    sick = make.world(seen, name="a-sick", on="g6.xlarge", replicas=count, rules=limits)
    saving = fleet(count, rules=replace(rules, include=(here.name, "p5.48xlarge")))

    alone = placed(evaluate([sick], [*LADDER, here], NOW))
    together = placed(evaluate([sick, *saving], [*LADDER, here], NOW))

    assert alone == [here.name]
    assert together == [here.name] + [""] * count


def test_a_pool_that_the_second_choice_would_fill_is_shared_too() -> None:
    classes = [*LADDER, owned("g6e.xlarge", 1, hourly="0.40"), owned("g6e.2xlarge", 1, hourly="0.45")]

    found = evaluate(fleet(3), classes, NOW)

    alone = placed(evaluate(fleet(1), LADDER, NOW))[0]
    assert sorted(placed(found)) == sorted(["own-g6e.xlarge", "own-g6e.2xlarge", alone])
    assert len(told(found[2])) == 2


def test_the_order_of_the_fleet_changes_nothing() -> None:
    worlds, classes = fleet(4), [*LADDER, owned("g6e.xlarge", 2)]

    forwards = placed(evaluate(worlds, classes, NOW))
    backwards = placed(evaluate(worlds[::-1], classes[::-1], NOW))[::-1]

    assert forwards == backwards


@pytest.mark.parametrize("commitment", [Commitment.ON_DEMAND, Commitment.SPOT])
def test_what_can_be_bought_is_no_pool(commitment: Commitment) -> None:
    bought = make.instance("more", commitment=commitment, nodes=3)

    assert pools([bought], []) == {}


def test_a_class_without_nodes_limits_nothing() -> None:
    assert pools([owned("g6e.xlarge", 0)], []) == {}
    assert placed(evaluate(fleet(2), [*LADDER, owned("g6e.xlarge", 0)], NOW)) == ["own-g6e.xlarge"] * 2


def test_more_than_the_nodes_have_is_never_left_over() -> None:
    """What stands there stands, whatever the count of nodes said a moment ago."""
    here = owned("g6e.xlarge", 1, held=5)

    found = pools([here], [make.workload(on=here, replicas=2)])["own-g6e.xlarge"]

    assert (found.accelerators, found.others, found.free) == (2, 0, 2)
