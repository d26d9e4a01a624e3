"""Annotations: the line for people in the words of the API page, and the recommendation for programs."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from gpu_rightsizer.domain.finding import Code, found
from gpu_rightsizer.explain.annotations import (
    LONGEST_SUMMARY,
    MOST_BYTES,
    RECOMMENDATION,
    RECOMMENDATION_ID,
    SUMMARY,
    annotations_of,
    summary,
)
from gpu_rightsizer.explain.status import status, status_without_evaluation
from tests.builders import NOW, candidate, need, prediction, world
from tests.unit.explain.examples import (
    ALL,
    evaluated,
    grow,
    keep,
    park,
    resize,
    shared_node,
    tune,
    unknown,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_rightsizer.domain.world import Evaluation


def test_the_line_of_the_api_page() -> None:
    here = candidate("p5.48xlarge", predicted=prediction(oom_probability=0.0141))
    there = candidate("g6e.xlarge", predicted=prediction(oom_probability=0.0163))

    told = status(evaluated(world(), need(), here, there), NOW)

    assert summary(told) == (
        "p5.48xlarge x1 -> g6e.xlarge x1, saves $53.18/h (97%), OOM risk 1.6% in 30d (now 1.4%, model-based)"
    )


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (
            keep,
            (
                "g6.xlarge x1: keep, no cheaper class holds (configurations considered: 1), "
                "OOM risk 0.1% in 30d (model-based)"
            ),
        ),
        (unknown, "p5.48xlarge x1: unknown, no usable metrics for KvDemand (no series for these pods): pod-a"),
        (
            park,
            (
                "p5.48xlarge x1 -> 0 replicas, saves $55.04/h (100%), no request arrives, for at least 7d now; "
                "none in 100% of the window"
            ),
        ),
        (
            tune,
            "g6.xlarge x1: tune --max-num-seqs=18, OOM risk 8% in 30d (now 30%, model-based)",
        ),
        (
            grow,
            (
                "g6.xlarge x1 -> g6e.xlarge x1, too small now, costs $1.06/h more, "
                "OOM risk 0.1% in 30d (now 0.1%, model-based)"
            ),
        ),
        (
            shared_node,
            (
                "p5.48xlarge x1 -> g6e.xlarge x1, saves nothing until others leave its nodes, "
                "OOM risk 0.1% in 30d (now 0.1%, model-based)"
            ),
        ),
    ],
)
def test_each_action_has_its_line(build: Callable[[], Evaluation], line: str) -> None:
    assert summary(status(build(), NOW)) == line


def test_an_unknown_saving_is_not_claimed() -> None:
    told = status(evaluated(world(nodes=()), need(), candidate("p5.48xlarge"), candidate("g6e.xlarge")), NOW)

    assert "saving unknown" in summary(told)


def test_engine_arguments_that_change_are_in_the_line() -> None:
    there = candidate("g6e.xlarge", engine_args={"--max-model-len": "8192"})

    told = status(evaluated(world(), need(), candidate("p5.48xlarge"), there), NOW)

    assert summary(told).startswith("p5.48xlarge x1 -> g6e.xlarge x1 --max-model-len=8192, saves ")


@pytest.mark.parametrize("build", ALL)
def test_the_json_is_compact_and_says_its_schema_first(build: Callable[[], Evaluation]) -> None:
    told = status(build(), NOW)

    text = annotations_of(told)[RECOMMENDATION]

    assert text.startswith('{"schema":1,"action":"')
    assert ": " not in text.split('"reasons"')[0]
    assert json.loads(text) == {"schema": 1, **told["recommendation"]}


@pytest.mark.parametrize("build", ALL)
def test_the_id_is_that_of_the_status_and_the_line_is_one_line(build: Callable[[], Evaluation]) -> None:
    told = status(build(), NOW)

    written = annotations_of(told)

    assert written[RECOMMENDATION_ID] == told["recommendation"]["id"]
    assert written[SUMMARY].isprintable()
    assert len(written[SUMMARY]) <= LONGEST_SUMMARY


@pytest.mark.parametrize("build", ALL)
def test_a_status_read_back_in_another_order_annotates_the_same(build: Callable[[], Evaluation]) -> None:
    told = status(build(), NOW)

    read_back = json.loads(json.dumps(told, sort_keys=True))

    assert annotations_of(read_back) == annotations_of(told)


def test_without_room_for_it_the_recommendation_stands_in_the_status_alone() -> None:
    told = status(resize(), NOW)

    assert set(annotations_of(told, MOST_BYTES - 500)) == {SUMMARY, RECOMMENDATION_ID}
    assert set(annotations_of(told, 1000)) == {SUMMARY, RECOMMENDATION_ID, RECOMMENDATION}


def test_nothing_is_annotated_where_nothing_is_recommended() -> None:
    assert annotations_of(status_without_evaluation(Code.MODE_OFF, 1, NOW)) == {}


def test_long_names_do_not_break_the_line() -> None:
    there = candidate("g6e.xlarge")
    place = replace(there.configuration.instance, name="g" * 250)
    told = status(
        evaluated(
            world(),
            need(notes=(found(Code.CAVEAT, text="x"),)),
            candidate("p5.48xlarge"),
            replace(there, configuration=replace(there.configuration, instance=place), hourly=Decimal(1)),
        ),
        NOW,
    )

    assert len(summary(told)) <= LONGEST_SUMMARY
