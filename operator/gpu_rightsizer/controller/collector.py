"""Keeps the garbage collector from walking a whole fleet again and again while it is being read and evaluated."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def paused_collector() -> Iterator[None]:
    """No automatic collection meanwhile: what is made lives on, and what is dropped is in no cycle.

    It took a fifth of the time of an evaluation of 1,000 deployments.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
