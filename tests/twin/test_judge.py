import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from testbed.twin.arrivals import DAY_S, Diurnal, Family, Steady
from testbed.twin.deployment import workload_of
from testbed.twin.fleet import Sizing, ground_truth, holds_on
from testbed.twin.hardware import CLASSES, ascending_price
from testbed.twin.judge import Objective, Placement, Trials, cheapest_that_holds, fails_within, holds, placements
from testbed.twin.population import random_life, random_twin, sizing_of
from testbed.twin.truth import PUBLISHED, draw
from tests.twin.builders import HOUR_S, LLAMA_70B, small_spec

TWIN = Path(__file__).parents[2] / "testbed" / "twin"


def _on(name: str, tp: int = 1) -> Placement:
    return Placement(CLASSES[name], tp)


def test_a_quiet_model_holds_on_a_small_class_and_a_busy_one_does_not() -> None:
    relaxed = Objective(ttft_p95_s=2.5, tpot_p95_s=0.1)
    quiet = workload_of(small_spec(family=Family(Steady(0.1)), objective=relaxed))
    busy = workload_of(small_spec(family=Family(Steady(2.0)), objective=relaxed))

    assert holds(quiet, _on("g6.xlarge")).ok
    verdict = holds(busy, _on("g6.xlarge"))
    assert not verdict.ok
    assert verdict.violation_share > 0.5
    assert verdict.worst[0].ttft_p95_s > 2.5
    assert "miss the objective" in verdict.why


def test_a_class_on_which_the_model_does_not_start_does_not_hold() -> None:
    verdict = holds(workload_of(small_spec(model=LLAMA_70B)), _on("g6e.xlarge"))

    assert (verdict.ok, verdict.oom, verdict.start_failure) == (False, True, "WeightsDoNotFit")


def test_an_out_of_memory_is_never_held_against_nothing() -> None:
    spec = small_spec(family=Family(Steady(0.3)), truth=PUBLISHED.with_spikes(450e3))

    small, large = (holds(workload_of(spec), _on(name)) for name in ("g6.xlarge", "p5.4xlarge"))

    assert small.oom
    assert not small.ok
    assert len(small.oom_times_s) == 1
    assert large.ok


def test_windows_with_few_requests_are_not_judged() -> None:
    sparse = workload_of(small_spec(family=Family(Steady(15 / 600))))

    verdict = holds(sparse, _on("g6.xlarge"))

    assert verdict.judged_windows < 12 * 6 * 0.3


def test_the_cheapest_is_what_trying_all_in_any_order_finds() -> None:
    workload = workload_of(small_spec(family=Family(Diurnal(0.6))))
    names = ("g5.xlarge", "g6.xlarge", "g6e.xlarge", "g6e.12xlarge", "p5.4xlarge", "g4dn.xlarge")

    found = cheapest_that_holds(workload, names)

    tried = [place for place in placements(reversed(ascending_price(names)), 1) if holds(workload, place).ok]
    assert found is not None
    assert found.node == min((place.node for place in tried), key=lambda node: node.hourly_usd)


def test_a_tighter_objective_never_gets_cheaper() -> None:
    prices = []
    for tpot in (0.1, 0.05, 0.03, 0.015):
        spec = small_spec(family=Family(Steady(0.3)), objective=Objective(2.5, tpot, 0.99))
        found = cheapest_that_holds(workload_of(spec))
        assert found is not None
        prices.append(found.node.hourly_usd)

    assert prices == sorted(prices)
    assert prices[-1] > prices[0]


@pytest.mark.parametrize("seed", [0, 13, 18])
def test_random_twins_are_what_they_are_drawn_as(seed: int) -> None:
    spec = random_twin(seed)
    truth = ground_truth(spec)

    assert spec == random_twin(seed)
    assert truth.sizing is {0: Sizing.OVER, 13: Sizing.RIGHT, 18: Sizing.UNDER}[seed]
    assert truth.cheapest_class is not None
    assert holds_on(spec, truth.cheapest_class, truth.cheapest_tp).ok
    assert holds_on(spec, spec.node_class, spec.tp).ok is truth.current_holds
    assert ground_truth(spec) == truth  # from disk


def test_the_truth_does_not_depend_on_how_it_is_shown() -> None:
    spec = small_spec(family=Family(Steady(0.2)), span_s=HOUR_S)

    shown = replace(spec, name="other", knobs=replace(spec.knobs, nan_share=0.5))

    assert ground_truth(spec, ("g6e.xlarge",)) == ground_truth(shown, ("g6e.xlarge",))


def test_hidden_figures_differ_between_twins_and_lie_around_the_published() -> None:
    factors = np.array([draw(seed).bandwidth_factor for seed in range(200)])

    assert draw(4) == draw(4)
    assert 0.03 < factors.std() < 0.09
    assert np.median(factors) == pytest.approx(1.0, abs=0.02)


def test_the_twin_and_the_product_share_no_code() -> None:
    for path in TWIN.glob("*.py"):
        imported = [
            name
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        ]
        assert not [name for name in imported if name.split(".")[0] == "gpu_rightsizer"], path


def test_giving_up_early_changes_no_verdict() -> None:
    spec = small_spec(family=Family(Diurnal(0.6)), span_s=3 * DAY_S, objective=Objective(1.0, 0.05, 0.99))
    workload = workload_of(spec)
    trials = Trials(workload)
    places = list(placements(ascending_price(("g5.xlarge", "g6.xlarge", "g6.12xlarge", "g6e.xlarge", "p5.4xlarge")), 1))

    held = [trials.hold(place) for place in places]

    assert held == [holds(workload, place).ok for place in places]
    assert any(held)
    assert any(fails_within(workload, place, 2 * DAY_S) for place in places)


@pytest.mark.parametrize("seed", [1_000_000, 1_000_013, 1_000_018])
def test_a_life_is_sized_by_its_history_alone(seed: int) -> None:
    life = random_life(seed)
    verdict = holds(workload_of(life.spec), Placement(life.spec.node, life.spec.tp, life.spec.replicas))

    assert life == random_life(seed)
    assert workload_of(life.spec).span_s == life.spec.span_s
    assert verdict.ok is (sizing_of(seed) is not Sizing.UNDER)


def test_lives_have_the_pasts_that_are_said() -> None:
    lives = [random_life(seed) for seed in range(1_000_000, 1_000_020)]

    for life in lives:
        assert (life.spec.hidden.spike_bytes_per_prompt_token > 0) is life.has_spikes
        for each in life.incidents:
            there, here = CLASSES[each.node_class], life.spec.node
            assert there == here or there.accelerator.fb_total_mib < here.accelerator.fb_total_mib
    assert 0 < sum(bool(life.incidents) or life.has_spikes for life in lives) < len(lives) / 2
