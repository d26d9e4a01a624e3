"""The status as it goes over the wire: valid, bounded, without floats, steady under noise."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

from gpu_rightsizer.api.status import InferenceDeploymentStatus
from gpu_rightsizer.domain.finding import Code, found
from gpu_rightsizer.domain.observation import Attribution
from gpu_rightsizer.domain.readings import MissingReason, Signal
from gpu_rightsizer.explain.recommendation import MOST_REASONS
from gpu_rightsizer.explain.status import status, status_without_evaluation
from tests.builders import NOW, candidate, incident, missing, need, nothing_observed, observation, too_slow, world
from tests.reviewed import reviewed
from tests.schemas import STATUS_SCHEMA
from tests.unit.explain.examples import ALL, evaluated, keep, named, resize, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gpu_rightsizer.domain.world import Evaluation


def leaves(value: object) -> Iterator[object]:
    match value:
        case dict():
            for each in value.values():
                yield from leaves(each)
        case list():
            for each in value:
                yield from leaves(each)
        case _:
            yield value


def condition(of: Mapping[str, object], kind: str) -> dict[str, object]:
    listed = of["conditions"]
    assert isinstance(listed, list)
    return next(each for each in listed if each["type"] == kind)


def part(of: Mapping[str, object], key: str) -> dict[str, object]:
    value = of[key]
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize("build", ALL)
def test_as_reviewed(build: Callable[[], Evaluation]) -> None:
    told = status(build(), NOW)

    assert told == reviewed(Path(__file__).parent / "statuses" / f"{build.__name__}.yaml", told)


@pytest.mark.parametrize("build", ALL)
def test_the_api_takes_it_without_losing_a_field(build: Callable[[], Evaluation]) -> None:
    told = status(build(), NOW)

    read = InferenceDeploymentStatus.from_wire(told).to_wire()

    assert set(paths(told)) == {path for path in paths(read) if path[1] not in ("", "[]", "{}")} | empty(told)


def paths(value: object, at: str = "") -> Iterator[tuple[str, object]]:
    """Every leaf with its path; empty lists and objects are leaves."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from paths(each, f"{at}.{key}")
    elif isinstance(value, list) and value:
        for number, each in enumerate(value):
            yield from paths(each, f"{at}[{number}]")
    else:
        yield at, str(value)


def empty(told: object) -> set[tuple[str, object]]:
    return {path for path in paths(told) if path[1] in ("", "[]", "{}")}


@pytest.mark.parametrize("build", ALL)
def test_the_schema_of_the_crd_takes_it(build: Callable[[], Evaluation]) -> None:
    jsonschema.Draft202012Validator(STATUS_SCHEMA).validate(status(build(), NOW))


@pytest.mark.parametrize("build", ALL)
def test_no_floats_no_booleans_and_small(build: Callable[[], Evaluation]) -> None:
    told = status(build(), NOW)

    assert all(isinstance(leaf, str) or type(leaf) is int for leaf in leaves(told))
    # Five alternatives, eight series and an incident are the most that is usual; a plain one has half of it.
    assert len(json.dumps(told, separators=(",", ":"))) <= (5120 if build is resize else 3072)


@pytest.mark.parametrize("build", ALL)
def test_the_same_facts_a_cycle_later_write_nothing(build: Callable[[], Evaluation]) -> None:
    first = status(build(), NOW)

    assert status(build(), NOW + timedelta(minutes=5), copy.deepcopy(first)) == first


def test_every_condition_is_there_from_first_sight_with_its_generation() -> None:
    told = status(unknown(), NOW)

    assert [each["type"] for each in told["conditions"]] == ["Advised", "Observed", "Ready"]
    assert {each["observedGeneration"] for each in told["conditions"]} == {1}
    assert [each["status"] for each in told["conditions"]] == ["Unknown", "False", "False"]


def test_a_transition_keeps_its_time_until_the_next_one() -> None:
    first = status(keep(), NOW)
    later = NOW + timedelta(hours=3)

    blind = need(shrink_holds=(found(Code.METRICS_MISSING),))
    gone = evaluated(world(nothing_observed(), on="g6.xlarge"), blind, candidate("g6.xlarge"))

    lost = status(gone, later, first)
    still = status(gone, later + timedelta(hours=1), lost)

    assert condition(first, "Observed")["lastTransitionTime"] == "2026-11-25T12:00:00Z"
    assert condition(lost, "Observed")["lastTransitionTime"] == "2026-11-25T15:00:00Z"
    assert condition(still, "Observed")["lastTransitionTime"] == "2026-11-25T15:00:00Z"


def test_a_store_that_does_not_answer_says_nothing_about_the_workload() -> None:
    silent = nothing_observed()
    failed = replace(silent, problems=(missing(Signal.KV_DEMAND, MissingReason.SOURCE_FAILED),))
    held = need(shrink_holds=(found(Code.METRICS_MISSING),))

    told = status(evaluated(world(failed), held, candidate("p5.48xlarge")), NOW)

    assert condition(told, "Observed")["status"] == "Unknown"


def test_unknown_is_absent_and_never_zero() -> None:
    told = status(unknown(), NOW)

    assert not {"kvDemandPeakTokens", "gpuActivityPeak", "ttft", "idleFor"} & set(part(told, "usage"))
    assert not {"risk", "predicted", "target", "alternatives"} & set(part(told, "recommendation"))
    assert "savedHourlyUSD" not in part(part(told, "recommendation"), "cost")


def test_what_is_missing_is_named_with_the_way_to_supply_it() -> None:
    assert part(status(unknown(), NOW), "usage")["missing"] == [
        {
            "signal": "KvDemand",
            "reason": "NoSeries",
            "message": "KvDemand: no series for these pods. Scrape the engine's `/metrics`.",
        },
        {
            "signal": "FramebufferUsed",
            "reason": "NoSeries",
            "message": "FramebufferUsed: no series for these pods. Scrape the DCGM exporter.",
        },
    ]


def test_the_series_that_told_it_are_named() -> None:
    seen = replace(
        resize().world.observation,
        attribution=Attribution(
            "engine: pod, dcgm: exported_pod",
            ("vllm:num_requests_running", "DCGM_FI_DEV_FB_USED", "acme_unheard_of"),
            2,
            3,
        ),
    )

    usage = part(status(evaluated(world(seen), need(), candidate("p5.48xlarge")), NOW), "usage")

    assert usage["series"] == [
        {"signal": "FramebufferUsed", "metric": "DCGM_FI_DEV_FB_USED", "labels": "exported_pod"},
        {"signal": "Running", "metric": "vllm:num_requests_running", "labels": "pod"},
    ]
    assert (usage["podsSeen"], usage["podsExpected"]) == (2, 3)


def test_lists_are_bounded_whatever_comes() -> None:
    notes = tuple(found(Code.CAVEAT, text=f"remark {number} " + "x" * 400) for number in range(40))
    past = tuple(incident(days_ago=day, message="OutOfMemoryError " * 100) for day in range(40))
    usual = resize().candidates
    hostile = replace(candidate("g6.xlarge"), notes=notes)

    told = status(evaluated(world(incidents=past), need(), *usual, hostile, too_slow("g5.2xlarge")), NOW)

    advice = part(told, "recommendation")
    assert len(advice["reasons"]) == MOST_REASONS
    assert len(advice["alternatives"]) <= 5
    assert len(advice["rejected"]) <= 5
    assert len(told["incidents"]) == 16
    assert told["incidents"][-1]["occurredAt"] == "2026-11-25T12:00:00Z"
    assert len(json.dumps(told)) < 24_000
    jsonschema.Draft202012Validator(STATUS_SCHEMA).validate(told)


def test_names_from_the_cluster_are_harmless() -> None:
    evil = "g6e\x1b[2J\u202e<script>.xlarge"
    there = candidate("g6e.xlarge")
    place = replace(there.configuration.instance, name=evil)
    renamed = replace(there, configuration=replace(there.configuration, instance=place))

    told = status(evaluated(world(), need(), candidate("p5.48xlarge"), renamed), NOW)

    assert all(leaf.isprintable() for leaf in leaves(told) if isinstance(leaf, str))


def test_objects_do_not_all_turn_their_day_at_once() -> None:
    ends = {part(status(named(resize(), f"llama-{n}"), NOW), "recommendation")["expiresAt"] for n in range(20)}

    assert len(ends) > 10


def test_a_recommendation_expires_between_one_and_two_days_ahead() -> None:
    expires = str(part(status(resize(), NOW), "recommendation")["expiresAt"])

    assert "2026-11-26T12:00:00Z" <= expires <= "2026-11-27T12:00:00Z"


def test_noise_on_the_edge_of_a_rounding_writes_nothing() -> None:
    first = status(resize(), NOW)
    noisy = json.loads(json.dumps(first).replace('"memoryNeed": "20Gi"', '"memoryNeed": "20.1Gi"'))
    assert noisy != first

    assert status(resize(), NOW, noisy) is noisy


def test_a_probability_may_waver_more_than_a_size_and_coverage_may_not() -> None:
    first = status(resize(), NOW)
    risky = json.loads(json.dumps(first).replace('"oomProbability": "0.1%"', '"oomProbability": "0.11%"'))
    sparse = json.loads(json.dumps(first).replace('"coverage": "100%"', '"coverage": "93%"'))

    assert status(resize(), NOW, risky) is risky
    assert status(resize(), NOW, sparse) == first


def test_money_is_never_noise() -> None:
    first = status(resize(), NOW)
    dearer = json.loads(json.dumps(first).replace('"targetHourlyUSD": "1.006"', '"targetHourlyUSD": "1.007"'))
    assert dearer != first

    assert status(resize(), NOW, dearer) == first


def test_counts_of_pods_are_never_noise() -> None:
    first = status(resize(), NOW)
    other = json.loads(json.dumps(first).replace('"podsSeen": 1', '"podsSeen": 2'))

    assert status(resize(), NOW, other) == first


def test_fields_that_the_api_server_fills_in_do_not_count() -> None:
    first = status(keep(), NOW)
    stored = json.loads(json.dumps(first)) | {"incidents": []}
    stored["recommendation"]["alternatives"] = []

    assert status(keep(), NOW, stored) is stored


def test_a_broken_previous_status_is_replaced() -> None:
    assert status(keep(), NOW, {"conditions": "nonsense"}) == status(keep(), NOW)


def test_figures_that_are_none_are_replaced() -> None:
    first = status(resize(), NOW)
    odd = json.loads(json.dumps(first).replace('"coverage": "100%"', '"coverage": "all"'))

    assert status(resize(), NOW, odd) == first


def test_mode_off_says_so_and_keeps_what_is_remembered() -> None:
    before = status(resize(), NOW)

    told = status_without_evaluation(Code.MODE_OFF, 4, NOW, before)

    assert told["observedGeneration"] == 4
    assert condition(told, "Ready")["reason"] == "ModeOff"
    assert told["incidents"] == before["incidents"]
    assert "recommendation" not in told


def test_a_spec_that_cannot_be_used_names_field_and_fix() -> None:
    told = status_without_evaluation(
        Code.INVALID_SPEC, 2, NOW, problems="`spec.slo.horizon` must be a duration, for example `30d`"
    )

    assert condition(told, "Ready")["message"] == (
        "The spec cannot be used: `spec.slo.horizon` must be a duration, for example `30d`."
    )


def test_the_window_is_that_of_the_data_and_moves_only_with_what_it_stands_for() -> None:
    then = replace(resize(), world=replace(resize().world, observation=observation(newest=NOW)))
    first = status(then, NOW)
    basis = part(part(first, "recommendation"), "basis")
    assert (basis["from"], basis["to"]) == ("2026-11-11T12:00:00Z", "2026-11-25T12:00:00Z")

    minutes = timedelta(minutes=5)
    later = replace(then, world=replace(then.world, observation=observation(newest=NOW + minutes)))
    assert status(later, NOW + minutes, first) is first


def test_ready_gives_the_reason_of_the_answer() -> None:
    told = condition(status(resize(), NOW), "Ready")

    assert (told["status"], told["reason"]) == ("True", "CheaperClassHolds")
    assert told["message"] == condition(status(resize(), NOW), "Advised")["message"]
