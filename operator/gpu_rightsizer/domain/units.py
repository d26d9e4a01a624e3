"""Units: every quantity carries one, in its type and in its name."""

from decimal import Decimal
from typing import NewType

Bytes = NewType("Bytes", int)
Tokens = NewType("Tokens", float)
Seconds = NewType("Seconds", float)
Millicores = NewType("Millicores", int)
Usd = NewType("Usd", Decimal)
UsdPerHour = NewType("UsdPerHour", Decimal)
Probability = NewType("Probability", float)

KIB = 1024
MIB = 1024**2
GIB = 1024**3
HOURS_PER_MONTH = Decimal(730)  # 365 d x 24 h / 12, as cloud price pages count a month
SECONDS_PER_DAY = 86_400


def mib(count: float) -> Bytes:
    """Mebibytes as bytes."""
    return Bytes(round(count * MIB))


def gib(count: float) -> Bytes:
    """Gibibytes as bytes."""
    return Bytes(round(count * GIB))
