"""The usual size of a demand at each hour of the week, for a fleet of block series on one time axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.readings import BlockSeries

WEEK = 168
_HOUR = 3600
_EPOCH_HOUR_OF_WEEK = 72  # 1970-01-01 was a Thursday; hour 0 is Monday 00:00 UTC
_FEW_DAYS = 3  # a median of fewer says nothing of its own
_BINS = 12  # hours of alike scale share one figure; 14 hours each
_POWER = 8.0  # within a bin the mean that preserves a tail of shape 1/8


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


def seasonal_scale(grid: Grid, floor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over days of the hourly peak at each hour of the week, (n, 168); at least 5 % of its largest and `floor`.

    Hours of one day class (working day or weekend) share a median until three weeks are known; a class seen on fewer
    than three days is not taken below the median of that hour over all days.
    """
    peaks, hour_of_week = _hourly(grid)
    weeks = len(hour_of_week) / WEEK
    own = _medians(peaks, hour_of_week, _classes(weeks))
    largest = own.max(axis=1, initial=0.0)
    highest = np.nanmax(grid.values, axis=1)
    least = np.maximum(np.where(largest > 0, 0.05 * largest, 0.05 * highest), floor)
    return np.maximum(own, np.where(least > 0, least, 1.0)[:, None])


def compressed(seasonal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 168 hours as twelve equally weighted scales, largest first, (n, 12)."""
    ordered = -np.sort(-seasonal, axis=1)
    bins = ordered.reshape(len(ordered), _BINS, WEEK // _BINS)
    top = bins.max(axis=2, keepdims=True)
    return np.asarray(top[:, :, 0] * np.mean((bins / top) ** _POWER, axis=2) ** (1 / _POWER))


def _hourly(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    per_hour = max(1, _HOUR // grid.block)
    if per_hour == 1:
        return grid.values, grid.hour_of_week
    rows, columns = grid.values.shape
    whole = -(-columns // per_hour) * per_hour
    padded = np.full((rows, whole), -np.inf)
    padded[:, :columns] = np.where(np.isfinite(grid.values), grid.values, -np.inf)
    peaks = padded.reshape(rows, -1, per_hour).max(axis=2)
    return np.where(np.isfinite(peaks), peaks, np.nan), grid.hour_of_week[::per_hour]


def _classes(weeks: float) -> NDArray[np.int64]:
    """The class of each hour of the week: itself after three weeks, else hour of day and working day or weekend."""
    hours = np.arange(WEEK)
    return hours if weeks >= _FEW_DAYS else hours % 24 + 24 * (hours >= 120)


def _medians(
    peaks: NDArray[np.float64], hour_of_week: NDArray[np.int64], classes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Median per hour of the week (n, 168)."""
    daily = np.zeros((len(peaks), 24))
    for hour in range(24):
        daily[:, hour] = _median(peaks[:, hour_of_week % 24 == hour])[0]
    overall = _median(peaks)[0]
    daily = np.where(np.isnan(daily), overall[:, None], daily)
    out = np.zeros((len(peaks), WEEK))
    column_class = classes[hour_of_week]
    for number in np.unique(classes):
        median, days = _median(peaks[:, column_class == number])
        hours = np.flatnonzero(classes == number)
        pooled = daily[:, hours[0] % 24]
        value = np.where(days >= _FEW_DAYS, median, np.fmax(median, pooled))
        out[:, hours] = value[:, None]
    return out


def _median(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Median of the known values of each row and how many there are; NaN where none is."""
    if values.shape[1] == 0:
        return np.full(len(values), np.nan), np.zeros(len(values), dtype=np.int64)
    ordered = np.sort(values, axis=1)  # NaN last
    count = np.isfinite(values).sum(axis=1)
    rows = np.arange(len(values))
    low = ordered[rows, np.maximum((count - 1) // 2, 0)]
    high = ordered[rows, np.minimum(count // 2, values.shape[1] - 1)]
    return np.where(count > 0, (low + np.where(count > 0, high, low)) / 2, np.nan), count
