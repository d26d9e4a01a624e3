"""Lays history into Prometheus by remote write: the protobuf message is laid out by numpy, over a million samples/s.

The message is prometheus.WriteRequest of the remote-write specification 1.0
(https://prometheus.io/docs/specs/prw/remote_write_spec/), compressed as snappy blocks of literals only, which the
snappy format allows (https://github.com/google/snappy/blob/main/format_description.txt). Protobuf wire types from
https://protobuf.dev/programming-guides/encoding/.
"""

import http.client
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

STALE: np.float64 = np.frombuffer(struct.pack("<Q", 0x7FF0_0000_0000_0002), "<f8")[0]
"""The NaN by which Prometheus knows that a series ended here; assign it into an array, arithmetic may lose it."""

HOUR_MS = 3_600_000
CHUNK_MS = 4 * HOUR_MS
EARLIEST_MS, LATEST_MS = 1 << 35, 1 << 42  # between these a timestamp is a varint of six bytes: 1971 to 2109
SNAPPY_LITERAL = 65_536
TIMEOUT_SECONDS = 60.0
HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


class PushRefused(RuntimeError):
    """Prometheus refused samples; the message holds its answer and the time of the chunk."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series: `labels` with `__name__`, ascending times in ms since 1970, values (NaN and STALE allowed)."""

    labels: Mapping[str, str]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        if "__name__" not in self.labels:
            raise ValueError(f"series without __name__: {dict(self.labels)}")
        if self.times_ms.shape != self.values.shape:
            raise ValueError(f"{len(self.times_ms)} times for {len(self.values)} values: {dict(self.labels)}")
        if len(self.times_ms) and (self.times_ms[0] < EARLIEST_MS or self.times_ms[-1] >= LATEST_MS):
            raise ValueError(f"times are not milliseconds since 1970: {dict(self.labels)}")


def push(url: str, series: Sequence[Series], *, chunk_ms: int = CHUNK_MS) -> int:
    """Sends the series to the Prometheus at `url`, oldest chunk first; returns the number of samples. PushRefused."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=TIMEOUT_SECONDS)
    path = where.path.rstrip("/") + "/api/v1/write"
    try:
        for start_ms, message in _chunks(series, chunk_ms):
            connection.request("POST", path, snappy_stored(message), HEADERS)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= http.HTTPStatus.MULTIPLE_CHOICES:
                raise PushRefused(f"chunk at {start_ms} ms: {answer.status} {text[:500].decode(errors='replace')}")
    finally:
        connection.close()
    return sum(len(each.values) for each in series)


def _chunks(series: Sequence[Series], chunk_ms: int) -> Iterator[tuple[int, bytes]]:
    """WriteRequests in time order, each with what all series have within `chunk_ms`.

    Series that share their arrays, such as copies under other labels, are laid out once a chunk.
    """
    filled = [each for each in series if len(each.times_ms)]
    if not filled:
        return
    heads = [_labels(each.labels) for each in filled]
    first = min(int(each.times_ms[0]) for each in filled)
    last = max(int(each.times_ms[-1]) for each in filled)
    for start in range(first, last + 1, chunk_ms):
        parts = []
        laid: dict[tuple[int, int], bytes] = {}
        for head, each in zip(heads, filled, strict=True):
            arrays = (id(each.times_ms), id(each.values))
            if arrays not in laid:
                low, high = np.searchsorted(each.times_ms, (start, start + chunk_ms))
                laid[arrays] = _samples(each.times_ms[low:high], each.values[low:high])
            if laid[arrays]:
                parts.append(_field(1, head + laid[arrays]))
        if parts:
            yield start, b"".join(parts)


def _samples(times_ms: NDArray[np.int64], values: NDArray[np.float64]) -> bytes:
    """TimeSeries.samples: 18 bytes each, `12 10 09 <value, 8 bytes> 10 <time, 6 bytes of varint>`."""
    rows = np.empty((len(values), 18), np.uint8)
    rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 11] = 0x12, 16, 0x09, 0x10
    rows[:, 3:11] = np.ascontiguousarray(values, "<f8").view(np.uint8).reshape(-1, 8)
    for i in range(6):
        more = 0x80 if i < 5 else 0
        rows[:, 12 + i] = ((times_ms >> (7 * i)) & 0x7F) | more
    return rows.tobytes()


def _labels(labels: Mapping[str, str]) -> bytes:
    """TimeSeries.labels, sorted by name as the specification demands."""
    pairs = sorted(labels.items())
    return b"".join(_field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in pairs)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def snappy_stored(content: bytes) -> bytes:
    """Snappy's block format without compression: the length, then literals of up to 64 KiB."""
    parts = [_varint(len(content))]
    for start in range(0, len(content), SNAPPY_LITERAL):
        literal = content[start : start + SNAPPY_LITERAL]
        parts += [b"\xf4", struct.pack("<H", len(literal) - 1), literal]
    return b"".join(parts)
