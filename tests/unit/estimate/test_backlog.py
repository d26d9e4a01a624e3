"""A queue that piled up is not memory wanted at once."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import numpy as np

from gpu_rightsizer.domain.need import Load
from gpu_rightsizer.domain.readings import BlockSeries, Measured
from gpu_rightsizer.domain.workload import Objective
from gpu_rightsizer.estimate.backlog import unserved, without_backlog
from tests.builders import observation

HOUR = 3600
OBJECTIVE = Objective(1.0, 0.05, 0.999, 0.01, timedelta(days=30), Decimal(2000))
LOAD = Load(2.0, 10.0, 1000.0, 200.0, 1100.0)  # a request may stay 1 + 200 x 0.05 = 11 s and holds 1,100 tokens


def series(*values: float) -> BlockSeries:
    figures = np.array(values)
    return BlockSeries(0, HOUR, figures, np.ones(len(figures)))


def seen(waiting: BlockSeries) -> object:
    return observation(waiting=waiting, prompt_rate=series(2000.0, 2000.0, 2000.0), prompt_tokens=Measured(1000.0))


def test_without_a_queue_the_demand_stays_as_it_was() -> None:
    demand = series(10_000.0, 20_000.0, 15_000.0)

    kept = without_backlog(demand, seen(series(0.0, 0.0, 0.0)), LOAD, OBJECTIVE)

    np.testing.assert_array_equal(kept.values, demand.values)


def test_a_queue_of_thousands_counts_as_what_arrives_while_a_request_may_stay() -> None:
    demand = series(50_000.0, 50_000.0 + 6000 * 1100, 50_000.0 + 6000 * 1100)

    kept = without_backlog(demand, seen(series(0.0, 6000.0, 6000.0)), LOAD, OBJECTIVE)

    # 2 requests/s served and 6,000 / 600 s unserved: 12/s x 11 s x 1,100 tokens; then 2/s, below what was in use
    np.testing.assert_allclose(kept.values, [50_000.0, 12 * 11 * 1100, 50_000.0])


def test_it_is_never_more_than_was_seen_nor_less_than_was_in_use() -> None:
    demand = series(50_000.0, 50_000.0 + 5 * 1100, 50_000.0)

    kept = without_backlog(demand, seen(series(0.0, 5.0, 0.0)), LOAD, OBJECTIVE)

    assert (kept.values <= demand.values).all()
    assert (kept.values >= 50_000.0 - 1e-6).all()


def test_an_unknown_block_stays_unknown() -> None:
    demand = series(1.0, float("nan"), 1.0)

    kept = without_backlog(demand, seen(series(0.0, 10.0, 0.0)), LOAD, OBJECTIVE)

    assert np.isnan(kept.values[1])


def test_growth_is_counted_as_arrivals_and_shrinking_as_none() -> None:
    np.testing.assert_allclose(unserved(np.array([0.0, 600.0, 300.0, 900.0])), [0.0, 1.0, 0.0, 1.0])
