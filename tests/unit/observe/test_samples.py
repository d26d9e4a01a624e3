"""What is asked next, and what a cycle keeps of the last."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gpu_rightsizer.observe import samples as window
from gpu_rightsizer.observe.queries import BLOCK_SECONDS, QUERIES, Query
from gpu_rightsizer.observe.samples import BLOCKS, Ask, Samples
from gpu_rightsizer.observe.tracks import key_of

NOW = datetime(2026, 11, 25, 12, 20, tzinfo=UTC)
ENGINE = next(query for query in QUERIES if query.name == "engine")
HOST = next(query for query in QUERIES if query.name == "host")
PRESENT = next(query for query in QUERIES if query.instant)
POD = {"namespace": "chat", "pod": "llm-0"}
KEY = key_of(POD)


def answered(samples: Samples, ask: Ask, value: float, labels: dict[str, str] = POD) -> Samples:
    ends = np.arange(ask.start, ask.end + 1, BLOCK_SECONDS, dtype=np.float64)
    return window.merged(samples, ask, [(labels, ends, np.full(len(ends), value))])


def asks_of(samples: Samples, query: Query, now: datetime, pods: int = 10) -> list[Ask]:
    return [ask for ask in window.plan(samples, now, pods) if ask.query is query]


def read(now: datetime, value: float = 1.0, query: Query = ENGINE) -> Samples:
    """A window wholly read by a cold start."""
    samples = window.advanced(window.empty(now), now)
    for ask in asks_of(samples, query, now):
        samples = answered(samples, ask, value)
    return samples


def test_a_cold_start_asks_each_query_once_over_the_whole_window() -> None:
    asks = window.plan(window.advanced(window.empty(NOW), NOW), NOW, pods=500)

    assert [ask.query.name for ask in asks] == [query.name for query in QUERIES]
    blocks = {ask.query.name: (ask.end - ask.start) // BLOCK_SECONDS + 1 for ask in asks if not ask.query.instant}
    assert blocks == {query.name: 24 * query.days - query.hourly for query in QUERIES if not query.instant}
    assert blocks["engine"] == BLOCKS


@pytest.mark.parametrize("pods", [10, 100, 1000, 100_000])
def test_a_warm_cycle_asks_as_many_queries_however_large_the_fleet_is(pods: int) -> None:
    samples = window.advanced(window.empty(NOW), NOW)
    for ask in window.plan(samples, NOW, pods):
        samples = answered(samples, ask, 1.0)
    later = NOW + timedelta(minutes=5)

    asks = window.plan(window.advanced(samples, later), later, 10)

    assert len(asks) == sum(not query.hourly for query in QUERIES) <= 13


def test_the_answers_of_a_huge_fleet_stay_below_the_room() -> None:
    samples = window.advanced(window.empty(NOW), NOW)
    for ask in (each for each in window.plan(samples, NOW, pods=20_000) if not each.query.instant):
        blocks = (ask.end - ask.start) // BLOCK_SECONDS + 1
        assert blocks * 20_000 * len(ask.query.parts) * window.BYTES_A_FIGURE <= window.ROOM_BYTES
        assert blocks * 20_000 * ask.query.weight <= window.ROOM_SAMPLES


def test_a_warm_cycle_asks_from_the_last_complete_block_on() -> None:
    later = NOW + timedelta(minutes=5)

    (ask,) = asks_of(window.advanced(read(NOW), later), ENGINE, later)

    assert datetime.fromtimestamp(ask.start, UTC) == datetime(2026, 11, 25, 12, tzinfo=UTC)  # ends the block 11:00
    assert datetime.fromtimestamp(ask.end, UTC) == datetime(2026, 11, 25, 13, tzinfo=UTC)


def test_an_hourly_query_is_asked_once_its_block_is_complete_and_of_the_last_one_again() -> None:
    (hourly, *_) = (query for query in QUERIES if query.hourly)
    later, next_hour = NOW + timedelta(minutes=5), NOW + timedelta(hours=1)
    samples = read(NOW, query=hourly)

    assert asks_of(window.advanced(samples, later), hourly, later) == []
    (ask,) = asks_of(window.advanced(samples, next_hour), hourly, next_hour)

    assert datetime.fromtimestamp(ask.start, UTC) == datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert datetime.fromtimestamp(ask.end, UTC) == datetime(2026, 11, 25, 13, tzinfo=UTC)


def test_what_ran_when_it_was_read_is_read_again_once_it_is_complete() -> None:
    hour_later = NOW + timedelta(hours=1)

    (ask,) = asks_of(window.advanced(read(NOW), hour_later), ENGINE, hour_later)

    assert datetime.fromtimestamp(ask.start, UTC) == datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert datetime.fromtimestamp(ask.end, UTC) == datetime(2026, 11, 25, 14, tzinfo=UTC)


def test_cycles_that_were_missed_are_caught_up() -> None:
    later = NOW + timedelta(hours=7)

    (ask,) = asks_of(window.advanced(read(NOW), later), ENGINE, later)

    assert (ask.end - ask.start) // BLOCK_SECONDS + 1 == 9


def test_after_a_gap_longer_than_the_window_everything_is_asked_anew() -> None:
    later = NOW + timedelta(days=20)
    samples = window.advanced(read(NOW), later)

    (ask,) = asks_of(samples, ENGINE, later)

    assert samples.tracks == {}
    assert (ask.end - ask.start) // BLOCK_SECONDS + 1 == BLOCKS


def test_figures_slide_with_the_window() -> None:
    later = NOW + timedelta(hours=2)
    samples = window.advanced(read(NOW), later)

    track = samples.tracks["engine"][KEY]

    assert np.isnan(track[-2:]).all()
    assert (track[:-2] == 1.0).all()


def test_a_failed_query_shows_nothing_old_as_fresh() -> None:
    samples = window.failed(read(NOW), ENGINE, "no answer")

    assert "engine" not in samples.tracks
    assert samples.failed == {"engine": "no answer"}


def test_after_a_failure_only_what_is_missing_is_asked_for() -> None:
    later = NOW + timedelta(hours=1)
    samples = window.failed(window.advanced(read(NOW), later), ENGINE, "no answer")
    again = later + timedelta(minutes=5)
    samples = window.advanced(samples, again)

    (ask,) = asks_of(samples, ENGINE, again)

    assert (ask.end - ask.start) // BLOCK_SECONDS + 1 == 3
    assert samples.failed == {}
    assert (answered(samples, ask, 2.0).tracks["engine"][KEY][-4:] == [1.0, 2.0, 2.0, 2.0]).all()


def test_a_cold_start_that_fails_goes_on_in_smaller_parts_from_where_it_got() -> None:
    samples = window.advanced(window.empty(NOW), NOW)
    samples = window.failed(samples, ENGINE, "took too long")
    first, second = asks_of(window.advanced(samples, NOW), ENGINE, NOW)
    assert (first.end - first.start) // BLOCK_SECONDS + 1 == BLOCKS // 2

    samples = window.failed(answered(window.advanced(samples, NOW), first, 1.0), ENGINE, "took too long")
    resumed = asks_of(window.advanced(samples, NOW), ENGINE, NOW)

    assert resumed[0].start == first.end
    assert len(resumed) == 3
    assert resumed[-1].end == second.end


def test_an_answer_with_warnings_is_asked_for_again() -> None:
    later = NOW + timedelta(minutes=5)
    samples = window.advanced(read(NOW), later)
    (ask,) = asks_of(samples, ENGINE, later)
    samples = window.warned(answered(samples, ask, 2.0), ENGINE, ["one store did not answer"])
    assert samples.tracks["engine"][KEY][-1] == 2.0
    assert samples.warned == {"engine": "one store did not answer"}

    hours_later = later + timedelta(hours=3)
    (again,) = asks_of(window.advanced(samples, hours_later), ENGINE, hours_later)

    assert again.start == ask.start


def test_a_cold_start_with_warnings_is_asked_for_again_as_a_whole() -> None:
    samples = window.warned(read(NOW), ENGINE, ["partial"])

    (again,) = asks_of(window.advanced(samples, NOW), ENGINE, NOW)

    assert (again.end - again.start) // BLOCK_SECONDS + 1 == BLOCKS


def test_series_that_vanished_age_out() -> None:
    later = NOW + timedelta(hours=BLOCKS - 3)
    samples = window.advanced(read(NOW), later)
    assert KEY in samples.tracks["engine"]

    at_last = later + timedelta(hours=4)

    assert samples.tracks["engine"][KEY][0] == 1.0
    assert window.advanced(samples, at_last).tracks.get("engine", {}) == {}


def test_the_present_is_never_kept_over_a_cycle() -> None:
    samples = window.advanced(window.empty(NOW), NOW)
    (ask,) = asks_of(samples, PRESENT, NOW)
    samples = window.merged(samples, ask, [(POD, np.array([1.0]), np.array([5.0]))])
    assert samples.tracks["now"][KEY] == [5.0]

    assert "now" not in window.advanced(samples, NOW).tracks


def test_a_namespace_that_joins_brings_its_pods_past() -> None:
    samples = read(NOW, query=HOST)
    widened = window.advanced(samples, NOW, ("chat", "code"))

    (host,) = asks_of(widened, HOST, NOW)

    assert (host.end - host.start) // BLOCK_SECONDS + 1 == BLOCKS


def test_a_clock_that_jumps_back_changes_no_figure() -> None:
    samples = read(NOW)

    back = window.advanced(samples, NOW - timedelta(hours=3))

    assert back.last_end == samples.last_end
    assert (back.tracks["engine"][KEY] == samples.tracks["engine"][KEY]).all()


def test_of_several_figures_for_one_block_the_largest_counts_whatever_their_order() -> None:
    samples = window.advanced(window.empty(NOW), NOW)
    (ask,) = asks_of(samples, ENGINE, NOW)
    ends = np.array([ask.end, ask.start, ask.end, ask.start, ask.end], dtype=np.float64)

    track = window.merged(samples, ask, [(POD, ends, np.array([0.9, 0.2, 0.1, np.nan, np.nan]))]).tracks["engine"][KEY]

    assert (track[0], track[-1]) == (0.2, 0.9)


@pytest.mark.parametrize("labels", [None, [], "pod", 7])
def test_what_is_no_series_is_left_out(labels: object) -> None:
    samples = window.advanced(window.empty(NOW), NOW)
    (ask,) = asks_of(samples, ENGINE, NOW)

    seen = window.merged(samples, ask, [(labels, np.array([float(ask.end)]), np.array([0.9]))])  # type: ignore[list-item] # from JSON

    assert seen.tracks["engine"] == {}
