"""Workloads that are too small: what is proposed, with how little evidence, and when nothing helps."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from gpu_rightsizer.decide import decide
from gpu_rightsizer.decide.verdict import OUTGROWN
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.decision import Candidate, Decision
from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.need import Hazard, Load, WeighedIncident
from gpu_rightsizer.domain.workload import OomKind
from tests.builders import NOW, candidate, need, options, prediction, settings, too_slow, too_small, workload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpu_rightsizer.domain.options import Change
    from gpu_rightsizer.domain.workload import Workload

QUEUE = found(Code.QUEUE_STANDS, share=0.2, largest=12.0)
HERE = workload(on="g6.xlarge")
OUTGROWN_HERE = too_slow("g6.xlarge")


def test_symptoms_ask_for_the_cheapest_class_that_holds_even_if_dearer() -> None:
    offered = (OUTGROWN_HERE, too_slow("g5.xlarge"), candidate("p5.4xlarge"), candidate("g6e.xlarge"))

    decision = decide(HERE, need(symptoms=(QUEUE,)), offered, NOW)

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
    offered = (OUTGROWN_HERE, candidate("g4dn.xlarge"), candidate("g5.xlarge"), candidate("g6e.xlarge"))

    assert decide(HERE, needs, offered, NOW).target == candidate("g6e.xlarge")


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
    offered = (too_slow("g6e.xlarge"), candidate("g5.xlarge", "4.00"), candidate("p5.4xlarge"))

    assert decide(workload(on="g6e.xlarge"), needs, offered, NOW).target == candidate("p5.4xlarge")


def test_a_batch_that_the_cache_holds_comes_before_a_dearer_class() -> None:
    preempting = found(Code.PREEMPTING, share=0.2, count=900)
    here = options(OUTGROWN_HERE, candidate("g6e.xlarge"), tuned=candidate("g6.xlarge"))

    decision = decide(HERE, need(symptoms=(preempting,)), here, NOW)

    assert decision.action is Action.TUNE
    assert decision.target is not None
    assert decision.target.configuration.engine_args == {"--max-num-seqs": "18"}  # 150k tokens, 8192 each
    assert [each.code for each in decision.reasons[:3]] == [Code.UNDER_SIZED, Code.TUNE_REMOVES_RISK, Code.PREEMPTING]
    assert {each.configuration.instance.name for each in decision.alternatives} == {"g6e.xlarge"}


def test_a_queue_is_not_shortened_by_a_smaller_batch() -> None:
    here = options(OUTGROWN_HERE, candidate("g6e.xlarge"), tuned=candidate("g6.xlarge"))

    assert decide(HERE, need(symptoms=(QUEUE,)), here, NOW).action is Action.RESIZE


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


RISKY = candidate("g6.xlarge", predicted=prediction(oom_probability=0.2))  # 7.8 % of it nothing can change
SAFER = candidate("g6.xlarge", predicted=prediction(oom_probability=0.08, ttft_bound=0.4))
BUSY = Load(1.0, 40.0, 800.0, 200.0, 900.0)  # more at once than the longest requests that fit


def tuned(to: Candidate, *, about: Workload = HERE, **needs: Any) -> Decision:
    return decide(about, need(**needs), options(RISKY, candidate("g6e.xlarge"), tuned=to), NOW)


def arguments(decision: Decision) -> Mapping[str, str]:
    return decision.target.configuration.engine_args if decision.target else {}


def test_limits_remove_a_risk_that_nothing_else_is_wrong_with() -> None:
    decision = tuned(SAFER)

    assert decision.action is Action.TUNE
    assert decision.reasons[0] == found(
        Code.TUNE_REMOVES_RISK,
        arguments="--max-num-seqs=18",
        before=0.2,
        after=0.08,
        ttft=0.4,
        hardware="g6e.xlarge",
        more=Decimal("1.0562"),
    )
    assert decision.cost.saved_hourly == 0


def test_limits_that_leave_half_of_it_are_not_worth_a_restart() -> None:
    assert tuned(candidate("g6.xlarge", predicted=prediction(oom_probability=0.14))).action is Action.KEEP


def test_limits_that_would_miss_the_objective_are_not_proposed() -> None:
    assert tuned(replace(SAFER, failures=(found(Code.TTFT_TOO_SLOW),))).action is Action.KEEP


def test_a_batch_smaller_than_ever_seen_is_not_proposed() -> None:
    assert tuned(SAFER, load=BUSY).action is Action.KEEP


def test_what_physics_doubts_as_it_is_does_not_count_against_limits_that_make_it_no_slower() -> None:
    def otherwise(changes: Sequence[Change]) -> list[Candidate | None]:
        late = (found(Code.TPOT_TOO_SLOW),)
        return [replace(SAFER, configuration=each.where, failures=late) for each in changes]

    here = replace(options(RISKY, candidate("g6e.xlarge")), otherwise=otherwise)

    assert decide(HERE, need(), here, NOW).action is Action.TUNE


def test_an_argument_of_the_users_own_is_named() -> None:
    own = settings(max_num_seqs=200, explicit=frozenset({"max_num_seqs"}))

    assert tuned(SAFER, about=workload(on="g6.xlarge", engine_settings=own)).reasons[0]["own"] == "--max-num-seqs=200"


def test_another_engine_has_other_limits() -> None:
    assert tuned(SAFER, about=workload(on="g6.xlarge", engine=EngineType.SGLANG)).action is Action.KEEP


@pytest.mark.parametrize(
    ("chunked", "expected"),
    [(True, {"--max-num-batched-tokens": "2048"}), (False, {"--gpu-memory-utilization": "0.85"})],
)
def test_events_outside_the_cache_ask_for_smaller_steps_where_prompts_are_chunked(
    chunked: bool,
    expected: dict[str, str],
) -> None:
    told = settings(max_num_batched_tokens=8192, chunked_prefill=chunked)
    past = WeighedIncident(NOW, OomKind.CUDA_SERVING, "g6.xlarge", 1.0, None)

    decision = tuned(
        SAFER,
        about=workload(on="g6.xlarge", engine_settings=told),
        hazard=Hazard(incidents=(past,)),
        load=BUSY,
    )

    assert arguments(decision) == expected


def test_limits_are_not_proposed_on_missing_data() -> None:
    assert tuned(SAFER, shrink_holds=(found(Code.METRICS_MISSING),)).action is Action.UNKNOWN


def test_a_dearer_class_is_no_answer_to_a_price() -> None:
    here = replace(candidate("g6.xlarge"), hourly=None)

    assert decide(HERE, need(), (here, candidate("g6e.xlarge")), NOW).action is Action.UNKNOWN


@pytest.mark.parametrize(("probability", "action"), [(0.034, Action.KEEP), (0.6, Action.RESIZE)])
def test_an_unlikely_overload_without_any_symptom_asks_for_nothing_dearer(probability: float, action: Action) -> None:
    here = candidate("g6.xlarge", failures=(found(Code.OVERLOADED, probability=probability),))

    assert decide(HERE, need(), (here, candidate("g6e.xlarge")), NOW).action is action
