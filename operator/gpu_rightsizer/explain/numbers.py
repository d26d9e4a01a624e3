"""Figures as people read them, each format with its quantum, so that noise in a measurement does not change a sentence.

| figure | quantum |
|---|---|
| probability | 2 significant digits, at least 0.0001 % when above zero |
| share | whole per cent |
| memory | 0.1 GiB, below 1 GiB whole MiB |
| latency | 2 significant digits of a millisecond, at least 1 ms |
| span | minutes below 2 h, hours below 48 h, then days; always rounded down |
| at least | a ladder from 10 min to 365 d, rounded down, for times that grow while nothing happens |
| tokens, rates | 2 significant digits |
| money | none: prices are exact; estimates 2 significant digits |
| estimated time | 2 significant digits of minutes below 2 h, of hours below 2 days, then of days |

No figure but zero is shown as less than 0.000001, none as more than 10^15 (memory: 1 EiB): what lies beyond is no
measurement, and the API server would refuse a status that holds it.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.api.units import (
    format_duration,
    format_gib,
    format_millicores,
    format_percent,
    format_time,
    format_usd,
)
from gpu_rightsizer.domain.units import HOURS_PER_MONTH, Millicores

if TYPE_CHECKING:
    from gpu_rightsizer.domain.finding import Fact

_LEAST: Final = Decimal("0.000001")
_MOST: Final = Decimal(10**15)
_MOST_BYTES: Final = float(1 << 60)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_LADDER: Final = (
    timedelta(0),
    *(timedelta(minutes=count) for count in (10, 20, 30)),
    *(timedelta(hours=count) for count in (1, 2, 4, 8, 12)),
    *(timedelta(days=count) for count in (1, 2, 3, 5, 7, 10, 14, 21, 30, 60, 90, 180, 365)),
)


def two_digits(number: float | Decimal) -> Decimal:
    """Rounded to two significant digits, without an exponent; a figure that is not finite is a ValueError."""
    exact = Decimal(repr(number)) if isinstance(number, float) else Decimal(number)
    if not exact.is_finite():
        raise ValueError(f"{number} is not a finite figure")
    if exact == 0:
        return Decimal(0)
    exact = min(max(abs(exact), _LEAST), _MOST).copy_sign(exact)
    quantum = Decimal(1).scaleb(exact.adjusted() - 1)
    rounded = exact.quantize(quantum, ROUND_HALF_EVEN)
    return rounded if rounded != rounded.to_integral_value() else rounded.quantize(Decimal(1))


def probability(share: float) -> str:
    """`1.6%`, `0.042%`. Zero only where it is exactly zero, `100%` only where it is certain."""
    exact = two_digits(max(0.0, share))
    if 0 < share < 1:
        exact = min(exact, Decimal("0.99"))
    return f"{plain(exact * 100)}%"


def share(of_one: float | Decimal) -> str:
    """Whole per cent: `97%`; what is below all never reads `100%`, what is above nothing never `0%`."""
    return format_percent(min(max(Decimal(0), Decimal(str(of_one))), _MOST / 1000), places=0)


def memory(size: float) -> str:
    """A Kubernetes quantity: `29.4Gi`."""
    return format_gib(min(max(0.0, size), _MOST_BYTES))


def gibibytes(size: float) -> str:
    """For sentences: `29.4 GiB`."""
    text = memory(size)
    return text.replace("Gi", " GiB").replace("Mi", " MiB")


def latency(seconds: float) -> str:
    """`31ms`, `1200ms`."""
    return f"{max(1, int(two_digits(seconds * 1000)))}ms"


def seconds(length: float) -> str:
    """For sentences: `31ms`, `1.4s`."""
    return latency(length) if length < 1 else f"{plain(two_digits(length))}s"


def span(length: timedelta) -> str:
    """`14d`, `36h`, `20m`: rounded down, so that a growing history changes its figure rarely."""
    if length >= 2 * _DAY:
        return f"{length // _DAY}d"
    if length >= 2 * _HOUR:
        return f"{length // _HOUR}h"
    return f"{max(timedelta(0), length) // _MINUTE}m"


def at_least(length: timedelta) -> str:
    """The highest rung of the ladder reached: `7d` from seven days until ten."""
    return format_duration(rung(length))


def rung(length: timedelta) -> timedelta:
    """The highest rung of the ladder that is not above `length`."""
    return max(each for each in _LADDER if each <= max(length, timedelta(0)))


def duration(length: timedelta) -> str:
    """A configured length, exact: `90s`, `30d`."""
    return format_duration(length)


def tokens(count: float) -> str:
    """`850`, `12k`, `1.6M`."""
    return scaled(count)


def scaled(count: float) -> str:
    """Two significant digits with k, M, G: `850`, `12k`, `1.6M`."""
    figure = two_digits(float(count))
    for suffix, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if abs(figure) >= size:
            return f"{plain(figure / size)}{suffix}"
    return plain(figure)


def about(amount: float) -> str:
    """An estimate of money: `26 USD`, `1.3k USD`. Unlike a price it may change a little and be the same."""
    return f"{scaled(amount)} USD"


def length(time: timedelta) -> str:
    """An estimate of a time: `40 min`, `3 h`, `12 days`, to two significant digits."""
    for unit, name in ((_DAY, "days"), (_HOUR, "h")):
        if time >= 2 * unit:
            return f"{plain(two_digits(time / unit))} {name}"
    return f"{max(1, int(two_digits(time / _MINUTE)))} min"


def dollars(amount: Decimal) -> str:
    """For sentences, to the cent: `$53.18`, `-$0.50`, `$38,820.67`."""
    exact = _payable(amount).quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    return f"-${-exact:,}" if exact < 0 else f"${exact:,}"


def usd(amount: Decimal) -> str:
    """For the wire: up to four decimals, `53.179`."""
    return format_usd(_payable(amount), most_places=4)


def cents(amount: Decimal) -> str:
    """For the wire, to the cent: `38820.67`."""
    return format_usd(_payable(amount))


def monthly(hourly: Decimal) -> Decimal:
    """An hourly amount over a month of 730 h."""
    return hourly * HOURS_PER_MONTH


def cores(millicores: float) -> str:
    """`4`, `500m`."""
    return format_millicores(Millicores(round(min(millicores, float(_MOST)))))


def day(moment: datetime) -> str:
    """`2026-03-11`, UTC."""
    return moment.astimezone(UTC).date().isoformat()


def instant(moment: datetime) -> str:
    """`2026-03-11T14:00:00Z`."""
    return format_time(moment)


def plain(number: Decimal) -> str:
    """Without exponent and trailing zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _payable(amount: Decimal) -> Decimal:
    return min(max(Decimal(amount), -_MOST), _MOST)


def as_float(fact: Fact) -> float:
    """A numeric fact; TypeError where the fact is text or time, ValueError where it is not finite."""
    if isinstance(fact, bool | str | datetime | timedelta):
        raise TypeError(f"{fact!r} is not a number")
    number = float(fact)
    if not math.isfinite(number):
        raise ValueError(f"{fact!r} is not finite")
    return number
