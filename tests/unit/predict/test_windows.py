"""The prompt that decides a window, against windows drawn at random."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_rightsizer.predict.windows import LEAST_REQUESTS, longest_prompt


@pytest.mark.parametrize(("attainment", "requests"), [(0.99, 20), (0.999, 20), (0.99, 200)])
def test_as_many_windows_are_late_as_may_be(attainment: float, requests: int) -> None:
    """20,000 windows of lognormal lengths with a coefficient of variation of 1: the share over the figure."""
    rng = np.random.default_rng(5)
    sigma = np.sqrt(np.log(2.0))
    lengths = 1000 * rng.lognormal(-(sigma**2) / 2, sigma, (20_000, requests))
    rank = int(np.ceil(0.95 * requests)) - 1
    deciding = np.partition(lengths, rank, axis=1)[:, rank]

    late = np.mean(deciding > longest_prompt(1000.0, requests * 2 / 600, attainment))

    assert late == pytest.approx(1 - attainment, rel=0.6)


def test_busier_windows_are_decided_by_shorter_prompts() -> None:
    few, many = longest_prompt(1000.0, 0.01, 0.999), longest_prompt(1000.0, 10.0, 0.999)

    assert longest_prompt(1000.0, LEAST_REQUESTS / 600, 0.999) == few
    assert 2000 < many < few < 9000


def test_unknown_lengths_stay_unknown() -> None:
    assert np.isnan(longest_prompt(float("nan"), 1.0, 0.99))
