"""The operator's own metrics: their names are an interface, and what is unknown has no sample."""

from __future__ import annotations

from gpu_rightsizer.explain.samples import (
    HELP,
    PREFIX,
    Cycle,
    Sample,
    cycle_samples,
    deployment_samples,
    reliability_samples,
)
from tests.unit.explain.examples import TOLD, keep, named, park, resize, shared_node, unknown

WHO = {"namespace": "default", "name": "chat"}


def valued(samples: list[Sample]) -> dict[str, float]:
    return {
        each.name.removeprefix(PREFIX) + "".join(f" {v}" for k, v in each.labels.items() if k not in WHO): each.value
        for each in samples
    }


def test_a_proposal() -> None:
    told = valued(deployment_samples([resize()]))

    assert told["current_hourly_cost_usd"] == 55.04
    assert told["recommended_hourly_cost_usd"] == 1.006
    assert told["savings_recommended_usd_per_hour"] == 54.034
    assert told["oom_probability current"] == told["oom_probability recommended"] == 0.001
    assert told["coverage_ratio"] == 1.0
    assert told["deployments Resize"] == 1


def test_keep_costs_what_it_costs_and_saves_nothing() -> None:
    told = valued(deployment_samples([keep()]))

    assert told["recommended_hourly_cost_usd"] == told["current_hourly_cost_usd"]
    assert told["savings_recommended_usd_per_hour"] == 0.0
    assert "oom_probability recommended" not in told


def test_what_is_unknown_has_no_sample() -> None:
    assert "savings_recommended_usd_per_hour" not in valued(deployment_samples([unknown()]))


def test_only_savings_of_nodes_that_leave_are_counted() -> None:
    assert valued(deployment_samples([shared_node()]))["savings_recommended_usd_per_hour"] == 0.0


def test_every_action_is_counted_even_if_nobody_has_it() -> None:
    told = valued(deployment_samples([resize(), named(keep(), "other"), named(park(), "third")]))

    counted = {name: value for name, value in told.items() if name.startswith("deployments")}
    assert counted == {
        "deployments Resize": 1,
        "deployments ScaleToZero": 1,
        "deployments Tune": 0,
        "deployments Keep": 1,
        "deployments Unknown": 0,
    }


def test_series_are_unique() -> None:
    samples = deployment_samples([resize(), named(resize(), "other")])
    samples += reliability_samples(TOLD)
    samples += cycle_samples(Cycle(7, 1.5, 11, 20_000, {"Unavailable": 2, "Rejected": 0}), 2)

    keys = [(each.name, tuple(sorted(each.labels.items()))) for each in samples]
    assert len(set(keys)) == len(keys)


def test_the_reliability_diagram_counts_windows_at_each_stated_risk() -> None:
    told = valued(reliability_samples(TOLD))

    assert told == {
        "reliability_windows Tokens Steady": 200,
        "reliability_exceeded Tokens Steady 0.2": 40,
        "reliability_exceeded Tokens Steady 0.1": 20,
        "reliability_exceeded Tokens Steady 0.05": 10,
        "reliability_exceeded Tokens Steady 0.01": 2,
    }


def test_a_cycle() -> None:
    told = valued(cycle_samples(Cycle(7, 1.5, 11, 20_000, {"Unavailable": 2}), 3))

    assert told == {
        "cycle_duration_seconds_count": 7,
        "cycle_duration_seconds_sum": 1.5,
        "cycle_promql_queries": 11,
        "cycle_samples": 20_000,
        "cycle_deployments": 3,
        "errors_total Unavailable": 2,
    }


def test_every_metric_is_described_and_used() -> None:
    samples = deployment_samples([resize()]) + reliability_samples(TOLD)
    samples += cycle_samples(Cycle(1, 1.0, 1, 1, {"Unavailable": 0}), 1)

    assert {each.name for each in samples} == {PREFIX + name for name in HELP}
    assert all(each.help.endswith(".") for each in samples)
