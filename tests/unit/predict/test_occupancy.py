"""How a peak of requests grows where each stays longer, against the Poisson law and against simulated arrivals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpu_rightsizer.domain.readings import Measured
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.predict.occupancy import peak_growth
from tests.builders import LADDER, NOW, flat, observation, world


def growth(peak: float, here: float, there: float) -> float:
    return float(peak_growth(np.array([peak]), np.array([here]), np.array([there]))[0])


def beyond(count: float, mean: float) -> float:
    """Log P(a Poisson count > `count`)."""
    first = math.floor(count) + 1
    terms = [k * math.log(mean) - mean - math.lgamma(k + 1) for k in range(first, first + 200)]
    return max(terms) + math.log(sum(math.exp(each - max(terms)) for each in terms))


def test_the_same_speed_changes_nothing_and_a_faster_class_is_no_credit() -> None:
    assert growth(9.0, 2.0, 2.0) == 1.0
    assert growth(9.0, 2.0, 0.5) == 1.0


def test_what_is_not_known_grows_with_the_mean() -> None:
    assert growth(math.nan, 2.0, 6.0) == 3.0
    assert growth(math.inf, 2.0, 6.0) == 3.0
    assert growth(1.0, 2.0, 6.0) == 3.0


@pytest.mark.parametrize(("peak", "here", "there"), [(7.0, 0.15, 3.0), (9.0, 2.0, 6.0), (60.0, 20.0, 30.0)])
def test_a_peak_is_as_rare_there_as_it_was_here(peak: float, here: float, there: float) -> None:
    grown = growth(peak, here, there) * peak

    assert 1.0 < grown / peak < there / here
    assert beyond(grown, there) == pytest.approx(beyond(peak, here), rel=0.15)  # Chernoff's bound has no prefactor


@pytest.mark.parametrize(("here", "there"), [(0.0, 3.0), (math.nan, 3.0), (2.0, math.nan), (math.inf, math.inf)])
def test_without_two_batches_there_is_no_growth(here: float, there: float) -> None:
    assert growth(9.0, here, there) == 1.0


def test_a_large_batch_grows_as_its_mean_does() -> None:
    assert growth(10_100.0, 10_000.0, 30_000.0) == pytest.approx(3.0, rel=0.01)


def test_longer_stays_of_the_same_arrivals_reach_such_peaks() -> None:
    rng = np.random.default_rng(4)
    arrivals = np.cumsum(rng.exponential(1 / 0.2, 200_000))

    def largest(stay: float) -> float:
        return float((np.arange(1, len(arrivals) + 1) - np.searchsorted(arrivals, arrivals - stay)).max())

    here, there = largest(2.0), largest(24.0)

    assert growth(here, 0.4, 4.8) == pytest.approx(there / here, rel=0.25)
    assert there / here < 0.4 * 12  # not in proportion


def test_shapes_broadcast() -> None:
    assert peak_growth(np.full((3, 1), 9.0), np.full((3, 1), 2.0), np.full((3, 5), 6.0)).shape == (3, 5)


def test_an_engine_that_never_worked_has_no_peak_to_grow() -> None:
    nothing = {name: flat(0.0) for name in ("prompt_rate", "generation_rate", "requests", "running", "kv_demand")}
    idle = world(observation(prompt_tokens=Measured(0.0), output_tokens=Measured(0.0), **nothing))

    (evaluation,) = evaluate([idle], LADDER, NOW)  # without a warning: none of ours is let pass

    assert all(math.isfinite(each.prediction.kv_demand_tokens or 0.0) for each in evaluation.candidates)
