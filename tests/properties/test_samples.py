"""Reading in steps and reading at once give the same figures."""

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_rightsizer.observe import samples as window
from gpu_rightsizer.observe.queries import BLOCK_SECONDS, QUERIES
from gpu_rightsizer.observe.samples import BLOCKS, Ask, Samples
from gpu_rightsizer.observe.tracks import RawSeries

BEGAN = datetime(2026, 11, 25, 12, tzinfo=UTC)
LIVES = st.lists(st.tuples(st.integers(-BLOCKS, 60), st.integers(1, 200)), min_size=1, max_size=5)
STEPS = st.lists(st.integers(1, 30 * 3600), min_size=1, max_size=8)  # seconds between cycles, up to a day and more


def truth(now: datetime, ask: Ask, lives: list[tuple[int, int]]) -> list[RawSeries]:
    """What the store says now: a pod's block counts the seconds of it that have passed, from begin to end of life."""
    series: list[RawSeries] = []
    for pod, (born, hours) in enumerate(lives):
        ends = np.arange(ask.start, ask.end + 1, BLOCK_SECONDS, dtype=np.float64)
        first = BEGAN.timestamp() + born * BLOCK_SECONDS
        last = min(now.timestamp(), first + hours * BLOCK_SECONDS)
        seconds = np.minimum(ends, last) - np.maximum(ends - BLOCK_SECONDS, first)
        shown = seconds > 0
        if shown.any():
            series.append(({"pod": f"p{pod}"}, ends[shown], seconds[shown]))
    return series


def cycle(samples: Samples, now: datetime, lives: list[tuple[int, int]], fails: set[str], warns: set[str]) -> Samples:
    """As the operator runs it."""
    samples = window.advanced(samples, now)
    for ask in window.plan(samples, now, pods=len(lives)):
        if ask.query.name in fails:
            samples = window.failed(samples, ask.query, "no answer")
        elif ask.query.name not in samples.failed:
            samples = window.merged(samples, ask, truth(now, ask, lives))
            if ask.query.name in warns:
                samples = window.warned(samples, ask.query, ["partial"])
    return samples


def assert_same(warm: Samples, cold: Samples) -> None:
    assert warm.last_end == cold.last_end
    for query in (each for each in QUERIES if not each.instant):
        left, right = warm.tracks[query.name], cold.tracks[query.name]
        assert left.keys() == right.keys()
        for key, track in left.items():
            np.testing.assert_array_equal(track, right[key])


@settings(deadline=None)
@given(lives=LIVES, steps=STEPS, data=st.data())
def test_cold_equals_warm_whatever_failed_on_the_way(
    lives: list[tuple[int, int]], steps: list[int], data: st.DataObject
) -> None:
    names = st.sets(st.sampled_from([query.name for query in QUERIES]), max_size=4)
    now = BEGAN
    warm = cycle(window.empty(now), now, lives, data.draw(names), data.draw(names))
    for step in steps:
        now += timedelta(seconds=step)
        warm = cycle(warm, now, lives, data.draw(names), data.draw(names))
    warm = cycle(warm, now, lives, set(), set())

    assert_same(warm, cycle(window.empty(now), now, lives, set(), set()))
