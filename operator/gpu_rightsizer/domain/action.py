"""What may be recommended."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """What is recommended."""

    RESIZE = "Resize"
    SCALE_TO_ZERO = "ScaleToZero"
    TUNE = "Tune"
    KEEP = "Keep"
    UNKNOWN = "Unknown"
