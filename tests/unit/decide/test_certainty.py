"""How sure a decision is, what past failures say, and what else is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest

from gpu_rightsizer.decide import decide
from gpu_rightsizer.decide.incidents import Cause, cause
from gpu_rightsizer.decide.situation import situation
from gpu_rightsizer.domain.decision import Candidate, Certainty, Decision
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.models import Confidence
from gpu_rightsizer.domain.need import (
    Hazard,
    Idleness,
    IdleState,
    Need,
    OverheadSource,
    PreallocatedMemory,
    Recalibration,
    RiskState,
    Tier,
    WeighedIncident,
)
from gpu_rightsizer.domain.readings import Signal
from gpu_rightsizer.domain.workload import Incident, OomKind, ScaleToZeroRules
from tests.builders import LLAMA_8B, NOW, candidate, incident, missing, need, prediction, settings, tail, workload

PRESENT = candidate("p5.48xlarge")
MEASURED = candidate("g6e.xlarge", predicted=prediction(measured_accelerator=True))


def calibrated(**changes: object) -> Need:
    memory = need().memory
    assert isinstance(memory, PreallocatedMemory)
    return need(
        memory=replace(
            memory, demand=replace(tail(), recalibration=Recalibration(24.0 * 30, np.linspace(0.01, 1.0, 100)))
        ),
        **changes,
    )


def decided(there: Candidate = MEASURED, needs: Need | None = None, **about: object) -> Decision:
    return decide(workload(**about), needs or calibrated(), (PRESENT, there), NOW)


def codes(findings: tuple[Finding, ...]) -> set[Code]:
    return {each.code for each in findings}


def test_calibrated_measured_and_verified_is_high() -> None:
    decision = decided()

    assert decision.certainty is Certainty.HIGH
    assert decision.risk_state is RiskState.CALIBRATED


def test_a_modelled_tail_is_at_most_medium() -> None:
    decision = decided(needs=need())

    assert (decision.certainty, decision.risk_state) == (Certainty.MEDIUM, RiskState.MODEL_BASED)
    assert Code.RISK_MODEL_BASED in codes(decision.reasons)


def test_a_risk_compared_less_far_ahead_than_the_horizon_is_at_most_medium_and_says_how_far() -> None:
    week = replace(tail(), recalibration=Recalibration(168.0, np.linspace(0.01, 1.0, 100)))
    memory = need().memory
    assert isinstance(memory, PreallocatedMemory)

    decision = decided(needs=need(memory=replace(memory, demand=week)))

    assert (decision.certainty, decision.risk_state) == (Certainty.MEDIUM, RiskState.MODEL_BASED)
    assert decision.compared_up_to == timedelta(days=7)
    assert found(Code.RISK_EXTRAPOLATED, compared=timedelta(days=7)) in decision.reasons
    assert Code.RISK_MODEL_BASED not in codes(decision.reasons)


def test_assumed_overhead_is_at_most_medium() -> None:
    memory = calibrated().memory
    assert isinstance(memory, PreallocatedMemory)

    decision = decided(needs=need(memory=replace(memory, overhead_source=OverheadSource.ASSUMED)))

    assert decision.certainty is Certainty.MEDIUM
    assert Code.OVERHEAD_ASSUMED in codes(decision.reasons)


def test_two_caps_do_not_add_up() -> None:
    memory = need().memory
    assert isinstance(memory, PreallocatedMemory)

    assert (
        decided(needs=need(memory=replace(memory, overhead_source=OverheadSource.ASSUMED))).certainty
        is Certainty.MEDIUM
    )


def test_an_unmeasured_accelerator_lowers() -> None:
    decision = decided(candidate("g6e.xlarge"))

    assert decision.certainty is Certainty.MEDIUM
    assert found(Code.ACCELERATOR_UNMEASURED, accelerator="NVIDIA L40S") in decision.reasons
    assert decided(candidate("g6e.xlarge"), need()).certainty is Certainty.LOW


def test_the_accelerator_it_already_has_needs_no_measured_point() -> None:
    assert decided(candidate("p5.4xlarge")).certainty is Certainty.HIGH


@pytest.mark.parametrize("tier", [Tier.T0, Tier.T1, Tier.T2, Tier.T3])
def test_thin_evidence_lowers(tier: Tier) -> None:
    decision = decided(needs=calibrated(tier=tier))

    assert decision.certainty is Certainty.MEDIUM
    assert found(Code.EVIDENCE_THIN, tier=tier.value) in decision.reasons


def test_a_recalled_model_lowers() -> None:
    assert decided(model=replace(LLAMA_8B, confidence=Confidence.RECALLED)).certainty is Certainty.MEDIUM


def test_unknown_speed_there_lowers() -> None:
    unknown = candidate("g6e.xlarge", predicted=prediction(measured_accelerator=True, tpot=None))

    assert decided(unknown).certainty is Certainty.MEDIUM


def test_unknown_is_low_and_says_what_is_missing_only() -> None:
    decision = decided(needs=need(shrink_holds=(found(Code.METRICS_MISSING),)))

    assert decision.certainty is Certainty.LOW
    assert Code.RISK_MODEL_BASED not in codes(decision.reasons)


def test_idleness_is_counted_and_needs_no_model() -> None:
    rules = ScaleToZeroRules(True, timedelta(minutes=30), timedelta(minutes=5))
    idle = Idleness(IdleState.IDLE, timedelta(days=9), 1.0)

    sure = decided(needs=need(idleness=idle), scale_to_zero=rules)
    thin = decided(needs=need(idleness=idle, tier=Tier.T1), scale_to_zero=rules)

    assert (sure.certainty, thin.certainty) == (Certainty.HIGH, Certainty.MEDIUM)


# past failures


def weighed(past: Incident, **about: object) -> Finding:
    decision = decided(incidents=(past,), **about)
    return next(each for each in decision.reasons if each.code is Code.INCIDENT_WEIGHED)


def test_it_says_when_where_at_what_demand_whether_it_still_applies_the_chances_and_what_staying_costs() -> None:
    past = incident(demand_tokens=120_000.0)

    finding = weighed(past)

    assert dict(finding.facts) == {
        "time": past.time,
        "instance_class": "g5.xlarge",
        "kind": "CudaServing",
        "cause": "Applies",
        "demand": 120_000.0,
        "horizon": timedelta(days=30),
        "first": "g6e.xlarge",
        "first_chance": 0.001,
        "second": "p5.48xlarge",
        "second_chance": 0.001,
        "staying": Decimal("53.179") * 730,
        "pays_for": pytest.approx(53.179 * 720 / 1000),
        "oom_cost": Decimal(1000),
        "added": 0.0,
    }


def test_the_weight_is_what_the_estimate_gave() -> None:
    past = incident()
    given = Hazard(incidents=(WeighedIncident(past.time, past.kind, past.instance_class, 0.18, None),))

    decision = decided(needs=calibrated(hazard=given), incidents=(past,))

    assert next(e for e in decision.reasons if e.code is Code.INCIDENT_WEIGHED)["weight"] == 0.18


def test_an_incident_is_no_veto() -> None:
    assert decided(incidents=(incident(on="g6e.xlarge"),)).target == MEASURED


def test_many_are_one_paragraph_about_the_latest() -> None:
    past = tuple(incident(days_ago=days) for days in (90, 10, 40, 20))

    (told,) = (each for each in decided(incidents=past).reasons if each.code is Code.INCIDENT_WEIGHED)

    assert (told["times"], told["time"]) == (4, past[1].time)


def test_what_weighs_most_is_told_even_if_it_is_older() -> None:
    past = (incident(days_ago=90), incident(days_ago=10, settings_hash="before"))
    given = Hazard(incidents=tuple(
        WeighedIncident(each.time, each.kind, each.instance_class, weight, None)
        for each, weight in zip(past, (0.7, 0.2), strict=True)
    ))  # fmt: skip

    decision = decided(needs=calibrated(hazard=given), incidents=past)

    assert next(e for e in decision.reasons if e.code is Code.INCIDENT_WEIGHED)["time"] == past[0].time


def test_host_memory_is_told_beside_device_memory() -> None:
    host = incident(OomKind.HOST, days_ago=5)

    (told,) = (each for each in decided(incidents=(incident(), host)).reasons if each.code is Code.INCIDENT_WEIGHED)

    assert (told["kind"], told["host_time"]) == ("CudaServing", host.time)


def test_who_stays_for_the_risk_alone_is_told_what_that_costs_and_where_it_breaks_even() -> None:
    risky = candidate("g6e.xlarge", failures=(found(Code.MEMORY_RISK),), predicted=prediction(oom_probability=0.08))
    here = candidate("p5.4xlarge", "1.90", predicted=prediction(oom_probability=0.01))

    decision = decide(workload(on="p5.4xlarge", incidents=(incident(),)), calibrated(), (here, risky), NOW)

    finding = next(each for each in decision.reasons if each.code is Code.INCIDENT_WEIGHED)
    assert (finding["first"], finding["second"], finding["instead"]) == ("p5.4xlarge", "g6e.xlarge", "g6e.xlarge")
    assert finding["break_even"] == pytest.approx(0.039 * 720 / 1000)
    assert finding["added"] == pytest.approx(0.07)


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        (incident(), Cause.APPLIES),
        (incident(settings_hash="before"), Cause.SETTINGS_CHANGED),
        (incident(OomKind.CUDA_STARTUP, settings_hash="before"), Cause.SETTINGS_CHANGED),
        (incident(model="meta-llama/Llama-3.3-70B-Instruct"), Cause.OTHER_MODEL),
        (incident(OomKind.HOST), Cause.HOST_MEMORY),
    ],
)
def test_whether_the_cause_still_applies(past: Incident, expected: Cause) -> None:
    assert cause(past, situation(workload(), need(), (PRESENT,), NOW)) is expected


def test_chunked_prefill_is_named_where_the_settings_have_changed_to_it() -> None:
    chunked = settings(chunked_prefill=True, explicit=frozenset({"chunked_prefill"}))
    here = situation(workload(engine_settings=chunked), need(), (PRESENT,), NOW)

    assert cause(incident(settings_hash="before"), here) is Cause.PREFILL_CHUNKED
    assert cause(incident(), here) is Cause.APPLIES


def test_of_an_unknown_model_the_cause_may_still_apply() -> None:
    here = situation(workload(model=missing(Signal.MODEL)), need(), (PRESENT,), NOW)

    assert cause(incident(), here) is Cause.APPLIES


def test_host_memory_has_no_chance_on_an_accelerator() -> None:
    assert "first_chance" not in dict(weighed(incident(OomKind.HOST)).facts)


def test_staying_costs_nothing_where_nothing_moves() -> None:
    decision = decide(workload(incidents=(incident(),)), calibrated(), (PRESENT,), NOW)

    finding = next(each for each in decision.reasons if each.code is Code.INCIDENT_WEIGHED)
    assert "staying" not in dict(finding.facts)


# the rest


def test_notes_are_passed_on_caveats_last_and_each_once() -> None:
    peak, caveat = found(Code.DEMAND_PEAK, tokens=9.0), found(Code.CAVEAT, text="zone b only")
    there = replace(MEASURED, notes=(caveat, peak))

    decision = decided(there, calibrated(notes=(peak,)))

    assert decision.reasons.count(peak) == 1
    assert decision.reasons[-1] == caveat


def test_a_caveat_of_the_class_is_told() -> None:
    place = replace(MEASURED.configuration.instance, caveat="no capacity in one zone")
    there = replace(MEASURED, configuration=replace(MEASURED.configuration, instance=place))

    assert decided(there).reasons[-1] == found(Code.CAVEAT, text="no capacity in one zone")
