"""What a series of blocks tells of itself: unknown values are no figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpu_rightsizer.domain.readings import BlockSeries

NAN, INF = math.nan, math.inf


def of(*values: float) -> BlockSeries:
    return BlockSeries(7200, 3600, np.array(values, dtype=np.float64), np.ones(len(values)))


@pytest.mark.parametrize(
    ("values", "peak"),
    [((1.0, 3.0, 2.0), 3.0), ((NAN, -1.0), -1.0), ((INF, 2.0), 2.0), ((-INF, -4.0), -4.0)],
    ids=str,
)
def test_the_peak_is_of_what_is_known(values: tuple[float, ...], peak: float) -> None:
    assert of(*values).peak() == peak


@pytest.mark.parametrize("values", [(), (NAN,), (INF, NAN)], ids=str)
def test_without_a_known_value_there_is_no_peak_and_no_end(values: tuple[float, ...]) -> None:
    assert math.isnan(of(*values).peak())
    assert of(*values).known_until() is None


@pytest.mark.parametrize(("values", "blocks"), [((1.0, 2.0), 2), ((1.0, NAN), 1), ((NAN, 5.0, INF, NAN), 2)], ids=str)
def test_known_until_is_the_end_of_the_last_known_block(values: tuple[float, ...], blocks: int) -> None:
    assert of(*values).known_until() == 7200 + blocks * 3600
