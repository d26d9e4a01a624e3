"""Sources that deny one another, histories that ended, and idleness that is claimed for no longer than it is known."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.need import Idleness, IdleState
from gpu_rightsizer.domain.readings import BlockSeries, MissingReason, Signal
from gpu_rightsizer.domain.units import MIB
from gpu_rightsizer.domain.workload import ScaleToZeroRules
from gpu_rightsizer.estimate import estimate
from tests import builders as make

HOURS = 336
HOURLY = ScaleToZeroRules(enabled=True, idle_after=timedelta(hours=1), cold_start=timedelta(minutes=5))
MISSING, DISAGREE = Code.METRICS_MISSING, Code.SOURCES_DISAGREE


def holds(**changes: Any) -> tuple[Finding, ...]:
    return estimate([make.world(make.observation(**changes))], make.NOW)[0].shrink_holds


def idleness(**changes: Any) -> Idleness:
    still = {name: make.flat(0.0) for name in ("requests", "running", "prompt_rate", "generation_rate", "gpu_activity")}
    world = make.world(make.observation(**(still | changes)), scale_to_zero=HOURLY)
    return estimate([world], make.NOW)[0].idleness


def latest(hours: int, value: float, before: float) -> BlockSeries:
    """One figure in the last hours, another one before."""
    values = np.full(HOURS, before)
    values[HOURS - hours :] = value
    return make.series(values)


# histories that ended -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "signal"),
    [
        ("kv_demand", "KvDemand"), ("running", "Running"), ("prompt_rate", "PromptRate"),
        ("generation_rate", "GenerationRate"),
    ],
)  # fmt: skip
def test_an_engine_history_that_ended_hours_ago_is_not_the_present(history: str, signal: str) -> None:
    assert found(MISSING, signal=signal, why="Stale", detail="") in holds(**{history: latest(4, np.nan, 1.0)})


def test_a_framebuffer_history_that_ended_matters_where_it_sizes() -> None:
    ended = latest(4, np.nan, 1e10)
    alone = make.world(make.no_engine(fb_used=ended))

    assert (
        found(MISSING, signal="FramebufferUsed", why="Stale", detail="") in estimate([alone], make.NOW)[0].shrink_holds
    )
    assert holds(fb_used=ended) == ()


def test_a_gap_of_three_hours_is_waited_for() -> None:
    assert holds(kv_demand=latest(3, np.nan, 1000.0)) == ()


def test_what_no_sample_tells_at_all_is_said_once() -> None:
    problem = make.missing(Signal.KV_DEMAND, MissingReason.STALE)
    ended, then = latest(4, np.nan, 1000.0), make.NOW - timedelta(hours=4)

    stale = holds(kv_demand=ended, newest=then, problems=(problem,))

    assert stale == (found(MISSING, signal="KvDemand", why="Stale", detail=""),)


# contradictions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hours", "held"), [(HOURS, True), (36, True), (30, False)])
def test_a_device_at_work_while_the_engine_counts_nothing(*, hours: int, held: bool) -> None:
    silent = {name: latest(hours, 0.0, 5.0) for name in ("running", "requests")}

    told = found(DISAGREE, signal="Running", detail="the device works without requests")
    assert (told in holds(**silent, gpu_activity=make.flat(0.4))) is held
    assert told not in holds(**silent, gpu_activity=make.flat(0.01))


def test_short_requests_that_no_scrape_caught_running_are_no_contradiction() -> None:
    assert holds(running=make.flat(0.0), gpu_activity=make.flat(0.4)) == ()


def test_a_device_alone_denies_nothing() -> None:
    codes = {each.code for each in estimate([make.world(make.no_engine())], make.NOW)[0].shrink_holds}

    assert DISAGREE not in codes


@pytest.mark.parametrize(("hours", "held"), [(HOURS, True), (36, True), (30, False)])
def test_sequences_that_run_without_kv(*, hours: int, held: bool) -> None:
    told = found(DISAGREE, signal="KvUsage", detail="requests run without any")

    assert (told in holds(kv_demand=latest(hours, 0.0, 1000.0), running=make.flat(2.0))) is held


@pytest.mark.parametrize(("mib", "held"), [(0, True), (3, True), (450, False)])
def test_a_device_that_works_without_memory(*, mib: int, held: bool) -> None:
    told = found(DISAGREE, signal="FramebufferUsed", detail="the device works without memory")

    assert (told in holds(fb_used=make.flat(mib * MIB))) is held
    assert told not in holds(fb_used=make.flat(mib * MIB), gpu_activity=make.flat(0.0))


# idleness -----------------------------------------------------------------------------------------------------------


def test_idleness_is_claimed_for_no_longer_than_anything_is_known() -> None:
    known = latest(100, 0.0, np.nan)

    assert idleness(requests=known, running=known).idle_for == timedelta(hours=100)


def test_idleness_ends_at_a_hole_too_large() -> None:
    values = np.zeros(HOURS)
    values[100:200] = np.nan

    told = idleness(requests=make.series(values))

    assert told.state is IdleState.IDLE
    assert told.idle_for == timedelta(hours=136)


@pytest.mark.parametrize("quiet", [2, 5, 24, HOURS])
def test_a_device_at_work_denies_idleness_however_long_it_is_claimed(quiet: int) -> None:
    engine = {name: latest(quiet, 0.0, 3.0) for name in ("requests", "running")}

    assert idleness(**engine, gpu_activity=make.flat(0.4)).state is not IdleState.IDLE


def test_a_start_that_straddled_two_hours_is_forgotten_after_a_day() -> None:
    def started(hours_ago: int) -> BlockSeries:
        activity = np.zeros(HOURS)
        activity[HOURS - hours_ago : HOURS - hours_ago + 2] = 0.5
        return make.series(activity)

    assert idleness(gpu_activity=started(20)).state is IdleState.UNKNOWN
    assert idleness(gpu_activity=started(26)).state is IdleState.IDLE


def test_one_busy_hour_of_the_device_may_be_a_probe() -> None:
    activity = np.zeros(HOURS)
    activity[-2] = 0.5

    assert idleness(gpu_activity=make.series(activity)).state is IdleState.IDLE
