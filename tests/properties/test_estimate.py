"""Laws of the estimators: of the demand's tail, and that what is unknown forbids shrinking."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_rightsizer.domain.need import IdleState, Tier
from gpu_rightsizer.domain.readings import BlockSeries, Missing, MissingReason, Signal
from gpu_rightsizer.estimate import estimate, exceedance, level
from gpu_rightsizer.estimate.tail import Peaks, fit_tails
from tests import builders as make
from tests import strategies as some

if TYPE_CHECKING:
    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.world import World

MONTH = 720.0
PROBABILITIES = st.floats(1e-4, 0.5)


@settings(deadline=None)
@given(some.block_series(), st.lists(st.floats(0.0, 1e8), min_size=2, max_size=20))
def test_exceedance_falls_with_capacity_and_is_a_probability(series: BlockSeries, capacities: list[float]) -> None:
    chances = exceedance(make.tail(series), np.sort(np.array(capacities)), MONTH)

    assert np.all((chances >= 0) & (chances <= 1))
    assert np.all(np.diff(chances) <= 1e-12)


@settings(deadline=None)
@given(some.block_series(), st.floats(0.5, 20.0), st.floats(1.0, 2000.0), st.floats(1.0, 2000.0))
def test_exceedance_grows_with_the_horizon(series: BlockSeries, times: float, one: float, other: float) -> None:
    tail = make.tail(series)
    shorter, longer = sorted((one, other))

    assert exceedance(tail, times * tail.peak, shorter) <= exceedance(tail, times * tail.peak, longer) + 1e-12


@settings(deadline=None)
@given(some.block_series(scale=1000.0), st.sampled_from((1e-3, 0.37, 7.0, 1e4)), st.floats(0.5, 5.0))
def test_the_unit_of_demand_does_not_matter(series: BlockSeries, unit: float, times: float) -> None:
    plain, scaled = make.tail(series), make.tail(replace(series, values=series.values * unit))

    assert exceedance(scaled, times * plain.peak * unit, MONTH) == pytest.approx(
        exceedance(plain, times * plain.peak, MONTH), rel=1e-6, abs=1e-12
    )


@settings(deadline=None)
@given(some.block_series(), PROBABILITIES)
def test_level_inverts_exceedance(series: BlockSeries, wanted: float) -> None:
    tail = make.tail(series)
    capacity = float(level(tail, wanted, MONTH))

    assert exceedance(tail, capacity, MONTH) <= wanted * (1 + 1e-6)
    just_below = exceedance(tail, capacity * (1 - 1e-9), MONTH)
    assert just_below >= wanted * (1 - 1e-3)


@settings(deadline=None)
@given(st.lists(some.block_series(days=5), min_size=2, max_size=4))
def test_a_fleet_is_fitted_as_its_members_are(fleet: list[BlockSeries]) -> None:
    """Below the number from which the fleet teaches the prior, company changes nothing."""
    together = fit_tails([Peaks(s) for s in fleet])

    for series, tail in zip(fleet, together, strict=True):
        alone = make.tail(series)
        assert np.allclose(tail.weight, alone.weight)
        assert np.allclose(tail.scale, alone.scale)
        assert tail.threshold == pytest.approx(alone.threshold)


@settings(max_examples=60, deadline=None)
@given(some.worlds())
def test_anything_can_be_estimated(world: World) -> None:
    need = estimate([world], make.NOW)[0]

    assert isinstance(need.tier, Tier)
    if need.tier in (Tier.T0, Tier.T3):
        assert need.shrink_holds


@settings(max_examples=40, deadline=None)
@given(
    some.observations(),
    st.sampled_from(("kv_demand", "running", "prompt_rate", "generation_rate", "kv_pool", "output_tokens")),
    st.sampled_from(MissingReason),
)
def test_a_missing_signal_forbids_shrinking_and_is_named(observed: Observation, name: str, why: MissingReason) -> None:
    signal = some._SIGNAL[name]
    change: dict[str, Any] = {name: Missing(signal, why)}
    need = estimate([make.world(replace(observed, **change))], make.NOW)[0]

    assert need.shrink_holds or need.memory_holds
    assert need.idleness.state is not IdleState.IDLE or name != "running"


@settings(max_examples=40, deadline=None)
@given(some.damaged_observations())
def test_idle_needs_two_engine_sources_and_coverage(observed: Observation) -> None:
    idle = estimate([make.world(observed)], make.NOW)[0].idleness

    if idle.state is IdleState.IDLE:
        assert isinstance(observed.requests, BlockSeries)
        assert isinstance(observed.running, BlockSeries)
        window = slice(-7 * 24, None)
        assert np.nansum(observed.requests.values[window]) == 0
        assert observed.requests.known()[window].mean() >= 0.9
        assert idle.idle_for is not None
        assert idle.idle_for >= timedelta(days=6)


@settings(deadline=None)
@given(st.sampled_from(list(MissingReason)))
def test_a_problem_of_an_essential_signal_holds_even_with_a_series(why: MissingReason) -> None:
    observed = make.observation(problems=(Missing(Signal.KV_DEMAND, why),))

    assert estimate([make.world(observed)], make.NOW)[0].shrink_holds
