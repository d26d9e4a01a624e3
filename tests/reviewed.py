"""Large expected values in files of their own, reviewed as words: `UPDATE_REVIEWED=1 pytest ...` writes them anew."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from pathlib import Path


def reviewed(path: Path, actual: object) -> object:
    """What the file holds; under UPDATE_REVIEWED it is made to hold `actual` first (review the difference)."""
    if os.environ.get("UPDATE_REVIEWED"):
        path.write_text(yaml.safe_dump(actual, sort_keys=False, allow_unicode=True, width=110))
    return yaml.safe_load(path.read_text())
