"""Where an autoscaler owns the replicas its bounds are recommended; elsewhere what one would save is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.hardware import Commitment
from gpu_rightsizer.domain.readings import BlockSeries, MissingReason, Signal
from gpu_rightsizer.domain.workload import NodeShare, PlacementRules
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.explain.status import status
from gpu_rightsizer.explain.words import say
from tests import builders as make
from tests.builders import BY_NAME, LADDER, NOW

if TYPE_CHECKING:
    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.world import Evaluation, World

HPA = "HorizontalPodAutoscaler/chat"
L40S = make.L40S.memory * 0.98
DAY = make.series(np.where(np.arange(14 * 24) % 24 < 4, 1.0, 0.03))  # from noon to four, UTC


def times(by: float) -> BlockSeries:
    return replace(DAY, values=DAY.values * by)


def seen(requests_per_second: float, *, replicas: bool = True, **changes: Any) -> Observation:
    """Traffic of the busiest of four replicas on an L40S: four busy hours a day, little in the others."""
    plain = make.observation(
        device_bytes=L40S, pool=make.pool_tokens(BY_NAME["g6e.xlarge"]), tpot_seconds=0.025,
        kv_demand=times(requests_per_second * 4000), running=times(requests_per_second * 4),
        prompt_rate=times(requests_per_second * 800), generation_rate=times(requests_per_second * 200),
        requests=times(requests_per_second * 3600),
    )  # fmt: skip
    counted = replace(DAY, values=np.full_like(DAY.values, 4.0))
    return replace(plain, replicas=counted if replicas else plain.replicas, **changes)


def standing(observed: Observation, count: int = 4, on: str = "g6e.xlarge", **changes: Any) -> World:
    """One replica a node."""
    nodes = tuple(NodeShare(f"node-{i}", on, BY_NAME[on].accelerators, 1, 0) for i in range(count))
    return make.world(observed, on=on, replicas=count, nodes=nodes, **changes)


def decided(world: World) -> Evaluation:
    return evaluate([world], LADDER, NOW)[0]


def said(evaluation: Evaluation, *codes: Code) -> list[str]:
    return [say(one) for one in evaluation.decision.reasons if one.code in codes]


def advice(evaluation: Evaluation) -> dict[str, Any]:
    return dict(status(evaluation, NOW))["recommendation"]  # type: ignore[arg-type]


def test_bounds_are_recommended_where_an_autoscaler_owns_the_replicas() -> None:
    found = decided(standing(seen(14.0), replicas_owner=HPA))

    told, bounds = advice(found), found.decision.elastic
    assert bounds is not None
    assert found.decision.action is Action.RESIZE
    assert "replicas" not in told["target"]
    assert (told["elastic"]["minReplicas"], told["elastic"]["maxReplicas"]) == (min(bounds.least), bounds.most)
    assert told["brief"] == f"g6e.xlarge x{min(bounds.least)}-{bounds.most}"
    assert told["elastic"]["lateMinutesPerWeek"] <= 101  # the objective allows 1 % of a week
    assert found.decision.cost.saved_hourly is not None
    assert bounds.hourly < bounds.instead


def test_it_is_told_in_words() -> None:
    found = decided(standing(seen(14.0), replicas_owner=HPA))

    holds, setting, owner = (say(one) for one in found.decision.reasons[:3])
    assert holds == (
        "As many replicas as demand asks would hold: 1 to 24 on g6e.xlarge, $4.65/h on average instead of $7.44/h. Too "
        "few for at most 0 minutes a week, by a replay of its peaks with 6m until a new one serves."
    )
    assert setting == (
        "The autoscaler should aim at 20% of the KV cache in use, and let replicas go slowly: none within 1h after it "
        "was wanted, then at most one in 30m. Its least number, for each six hours from 00:00 UTC, set 6m ahead: 1, 1, "
        "3, 1 on working days, 1, 1, 3, 1 on weekends."
    )
    assert owner == "An autoscaler owns the replicas: HorizontalPodAutoscaler/chat. Set its bounds instead."
    assert advice(found)["elastic"]["windows"][2] == {"days": "Working", "from": "12:00", "minReplicas": 3}


def test_the_number_that_runs_now_changes_nothing() -> None:
    """An autoscaler moves it all day: neither the id nor the bounds may move with it."""
    few, many = (decided(standing(seen(14.0), count, replicas_owner=HPA)) for count in (2, 4))

    assert advice(few)["id"] == advice(many)["id"]
    assert advice(few)["elastic"] == advice(many)["elastic"]
    assert advice(few)["cost"] == advice(many)["cost"]


def test_without_the_number_of_the_past_no_bound_is_guessed() -> None:
    unknown = make.missing(Signal.REPLICAS, MissingReason.NO_SERIES)

    found = decided(standing(seen(1.0, replicas=False), replicas_owner=HPA, on="p5.4xlarge"))
    blind = decided(standing(replace(seen(1.0), replicas=unknown), replicas_owner=HPA))

    assert blind.decision.elastic is None
    assert "elastic" not in advice(blind)
    assert found.decision.action is not Action.UNKNOWN


def test_a_smaller_class_is_proposed_without_a_number_where_bounds_are_unknown() -> None:
    unknown = make.missing(Signal.REPLICAS, MissingReason.NO_SERIES)
    observed = make.observation(requests_per_second=0.5, replicas=unknown)

    found = decided(standing(observed, 2, "p5.4xlarge", replicas_owner=HPA))

    assert found.decision.action is Action.RESIZE
    assert "replicas" not in advice(found)["target"]
    assert all("replicas" not in each for each in advice(found)["alternatives"])
    assert said(found, Code.AUTOSCALER_OWNS_REPLICAS, Code.ELASTIC_UNKNOWN) == [
        "An autoscaler owns the replicas: HorizontalPodAutoscaler/chat. Set its bounds instead.",
        "Whether fewer replicas would do at times is not known.",
    ]


def test_where_nobody_scales_the_number_stays_and_the_saving_is_told() -> None:
    bounds = PlacementRules(min_replicas=1, max_replicas=8)

    found = decided(standing(seen(14.0), rules=bounds))

    fixed, elastic = found.decision.target, found.decision.elastic
    assert elastic is not None
    where = fixed.configuration.replicas if fixed else 4
    assert advice(found).get("target", {}).get("replicas", 4) == where
    assert elastic.hourly <= elastic.instead * 9 / 10
    needed = found.decision.reasons[3]
    assert say(needed) == (
        "Something has to set the number of replicas: a HorizontalPodAutoscaler or KEDA, by the share of the KV cache "
        "in use."
    )


def test_a_rollout_is_not_taken_for_twice_the_cost() -> None:
    """Old and new pods of one hour were not both paid for all of it."""
    plain = seen(14.0)
    counted = plain.replicas
    assert isinstance(counted, BlockSeries)
    twice = np.where(np.arange(len(counted.values)) % 24 == 20, 8.0, counted.values)

    calm, rolled = (
        decided(standing(replace(plain, replicas=replace(counted, values=values)), replicas_owner=HPA))
        for values in (counted.values, twice)
    )

    assert rolled.decision.cost.current_hourly == calm.decision.cost.current_hourly


def test_never_fewer_than_the_rules_allow() -> None:
    found = decided(standing(seen(14.0), replicas_owner=HPA, rules=PlacementRules(min_replicas=3, max_replicas=8)))

    assert found.decision.elastic is None or min(found.decision.elastic.least) >= 3


@pytest.mark.parametrize("days", [3, 6])
def test_less_than_a_week_promises_nothing(days: int) -> None:
    short = make.observation(requests_per_second=4.0, days=days, replicas=make.flat(4.0, days))

    assert decided(standing(short, replicas_owner=HPA)).decision.elastic is None


def test_a_slow_start_costs_more() -> None:
    quick, slow = (
        decided(
            standing(
                seen(14.0),
                replicas_owner=HPA,
                scale_to_zero=replace(make.workload().scale_to_zero, cold_start=timedelta(minutes=minutes)),
            )
        ).decision.elastic
        for minutes in (2, 40)
    )

    assert quick is not None
    assert slow is None or slow.hourly >= quick.hourly


def test_an_even_demand_has_nothing_to_gain() -> None:
    found = decided(standing(make.observation(requests_per_second=1.0), 1))

    assert found.decision.elastic is None
    assert not said(found, Code.ELASTIC_HOLDS, Code.AUTOSCALER_NEEDED)


def test_bounds_claim_of_a_pool_what_holds_the_peak() -> None:
    """Not what is allowed: that is seldom used."""
    like = BY_NAME["g6e.xlarge"]
    here = replace(
        make.instance("own", like.accelerator, 1, "1.00", commitment=Commitment.OWNED, nodes=7), held=4, name="own"
    )
    nodes = tuple(NodeShare(f"node-{i}", "own", 1, 1, 0) for i in range(4))
    scaled = make.world(seen(14.0), on=here, replicas=4, nodes=nodes, replicas_owner=HPA)
    others = [make.world(name=f"other-{i}") for i in range(5)]

    found = evaluate([scaled, *others], [*LADDER, here], NOW)

    bounds = found[0].decision.elastic
    assert bounds is not None
    assert bounds.most > bounds.at.configuration.replicas
    named = [each.decision.target.configuration.instance.name for each in found[1:] if each.decision.target]
    assert named.count("own") == 7 - bounds.at.configuration.replicas
