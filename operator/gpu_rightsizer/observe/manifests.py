"""Reading raw Kubernetes objects: absent or misshapen parts read as empty, quantities as exact numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final, TypeAlias

Raw: TypeAlias = Mapping[str, object]

_EMPTY: Final[Raw] = {}
_MOST: Final = Decimal(2**63 - 1)  # as Kubernetes caps a quantity
_COUNT: Final = re.compile(r"[0-9]{1,18}")
_FIRST_YEAR: Final = 2000  # Kubernetes writes a time that it does not know as the year 1
_QUANTITY: Final = re.compile(r"([+-]?[0-9.]+)([eE][+-]?[0-9]+|[numkKMGTPE]i?)?")
_SUFFIXES: Final = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}


def at(raw: object, *path: str) -> object:
    """What stands at that path; None when any part is absent or not a mapping."""
    for key in path:
        if not isinstance(raw, Mapping):
            return None
        raw = raw.get(key)
    return raw


def mapping(raw: object, *path: str) -> Raw:
    """The mapping at that path, empty when there is none."""
    found = at(raw, *path)
    return found if isinstance(found, Mapping) else _EMPTY


def items(raw: object, *path: str) -> list[Raw]:
    """The mappings in the list at that path, empty when there is none."""
    found = at(raw, *path)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def strings(raw: object, *path: str) -> list[str]:
    """The texts in the list at that path, empty when there is none."""
    found = at(raw, *path)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def text(raw: object, *path: str) -> str:
    """The text at that path, empty when there is none."""
    found = at(raw, *path)
    return found if isinstance(found, str) else ""


def labels(raw: object, *path: str) -> dict[str, str]:
    """A mapping of texts such as labels or a node selector."""
    return {key: value for key, value in mapping(raw, *path).items() if isinstance(value, str)}


def whole(raw: object, *path: str) -> int | None:
    """The integer of 32 bits at that path, as Kubernetes counts replicas and restarts; None when there is none."""
    found = at(raw, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 2**31 else None


def moment(raw: object, *path: str) -> datetime | None:
    """The RFC 3339 time at that path, in UTC; None when there is none."""
    try:
        found = datetime.fromisoformat(text(raw, *path))
        found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # overflow: a year before 1 or after 9999, once in UTC
        return None
    return found if found.year >= _FIRST_YEAR else None


def count(text: str) -> int | None:
    """A text of plain digits, as labels and annotations hold numbers, below 10^18; None when it is something else."""
    return int(text) if _COUNT.fullmatch(text) else None


def name(raw: object) -> str:
    """`metadata.name`."""
    return text(raw, "metadata", "name")


def namespace(raw: object) -> str:
    """`metadata.namespace`."""
    return text(raw, "metadata", "namespace")


def uid(raw: object) -> str:
    """`metadata.uid`."""
    return text(raw, "metadata", "uid")


def quantity(value: object) -> Decimal | None:
    """A Kubernetes quantity (`500m`, `16Gi`, `1e3`, or a bare number) exactly; None when it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _capped(Decimal(value))
    if isinstance(value, float):
        return _capped(Decimal(str(value)))
    return _quantity(value) if isinstance(value, str) else None


def _capped(number: Decimal) -> Decimal | None:
    return min(max(number, -_MOST), _MOST) if number.is_finite() else None


@lru_cache(maxsize=4096)
def _quantity(value: str) -> Decimal | None:
    match = _QUANTITY.fullmatch(value.strip())
    if match is None:
        return None
    number, suffix = match.groups(default="")
    try:
        exponent = suffix[:1] in {"e", "E"} and len(suffix) > 1
        return _capped(Decimal(number + suffix) if exponent else _scaled(number, suffix))
    except (ArithmeticError, KeyError):
        return None


def _scaled(number: str, suffix: str) -> Decimal:
    return Decimal(number) * (_SUFFIXES[suffix] if suffix else 1)
