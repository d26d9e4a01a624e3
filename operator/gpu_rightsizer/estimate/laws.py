"""The laws that an excess over the threshold may follow: ordinary variation, alone or with bursts among it.

An excess is a share of the threshold. Ordinary variation has a generalised Pareto law with a light tail and a scale
near that of the series' own excesses; a burst has one whose scale (no smaller than that) and shape are its own; a share
of the clusters are bursts. Every combination is one law. Their log densities are tabulated over the logarithm of the
excess, so that the likelihood of a fleet is a product of two matrices: how many excesses lie where, times what each law
says there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ORDINARY_SHAPES = np.array([-0.25, -0.10, 0.02])
SHARES = np.array([0.015, 0.05, 0.15, 0.4])
BURST_SCALES = np.geomspace(0.02, 20.0, 13)
BURST_SHAPES = np.array([-0.15, 0.0, 0.12, 0.24, 0.36, 0.5, 0.7])
ORDINARY_SCALES = np.exp(np.linspace(-1.1, 0.7, 7))  # times the series' own
WIDE_SCALES = np.exp(np.linspace(-1.9, 1.8, 7))  # where the series has too few clusters for a scale of its own

ORDINARY = (len(ORDINARY_SCALES), len(ORDINARY_SHAPES))
BURSTS = (len(SHARES), len(BURST_SCALES), len(BURST_SHAPES))
_PURE = ORDINARY[0] * ORDINARY[1]  # laws without bursts come first

STEP = np.log(1.6)  # own scales are rounded to powers of 1.6, for which tables are kept
_SPACING = 0.2
_KNOTS = np.arange(np.log(5e-4), np.log(120.0), _SPACING)  # of the logarithm of an excess
_LEAST = -60.0  # log density of what a law excludes
_EXCLUDED = -1e4  # of a law whose bursts would be smaller than ordinary variation


def split(laws: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A figure for each law, (n, laws), as (n, scales, shapes) without bursts and (n, scales, shapes, *BURSTS) with."""
    rows = len(laws)
    return laws[:, :_PURE].reshape(rows, *ORDINARY), laws[:, _PURE:].reshape(rows, *ORDINARY, *BURSTS)


def counted(row: NDArray[np.intp], excess: NDArray[np.float64], rows: int) -> NDArray[np.float32]:
    """How many excesses lie at each knot, (rows, knots): each is shared by the two nearest."""
    knots = len(_KNOTS)
    place = np.clip((np.log(np.maximum(excess, 1e-9)) - _KNOTS[0]) / _SPACING, 0.0, knots - 1.001)
    below = place.astype(np.intp)
    beyond = place - below
    at = row * knots + below
    total = np.bincount(at, 1 - beyond, rows * knots) + np.bincount(at + 1, beyond, rows * knots)
    return total.reshape(rows, knots).astype(np.float32)


@lru_cache(maxsize=64)
def log_densities(step: int, wide: bool) -> NDArray[np.float32]:
    """Log density of each law at each knot, (knots, laws), of a series whose own scale is 1.6^step."""
    return _table(_log_density, step, wide)


@lru_cache(maxsize=8)
def log_survivals(step: int, wide: bool) -> NDArray[np.float32]:
    """Log of the chance to exceed each knot: what an excess says that was cut off there."""
    return _table(_log_survival, step, wide)


def survivals(excess: NDArray[np.float64], step: int, *, wide: bool) -> NDArray[np.float64]:
    """Chance of each law to exceed each excess, (k, laws)."""
    ordinary, bursts = (np.exp(each) for each in _parts(_log_survival, excess, step, wide))
    return np.asarray(_mixed(ordinary, bursts).T, dtype=np.float64)


def own_scales(step: int, *, wide: bool) -> NDArray[np.float64]:
    """The scales of ordinary variation in those laws."""
    return np.asarray((WIDE_SCALES if wide else ORDINARY_SCALES) * np.exp(STEP * step))


def _table(
    law: Callable[[NDArray[np.float64], float, float], NDArray[np.float64]], step: int, wide: bool
) -> NDArray[np.float32]:
    ordinary, bursts = (np.exp(each).astype(np.float32) for each in _parts(law, np.exp(_KNOTS), step, wide))
    laws = np.log(_mixed(ordinary, bursts))
    smaller = BURST_SCALES[:-1] < np.exp(STEP * step)
    laws[_PURE:].reshape(*ORDINARY, *BURSTS, -1)[:, :, :, :-1][:, :, :, smaller] = _EXCLUDED
    return np.ascontiguousarray(laws.T)


def _parts(
    law: Callable[[NDArray[np.float64], float, float], NDArray[np.float64]],
    at: NDArray[np.float64],
    step: int,
    wide: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The log law of ordinary variation and of bursts at each excess, (their laws, k)."""
    ordinary = np.array([law(at, shape, s) for s in own_scales(step, wide=wide) for shape in ORDINARY_SHAPES])
    bursts = np.array([law(at, shape, s) for s in BURST_SCALES for shape in BURST_SHAPES])
    return np.maximum(ordinary, _LEAST), np.maximum(bursts, _LEAST)


def _mixed(ordinary: NDArray[np.floating], bursts: NDArray[np.floating]) -> NDArray[np.floating]:
    """Each law: first without bursts, then with each share of each kind of bursts, (laws, k)."""
    share = SHARES.astype(ordinary.dtype)[None, :, None, None]
    with_bursts = (1 - share) * ordinary[:, None, None] + share * bursts[None, None]
    return np.concatenate([ordinary, with_bursts.reshape(-1, ordinary.shape[1])])


def _log_density(at: NDArray[np.float64], shape: float, scale: float) -> NDArray[np.float64]:
    inside = 1 + shape * at / scale
    within = _log_survival(at, shape, scale) - np.log(np.maximum(inside, 1e-30)) - np.log(scale)
    return np.where(inside > 0, within, _LEAST)


def _log_survival(at: NDArray[np.float64], shape: float, scale: float) -> NDArray[np.float64]:
    """Of the generalised Pareto law; exponential at shape 0."""
    if shape == 0.0:
        return np.asarray(-at / scale)
    inside = 1 + shape * at / scale
    return np.where(inside > 0, -np.log(np.maximum(inside, 1e-300)) / shape, _LEAST)
