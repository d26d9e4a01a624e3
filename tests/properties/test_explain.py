"""Laws of what is told: valid, bounded and harmless whatever comes in; the same words while only noise changes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_rightsizer.api.status import InferenceDeploymentStatus
from gpu_rightsizer.decide import decide
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.finding import Code, Finding
from gpu_rightsizer.domain.readings import BlockSeries, Measured
from gpu_rightsizer.domain.world import Evaluation
from gpu_rightsizer.explain import numbers
from gpu_rightsizer.explain.annotations import LONGEST_SUMMARY, annotations_of, summary
from gpu_rightsizer.explain.events import announcements
from gpu_rightsizer.explain.moments import day_of
from gpu_rightsizer.explain.status import status
from gpu_rightsizer.explain.text import safe
from gpu_rightsizer.explain.words import LONGEST, say
from tests.builders import NOW, options
from tests.unit.explain.examples import ALL, FINDINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu_rightsizer.domain.decision import Candidate, Prediction
    from gpu_rightsizer.domain.observation import Observation

EVALUATIONS = [build() for build in ALL]
NOISE = 0.001  # what two scrapes of the same thing may differ by
STRIPPED = st.text(max_size=400)


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from (leaf for key, each in value.items() for leaf in (key, *leaves(each)))
    elif isinstance(value, list):
        yield from (leaf for each in value for leaf in leaves(each))
    else:
        yield value


def shaken(value: object, dice: np.random.Generator) -> object:
    """The same reading a moment later: every figure off by at most `NOISE`."""
    if isinstance(value, BlockSeries):
        return replace(value, values=value.values * (1 + NOISE * dice.uniform(-1, 1, value.values.shape)))
    if isinstance(value, Measured):
        return replace(value, value=value.value * (1 + NOISE * dice.uniform(-1, 1)))
    if isinstance(value, float):
        return value * (1 + NOISE * dice.uniform(-1, 1))
    return value


def noisy_observation(seen: Observation, dice: np.random.Generator) -> Observation:
    names = [name for name in type(seen).__dataclass_fields__ if name != "coverage"]
    return replace(seen, **{name: shaken(getattr(seen, name), dice) for name in names})


def noisy_candidate(each: Candidate, dice: np.random.Generator) -> Candidate:
    told: Prediction = each.prediction
    changed = {name: shaken(getattr(told, name), dice) for name in type(told).__dataclass_fields__}
    for name in ("memory_need", "memory_available"):
        known = getattr(told, name)
        changed[name] = None if known is None else round(known * (1 + NOISE * dice.uniform(-1, 1)))
    return replace(each, prediction=replace(told, **changed))


def noisy(evaluation: Evaluation, seed: int) -> Evaluation:
    """The same workload, measured and predicted again."""
    dice = np.random.default_rng(seed)
    there = replace(evaluation.world, observation=noisy_observation(evaluation.world.observation, dice))
    decision = evaluation.decision
    tuned = noisy_candidate(decision.target, dice) if decision.target and decision.action is Action.TUNE else None
    offered = options(*(noisy_candidate(each, dice) for each in evaluation.candidates), tuned=tuned)
    return Evaluation(there, evaluation.need, offered, decide(there.workload, evaluation.need, offered, NOW))


@settings(deadline=None)
@given(st.sampled_from(EVALUATIONS), st.integers(0, 2**32 - 1), st.integers(0, 60))
def test_noise_and_time_write_nothing(evaluation: Evaluation, seed: int, minutes: int) -> None:
    first = status(evaluation, NOW)

    again = status(noisy(evaluation, seed), NOW + timedelta(minutes=minutes), first)

    assert again is first
    assert announcements("uid", again, first) == ()


def test_noise_would_often_write_something_without_the_memory_of_the_last_status() -> None:
    """The test above can fail: rounding alone does not absorb the noise."""
    told = [status(noisy(EVALUATIONS[0], seed), NOW) for seed in range(60)]

    assert len({json.dumps(each) for each in told}) > 1


@settings(deadline=None)
@given(st.sampled_from(EVALUATIONS), st.integers(0, 2**32 - 1))
def test_a_fleet_seen_many_times_settles(evaluation: Evaluation, seed: int) -> None:
    told = status(evaluation, NOW)
    first = told
    for turn in range(5):
        told = status(noisy(evaluation, seed + turn), NOW, told)

    assert told is first


@pytest.mark.parametrize("evaluation", EVALUATIONS, ids=[build.__name__ for build in ALL])
def test_a_change_that_is_no_noise_is_written(evaluation: Evaluation) -> None:
    first = status(evaluation, NOW)
    seen = evaluation.world.observation
    doubled = replace(seen, attribution=replace(seen.attribution, pods_seen=seen.attribution.pods_seen + 1))

    told = status(replace(evaluation, world=replace(evaluation.world, observation=doubled)), NOW, first)

    assert told != first


@settings(deadline=None)
@given(st.sampled_from(EVALUATIONS), STRIPPED, STRIPPED, STRIPPED)
def test_whatever_names_come_the_status_is_valid_bounded_and_harmless(
    evaluation: Evaluation, name: str, product: str, caveat: str
) -> None:
    def renamed(each: Candidate) -> Candidate:
        place = replace(each.configuration.instance, caveat=caveat)
        kind = replace(place.accelerator, product=product)
        return replace(each, configuration=replace(each.configuration, instance=replace(place, accelerator=kind)))

    needed = replace(evaluation.need, notes=(Finding(Code.CAVEAT, (("text", name),)),))
    options = tuple(renamed(each) for each in evaluation.candidates)
    workload = evaluation.world.workload
    told = status(Evaluation(evaluation.world, needed, options, decide(workload, needed, options, NOW)), NOW)

    InferenceDeploymentStatus.from_wire(told)
    assert all(isinstance(leaf, str) or type(leaf) is int for leaf in leaves(told))
    assert all(leaf.isprintable() for leaf in leaves(told) if isinstance(leaf, str))
    assert len(json.dumps(told)) < 24_000
    assert len(summary(told)) <= LONGEST_SUMMARY
    assert all(text.isprintable() for text in annotations_of(told).values())


@given(STRIPPED, st.integers(2, 200))
def test_safe_text_is_printable_short_and_stays_so(text: str, most: int) -> None:
    once = safe(text, most)

    assert once.isprintable()
    assert len(once) <= most
    assert safe(once, most) == once


@given(st.sampled_from(Code), st.data())
def test_a_sentence_stands_whatever_facts_are_unknown(code: Code, data: st.DataObject) -> None:
    facts = FINDINGS[code].facts
    known = data.draw(st.lists(st.sampled_from(facts), unique=True)) if facts else []

    text = say(Finding(code, tuple(known)))

    assert text
    assert len(text) <= LONGEST
    assert not set("[]{}") & set(text)


@given(st.floats(0, 1))
def test_a_probability_claims_no_certainty_it_has_not(share: float) -> None:
    text = numbers.probability(share)

    assert (text == "0%") == (share == 0)
    assert (text == "100%") == (share == 1)
    assert text.removesuffix("%").replace(".", "", 1).isdigit()


@given(st.floats(1e-6, 0.98), st.floats(1e-6, 0.98))
def test_probabilities_keep_their_order(one: float, other: float) -> None:
    a, b = (float(numbers.probability(each).removesuffix("%")) for each in sorted((one, other)))

    assert a <= b


@given(st.timedeltas(timedelta(0), timedelta(days=400)), st.timedeltas(timedelta(0), timedelta(days=400)))
def test_the_ladder_only_rises_and_never_claims_more_than_passed(one: timedelta, other: timedelta) -> None:
    shorter, longer = sorted((one, other))

    assert numbers.rung(shorter) <= numbers.rung(longer)
    assert numbers.rung(longer) <= longer


@given(st.text(), st.timedeltas(timedelta(0), timedelta(days=1000)))
def test_a_day_of_the_object_begins_at_most_a_day_ago(uid: str, passed: timedelta) -> None:
    moment = NOW + passed

    assert timedelta(0) <= moment - day_of(uid, moment) < timedelta(days=1)
    assert day_of(uid, day_of(uid, moment)) == day_of(uid, moment)
