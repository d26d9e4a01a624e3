"""How much of what should have been scraped was, and what may be believed of a block that was not.

A gap is not a quiet hour: a block seen by less than LEAST_COVERAGE is unknown. What was seen in it still counts where
it exceeds everything in the blocks that are known: such evidence may raise a need, never lower it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Figures = NDArray[np.floating]

LEAST_COVERAGE = 0.9
NEIGHBOURS = 12  # blocks on either side from which a job's scrape interval is learned


def expected_scrapes(counts: Figures, elapsed: float) -> Figures:
    """How many scrapes of one target were due in each block, from how many there were of the job's best.

    The usual count of the neighbourhood (its median, so that neither an outage of the store nor a changed interval
    misleads), or the block's own where that is larger. The last block runs: `elapsed` is the share of it that passed,
    and one scrape less may have been due. 0 where nothing tells.
    """
    seen = np.nan_to_num(counts)  # no scrape seen
    complete = np.where(seen > 0, seen, np.nan)
    complete[-1] = np.nan
    padded = np.pad(complete, NEIGHBOURS, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * NEIGHBOURS + 1)
    told = np.isfinite(around).any(axis=1)
    usual = np.zeros(len(counts))
    usual[told] = np.nanmedian(around[told], axis=1)
    usual[-1] = max(0.0, usual[-1] * elapsed - 1)
    return np.maximum(seen, usual)


def share_seen(counts: Figures, expected: Figures) -> Figures:
    """Samples seen over expected in each block, 0..1, over all pods of a workload; both of shape (pods, blocks).

    A pod is due in every block between its first and its last. In those two it came or went at a moment that the
    samples do not tell: there, pods that follow one another make up one whole pod.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(expected > 0, np.minimum(counts / expected, 1.0), 0.0)
    share = np.fmax(share, 0.0)  # NaN: no sample seen
    if len(share) == 1:
        alone: Figures = share[0]
        return alone
    there = share > 0
    blocks = np.arange(share.shape[1])
    first, last = there.argmax(axis=1), share.shape[1] - 1 - there[:, ::-1].argmax(axis=1)
    due = (blocks > first[:, None]) & (blocks < last[:, None]) & there.any(axis=1, keepdims=True)
    whole = due.sum(axis=0)
    between = np.where(due, share, 0.0).sum(axis=0) / np.maximum(whole, 1)
    at_ends = np.minimum(np.where(due, 0.0, share).sum(axis=0), 1.0)
    covered: Figures = np.where(whole > 0, between, at_ends)
    return covered


def believed(values: Figures, coverage: Figures, *, raises: bool) -> Figures:
    """The values without those of thinly covered blocks; with `raises` the largest of those stays if it is a peak."""
    covered = coverage >= LEAST_COVERAGE
    if covered.all():
        return values
    kept = np.where(covered, values, np.nan)
    if not raises:
        return kept
    highest = np.fmax.reduce(kept, initial=0.0)
    thin = np.where(covered, np.nan, values)
    peak = np.fmax.reduce(thin, initial=0.0)
    return np.where(thin == peak, values, kept) if peak > highest else kept
