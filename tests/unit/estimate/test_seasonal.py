"""The usual size of a demand at each hour of the week, on demand whose usual size is known."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_rightsizer.domain.readings import BlockSeries
from gpu_rightsizer.estimate import level
from gpu_rightsizer.estimate.seasonal import seasonal_scale, stacked
from gpu_rightsizer.estimate.tail import Peaks, fit_tails

HOUR = 3600
MONDAY = 4 * 86_400  # 1970-01-05
NO_FLOOR = np.zeros(1)


def series(values: np.ndarray, block: int = HOUR) -> BlockSeries:
    return BlockSeries(MONDAY, block, values, np.ones(len(values)))


def scale(values: np.ndarray) -> np.ndarray:
    return seasonal_scale(stacked([series(values)], HOUR), NO_FLOOR)[0]


def wave(days: int) -> np.ndarray:
    hours = np.arange(24 * days)
    return 1000 * (1 + 0.5 * np.sin(2 * np.pi * hours / 24)) * np.where(hours // 24 % 7 >= 5, 0.6, 1.0)


def test_without_noise_it_is_the_demand_itself() -> None:
    assert scale(wave(14)) == pytest.approx(wave(7), rel=0.03)


def test_with_noise_it_errs_less_than_each_hour_s_own_median() -> None:
    rng = np.random.default_rng(5)
    seen = wave(14) * np.exp(0.3 * rng.standard_normal(14 * 24))
    weeks = seen.reshape(14, 24)
    own = np.concatenate([np.tile(np.median(weeks[np.arange(14) % 7 < 5], axis=0), 5),
                          np.tile(np.median(weeks[np.arange(14) % 7 >= 5], axis=0), 2)])  # fmt: skip

    assert np.std(np.log(scale(seen) / wave(7))) < 0.7 * np.std(np.log(own / wave(7)))


def test_a_batch_job_every_night_is_usual_and_its_neighbours_are_not() -> None:
    rng = np.random.default_rng(6)
    seen = 1000 * np.exp(0.1 * rng.standard_normal(14 * 24))
    seen[3::24] *= 5

    found = scale(seen).reshape(7, 24)

    assert found[0, 3] == pytest.approx(5000, rel=0.15)
    assert found[0, 2] == pytest.approx(1000, rel=0.15)
    assert found[6, 3] == pytest.approx(5000, rel=0.25)


def test_after_three_weeks_a_weekday_may_differ() -> None:
    rng = np.random.default_rng(7)
    days = np.repeat(np.arange(28) % 7, 24)
    seen = np.where(days == 1, 3000.0, 1000.0) * np.exp(0.05 * rng.standard_normal(28 * 24))

    found = scale(seen).reshape(7, 24)

    assert found[1].mean() == pytest.approx(3000, rel=0.05)
    assert found[2].mean() == pytest.approx(1000, rel=0.05)


def test_blocks_of_ten_minutes_are_their_hours() -> None:
    rng = np.random.default_rng(8)
    fine = np.repeat(wave(14), 6) * np.exp(0.2 * rng.standard_normal(14 * 144))
    coarse = fine.reshape(-1, 6).max(axis=1)

    by_ten, by_hour = fit_tails([Peaks(series(fine, 600))])[0], fit_tails([Peaks(series(coarse))])[0]

    assert level(by_ten, 0.01, 720.0) == pytest.approx(float(level(by_hour, 0.01, 720.0)), rel=1e-3)
    assert by_ten.exposure_hours == pytest.approx(by_hour.exposure_hours)


def test_unknown_hours_take_their_size_from_the_others() -> None:
    seen = wave(14)
    seen[np.arange(14 * 24) % 24 == 6] = np.nan

    assert np.isfinite(scale(seen)).all()
