"""The loop: on time, when woken, only as the leader, and honest to its probes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from gpu_rightsizer.controller import loop as module
from gpu_rightsizer.controller.loop import Loop
from gpu_rightsizer.ports import Unavailable
from tests.fakes.clock import FakeClock

INTERVAL = timedelta(minutes=5)


class Leading:
    def __init__(self, held: bool = True) -> None:
        self.is_held = held

    def held(self) -> bool:
        return self.is_held


async def spin(loop: Loop, seconds: float = 0.05) -> None:
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(seconds)
    task.cancel()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_S", 0.005)
    monkeypatch.setattr(module, "LEAST_GAP_S", 0.01)


async def test_a_wake_brings_the_next_cycle_forward() -> None:
    cycles: list[int] = []

    async def cycle() -> None:
        cycles.append(1)
        if len(cycles) == 1:
            loop.wake()

    loop = Loop(cycle, Leading(), FakeClock(), INTERVAL)  # type: ignore[arg-type]  # what the loop asks of a Lease
    await spin(loop, 0.2)

    assert len(cycles) == 2


async def test_without_the_lease_nothing_is_done_and_that_is_healthy() -> None:
    cycles: list[int] = []

    async def cycle() -> None:
        cycles.append(1)

    loop = Loop(cycle, Leading(held=False), FakeClock(), INTERVAL)  # type: ignore[arg-type]
    await spin(loop)

    assert cycles == []
    assert loop.alive() == ""
    assert loop.ready() == ""


async def test_cycles_that_come_to_nothing_end_in_a_failing_probe() -> None:
    clock = FakeClock()

    async def cycle() -> None:
        raise Unavailable("Prometheus did not answer")

    loop = Loop(cycle, Leading(), clock, INTERVAL)  # type: ignore[arg-type]
    await spin(loop)

    assert loop.ready() == "the first cycle is not done: Prometheus did not answer"
    assert loop.alive() == ""
    clock.seconds = 901
    assert loop.alive() == "no whole cycle for 901 s (limit 900 s): Prometheus did not answer"
