"""The laws of an excess are laws, and a fleet teaches how common bursts are."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_rightsizer.estimate import laws
from gpu_rightsizer.estimate.posterior import SHIPPED_PRIOR, Clusters, Past, Prior, evidence, fleet_prior, posterior


def clusters(excesses: list[np.ndarray]) -> Clusters:
    count = np.array([len(each) for each in excesses])
    every = np.concatenate(excesses)
    return Clusters(np.repeat(np.arange(len(excesses)), count), every, np.zeros(len(every), dtype=bool), count)


def calm(rng: np.random.Generator, count: int = 25) -> np.ndarray:
    return rng.exponential(0.05, count)


def with_bursts(rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([calm(rng, 20), 0.3 + rng.exponential(1.0, 5)])


@pytest.mark.parametrize("step", [-6, -4])
def test_the_densities_are_those_of_the_survivals(step: int) -> None:
    """Log density at a knot against the slope of the survival there, for laws that reach that far."""
    at = np.exp(laws._KNOTS[20:40])
    beyond = laws.survivals(at, step, wide=False)
    slope = (laws.survivals(at * 0.999, step, wide=False) - laws.survivals(at * 1.001, step, wide=False)) / (
        0.002 * at[:, None, None]
    )
    density = np.exp(laws.log_densities(step, wide=False)[20:40].astype(float))
    reaches = (beyond > 1e-6) & (laws.log_densities(step, wide=False)[20:40] > -1e3)

    assert reaches.mean() > 0.5
    assert density[reaches] == pytest.approx(slope[reaches], rel=0.02, abs=1e-6)


def test_a_few_series_teach_nothing() -> None:
    rng = np.random.default_rng(1)

    assert fleet_prior(evidence(clusters([calm(rng) for _ in range(19)]))) is SHIPPED_PRIOR


def test_what_a_fleet_teaches_of_bursts_is_expected_of_its_calm_series_too() -> None:
    rng = np.random.default_rng(2)
    quiet = fleet_prior(evidence(clusters([calm(rng) for _ in range(60)])))
    bursty = fleet_prior(evidence(clusters([with_bursts(rng) for _ in range(60)])))
    one = evidence(clusters([calm(rng)]))

    def chance(prior: Prior) -> float:
        """Of a group to be twice the threshold or more."""
        found = posterior(one, prior)
        beyond = np.maximum(1 + found.burst_shape / found.burst_scale, 0) ** (
            -1 / np.where(found.burst_shape, found.burst_shape, 1)
        )
        beyond = np.where(found.burst_shape == 0, np.exp(-1 / found.burst_scale), np.nan_to_num(beyond))
        return float((found.burst_weight * found.share * beyond).sum())

    assert chance(quiet) < chance(SHIPPED_PRIOR) / 2 < chance(bursty) / 2
    for prior in (quiet, bursty):
        assert prior.shares.sum() == pytest.approx(1, rel=1e-5)
        assert prior.burst_shapes.sum() == pytest.approx(1, rel=1e-5)


def test_bursts_that_were_seen_are_believed() -> None:
    rng = np.random.default_rng(3)
    found = posterior(evidence(clusters([calm(rng), with_bursts(rng)])), SHIPPED_PRIOR)

    chance = found.burst_weight.sum(axis=1)
    assert chance[0] < 0.6
    assert 0.95 < chance[1] <= 1 + 1e-6
    assert found.weight.sum(axis=1) == pytest.approx(1, rel=1e-4)


def test_a_remembered_burst_makes_bursts_likelier_and_quiet_time_less() -> None:
    rng = np.random.default_rng(4)
    seen = clusters([calm(rng)])

    def chance(*past: Past) -> float:
        return float(posterior(evidence(seen, *past), SHIPPED_PRIOR).burst_weight.sum())

    def remembered(expected: float) -> Past:
        return Past(np.zeros(1, dtype=np.intp), np.array([2.0]), np.ones(1), np.array([expected]))

    assert chance() < chance(remembered(0.0))
    assert chance(remembered(500.0)) < chance(remembered(0.0))


def test_an_excess_that_was_cut_off_is_not_taken_for_its_size() -> None:
    rng = np.random.default_rng(9)
    whole = clusters([with_bursts(rng)])
    cut = Clusters(whole.row, whole.excess, whole.excess > 0.3, whole.count)

    def reach(of: Clusters) -> float:
        found = posterior(evidence(of), SHIPPED_PRIOR)
        return float((found.burst_weight * np.log(found.burst_scale)).sum() / found.burst_weight.sum())

    assert reach(cut) > reach(whole)
