"""What a change costs, and when its saving has paid for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from gpu_rightsizer.decide import decide
from gpu_rightsizer.decide.payback import REVIEW_USD, Payback, payback
from gpu_rightsizer.decide.situation import situation
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.decision import Candidate, Decision
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.explain.words import say
from tests.builders import NOW, candidate, need, objective, prediction, too_slow, workload


def decided(there: Candidate, hourly: str, *others: Candidate, oom_cost: int = 1000) -> Decision:
    slo = replace(objective(), oom_cost_usd=Decimal(oom_cost))
    return decide(
        workload(on="p5.4xlarge", objective=slo), need(), (candidate("p5.4xlarge", hourly), there, *others), NOW
    )


def back(there: Candidate, hourly: str = "6.88") -> Payback:
    here = situation(workload(on="p5.4xlarge"), need(), (candidate("p5.4xlarge", hourly), there), NOW)
    found = payback(here, there)
    assert found is not None
    return found


def unsure(chance: float | None, hourly: str = "1.861") -> Candidate:
    return candidate("g6e.xlarge", hourly, predicted=prediction(slo_miss_probability=chance))


def test_it_is_the_surge_the_review_and_the_chance_of_going_back() -> None:
    surge = Decimal("1.861") * (30 + 7 * 60 + 300) / 3600  # drain, node, cold start of the workload's own

    assert back(unsure(0.0)).change == pytest.approx(surge + REVIEW_USD)
    assert back(unsure(0.04)).change == pytest.approx((surge + REVIEW_USD + Decimal(40)) / Decimal("0.96"))


def test_where_latency_is_not_known_three_in_a_hundred_go_back() -> None:
    assert back(unsure(None)).change == back(unsure(0.03)).change


def test_it_pays_back_after_the_cost_over_the_saving() -> None:
    told = back(unsure(0.0))

    assert told.after == timedelta(hours=1) * float(told.change / Decimal("5.019"))


def test_a_saving_counts_while_the_load_is_likely_to_stay() -> None:
    told = back(unsure(0.0))

    assert told.lasts / timedelta(days=1) == pytest.approx(11.366, abs=0.001)  # (1 - exp(-0.08 x 30)) / 0.08
    assert float(told.worth) == pytest.approx(5.019 * 24 * 11.366 * 0.87184, rel=1e-4)


def test_a_move_says_how_soon() -> None:
    reasons = decided(unsure(0.0), "6.88").reasons

    assert say(reasons[1]) == "The change pays for itself within 5.1 h: it costs about 25 USD once."


def test_a_saving_that_does_not_pay_for_the_change_is_no_reason_to_move() -> None:
    decision = decided(unsure(0.04), "2.08")

    assert decision.action is Action.KEEP
    assert say(decision.reasons[0]) == (
        "The saving would not pay for the change: about 68 USD once (surge, review, the chance of going back), back "
        "after 13 days. A load stays as it is for 11 days on average, which is worth 52 USD."
    )


def test_the_dearer_the_failure_the_more_a_move_has_to_save() -> None:
    assert decided(unsure(0.04), "2.60").action is Action.RESIZE
    assert decided(unsure(0.04), "2.60", oom_cost=10_000).action is Action.KEEP


def test_a_surer_class_that_pays_back_is_better_than_a_cheaper_one_that_does_not() -> None:
    surer = candidate("g6e.2xlarge", "1.90", predicted=prediction(slo_miss_probability=0.0))

    assert decided(unsure(0.04), "2.12", surer).target == surer


def test_growing_asks_for_no_payback() -> None:
    decision = decide(workload(on="g6.xlarge"), need(), (too_slow("g6.xlarge"), unsure(0.5)), NOW)

    assert decision.action is Action.RESIZE
    assert Code.PAYS_BACK not in {each.code for each in decision.reasons}
