"""A status that has grown too large loses what only people read, the least telling first; evidence and advice stay."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Fields: TypeAlias = dict[str, object]

MOST_BYTES: Final = 8192  # of the status as JSON; a usual one has half of it


def fitted(status: Fields) -> Fields:
    """The status in at most MOST_BYTES as long as names are of usual length; what is remembered is never cut."""
    for shorten in _SHORTENINGS:
        if len(json.dumps(status, separators=(",", ":"), ensure_ascii=False).encode()) <= MOST_BYTES:
            break
        status = shorten(status)
    return status


def _first(part: str, field: str, most: int) -> Callable[[Fields], Fields]:
    """Of a list in one part of the status, the first `most`; none: without it."""

    def shortened(status: Fields) -> Fields:
        holder = status.get(part)
        if not isinstance(holder, dict) or not isinstance(holder.get(field), list):
            return status
        kept = {**holder, field: holder[field][:most]}
        return {**status, part: {key: value for key, value in kept.items() if value or key != field}}

    return shortened


def _without_messages(status: Fields) -> Fields:
    """What containers said last; what happened, where and under which settings stays."""
    listed = status.get("incidents")
    if not isinstance(listed, list):
        return status
    return {**status, "incidents": [{key: each[key] for key in each if key != "message"} for each in listed]}


_SHORTENINGS: Final = (
    _without_messages,
    _first("recommendation", "alternatives", 2),
    _first("recommendation", "rejected", 2),
    _first("usage", "series", 0),
    _first("recommendation", "reasons", 6),
    _first("usage", "missing", 3),
)
