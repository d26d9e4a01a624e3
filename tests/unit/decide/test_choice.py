"""Which configuration is proposed, in which order, and what is shown beside it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from gpu_rightsizer.decide import decide
from gpu_rightsizer.decide.choice import MOST_ALTERNATIVES, MOST_REJECTED
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.decision import Candidate, Decision, Realisation
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.workload import NodeShare, Workload
from tests.builders import LADDER, NOW, candidate, need, prediction, too_slow, too_small, workload

if TYPE_CHECKING:
    from gpu_rightsizer.domain.need import Need

PRESENT = candidate("p5.48xlarge")


def decided(*candidates: Candidate, at: Workload | None = None, needs: Need | None = None) -> Decision:
    return decide(at or workload(), needs or need(), (PRESENT, *candidates), NOW)


def names(candidates: tuple[Candidate, ...]) -> list[str]:
    return [each.configuration.instance.name for each in candidates]


def codes(findings: tuple[Finding, ...]) -> list[Code]:
    return [each.code for each in findings]


def test_moves_to_the_cheapest_class_that_holds() -> None:
    decision = decided(candidate("p5.4xlarge"), candidate("g6e.xlarge"), too_small("g6.xlarge"))

    assert decision.action is Action.RESIZE
    assert decision.target == candidate("g6e.xlarge")
    assert decision.reasons[0] == found(
        Code.CHEAPER_CLASS_HOLDS,
        target="g6e.xlarge",
        target_hourly=Decimal("1.861"),
        current_hourly=Decimal("55.04"),
    )


def test_the_order_of_the_candidates_does_not_matter() -> None:
    options = (candidate("p5.4xlarge"), too_slow("g5.xlarge"), candidate("g6e.xlarge"), too_small("g6.xlarge"))

    assert decided(*options) == decided(*reversed(options))


def test_the_present_configuration_is_found_by_class_ranks_and_replicas() -> None:
    elsewhere = candidate("p5.48xlarge", replicas=2, hourly="110.08")

    decision = decide(workload(), need(), (elsewhere, PRESENT, candidate("g6e.xlarge")), NOW)

    assert decision.current == PRESENT


def test_without_the_present_configuration_nothing_can_be_said() -> None:
    decision = decide(workload(), need(), (candidate("g6e.xlarge"),), NOW)

    assert decision.action is Action.UNKNOWN
    assert decision.reasons[0].code is Code.CLASS_UNKNOWN


def test_a_class_without_a_price_is_never_proposed() -> None:
    free = replace(candidate("g6.xlarge"), hourly=None)

    decision = decided(free)

    assert decision.action is Action.KEEP
    assert decision.target is None


def test_what_runs_without_a_price_is_unknown_with_the_field_to_set() -> None:
    unpriced = replace(PRESENT, hourly=None)

    decision = decide(workload(), need(), (unpriced, candidate("g6e.xlarge")), NOW)

    assert decision.action is Action.UNKNOWN
    assert Code.PRICE_UNKNOWN in codes(decision.reasons)


def test_alternatives_are_other_classes_cheapest_first_and_cover_every_kind_of_accelerator() -> None:
    decision = decided(*(candidate(each) for each in LADDER if each.name not in {"p5.48xlarge", "p5en.48xlarge"}))

    kinds = {each.configuration.instance.accelerator.key for each in decision.alternatives}
    prices = [each.hourly for each in decision.alternatives if each.hourly is not None]
    assert len(decision.alternatives) == MOST_ALTERNATIVES
    assert "g4dn.xlarge" not in names(decision.alternatives)  # it is the target
    assert prices == sorted(prices)
    assert {"l4", "a10g", "l40s"} <= kinds


def test_one_class_has_one_alternative() -> None:
    twice = candidate("g6e.xlarge", "3.722", replicas=2)

    assert names(decided(candidate("g6.xlarge"), candidate("g6e.xlarge"), twice).alternatives) == ["g6e.xlarge"]


def test_rejected_shows_the_nearest_with_the_decisive_finding_first() -> None:
    both = replace(too_slow("g6.xlarge"), failures=(*too_slow("g6.xlarge").failures, *too_small("g6.xlarge").failures))

    decision = decided(candidate("g6e.xlarge"), both, too_slow("g5.xlarge"))

    assert names(decision.rejected) == ["g5.xlarge", "g6.xlarge"]
    assert codes(decision.rejected[1].failures) == [Code.MEMORY_TOO_SMALL, Code.TPOT_TOO_SLOW]


def test_rejected_leaves_out_what_would_be_dearer_than_the_answer() -> None:
    decision = decided(candidate("g6.xlarge"), too_slow("g6e.xlarge"), too_slow("g4dn.xlarge"))

    assert names(decision.rejected) == ["g4dn.xlarge"]


def test_rejected_is_bounded() -> None:
    assert len(decided(*(too_slow(each) for each in LADDER if each.name != "p5.48xlarge")).rejected) == MOST_REJECTED


def test_what_the_rules_forbid_stands_behind_what_the_load_forbids() -> None:
    forbidden = candidate("g5.xlarge", failures=(found(Code.NOT_ALLOWED, rule="exclude g5.*"),))

    assert names(decided(forbidden, too_slow("g4dn.xlarge")).rejected) == ["g4dn.xlarge", "g5.xlarge"]


def test_equal_prices_prefer_what_changes_least() -> None:
    tuned = candidate("g6e.xlarge", "1.861", engine_args={"--max-num-seqs": "64"})

    assert decided(tuned, candidate("g6e.xlarge")).target == candidate("g6e.xlarge")


def test_a_class_that_failed_is_never_proposed() -> None:
    failed = candidate("g6.xlarge", failures=(found(Code.FAILED_THERE_BEFORE),))

    assert decided(failed, candidate("g6e.xlarge")).target == candidate("g6e.xlarge")


def test_more_risk_than_allowed_is_rejected_although_it_holds_by_itself() -> None:
    risky = candidate("g6.xlarge", predicted=prediction(oom_probability=0.05))

    decision = decided(risky, candidate("g6e.xlarge"))

    assert decision.target == candidate("g6e.xlarge")
    assert codes(decision.rejected[0].failures) == [Code.MEMORY_RISK]


def test_only_the_risk_that_a_move_adds_counts() -> None:
    here = candidate("p5.48xlarge", predicted=prediction(oom_probability=0.046))
    there = candidate("g6.xlarge", predicted=prediction(oom_probability=0.05))

    assert decide(workload(), need(), (here, there), NOW).target == there


def test_risk_that_costs_more_than_is_saved_is_not_taken() -> None:
    objective = replace(workload().objective, oom_cost_usd=Decimal(10_000_000))
    risky = candidate("g6.xlarge", predicted=prediction(oom_probability=0.008))

    decision = decided(risky, at=workload(objective=objective))

    assert decision.action is Action.KEEP
    assert decision.reasons[0].code is Code.RISK_OUTWEIGHS_SAVING
    assert names(decision.rejected) == ["g6.xlarge"]


def test_the_next_class_is_taken_where_only_the_cheapest_is_too_risky_for_its_saving() -> None:
    objective = replace(workload().objective, oom_cost_usd=Decimal(10_000_000))
    risky = candidate("g6.xlarge", predicted=prediction(oom_probability=0.008))

    assert decided(risky, candidate("g6e.xlarge"), at=workload(objective=objective)).target == candidate("g6e.xlarge")


def test_a_node_that_leaves_saves_all_of_it() -> None:
    cost = decided(candidate("g6e.xlarge")).cost

    assert (cost.saved_hourly, cost.realisation) == (Decimal("53.179"), Realisation.NODE_LEAVES)


def test_a_node_that_others_use_saves_nothing_yet() -> None:
    decision = decided(candidate("g6e.xlarge"), at=workload(others=7))

    assert decision.action is Action.RESIZE
    assert (decision.cost.saved_hourly, decision.cost.realisation) == (Decimal(0), Realisation.NODE_STAYS)
    assert found(Code.NODE_STAYS, others=7, potential=Decimal("5.019")) in decision.reasons


def test_on_a_shared_node_only_our_share_counts_as_cost() -> None:
    # One of eight accelerators of $55.04/h is ours: $6.88/h. p5.4xlarge costs exactly that.
    decision = decided(candidate("p5.4xlarge"), at=workload(others=7))

    assert decision.action is Action.KEEP
    assert decision.reasons[0].code is Code.NOTHING_CHEAPER


def test_only_nodes_of_our_own_count_where_some_are_shared() -> None:
    nodes = (NodeShare("a", "p5.48xlarge", 8, 1, 0), NodeShare("b", "p5.48xlarge", 8, 1, 7))
    here = candidate("p5.48xlarge", "110.08", replicas=2)

    decision = decide(
        workload(replicas=2, nodes=nodes), need(), (here, candidate("g6e.xlarge", "3.722", replicas=2)), NOW
    )

    assert decision.cost.saved_hourly == Decimal("55.04") - Decimal("3.722")


def test_without_nodes_no_saving_is_claimed() -> None:
    decision = decided(candidate("g6e.xlarge"), at=workload(nodes=()))

    assert decision.action is Action.RESIZE
    assert (decision.cost.saved_hourly, decision.cost.realisation) == (None, Realisation.UNKNOWN)
