"""A range answer's JSON without a Python object for each sample: several times faster, in a tenth of the memory."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_BYTES = 1 << 18
_BEGIN, _END = b'"values":[[', b"]]"  # quotes inside a label's value are escaped, so neither can stand in one


def decoded(body: bytes) -> Any:  # JSON
    """The body as JSON, but for each series' samples: an array of shape (n, 2), time in Unix seconds and value.

    The samples are cut out and read by numpy; what is left is small. Where they are not laid out as Prometheus writes
    them, the body is read as JSON whole, samples and all. Raises orjson.JSONDecodeError.
    """
    rest: list[bytes] = []
    batch: list[bytes] = []  # short ones are read at once
    found: list[NDArray[np.float64]] = []
    position = size = count = 0
    while (begin := body.find(_BEGIN, position)) >= 0:
        end = body.find(_END, begin)
        rest += (body[position:begin], b'"values":', str(count).encode())
        batch.append(body[begin + len(_BEGIN) - 1 : end + 1])
        count, size, position = count + 1, size + len(batch[-1]), end + len(_END)
        if end < 0 or (size > BATCH_BYTES and not _taken(batch, found)):
            return orjson.loads(body)
        size *= bool(batch)
    if not count or not _taken(batch, found):
        return orjson.loads(body)
    rest.append(body[position:])
    try:
        whole = orjson.loads(b"".join(rest))
    except orjson.JSONDecodeError:
        return orjson.loads(body)
    return whole if _put_back(whole, found) else orjson.loads(body)


def _taken(batch: list[bytes], found: list[NDArray[np.float64]]) -> bool:
    """The batch's samples, an array a series, moved to what was found; False where one is something else."""
    if batch:
        samples = _samples(batch)
        if samples is None:
            return False
        found += samples
        batch.clear()
    return True


def _samples(texts: list[bytes]) -> list[NDArray[np.float64]] | None:
    """`[t,"v"],[t,"v"]` as an array each; None where one is something else."""
    counts = [text.count(b"[") for text in texts]
    if any(2 * count != text.count(b",") + 1 for count, text in zip(counts, texts, strict=True)):
        return None
    try:
        figures = np.fromstring(b",".join(texts).translate(None, b'[]"'), sep=",")
    except ValueError:
        return None
    if len(figures) != 2 * sum(counts):
        return None
    pairs, ends = figures.reshape(-1, 2), list(accumulate(counts))
    return [pairs[end - count : end] for count, end in zip(counts, ends, strict=True)]


def _put_back(whole: Any, found: list[NDArray[np.float64]]) -> bool:  # JSON
    """Each array in place of its number; False where the body is no range answer."""
    try:
        rows = [row for row in whole["data"]["result"] if "values" in row]
        if len(rows) != len(found):
            return False
        for row in rows:
            row["values"] = found[row["values"]]
    except (KeyError, TypeError, IndexError):
        return False
    return True
