"""The arithmetic of the page about the tail is that of the code, and bursts add to ordinary variation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpu_rightsizer.domain.need import Bursts, DemandTail
from gpu_rightsizer.estimate import exceedance, exceedances

PAGE = Path(__file__).parents[3] / "docs/explanation/the-tail-of-demand.md"
MONTH = 720.0


def example(chance_of_bursts: float = 0.35) -> DemandTail:
    """The example of the page: one law of ordinary variation, one of bursts."""
    bursts = Bursts(
        shape=np.array([0.12]), scale=np.array([0.5]), weight=np.array([chance_of_bursts]),
        count=np.array([1.43]), hours=np.array([336.0]),
    )  # fmt: skip
    return DemandTail(
        peak=6000.0, seasonal=np.array([4000.0, 3000.0, 2000.0, 1000.0]), threshold=1.25,
        shape=np.array([-0.1]), scale=np.array([0.15]), weight=np.ones(1),
        exceedances=28.5, exposure_hours=336.0, bursts=bursts,
    )  # fmt: skip


def test_the_example_of_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    ordinary = exceedance(replace(example(), bursts=None), 9000.0, MONTH)
    bursts = 1 - (1 - exceedance(example(1.0), 9000.0, MONTH)) / (1 - ordinary)
    together = exceedance(example(), 9000.0, MONTH)

    assert f"^ -28.5 = {ordinary * 100:.3f} %" in page
    assert f"^ -1.43 = {bursts * 100:.1f} %" in page
    assert f"(1 - 0.00026) x (1 - 0.0533) = {together * 100:.1f} %" in page


def test_a_tail_without_bursts_stands_beside_one_with_them() -> None:
    both = [replace(example(), bursts=None), example()]

    alone, among = exceedances(both, np.array([0, 1]), np.full(2, 9000.0), np.full(2, MONTH))

    assert alone == pytest.approx(exceedance(both[0], 9000.0, MONTH))
    assert among == pytest.approx(exceedance(both[1], 9000.0, MONTH))
    assert alone < among


def test_an_exponential_tail_is_the_limit_of_the_others() -> None:
    def chance(shape: float) -> float:
        tail = replace(example(), bursts=None, shape=np.array([shape]), scale=np.array([0.3]))
        return float(exceedance(tail, 10_000.0, MONTH))

    assert chance(0.0) == pytest.approx((chance(0.001) + chance(-0.001)) / 2, rel=0.02)
