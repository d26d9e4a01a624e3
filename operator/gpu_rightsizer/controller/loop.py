"""The fleet loop: look, evaluate, carry out what changed; on time, when woken, and only as the leader."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_rightsizer.ports import Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from gpu_rightsizer.adapters.lease import Lease
    from gpu_rightsizer.ports import Clock

log = logging.getLogger(__name__)

GATHER_S = 1.0  # changes come in bunches (kubectl apply -f of a folder)
LEAST_GAP_S = 5.0  # between the starts of two cycles, however often we are woken
LATE_FACTOR = 3  # a loop whose last whole cycle is older than this many intervals is not alive


@dataclass(slots=True)
class Progress:
    """What the probes look at; monotonic seconds."""

    started: float
    finished: float | None = None
    error: str = ""


class Loop:
    """Runs `cycle` every interval while `lease` is held, and once soon after each `wake`."""

    def __init__(self, cycle: Callable[[], Awaitable[None]], lease: Lease, clock: Clock, interval: timedelta) -> None:
        self._cycle = cycle
        self._lease = lease
        self._clock = clock
        self._interval = interval.total_seconds()
        self._woken = asyncio.Event()
        self.progress = Progress(started=clock.monotonic())

    def wake(self) -> None:
        """Ask for a cycle soon."""
        self._woken.set()

    async def run(self) -> None:
        """For ever; a cycle that fails is logged and tried again at the next turn."""
        while True:
            began = self._clock.monotonic()
            if self._lease.held():
                await self._turn()
            else:
                self.progress.finished = began  # standing by is being alive
                self.progress.error = ""
            await self._rest(began)

    async def _turn(self) -> None:
        self._woken.clear()
        try:
            await self._cycle()
        except (Unavailable, Rejected) as error:
            self.progress.error = str(error)
            log.warning("this cycle came to nothing: %s", error)
        except Exception as error:  # a fault of ours: the next cycle may do better, and the probe tells when none does
            self.progress.error = f"{type(error).__name__}: {error}"
            log.exception("this cycle failed")
        else:
            self.progress.error = ""
            self.progress.finished = self._clock.monotonic()

    async def _rest(self, began: float) -> None:
        wait = LEAST_GAP_S if not self._lease.held() else self._interval
        try:
            async with asyncio.timeout(max(0.0, wait - (self._clock.monotonic() - began))):
                await self._woken.wait()
        except TimeoutError:
            return
        await asyncio.sleep(max(GATHER_S, LEAST_GAP_S - (self._clock.monotonic() - began)))

    def alive(self) -> str:
        """Empty when whole cycles keep coming; else what is wrong (`/healthz`)."""
        last = self.progress.finished or self.progress.started
        age = self._clock.monotonic() - last
        limit = LATE_FACTOR * self._interval
        return f"no whole cycle for {age:.0f} s (limit {limit:.0f} s): {self.progress.error}" if age > limit else ""

    def ready(self) -> str:
        """Empty once the first whole cycle is done or another leads; else what is awaited (`/readyz`)."""
        if self.progress.finished is not None:
            return ""
        return f"the first cycle is not done: {self.progress.error or 'it is under way'}"
