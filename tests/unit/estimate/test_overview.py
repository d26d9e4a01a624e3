"""What histories tell at first sight is what each of them tells when it is looked at alone."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gpu_rightsizer.domain.readings import Signal
from gpu_rightsizer.estimate.overview import overview
from tests import builders as make

if TYPE_CHECKING:
    from gpu_rightsizer.estimate.overview import Overview

NAN, INF = math.nan, math.inf


def seen(**observed: Any) -> Overview:
    (found,) = overview([make.world(make.observation(**observed))])
    return found


@pytest.mark.parametrize(
    ("values", "peak", "least"),
    [((1.0, 3.0, 2.0), 3.0, 1.0), ((NAN, 2.0, INF), 2.0, 2.0), ((-1.0, 0.0), 0.0, -1.0)],
    ids=str,
)
def test_the_largest_and_smallest_known_value(values: tuple[float, ...], peak: float, least: float) -> None:
    found = seen(waiting=make.series(values))

    assert (found.peak("waiting"), found.least("waiting")) == (peak, least)
    assert found.peak("waiting") == make.series(values).peak()


@pytest.mark.parametrize("history", [make.missing(Signal.WAITING), make.series([NAN, NAN])], ids=["none", "holes"])
def test_what_is_not_known_has_no_peak(history: object) -> None:
    assert math.isnan(seen(waiting=history).peak("waiting"))


def test_the_time_of_the_peak_is_its_blocks() -> None:
    demand = make.series([NAN, 5.0, 9.0, 1.0])

    assert seen(kv_demand=demand).peak_time("kv_demand") == demand.start + 2 * demand.block


def test_histories_of_other_lengths_do_not_touch_each_other() -> None:
    short, long = make.observation(days=2), make.observation(days=14, seed=2)
    both = overview([make.world(short), make.world(long)])
    alone = [overview([make.world(each)])[0] for each in (short, long)]

    for found, expected in zip(both, alone, strict=True):
        assert found.coverage == expected.coverage
        assert found.peak("kv_demand") == expected.peak("kv_demand")


def test_days_count_when_half_of_them_is_known() -> None:
    demand = make.diurnal(1000.0, days=14)
    values = demand.values.copy()
    values[: 24 * 4] = NAN
    values[-1] = NAN
    found = seen(kv_demand=replace(demand, values=values)).coverage

    assert found.hours == np.isfinite(values).sum()
    assert found.share == replace(demand, values=values).known_share()
    assert found.business + found.weekend in {10, 11}  # the first and the last may be parts of days
    assert timedelta(hours=found.hours) == timedelta(days=10) - timedelta(hours=1)
