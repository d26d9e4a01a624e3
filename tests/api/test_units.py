"""Numbers survive their notation, and a notation that is not ours is refused in words."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_rightsizer.api import units
from gpu_rightsizer.domain.units import Bytes, Millicores

if TYPE_CHECKING:
    from collections.abc import Callable

milliseconds = st.integers(0, 10**11).map(lambda count: timedelta(milliseconds=count))


@given(milliseconds)
def test_a_duration_survives(span: timedelta) -> None:
    text = units.format_duration(span)

    assert re.fullmatch(units.DURATION_PATTERN, text)
    assert units.parse_duration(text) == span


@given(st.integers(0, 2**60).map(Bytes))
def test_a_size_survives(size: Bytes) -> None:
    text = units.format_bytes(size)

    assert re.fullmatch(units.QUANTITY_PATTERN, text)
    assert units.parse_bytes(text) == size


@given(st.integers(0, 10**9).map(Millicores))
def test_a_cpu_quantity_survives(cpu: Millicores) -> None:
    assert units.parse_millicores(units.format_millicores(cpu)) == cpu


@given(st.decimals(-(10**9), 10**9, places=4))
def test_an_amount_survives(amount: Decimal) -> None:
    text = units.format_usd(amount, most_places=4)

    assert re.fullmatch(units.SIGNED_DECIMAL_PATTERN, text)
    assert units.parse_usd(text) == amount


@given(st.integers(0, 10**15))
def test_a_count_survives(count: int) -> None:
    assert units.parse_count(units.format_count(count)) == count


@given(st.decimals(0, 1, places=5))
def test_a_share_survives_where_the_places_suffice(share: Decimal) -> None:
    text = units.format_percent(share, places=3)

    assert re.fullmatch(units.PERCENT_PATTERN, text)
    assert units.parse_percent(text) == share


@given(st.floats(0, 1))
def test_rounding_a_share_never_claims_certainty(share: float) -> None:
    shown = units.parse_percent(units.format_percent(share))

    assert (shown == 0) == (share == 0)
    assert (shown == 1) == (share == 1)
    assert abs(float(shown) - share) <= 0.001


@given(st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(microsecond=0)))
def test_a_time_survives(moment: datetime) -> None:
    assert units.parse_time(units.format_time(moment)) == moment


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(minutes=90)),
        ("30d", timedelta(days=30)),
        ("75ms", timedelta(milliseconds=75)),
        ("1m1ms", timedelta(seconds=60, milliseconds=1)),
    ],
)
def test_durations_read(text: str, span: timedelta) -> None:
    assert units.parse_duration(text) == span


@pytest.mark.parametrize(
    ("text", "size"),
    [("46068Mi", 46068 * 1024**2), ("32Gi", 32 * 1024**3), ("1.5Gi", 3 * 512 * 1024**2), ("1k", 1000), ("100m", 1)],
)
def test_sizes_read_in_whole_bytes_rounded_up(text: str, size: int) -> None:
    assert units.parse_bytes(text) == size


def test_counts_and_cpu_read() -> None:
    assert units.parse_count("8.03B") == 8_030_000_000
    assert units.parse_millicores("4") == 4000
    assert units.parse_millicores("250m") == 250


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (units.format_percent(0.016), "1.6%"),
        (units.format_percent(1.0), "100%"),
        (units.format_percent(0.00001), "0.1%"),
        (units.format_percent(0.99999), "99.9%"),
        (units.format_percent(Decimal("0.97"), places=0), "97%"),
        (units.format_usd(Decimal("55.04"), most_places=4), "55.04"),
        (units.format_usd(Decimal("1.8610"), most_places=4), "1.861"),
        (units.format_usd(Decimal("38820.666")), "38820.67"),
        (units.format_usd(Decimal("-0.5")), "-0.50"),
        (units.format_usd(Decimal("-0.001")), "0.00"),
        (units.format_gib(11.2 * 1024**3), "11.2Gi"),
        (units.format_gib(300 * 1024**2), "300Mi"),
        (units.format_gib(0), "0Gi"),
        (units.format_duration(timedelta(seconds=90)), "1m30s"),
        (units.format_duration(timedelta(0)), "0s"),
        (units.format_time(datetime(2026, 7, 20, 10, 30, tzinfo=timezone(timedelta(hours=2)))), "2026-07-20T08:30:00Z"),
    ],
)
def test_numbers_for_people(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (units.parse_duration, "30 days", "`30 days` is not a duration; write for example `90s`, `1h30m` or `30d`"),
        (units.parse_duration, "99999d", "`99999d` is longer than a hundred years"),
        (units.parse_percent, "0.01", "`0.01` is not a percentage; write for example `1%` or `99.9%`"),
        (units.parse_quantity, "48GB", "`48GB` is not a quantity; write for example `46068Mi`, `32Gi` or `500m`"),
        (units.parse_usd, "$5", "`$5` is not an amount of USD; write for example `1.861`"),
        (units.parse_count, "8b", "`8b` is not a count; write for example `8.03B` or `405B`"),
        (units.parse_time, "noon", "`noon` is not a time; write for example `2026-07-20T08:30:00Z`"),
        (
            units.parse_time,
            "2026-07-20T08:30:00",
            "`2026-07-20T08:30:00` has no time zone; write for example `2026-07-20T08:30:00Z`",
        ),
    ],
)
def test_another_notation_is_refused_in_words(parse: Callable[[str], object], text: str, words: str) -> None:
    with pytest.raises(units.BadValue, match=f"^{re.escape(words)}$"):
        parse(text)


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), -0.1])
def test_what_is_not_a_share_is_never_shown_as_one(nonsense: float) -> None:
    with pytest.raises(units.BadValue):
        units.format_percent(nonsense)
