"""Keeps a status as it stands while nothing but noise has changed, so that unchanged facts write nothing.

Rounding alone cannot do it: a figure that lies on the edge between two roundings flips with the smallest noise.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# A number with the unit that makes it a measurement. Money (after `$`, or in a key that ends in USD), plain counts and
# names have none: there every change is a fact.
_MEASURED: Final = re.compile(r"(?<![\w.$-])(\d+(?:\.\d+)?)(%|Gi\b|Mi\b| GiB| MiB|ms\b|s\b|k tokens|M tokens| tokens)")
_RELATIVE: Final = 0.05
_MEASURED_KEYS: Final = frozenset(
    {
        "hostCpuPeak",
        "kvDemandPeakTokens",
        "kvPoolTokens",
        "outputTokens",
        "promptTokens",
        "requestsPerSecondPeak",
        "runningPeak",
        "waitingPeak",
    }
)


def steady(new: Mapping[str, object], previous: Mapping[str, object] | None) -> Mapping[str, object]:
    """`previous` when `new` differs from it by noise alone, else `new`: never a mixture of both."""
    return previous if previous is not None and _alike(new, previous) else new


def _alike(new: object, old: object, key: str = "") -> bool:
    if isinstance(new, dict) and isinstance(old, dict):
        a, b = _told(new), _told(old)
        return a.keys() == b.keys() and all(_alike(a[each], b[each], str(each)) for each in a)
    if isinstance(new, list) and isinstance(old, list):
        return len(new) == len(old) and all(_alike(a, b, key) for a, b in zip(new, old, strict=True))
    if isinstance(new, str) and isinstance(old, str):
        return new == old or _noise(new, old, key)
    return type(new) is type(old) and new == old


def _told(fields: dict[str, object]) -> dict[str, object]:
    """Without empty fields: the API server may have filled them in, or dropped them."""
    return {key: value for key, value in fields.items() if value not in ("", [], {}, None)}


def _noise(new: str, old: str, key: str) -> bool:
    if key.endswith("USD"):
        return False
    if key in _MEASURED_KEYS:
        return _near(new, old)
    if _MEASURED.sub("#", new) != _MEASURED.sub("#", old):
        return False
    before, after = _MEASURED.findall(old), _MEASURED.findall(new)
    return bool(before) and all(
        unit == unit_before and _near(number, number_before)
        for (number, unit), (number_before, unit_before) in zip(after, before, strict=True)
    )


def _near(new: str, old: str) -> bool:
    """Within one step of the last place shown, or within 5 %."""
    a, b = float(new), float(old)
    return abs(a - b) <= max(_step(new), _step(old)) * 1.001 or abs(a - b) <= _RELATIVE * max(a, b)


def _step(number: str) -> float:
    """The value of the last significant place shown: 0.1 of `29.4`, 1000 of `92000`."""
    whole, _, fraction = number.partition(".")
    if fraction:
        return float(10 ** -len(fraction))
    zeros = len(whole) - len(whole.rstrip("0")) if len(whole.rstrip("0")) > 1 else max(0, len(whole) - 2)
    return float(10**zeros)
