"""Keeps a status as it stands while nothing but noise has changed, so that unchanged facts write nothing.

Rounding alone cannot do it: a figure that lies on the edge between two roundings flips with the smallest noise.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# A number with the unit or the words that make it a measurement. Money (after `$`, or in a key that ends in USD), plain
# counts and names have none: there every change is a fact.
_NUMBER: Final = r"\d+(?:\.\d+)?"
_UNIT: Final = (
    r"%|Gi\b|Mi\b| GiB| MiB|ms\b|s\b|[kMG]?(?: tokens| against| at the peak| times| USD)|[kMG]\b| min\b| h\b| days\b"
)
_MEASURED: Final = re.compile(rf"(?<![\w.$-])({_NUMBER})({_UNIT})|(?<=capacity of )({_NUMBER})([kMG]?)")
_RELATIVE: Final = 0.05
# A tail multiplies what it is fed: 0.1 % more demand can be 15 % more probability.
_RELATIVE_OF_PROBABILITY: Final = 0.15
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


# The window that was looked at moves with every sample. It stands as it was when the rest was last written, which is
# within a day: `expiresAt` is renewed then.
_WINDOW_KEYS: Final = frozenset({"from", "to"})


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
        return new == old or key in _WINDOW_KEYS or _is_noise(new, old, key)
    return type(new) is type(old) and new == old


def _told(fields: dict[str, object]) -> dict[str, object]:
    """Without empty fields: the API server may have filled them in, or dropped them."""
    return {key: value for key, value in fields.items() if value not in ("", [], {}, None)}


def _is_noise(new: str, old: str, key: str) -> bool:
    try:
        return _noise(new, old, key)
    except ValueError:  # what stands there was not written by us: it is replaced
        return False


def _noise(new: str, old: str, key: str) -> bool:
    if key.endswith("USD"):
        return False
    if key in _MEASURED_KEYS:
        return _near(new, old)
    if key == "coverage":  # whole per cent, and a sign of trouble when it falls
        return abs(float(new.rstrip("%")) - float(old.rstrip("%"))) <= 1
    if _MEASURED.sub("#", new) != _MEASURED.sub("#", old):
        return False
    tolerance = _RELATIVE_OF_PROBABILITY if " " in new or key.endswith("Probability") else _RELATIVE
    before, after = _MEASURED.findall(old), _MEASURED.findall(new)
    return bool(before) and all(
        (unit, unit_there) == (unit_before, unit_there_before)
        and _near(a or c, b or d, tolerance if unit == "%" else _RELATIVE)
        for (a, unit, c, unit_there), (b, unit_before, d, unit_there_before) in zip(after, before, strict=True)
    )


def _near(new: str, old: str, relative: float = _RELATIVE) -> bool:
    """Within one step of the last place shown, or within the share given."""
    a, b = float(new), float(old)
    return abs(a - b) <= max(_step(new), _step(old)) * 1.001 or abs(a - b) <= relative * max(a, b)


def _step(number: str) -> float:
    """The value of the last significant place shown: 0.1 of `29.4`, 1000 of `92000`."""
    whole, _, fraction = number.partition(".")
    if fraction:
        return float(10 ** -len(fraction))
    zeros = len(whole) - len(whole.rstrip("0")) if len(whole.rstrip("0")) > 1 else max(0, len(whole) - 2)
    return float(10**zeros)
