"""The laws that an excess over the threshold may follow: ordinary variation, alone or with bursts among it.

An excess is a share of the threshold. Ordinary variation has a generalised Pareto law with a light tail and a scale
near that of the series' own excesses; a burst has one whose scale (no smaller than that) and shape are its own; a share
of the clusters are bursts. Every combination is one law. Their log densities are tabulated over the logarithm of the
excess, so that the likelihood of a fleet is a product of two matrices: how many excesses lie where, times what each law
says there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

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

STEP = np.log(1.6)  # own scales are rounded to powers of 1.6, for which tables are kept
_SPACING = 0.2
_KNOTS = np.arange(np.log(5e-4), np.log(120.0), _SPACING)  # of the logarithm of an excess
_LEAST = -60.0  # log density of what a law excludes


def least_burst(step: int) -> int:
    """The first of `BURST_SCALES` that a law may have: bursts are no smaller than the series' own scale."""
    return int(np.count_nonzero(BURST_SCALES[:-1] < np.exp(STEP * step)))


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
    """Log density of each law at each knot, (knots, ordinary laws, 1 + bursts), of a series with own scale 1.6^step.

    The last axis is the law without bursts, then each share, scale (from `least_burst` on) and shape of them.
    """
    return _table(_log_density, step, wide)


@lru_cache(maxsize=8)
def log_survivals(step: int, wide: bool) -> NDArray[np.float32]:
    """Log of the chance to exceed each knot: what an excess says that was cut off there."""
    return _table(_log_survival, step, wide)


def survivals(excess: NDArray[np.float64], step: int, *, wide: bool) -> NDArray[np.float64]:
    """Chance of each law to exceed each excess, (k, ordinary laws, 1 + bursts)."""
    return np.asarray(_mixed(_log_survival, excess, step, wide), dtype=np.float64)


def own_scales(step: int, *, wide: bool) -> NDArray[np.float64]:
    """The scales of ordinary variation in those laws."""
    return np.asarray((WIDE_SCALES if wide else ORDINARY_SCALES) * np.exp(STEP * step))


_Law: TypeAlias = "Callable[[NDArray[np.float64], float, float], NDArray[np.float64]]"


def _table(law: _Law, step: int, wide: bool) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.log(_mixed(law, np.exp(_KNOTS), step, wide)), dtype=np.float32)


def _mixed(law: _Law, at: NDArray[np.float64], step: int, wide: bool) -> NDArray[np.float64]:
    """Each law at each excess: first without bursts, then with each share of each kind of them."""
    scales, least = own_scales(step, wide=wide), BURST_SCALES[least_burst(step) :]
    ordinary = np.array([law(at, shape, s) for s in scales for shape in ORDINARY_SHAPES])
    bursts = np.array([law(at, shape, s) for s in least for shape in BURST_SHAPES])
    alone, burst = (np.exp(np.maximum(each, _LEAST)).T for each in (ordinary, bursts))
    share = SHARES[:, None]
    with_bursts = (1 - share) * alone[:, :, None, None] + share * burst[:, None, None, :]
    return np.concatenate([alone[:, :, None], with_bursts.reshape(*alone.shape, -1)], axis=2)


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
