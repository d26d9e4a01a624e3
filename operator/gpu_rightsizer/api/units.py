"""Words to numbers and back: durations, shares, quantities, money and counts in the notation of the API."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from typing import Final

from gpu_rightsizer.domain.units import Bytes, Millicores

DURATION_PATTERN: Final = r"^([0-9]+(ms|s|m|h|d))+$"
PERCENT_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?%$"
DECIMAL_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?$"
SIGNED_DECIMAL_PATTERN: Final = r"^-?[0-9]+(\.[0-9]+)?$"
COUNT_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?[KMBT]?$"
QUANTITY_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"

_MICROSECONDS: Final = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}
_DURATION_PART: Final = re.compile(r"([0-9]+)(ms|s|m|h|d)")
_LONGEST: Final = timedelta(days=36_500)
_BINARY: Final = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_QUANTITY_SUFFIX: Final = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{suffix: Decimal(1024) ** power for suffix, power in _BINARY.items()},
}
_COUNT_SUFFIX: Final = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


class BadValue(ValueError):
    """A text that is not in the notation of the API; the message says which texts are."""


def parse_duration(text: str) -> timedelta:
    """`90s`, `1h30m`, `30d`; at most a hundred years."""
    if not re.fullmatch(DURATION_PATTERN, text):
        raise BadValue(f"`{text}` is not a duration; write for example `90s`, `1h30m` or `30d`")
    total = sum(Decimal(count) * _MICROSECONDS[unit] for count, unit in _DURATION_PART.findall(text))
    if total > _LONGEST / timedelta(microseconds=1):
        raise BadValue(f"`{text}` is longer than a hundred years")
    return timedelta(microseconds=int(total))


def format_duration(span: timedelta) -> str:
    """The largest units that say it exactly, to the millisecond: `1h30m`, `250ms`, `0s`. Never negative."""
    if span < timedelta(0):
        raise BadValue("a duration is never negative")
    rest = round(span / timedelta(milliseconds=1)) * 1_000
    parts = []
    for unit, size in _MICROSECONDS.items():
        count, rest = divmod(rest, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def parse_percent(text: str) -> Decimal:
    """`1.6%` as a share: 0.016. Shares over 100 % are not refused here."""
    if not re.fullmatch(PERCENT_PATTERN, text):
        raise BadValue(f"`{text}` is not a percentage; write for example `1%` or `99.9%`")
    return Decimal(text[:-1]) / 100


def format_percent(share: Decimal | float, *, places: int = 1) -> str:
    """A share as `1.6%`, rounded to `places`, without trailing zeros.

    Rounding never claims certainty: what is above 0 is shown as at least the smallest step, what is below 1 as at
    most 100 % less that step. `share` is in 0 or above.
    """
    exact = _exact(share) * 100
    step = Decimal(1).scaleb(-places)
    shown = exact.quantize(step, ROUND_HALF_EVEN)
    if shown == 0 < exact:
        shown = step
    if exact < 100 <= shown:
        shown = 100 - step
    return f"{_plain(shown)}%"


def parse_quantity(text: str) -> Decimal:
    """A Kubernetes quantity in its base unit (bytes, cores): `46068Mi`, `4`, `500m`. Never negative."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)", text)
    if match is None or match[2] not in _QUANTITY_SUFFIX:
        raise BadValue(f"`{text}` is not a quantity; write for example `46068Mi`, `32Gi` or `500m`")
    return Decimal(match[1]) * _QUANTITY_SUFFIX[match[2]]


def parse_bytes(text: str) -> Bytes:
    """A memory or storage quantity in whole bytes, rounded up."""
    return Bytes(_ceiling(parse_quantity(text)))


def parse_millicores(text: str) -> Millicores:
    """A CPU quantity in thousandths of a core, rounded up: `4` is 4000."""
    return Millicores(_ceiling(parse_quantity(text) * 1000))


def format_bytes(size: Bytes) -> str:
    """The largest binary unit that divides it evenly: `46068Mi`, `32Gi`, `1023`. Exact."""
    for suffix, power in sorted(_BINARY.items(), key=lambda item: -item[1]):
        count, rest = divmod(size, 1024**power)
        if count and not rest:
            return f"{count}{suffix}"
    return str(size)


def format_gib(size: float) -> str:
    """For people: gibibytes with one decimal (`11.2Gi`), mebibytes below one gibibyte."""
    if 0 < size < 1024**3:
        return f"{max(1, round(size / 1024**2))}Mi"
    return f"{_plain(_exact(size / 1024**3).quantize(Decimal('0.1'), ROUND_HALF_EVEN))}Gi"


def format_millicores(cpu: Millicores) -> str:
    """Whole cores plain, others in thousandths: `4`, `500m`. Exact."""
    cores, rest = divmod(cpu, 1000)
    return f"{cpu}m" if rest else str(cores)


def parse_usd(text: str) -> Decimal:
    """`1.861`, `-12.50` (a saving may be negative)."""
    if not re.fullmatch(SIGNED_DECIMAL_PATTERN, text):
        raise BadValue(f"`{text}` is not an amount of USD; write for example `1.861`")
    return Decimal(text)


def format_usd(amount: Decimal, *, most_places: int = 2) -> str:
    """Two decimals, more (to `most_places`) only where they are not zero: `55.04`, `1.861` with 4, `-0.50`."""
    shown = amount.quantize(Decimal(1).scaleb(-most_places), ROUND_HALF_EVEN)
    whole, _, cents = f"{abs(shown):f}".partition(".")
    sign = "-" if shown < 0 else ""
    return f"{sign}{whole}.{cents.rstrip('0'):0<2}"


def parse_count(text: str) -> int:
    """A large count as model cards write it: `8.03B` is 8,030,000,000."""
    if not re.fullmatch(COUNT_PATTERN, text):
        raise BadValue(f"`{text}` is not a count; write for example `8.03B` or `405B`")
    suffix = text[-1] if text[-1] in _COUNT_SUFFIX else ""
    return int(Decimal(text.removesuffix(suffix)) * _COUNT_SUFFIX[suffix])


def format_count(count: int) -> str:
    """The largest suffix that leaves a whole part, exact: `8.03B`, `512`."""
    for suffix in ("T", "B", "M", "K"):
        if count >= _COUNT_SUFFIX[suffix]:
            return f"{_plain(Decimal(count) / _COUNT_SUFFIX[suffix])}{suffix}"
    return str(count)


def parse_time(text: str) -> datetime:
    """An RFC 3339 time with its zone, in UTC."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # overflow: a year before 1 or after 9999, once in UTC
        raise BadValue(f"`{text}` is not a time; write for example `2026-07-20T08:30:00Z`") from error
    raise BadValue(f"`{text}` has no time zone; write for example `2026-07-20T08:30:00Z`")


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC to the second: `2026-07-20T08:30:00Z`. The moment has to carry its zone."""
    if moment.tzinfo is None:
        raise BadValue("a time without its zone is not a time")
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _exact(number: Decimal | float) -> Decimal:
    exact = number if isinstance(number, Decimal) else Decimal(repr(float(number)))
    if not exact.is_finite() or exact < 0:
        raise BadValue(f"`{number}` is not a finite number of 0 or more")
    return exact


def _ceiling(number: Decimal) -> int:
    return int(number.to_integral_value(ROUND_CEILING))


def _plain(number: Decimal) -> str:
    """Without exponent and without trailing zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
