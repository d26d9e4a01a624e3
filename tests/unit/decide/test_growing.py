"""Workloads that are too small: what is proposed, with how little evidence, and when nothing helps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpu_rightsizer.decide import decide
from gpu_rightsizer.decide.verdict import OUTGROWN
from gpu_rightsizer.domain.decision import Action
from gpu_rightsizer.domain.finding import Code, Finding, found
from tests.builders import NOW, candidate, need, prediction, too_slow, too_small, workload

QUEUE = found(Code.QUEUE_STANDS, share=0.2, largest=12.0)
HERE = workload(on="g6.xlarge")
OUTGROWN_HERE = too_slow("g6.xlarge")


def test_symptoms_ask_for_the_cheapest_class_that_holds_even_if_dearer() -> None:
    options = (OUTGROWN_HERE, too_slow("g5.xlarge"), candidate("p5.4xlarge"), candidate("g6e.xlarge"))

    decision = decide(HERE, need(symptoms=(QUEUE,)), options, NOW)

    assert decision.action is Action.RESIZE
    assert decision.target == candidate("g6e.xlarge")
    assert [each.code for each in decision.reasons[:2]] == [Code.UNDER_SIZED, Code.QUEUE_STANDS]
    assert decision.cost.saved_hourly is not None
    assert decision.cost.saved_hourly < 0


@pytest.mark.parametrize("code", sorted(OUTGROWN))
def test_a_prediction_that_the_present_class_fails_is_enough(code: Code) -> None:
    here = candidate("g6.xlarge", failures=(Finding(code),))

    assert decide(HERE, need(), (here, candidate("g6e.xlarge")), NOW).action is Action.RESIZE


@pytest.mark.parametrize(
    "code", [Code.NOT_ALLOWED, Code.NOT_PROVISIONABLE, Code.HOST_CPU_TOO_SMALL, Code.PRICE_UNKNOWN]
)
def test_a_class_that_may_not_be_chosen_again_is_not_too_small(code: Code) -> None:
    here = candidate("g6.xlarge", failures=(Finding(code),))

    assert decide(HERE, need(), (here, candidate("g6e.xlarge")), NOW).action is Action.KEEP


def test_without_symptoms_nothing_dearer_is_proposed() -> None:
    assert decide(HERE, need(), (candidate("g6.xlarge"), candidate("g6e.xlarge")), NOW).action is Action.KEEP


def test_partial_data_allows_growing_but_nothing_smaller_or_slower() -> None:
    needs = need(symptoms=(QUEUE,), shrink_holds=(found(Code.HISTORY_TOO_SHORT),))
    # g5.xlarge is faster but has a few MiB less memory; g4dn.xlarge is smaller.
    options = (OUTGROWN_HERE, candidate("g4dn.xlarge"), candidate("g5.xlarge"), candidate("g6e.xlarge"))

    assert decide(HERE, needs, options, NOW).target == candidate("g6e.xlarge")


def test_symptoms_that_contradict_the_prediction_ask_for_more_of_everything() -> None:
    weaker = candidate("g4dn.xlarge", "0.90")

    decision = decide(HERE, need(symptoms=(QUEUE,)), (candidate("g6.xlarge"), weaker, candidate("g6e.xlarge")), NOW)

    assert decision.target == candidate("g6e.xlarge")


def test_more_replicas_of_the_same_class_are_stronger() -> None:
    two = candidate("g6.xlarge", "1.61", replicas=2)

    decision = decide(HERE, need(symptoms=(QUEUE,)), (candidate("g6.xlarge"), two, candidate("g6e.xlarge")), NOW)

    assert (decision.action, decision.target) == (Action.RESIZE, two)


def test_less_memory_than_the_evidence_holds_is_no_way_out() -> None:
    needs = need(symptoms=(QUEUE,), memory_holds=(found(Code.ENGINE_METRICS_NEEDED),))
    options = (too_slow("g6e.xlarge"), candidate("g5.xlarge", "4.00"), candidate("p5.4xlarge"))

    assert decide(workload(on="g6e.xlarge"), needs, options, NOW).target == candidate("p5.4xlarge")


def test_limits_on_the_same_class_come_before_a_dearer_class() -> None:
    tuned = candidate("g6.xlarge", engine_args={"--max-num-seqs": "64"})

    decision = decide(HERE, need(symptoms=(QUEUE,)), (OUTGROWN_HERE, tuned, candidate("g6e.xlarge")), NOW)

    assert (decision.action, decision.target) == (Action.TUNE, tuned)
    assert Code.TUNE_REMOVES_RISK in {each.code for each in decision.reasons}


def test_nothing_holds_is_said_with_the_symptoms_and_the_nearest() -> None:
    decision = decide(
        HERE, need(symptoms=(QUEUE,)), (OUTGROWN_HERE, too_slow("g6e.xlarge"), too_small("g5.xlarge")), NOW
    )

    assert decision.action is Action.KEEP
    assert [each.code for each in decision.reasons[:2]] == [Code.NOTHING_HOLDS, Code.QUEUE_STANDS]
    assert {each.configuration.instance.name for each in decision.rejected} == {"g6e.xlarge", "g5.xlarge"}


def test_the_failure_of_the_present_class_is_among_the_reasons() -> None:
    decision = decide(HERE, need(), (OUTGROWN_HERE, candidate("g6e.xlarge")), NOW)

    assert OUTGROWN_HERE.failures[0] in decision.reasons


def test_limits_remove_a_risk_that_nothing_else_is_wrong_with() -> None:
    here = candidate("g6.xlarge", predicted=prediction(oom_probability=0.08))
    tuned = candidate(
        "g6.xlarge",
        engine_args={"--max-num-seqs": "64"},
        predicted=prediction(oom_probability=0.004),
    )

    decision = decide(HERE, need(), (here, tuned, candidate("g6e.xlarge")), NOW)

    assert (decision.action, decision.target) == (Action.TUNE, tuned)
    assert decision.reasons[0] == found(Code.TUNE_REMOVES_RISK, arguments="--max-num-seqs=64", before=0.08, after=0.004)


def test_limits_that_leave_the_risk_are_not_worth_a_restart() -> None:
    here = candidate("g6.xlarge", predicted=prediction(oom_probability=0.08))
    tuned = candidate("g6.xlarge", engine_args={"--max-num-seqs": "200"}, predicted=prediction(oom_probability=0.05))

    assert decide(HERE, need(), (here, tuned), NOW).action is Action.KEEP


def test_limits_are_not_proposed_on_missing_data() -> None:
    here = candidate("g6.xlarge", predicted=prediction(oom_probability=0.08))
    tuned = candidate("g6.xlarge", engine_args={"--max-num-seqs": "64"})
    needs = need(shrink_holds=(found(Code.METRICS_INCOMPLETE),))

    assert decide(HERE, needs, (here, tuned), NOW).action is Action.UNKNOWN


def test_a_dearer_class_is_no_answer_to_a_price() -> None:
    here = replace(candidate("g6.xlarge"), hourly=None)

    assert decide(HERE, need(), (here, candidate("g6e.xlarge")), NOW).action is Action.UNKNOWN


@pytest.mark.parametrize(("probability", "action"), [(0.034, Action.KEEP), (0.6, Action.RESIZE)])
def test_an_unlikely_overload_without_any_symptom_asks_for_nothing_dearer(probability: float, action: Action) -> None:
    here = candidate("g6.xlarge", failures=(found(Code.OVERLOADED, probability=probability),))

    assert decide(HERE, need(), (here, candidate("g6e.xlarge")), NOW).action is action
