"""The campaign's own logic: how a recommendation is followed, judged, kept and added up."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks import followed
from benchmarks.follow import Followed, cheaper_that_holds, demand_beyond, future_of, hourly, outcome, place_of, present
from benchmarks.followed_report import could_be_cheaper, goals, overload_interval
from benchmarks.verdicts import Said
from testbed.twin.arrivals import DAY_S, Family, Steady
from testbed.twin.hardware import CLASSES
from testbed.twin.judge import Objective, Placement, engine_on
from testbed.twin.physics import Engine
from testbed.twin.truth import PUBLISHED
from tests.twin.builders import small_spec

HOLDS = Followed(
    seed=1,
    twin="a model on a class",
    family="Steady",
    sizing="OverProvisioned",
    past="none",
    action="Resize",
    says="Resize g6e.xlarge",
    stated_overload=0.1,
    stated_slo_miss=0.0,
    stated_oom=0.07,
    ended="",
    beyond=False,
    missed=0.0,
    windows=4320,
    held=True,
    why="",
    present_usd=10.0,
    usd=2.0,
    cheapest_usd=None,
    cheapest="",
    against="",
    reasons="",
    seconds=1.0,
)
RELAXED = Objective(ttft_p95_s=2.5, tpot_p95_s=0.1, attainment=0.99)
SPEC = small_spec(family=Family(Steady(0.1)), objective=RELAXED, span_s=2 * DAY_S, node_class="p5.4xlarge")


def said(action: str, instance_class: str = "", replicas: int = 0) -> Said:
    return Said(action, instance_class, 1, replicas, {}, "", (), {})


# -- following -------------------------------------------------------------------------------------------------------


def test_what_is_followed_is_new_demand_of_the_same_process() -> None:
    future = future_of(SPEC)

    whole = SPEC.family.draw(SPEC.span_s + future.span_s, SPEC.seed)
    assert future.span_s == 30 * DAY_S
    assert (future.arrivals.time_s + SPEC.span_s).tolist() == pytest.approx(
        whole.time_s[whole.time_s >= SPEC.span_s].tolist()
    )


def test_where_it_runs_when_followed() -> None:
    assert place_of(SPEC, said("Keep")) == present(SPEC)
    assert place_of(SPEC, said("Unknown")) == present(SPEC)
    assert place_of(SPEC, said("ScaleToZero", "p5.4xlarge")) is None
    assert place_of(SPEC, said("Resize", "g6e.xlarge", 2)) == Placement(CLASSES["g6e.xlarge"], 1, 2)


def test_a_class_on_which_it_does_not_start_is_hard() -> None:
    there = outcome(future_of(replace(SPEC, model="meta-llama/Llama-3.3-70B-Instruct")), _on("g6e.xlarge"))

    assert (there.ended, there.held, there.beyond) == ("does not start: WeightsDoNotFit", False, False)


def test_an_out_of_memory_while_serving_is_hard() -> None:
    busy = replace(SPEC, family=Family(Steady(0.3)), truth=PUBLISHED.with_spikes(450e3))

    assert outcome(future_of(busy), _on("g6.xlarge")).ended.startswith("out of memory after")


def test_demand_beyond_the_pool_is_told_from_demand_within() -> None:
    future = future_of(SPEC)
    engine = engine_on(future, _on("g6.xlarge"))
    assert isinstance(engine, Engine)

    assert not demand_beyond(future, _on("g6.xlarge"), engine)
    assert demand_beyond(future, _on("g6.xlarge"), replace(engine, pool_tokens=2000))


def test_only_a_cheaper_placement_that_holds_is_cheaper() -> None:
    future = future_of(SPEC)

    best = cheaper_that_holds(future, SPEC, hourly(present(SPEC)))

    assert best is not None
    assert outcome(future, best).held
    assert cheaper_that_holds(future, SPEC, hourly(best)) is None


def test_replicas_share_whole_nodes() -> None:
    eight = CLASSES["p4d.24xlarge"]

    assert hourly(Placement(eight, 4, 2)) == float(eight.hourly_usd)
    assert hourly(Placement(eight, 4, 3)) == 2 * float(eight.hourly_usd)


def _on(name: str) -> Placement:
    return Placement(CLASSES[name], 1)


# -- keeping ---------------------------------------------------------------------------------------------------------


def test_what_was_followed_is_not_followed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def follows(seed: int) -> Followed:
        asked.append(seed)
        return replace(HOLDS, seed=seed)

    monkeypatch.setattr(followed, "follow", follows)
    path = tmp_path / "rows.jsonl"
    followed.run(path, range(3), 60)
    with path.open("a") as file:
        file.write("\n" + json.dumps(asdict(HOLDS))[:50])  # a process that was killed amid a line
    followed.run(path, range(5), 60)

    assert asked == [0, 1, 2, 3, 4]
    assert [row.seed for row in followed.read(path)] == [0, 1, 2, 3, 4]


def test_it_stops_when_the_time_is_up(tmp_path: Path) -> None:
    followed.run(tmp_path / "rows.jsonl", range(3), -1.0)

    assert followed.read(tmp_path / "rows.jsonl") == []


# -- adding up -------------------------------------------------------------------------------------------------------


def test_either_overload_counts_and_what_ended_hard_is_no_overload() -> None:
    assert HOLDS.stated == pytest.approx(0.1)
    assert replace(HOLDS, stated_slo_miss=0.5).stated == pytest.approx(0.55)
    assert replace(HOLDS, stated_overload=None).stated is None
    assert replace(HOLDS, beyond=True).overloaded
    assert replace(HOLDS, held=False).overloaded
    assert not replace(HOLDS, held=False, ended="does not start").overloaded


def test_the_cost_is_compared_where_both_hold() -> None:
    assert HOLDS.ratio == 1.0
    assert replace(HOLDS, cheapest_usd=1.0).ratio == 2.0
    assert replace(HOLDS, held=False, cheapest_usd=1.0).ratio is None
    assert replace(HOLDS, usd=0.0).ratio is None


def test_a_cheaper_class_holds_where_it_was_found_or_recommended() -> None:
    keeps = replace(HOLDS, action="Keep", usd=10.0)

    assert could_be_cheaper(HOLDS)
    assert not could_be_cheaper(keeps)
    assert could_be_cheaper(replace(keeps, cheapest_usd=1.0))
    assert not could_be_cheaper(replace(HOLDS, held=False))


def test_goals_are_met_by_what_is_good_and_missed_by_what_is_not() -> None:
    good = [replace(HOLDS, seed=seed, beyond=seed == 0) for seed in range(10)]  # 1 overloaded, 1 stated
    bad = [
        *(replace(HOLDS, seed=seed, beyond=seed < 4, cheapest_usd=1.0) for seed in range(10)),
        replace(HOLDS, action="Keep", usd=10.0, cheapest_usd=5.0),
        replace(HOLDS, action="Keep", usd=10.0, cheapest_usd=5.0),
        replace(HOLDS, ended="does not start", held=False),
    ]

    assert [goal.met for goal in goals(good)] == [True] * 5
    assert [goal.met for goal in goals(bad)] == [False] * 5


def test_the_interval_holds_the_ratio() -> None:
    rows = [replace(HOLDS, seed=seed, beyond=seed % 10 == 0) for seed in range(400)]

    low, high = overload_interval(rows)

    assert 0.5 < low < 1.0 < high < 1.5
