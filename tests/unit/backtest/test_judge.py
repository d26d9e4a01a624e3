"""The judge by hand-made cases: who may not be late, what is paid, what is not judged."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_rightsizer.backtest.judge import judge_orders, judge_static

TOKENS, PRICE = np.array([10.0]), np.array([2.0])


def _judge(
    peaks: list[float], orders: list[float], lead: int, unknown: list[bool] | None = None
) -> tuple[float, float]:
    gone = np.array([unknown or [False] * len(peaks)])
    outcome = judge_orders(np.array([peaks]), gone, np.array([orders]), tokens=TOKENS, price=PRICE, lead=lead)
    return float(outcome.violated[0]), float(outcome.hourly[0])


def test_a_replica_is_there_only_after_its_lead_and_paid_from_its_order() -> None:
    violated, hourly = _judge(
        [5, 15, 15, 15, 15], [1, 1, 2, 2, 2, 2, 2], lead=2
    )  # the second is ordered after minute 0

    assert violated == 1  # minute 1; it serves from minute 2 on
    assert hourly == pytest.approx(2.0 * (1 + 2 + 2 + 2 + 2) / 5)


def test_an_order_taken_back_before_it_was_there_brought_nothing() -> None:
    violated, _ = _judge([5, 5, 5, 15, 15], [1, 1, 1, 2, 1, 2, 2, 2], lead=3)

    assert violated == 2


def test_a_replica_no_longer_ordered_is_gone_in_the_next_minute() -> None:
    violated, _ = _judge([15, 15, 15], [2, 2, 2, 1, 1], lead=2)

    assert violated == 1  # minutes 0 and 1 held; at the end of minute 1 it was given up


def test_unknown_minutes_are_neither_judged_nor_paid() -> None:
    violated, hourly = _judge([15, 15, 5], [1, 1, 1, 1], lead=1, unknown=[True, False, False])

    assert (violated, hourly) == (1, 2.0)


def test_orders_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 orders for 3 minutes"):
        _judge([1, 1, 1], [1, 1], lead=2)


def test_a_static_capacity_is_violated_above_it_only() -> None:
    outcome = judge_static(
        np.array([[9.0, 10.0, 11.0]]), np.zeros((1, 3), dtype=bool), np.array([10.0]), np.array([4.0])
    )

    assert (outcome.violated[0], outcome.hourly[0]) == (1, 4.0)
    assert outcome.violations_a_week()[0] == pytest.approx(10_080 / 3)
