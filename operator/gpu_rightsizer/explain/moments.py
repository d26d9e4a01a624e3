"""Times that stand in a status: rounded to a day of the object's own, so that they do not tick from cycle to cycle."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final

_DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LASTS: Final = 2 * _DAY  # a recommendation not confirmed for a day lapses within another


def day_of(uid: str, moment: datetime) -> datetime:
    """The begin of the object's day: each has its own hour and minute, lest a whole fleet is written at midnight."""
    offset = timedelta(minutes=int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4], "big") % (24 * 60))
    return _EPOCH + offset + (moment - _EPOCH - offset) // _DAY * _DAY


def expiry(uid: str, now: datetime) -> datetime:
    """Between one and two days ahead."""
    return day_of(uid, now) + LASTS
