"""The usual size of a demand at each hour of the week, for a fleet of block series on one time axis.

A median of ten days is wrong by a third of the spread between days, and the hour whose figure is most too high looks
like the usual peak. So each hour is drawn towards its neighbours and a weekend's hours towards those of the working
days, except where the difference is too large to be chance (Breiman's non-negative garrote, Technometrics 37, 1995).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.readings import BlockSeries

WEEK = 168
_DAY = 24
_HOUR = 3600
_EPOCH_HOUR_OF_WEEK = 72  # 1970-01-01 was a Thursday; hour 0 is Monday 00:00 UTC
_FEW_DAYS = 3  # fewer say nothing of their own
_WEEKS_OF_ITS_OWN = 3  # after which each day of the week has figures of its own
_BINS = 8  # hours of alike scale share one figure; 21 hours each
_POWER = 8.0  # within a bin the mean that preserves a tail of shape 1/8
_KERNEL = ((-2, 1 / 9), (-1, 2 / 9), (0, 3 / 9), (1, 2 / 9), (2, 1 / 9))  # hours before and after
_SMOOTHED = 0.25  # variance of an hour's mean over those neighbours, as a share of its own
_CHANCE = 6.0  # a squared difference below six times its variance is taken for chance
_MIDMEAN = 1.2  # variance of the mean of the middle half, times that of the mean (normal)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Several series on one axis: values (n, blocks) with NaN for unknown, and each block's hour of the week."""

    start: int
    block: int
    values: NDArray[np.float64]
    hour_of_week: NDArray[np.int64]


def stacked(fleet: Sequence[BlockSeries], block: int) -> Grid:
    """Series of one block length on one axis. Negative and infinite values are unknown."""
    start = min(s.start for s in fleet) // _HOUR * _HOUR
    columns = max((s.start - start) // block + len(s.values) for s in fleet)
    values = np.full((len(fleet), columns), np.nan)
    for row, series in enumerate(fleet):
        offset = (series.start - start) // block
        values[row, offset : offset + len(series.values)] = series.values
    values[~np.isfinite(values) | (values < 0)] = np.nan
    hours = (start + block * np.arange(columns, dtype=np.int64)) // _HOUR
    return Grid(start, block, values, (hours + _EPOCH_HOUR_OF_WEEK) % WEEK)


def hourly(grid: Grid) -> Grid:
    """The same with the largest of each hour's blocks; blocks of an hour or longer stay as they are."""
    per_hour = max(1, _HOUR // grid.block)
    if per_hour == 1:
        return grid
    values = np.where(np.isfinite(grid.values), grid.values, -np.inf)
    peaks = by_hour(values, per_hour, -np.inf).max(axis=2)
    peaks[~np.isfinite(peaks)] = np.nan
    return Grid(grid.start, _HOUR, peaks, grid.hour_of_week[::per_hour])


def by_hour(values: NDArray[np.generic], per_hour: int, missing: float) -> NDArray[np.generic]:
    """Blocks as (n, hours, blocks of the hour); the last hour is filled up with `missing`."""
    rows, columns = values.shape
    padded = np.full((rows, -(-columns // per_hour) * per_hour), missing, dtype=values.dtype)
    padded[:, :columns] = values
    return padded.reshape(rows, -1, per_hour)


def seasonal_scale(grid: Grid, floor: NDArray[np.float64]) -> NDArray[np.float64]:
    """The usual hourly peak at each hour of the week, (n, 168); at least 5 % of its largest and `floor`.

    Hours of one day class (working day or weekend) share a figure until three weeks are known; a class seen on fewer
    than three days is not taken below that hour of the other class.
    """
    peaks = hourly(grid)
    days, day_of_week = _days(peaks)
    working, weekend = _usual(days[:, day_of_week < 5]), _usual(days[:, day_of_week >= 5])
    unseen = np.isnan(np.fmax(working[0], weekend[0]))
    overall = _overall(peaks.values, np.asarray(unseen.any(axis=1)))
    least = _least(working[0], weekend[0], peaks.values, floor)
    level = [_filled(a, b, overall, least) for a, b in ((working, weekend), (weekend, working))]
    classes = np.where((day_of_week < 5)[None, :, None], level[0][:, None, :], level[1][:, None, :])
    noise = _noise(days, classes, least)
    smooth = _week(level, working[1], weekend[1], noise)
    weeks = peaks.values.shape[1] / WEEK
    if weeks >= _WEEKS_OF_ITS_OWN:
        smooth = _with_days_of_their_own(smooth, days, day_of_week, noise, least)
    return np.maximum(np.exp(smooth.reshape(len(smooth), WEEK)), least[:, None])


def compressed(seasonal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 168 hours as eight equally weighted scales, largest first, (n, 8)."""
    ordered = -np.sort(-seasonal, axis=1)
    bins = ordered.reshape(len(ordered), _BINS, WEEK // _BINS)
    top = bins.max(axis=2, keepdims=True)
    return np.asarray(top[:, :, 0] * np.mean((bins / top) ** _POWER, axis=2) ** (1 / _POWER))


def _days(peaks: Grid) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Hourly peaks as (n, days, 24), and each day's number in the week (0 is Monday)."""
    before = int(peaks.hour_of_week[0]) % _DAY
    per_hour = max(1, peaks.block // _HOUR)
    spread = np.repeat(peaks.values, per_hour, axis=1) if per_hour > 1 else peaks.values
    rows, columns = spread.shape
    whole = -(-(before + columns) // _DAY) * _DAY
    padded = np.full((rows, whole), np.nan)
    padded[:, before : before + columns] = spread
    first = int(peaks.hour_of_week[0]) // _DAY
    return padded.reshape(rows, -1, _DAY), (first + np.arange(whole // _DAY)) % 7


def _usual(days: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mean of the middle half of the days at each hour (n, 24), NaN where none is known, and how many days."""
    return _midmean(days.transpose(0, 2, 1))


def _midmean(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mean of the middle half of the known values along the last axis, and how many are known."""
    if values.shape[-1] == 0:
        return np.full(values.shape[:-1], np.nan), np.zeros(values.shape[:-1], dtype=np.int64)
    ordered = np.sort(values, axis=-1)  # NaN last
    count = np.isfinite(values).sum(axis=-1)
    aside = count // 4
    place = np.arange(values.shape[-1])
    middle = (place >= aside[..., None]) & (place < (count - aside)[..., None])
    total = np.where(middle, ordered, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count - 2 * aside, 1), np.nan), count


def _overall(values: NDArray[np.float64], which: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of the middle half of all hours, of these series."""
    out = np.full(len(values), np.nan)
    out[which] = _midmean(values[which])[0]
    return out


def _least(
    working: NDArray[np.float64], weekend: NDArray[np.float64], peaks: NDArray[np.float64], floor: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The least scale of each series: 5 % of its largest, and `floor`; 1 where nothing was ever demanded."""
    largest = np.fmax(np.fmax.reduce(working, axis=1), np.fmax.reduce(weekend, axis=1))
    highest = np.nanmax(peaks, axis=1)
    least = np.maximum(0.05 * np.where(largest > 0, largest, highest), floor)
    return np.where(least > 0, least, 1.0)


def _filled(
    own: tuple[NDArray[np.float64], NDArray[np.int64]],
    other: tuple[NDArray[np.float64], NDArray[np.int64]],
    overall: NDArray[np.float64],
    least: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Log of a class's usual peaks; hours known on fewer than three days are not below those of the other class."""
    few = own[1] < _FEW_DAYS
    value = np.where(few, np.fmax(own[0], other[0]), own[0])
    value = np.where(np.isnan(value), overall[:, None], value)
    return np.log(np.maximum(value, least[:, None]))


def _noise(days: NDArray[np.float64], level: NDArray[np.float64], least: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of log demand about its usual size, by the quartiles."""
    log = np.log(np.maximum(days, least[:, None, None])) - level
    ordered = np.sort(log.reshape(len(log), -1), axis=1)
    count = np.isfinite(ordered).sum(axis=1)
    rows = np.arange(len(log))
    low, high = (ordered[rows, np.maximum((count * part) // 4 - (part == 3), 0)] for part in (1, 3))
    return np.asarray(((high - low) / 1.349) ** 2)


def _week(
    level: list[NDArray[np.float64]],
    working_days: NDArray[np.int64],
    weekend_days: NDArray[np.int64],
    noise: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Log of the usual peak, (n, 7, 24): smooth over the hours, the weekend like the working days but for its level."""
    working = _kept(level[0], _smooth(level[0]), _error(noise, working_days))
    away = level[1] - working
    shift = np.median(away, axis=1, keepdims=True)
    error = _error(noise, weekend_days)
    trend = _smooth(away - shift)
    differs = _kept(trend, np.zeros_like(trend), error * _SMOOTHED)
    weekend = working + shift + differs + _kept(away - shift, trend, error) - trend
    return np.concatenate([np.repeat(working[:, None], 5, axis=1), np.repeat(weekend[:, None], 2, axis=1)], axis=1)


def _with_days_of_their_own(
    week: NDArray[np.float64],
    days: NDArray[np.float64],
    day_of_week: NDArray[np.int64],
    noise: NDArray[np.float64],
    least: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Each day of the week, where it differs from its class by more than chance."""
    out = week.copy()
    for day in range(7):
        value, count = _usual(days[:, day_of_week == day])
        own = np.where(count >= _FEW_DAYS, np.log(np.fmax(value, least[:, None])), week[:, day])
        out[:, day] = _kept(own, week[:, day], _error(noise, count))
    return out


def _error(noise: NDArray[np.float64], days: NDArray[np.int64]) -> NDArray[np.float64]:
    """Variance of an hour's usual size."""
    return np.asarray(_MIDMEAN * noise[:, None] / np.maximum(days, 1))


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(sum(part * np.roll(values, shift, axis=1) for shift, part in _KERNEL))


def _kept(own: NDArray[np.float64], base: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """`own` where it differs from `base` by far more than chance, `base` where it does not, between in between."""
    off = own - base
    return base + off * np.maximum(0.0, 1.0 - _CHANCE * variance / np.maximum(off**2, 1e-12))


__all__ = ["WEEK", "Grid", "by_hour", "compressed", "hourly", "seasonal_scale", "stacked"]
