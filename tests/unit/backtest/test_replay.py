"""Everybody is judged on the same days, sees only those before, and the figures are what they say."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from gpu_rightsizer.backtest import report
from gpu_rightsizer.backtest.advice import advice
from gpu_rightsizer.backtest.demand import Demand
from gpu_rightsizer.backtest.ladder import class_ladder, relative_ladder
from gpu_rightsizer.backtest.plot import as_svg
from gpu_rightsizer.backtest.replay import OURS, Replay, Settings, replay
from gpu_rightsizer.backtest.trace import InvalidTrace
from gpu_rightsizer.decide.elastic import Rules

DAY = 1440


def _demand(rows: int = 3, days: int = 4, seed: int = 1) -> Demand:
    rng = np.random.default_rng(seed)
    season = 1 + 0.7 * np.sin(2 * np.pi * np.arange(days * DAY) / DAY)
    peaks = 1000 * season * rng.gamma(30, 1 / 30, (rows, days * DAY))
    return Demand(tuple(map(str, range(rows))), 0, peaks, np.zeros(peaks.shape, dtype=bool))


def _replayed(demand: Demand, **options: object) -> Replay:
    rules = Rules(lead=3, hold=10)
    settings = Settings(fit=2 * DAY, judge=DAY, rules=rules, **{"frontier": False, **options})  # type: ignore[arg-type]
    return replay(demand, lambda history: relative_ladder(history.max(axis=1), 0.05), settings)


@pytest.fixture(scope="module")
def swept() -> Replay:
    """One replay with every margin swept."""
    return _replayed(_demand(days=3), frontier=True)


def test_the_policies_of_the_issue_are_all_there_and_each_is_judged_in_every_window() -> None:
    result = _replayed(_demand())

    names = [v.name for v in result.verdicts]
    for wanted in (
        OURS, "2 x peak", "peak + 15 % (KRR)", "KRR with OOM data", "VPA target", "VPA upper", "P99.5 + 20 %",
        "Autopilot-like", "mean / 0.7", "P95 / 0.8", "HPA 0.8", "HPA 0.5", "llm-d-style saturation", "raw POT p=0.01",
        "clairvoyant static", "clairvoyant dynamic",
    ):  # fmt: skip
        assert wanted in names
    assert result.origins == 2
    assert {len(v.outcome.hourly) for v in result.verdicts} == {6}


def test_the_clairvoyants_never_violate_and_the_dynamic_one_costs_less() -> None:
    result = _replayed(_demand())
    verdicts = {v.name: v.outcome for v in result.verdicts}

    for name in ("clairvoyant static", "clairvoyant dynamic"):
        assert verdicts[name].violated.sum() == 0
    assert verdicts["clairvoyant dynamic"].hourly.sum() < verdicts["clairvoyant static"].hourly.sum()


def test_nobody_but_the_clairvoyants_changes_anything_for_a_future_not_yet_seen() -> None:
    demand = _demand(days=3)
    later = Demand(demand.names, 0, demand.peaks.copy(), demand.unknown)
    later.peaks[:, -60:] *= 50  # in the last hour of the only judged day

    one, other = _replayed(demand), _replayed(later)

    for before, after in zip(one.verdicts, other.verdicts, strict=True):
        if "clairvoyant" in before.name or before.outcome.rescalings.any():
            continue  # who scales reacts within that hour; test_elastic shows that he does not before it
        assert before.outcome.hourly == pytest.approx(after.outcome.hourly)


def test_unknown_minutes_judge_nobody() -> None:
    demand = _demand(days=3)
    demand.peaks[:, -100:] *= 100
    demand.unknown[:, -100:] = True

    result = _replayed(demand)

    assert {v.name: v.outcome.violated.sum() for v in result.verdicts}["2 x peak"] == 0


def test_a_deployment_without_a_request_in_its_history_is_counted_and_left_out() -> None:
    demand = _demand(days=3)
    demand.peaks[1, : 2 * DAY] = 0

    result = _replayed(demand)

    assert result.skipped == 1
    assert len(result.reference) == 2


def test_too_short_a_trace_says_what_to_give() -> None:
    with pytest.raises(InvalidTrace, match="give shorter --fit and --judge"):
        _replayed(_demand(days=2))


def test_later_windows_are_recalibrated_on_earlier_ones_only_when_there_are_a_hundred() -> None:
    assert _replayed(_demand(rows=49, days=5)).recalibrated == 0  # 98 before the last origin
    assert _replayed(_demand(rows=50, days=5)).recalibrated == 50


def test_json_has_the_promised_form(swept: Replay) -> None:
    content = json.loads(report.as_json(swept))

    first = content["policies"][0]
    assert first["name"] == "gpu-rightsizer"
    assert {"saving_vs_2x_peak", "cost_over_clairvoyant", "violation_minutes_per_week", "share_within_10_min"} < set(
        first
    )
    assert set(first["realised_over_stated"]) == {"0.2", "0.1", "0.05", "0.01"}
    assert content["policies"][3]["saving_vs_2x_peak"] == 0
    assert {p["name"]: p["realised_over_stated"] for p in content["policies"]}["VPA target"] == {}
    assert len(content["frontier"]["VPA target"]) == 14


def test_more_margin_costs_more_and_violates_less(swept: Replay) -> None:
    result = swept
    for name in ("VPA target", "P95 / 0.8"):
        costs = [v.outcome.hourly.sum() for v in result.frontier[name]]
        violations = [v.outcome.violated.sum() for v in result.frontier[name]]
        assert costs == sorted(costs)
        assert violations == sorted(violations, reverse=True)


def test_a_curve_is_read_between_its_points_and_not_beyond(swept: Replay) -> None:
    result = swept
    curve = result.frontier["P95 / 0.8"]
    points = [(float(v.outcome.violations_a_week().mean()), v.outcome.hourly.sum()) for v in curve]

    found = report.read_at(curve, points[3][0], result.reference)

    assert found == pytest.approx(points[3][1] / result.reference.sum())
    assert report.read_at(curve, 1e9, result.reference) is None


def test_the_plot_is_well_formed_and_shows_both_panels(swept: Replay) -> None:
    drawn = ET.fromstring(as_svg(swept))  # noqa: S314 - our own output

    texts = [each.text for each in drawn.iter() if each.tag.endswith("text")]
    assert "Cost against violations" in texts
    assert "Reliability" in texts
    assert "VPA target" in texts


def test_a_class_ladder_buys_whole_replicas_of_the_cheapest_mix_of_one_class() -> None:
    ladder = class_ladder(["s", "l"], [100.0, 1000.0], [1.0, 6.0], deployments=2)

    asked = np.array([250.0, 900.0])

    assert ladder.static_price(asked).tolist() == [3.0, 6.0]
    assert ladder.static_capacity(asked).tolist() == [300.0, 1000.0]


def test_advice_is_from_the_last_days_and_leaves_out_who_is_silent() -> None:
    demand = _demand(days=4)
    demand.peaks[1, 2 * DAY :] = 0
    settings = Settings(fit=2 * DAY, judge=DAY, rules=Rules(lead=3, hold=10))

    given = advice(demand, lambda history: relative_ladder(history.max(axis=1), 0.05), settings)

    assert [each.deployment for each in given] == ["0", "2"]
    assert all(1 <= each.least <= each.most and 0.3 <= each.target <= 0.9 for each in given)
    assert str(given[0]).startswith("0: ")
