"""The id changes exactly when what would be done changes."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from gpu_rightsizer.domain.finding import Code, found
from gpu_rightsizer.domain.workload import PodRef
from gpu_rightsizer.explain.identity import recommendation_id, template_hash
from tests.builders import NOW, candidate, need, prediction, world
from tests.unit.explain.examples import ALL, evaluated, named, resize

if TYPE_CHECKING:
    from gpu_rightsizer.domain.world import Evaluation

PRESENT = candidate("p5.48xlarge")


def of(evaluation: Evaluation, **more: int) -> str:
    return recommendation_id(evaluation.world.workload, evaluation.decision, **more)


def moving(name: str = "g6e.xlarge", **where: object) -> Evaluation:
    return evaluated(world(), need(), PRESENT, candidate(name, "1.00", **where))


def pod(name: str, template: str, minutes_ago: int) -> PodRef:
    return PodRef(name, f"uid-{name}", "node-0", True, NOW - timedelta(minutes=minutes_ago), 0, template)


def test_26_lower_case_base32_characters() -> None:
    assert re.fullmatch("[a-z2-7]{26}", of(resize()))


def test_the_evidence_is_not_in_it() -> None:
    surer = evaluated(
        world(),
        need(notes=(found(Code.DEMAND_PEAK, tokens=9.0),)),
        candidate("p5.48xlarge", predicted=prediction(oom_probability=0.02)),
        candidate("g6e.xlarge", "1.00", predicted=prediction(oom_probability=0.0042)),
        candidate("g5.xlarge", "1.01"),
    )

    assert of(surer) == of(moving())


def test_everything_that_would_be_done_differently_is_in_it() -> None:
    others = [
        moving(),
        moving("g5.xlarge"),
        moving(replicas=2),
        moving(tensor_parallel=2, accelerators=2),
        moving(engine_args={"--max-num-seqs": "64"}),
        moving(engine_args={"--max-num-seqs": "65"}),
        named(moving(), "another"),
        evaluated(world(settings_hash="other"), need(), PRESENT, candidate("g6e.xlarge", "1.00")),
    ]

    assert len({of(each) for each in others}) == len(others)


def test_each_action_has_another() -> None:
    assert len({of(build()) for build in ALL}) == len(ALL)


def test_the_policy_and_a_spent_issue_change_it() -> None:
    assert len({of(resize()), of(resize(), policy_generation=1), of(resize(), issue=1), of(resize(), issue=2)}) == 4


def test_an_approval_does_not_fit_again_after_going_back_and_forth() -> None:
    assert of(moving(), issue=0) != of(moving(), issue=2)


def test_the_order_of_arguments_does_not_matter() -> None:
    one = moving(engine_args={"--max-num-seqs": "64", "--max-model-len": "8192"})
    other = moving(engine_args={"--max-model-len": "8192", "--max-num-seqs": "64"})

    assert of(one) == of(other)


def test_fields_cannot_be_shifted_into_each_other() -> None:
    one = moving(engine_args={"--a": "1", "--b": "2"})
    other = moving(engine_args={"--a": '1","--b":"2'})

    assert of(one) != of(other)


def test_the_template_is_that_of_the_pods_that_started_last() -> None:
    old, new = pod("a", "old", 60), pod("b", "new", 5)
    workload = world().workload

    assert template_hash(replace(workload, pods=(new, old))) == "new"
    assert template_hash(replace(workload, pods=(old, new))) == "new"
    assert template_hash(replace(workload, pods=())) == ""


def test_a_new_revision_changes_it() -> None:
    before, after = moving(), moving()
    after = replace(
        after,
        world=replace(after.world, workload=replace(after.world.workload, pods=(pod("b", "new", 5),))),
    )

    assert of(before) != of(after)
