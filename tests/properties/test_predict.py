"""Laws of the candidates: unknown never shrinks, more is never worse, company and order change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.readings import Missing, MissingReason, Signal
from gpu_rightsizer.domain.units import Bytes
from gpu_rightsizer.domain.world import World
from gpu_rightsizer.estimate import estimate
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.predict import predict
from tests import builders as make
from tests import strategies as some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_rightsizer.domain.decision import Candidate, Configuration
    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.workload import Workload

PHYSICS = {
    Code.MEMORY_TOO_SMALL, Code.OVERLOADED, Code.TPOT_TOO_SLOW, Code.TTFT_TOO_SLOW, Code.CONTEXT_TOO_LONG,
}  # fmt: skip


def candidates_of(world: World) -> Sequence[Candidate]:
    return predict([world], estimate([world], make.NOW), make.LADDER)[0]


def totals(where: Configuration) -> tuple[float, ...]:
    """Memory, bandwidth and arithmetic of a replica; replicas."""
    device, count = where.instance.accelerator, where.accelerators
    figures = (where.instance.accelerator_memory, device.bandwidth_gbps or 0.0, device.tflops_bf16 or 0.0)
    return (*(f * count for f in figures), where.replicas)


@settings(max_examples=80, deadline=None)
@given(some.worlds())
def test_anything_can_be_predicted_and_probabilities_are_ones(world: World) -> None:
    for candidate in candidates_of(world):
        prediction = candidate.prediction
        for chance in (
            prediction.oom_probability, prediction.overload_probability, prediction.slo_miss_probability
        ):  # fmt: skip
            assert chance is None or 0.0 <= chance <= 1.0
        if prediction.tpot is not None and prediction.tpot_bound is not None:
            assert prediction.tpot_bound >= prediction.tpot > 0
        assert candidate.hourly is None or candidate.hourly > 0


@settings(max_examples=80, deadline=None)
@given(some.workloads(), some.damaged_observations())
def test_what_is_held_back_is_never_decided(workload: Workload, observed: Observation) -> None:
    """Whatever is missing: where the evidence forbids shrinking, nothing smaller or slower is the target."""
    world = World(workload, observed)
    evaluation = evaluate([world], make.LADDER, make.NOW)[0]
    decision, need = evaluation.decision, evaluation.need

    if need.shrink_holds and decision.action is Action.RESIZE:
        assert decision.target is not None
        assert decision.current is not None
        now = totals(decision.current.configuration)
        assert all(a >= b for a, b in zip(totals(decision.target.configuration), now, strict=True))
    if need.memory_holds and decision.action is Action.RESIZE and decision.current is not None:
        assert decision.target is not None
        there, here = decision.target.configuration.instance, decision.current.configuration.instance
        assert there.accelerator_memory >= here.accelerator_memory


@settings(max_examples=60, deadline=None)
@given(
    some.observation_arguments(),
    st.sampled_from(("kv_demand", "generation_rate", "kv_pool", "prompt_rate", "running")),
)
def test_one_missing_signal_stops_a_downsize(arguments: dict[str, Any], name: str) -> None:
    gone = Missing(some._SIGNAL[name], MissingReason.NO_SERIES)
    change: dict[str, Any] = {name: gone}
    decision = evaluate([make.world(make.observation(**arguments, **change))], make.LADDER, make.NOW)[0].decision

    if decision.action is Action.RESIZE:
        assert decision.target is not None
        assert decision.current is not None
        now = totals(decision.current.configuration)
        assert all(a >= b for a, b in zip(totals(decision.target.configuration), now, strict=True))


@settings(max_examples=40, deadline=None)
@given(some.observation_arguments(), st.floats(1.05, 2.0))
def test_more_memory_and_bandwidth_rules_out_nothing_by_physics(arguments: dict[str, Any], more: float) -> None:
    device = replace(
        make.L40S, key="larger", bandwidth_gbps=864 * more, memory=Bytes(round(make.L40S.memory * more)),
        tflops_bf16=362 * more, tflops_fp8=733 * more,
    )  # fmt: skip
    classes = (make.instance("plain", make.L40S), make.instance("larger", device))
    world = make.world(make.observation(**arguments))
    found = {
        c.configuration.instance.name: {f.code for f in c.failures} & PHYSICS
        for c in predict([world], estimate([world], make.NOW), classes)[0][1:]
    }

    assert found["plain"] or not found["larger"]


@settings(max_examples=30, deadline=None)
@given(some.observation_arguments(), st.floats(1.1, 4.0))
def test_a_higher_load_is_never_easier(arguments: dict[str, Any], times: float) -> None:
    observed = make.observation(**arguments, tpot=make.missing(Signal.TPOT))

    def scaled(observation: Observation) -> Observation:
        names = ("kv_demand", "running", "prompt_rate", "generation_rate", "requests")
        changes = {n: replace(getattr(observation, n), values=getattr(observation, n).values * times) for n in names}
        return replace(observation, **changes)

    light, heavy = (candidates_of(make.world(o))[1:] for o in (observed, scaled(observed)))

    for one, other in zip(light, heavy, strict=True):
        assert one.configuration.instance == other.configuration.instance
        a, b = one.prediction, other.prediction
        if a.tpot is not None and b.tpot is not None:
            assert b.tpot >= a.tpot * (1 - 1e-9)
        ruled_out = other.failures and other.failures[0].code is Code.OVERLOADED  # beyond what its chance can say
        if not ruled_out and a.overload_probability is not None and b.overload_probability is not None:
            # peaks between scrapes add a standard deviation, which is relatively less of a larger demand
            assert b.overload_probability >= a.overload_probability - 0.01


@settings(max_examples=20, deadline=None)
@given(st.lists(some.worlds(whole=True), min_size=2, max_size=4), st.permutations(list(make.LADDER)))
def test_company_and_order_change_nothing(worlds: list[World], shuffled: list[InstanceClass]) -> None:
    needs = estimate(worlds, make.NOW)
    together = predict(worlds, needs, make.LADDER)

    for world, need, candidates in zip(worlds, needs, together, strict=True):
        alone = predict([world], [need], shuffled)[0]
        ours = sorted(candidates, key=_place)
        theirs = sorted(alone, key=_place)
        for a, b in zip(ours, theirs, strict=True):
            assert a.configuration == b.configuration
            assert [f.code for f in a.failures] == [f.code for f in b.failures]
            assert a.hourly == b.hourly
            if a.prediction.oom_probability is not None:
                assert b.prediction.oom_probability == pytest.approx(a.prediction.oom_probability, rel=0.02, abs=1e-9)


def _place(candidate: Candidate) -> tuple[object, ...]:
    where = candidate.configuration
    return (where.instance.name, where.tensor_parallel, where.accelerators, where.replicas)
