"""Laws of what may be believed of samples: gaps lower nothing, coverage is a share, order does not matter."""

from __future__ import annotations

import random as rng
import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from gpu_rightsizer.observe.coverage import LEAST_COVERAGE, believed, expected_scrapes, share_seen
from gpu_rightsizer.observe.queries import QUERIES, Scope, quoted

BLOCKS = 40
Figures = NDArray[np.float64]
FIGURE = st.one_of(st.just(float("nan")), st.floats(0, 1e12, allow_nan=False))
VALUES = arrays(np.float64, BLOCKS, elements=FIGURE)
COVERAGE = arrays(np.float64, BLOCKS, elements=st.floats(0, 1))
COUNTS = arrays(np.float64, st.tuples(st.integers(1, 4), st.just(BLOCKS)), elements=st.integers(0, 240).map(float))
PODS = arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.just(BLOCKS)),
    elements=st.one_of(st.just(float("nan")), st.integers(1, 300).map(float)),
)


def peak(values: Figures) -> float:
    return float(np.nanmax(values, initial=0.0))


@settings(deadline=None)
@given(VALUES, COVERAGE)
def test_what_is_believed_was_seen_and_a_thin_block_is_believed_only_as_the_highest_of_all(
    values: Figures, coverage: Figures
) -> None:
    kept = believed(values, coverage, raises=True)

    known = np.isfinite(kept)
    np.testing.assert_array_equal(kept[known], values[known])
    assert (kept[known & (coverage < LEAST_COVERAGE)] == peak(values)).all()
    assert peak(kept) == peak(values)


@settings(deadline=None)
@given(VALUES, COVERAGE)
def test_what_must_not_be_raised_is_believed_of_covered_blocks_alone(values: Figures, coverage: Figures) -> None:
    kept = believed(values, coverage, raises=False)

    np.testing.assert_array_equal(kept, np.where(coverage >= LEAST_COVERAGE, values, np.nan))


@settings(deadline=None)
@given(VALUES, COVERAGE, arrays(np.float64, BLOCKS, elements=st.floats(0, 1)))
def test_less_coverage_never_lowers_a_peak(values: Figures, coverage: Figures, lost: Figures) -> None:
    whole = believed(values, coverage, raises=True)

    assert peak(believed(values, coverage * lost, raises=True)) >= peak(whole)


@settings(deadline=None)
@given(PODS, st.randoms(use_true_random=False))
def test_coverage_is_a_share_whatever_the_order_of_pods(counts: Figures, random: rng.Random) -> None:
    expected = np.full_like(counts, 240.0)
    order = list(range(len(counts)))
    random.shuffle(order)

    covered = share_seen(counts, expected)

    assert ((covered >= 0) & (covered <= 1)).all()
    np.testing.assert_allclose(share_seen(counts[order], expected), covered)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, BLOCKS - 1), st.integers(1, BLOCKS)), min_size=1, max_size=5))
def test_pods_that_are_seen_all_their_life_leave_no_gap(lives: list[tuple[int, int]]) -> None:
    counts = np.full((len(lives), BLOCKS), np.nan)
    for row, (born, length) in zip(counts, lives, strict=True):
        row[born : born + length] = 60.0

    covered = share_seen(counts, np.full_like(counts, 60.0))

    np.testing.assert_array_equal(covered, np.isfinite(counts).any(axis=0).astype(float))


@settings(deadline=None)
@given(COUNTS, st.floats(0, 1))
def test_no_fewer_scrapes_are_expected_than_there_were(counts: Figures, elapsed: float) -> None:
    for row in counts:
        assert (expected_scrapes(row, elapsed) >= row).all()


@settings(deadline=None)
@given(st.integers(1, 240), st.integers(13, BLOCKS - 14), st.integers(0, 59))
def test_an_outage_of_the_store_is_noticed(usual: int, when: int, percent: int) -> None:
    counts = np.full(BLOCKS, float(usual))
    counts[when] = usual * percent // 100

    expected = expected_scrapes(counts, 1.0)

    assert expected[when] == usual


@settings(deadline=None)
@given(st.text())
def test_no_matcher_breaks_out_of_its_quotes(cluster: str) -> None:
    literal = quoted(cluster)

    inside = re.sub(r"\\.", "", literal[1:-1])

    assert literal[0] == literal[-1] == '"'
    assert '"' not in inside
    assert "\n" not in literal
    assert all(literal in query.promql(Scope((("cluster", cluster),))) for query in QUERIES)
