"""A range answer's JSON without a Python object for each sample: several times faster, in a tenth of the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BEGIN, _END = b'"values":[[', b"]]"  # quotes inside a label's value are escaped, so neither can stand in one


def decoded(body: bytes) -> Any:  # JSON
    """The body as JSON, but for each series' samples: an array of shape (n, 2), time in Unix seconds and value.

    The samples are cut out and read by numpy; what is left is small. Where they are not laid out as Prometheus writes
    them, the body is read as JSON whole, samples and all. Raises orjson.JSONDecodeError.
    """
    rest: list[bytes] = []
    found: list[NDArray[np.float64]] = []
    position = 0
    while (begin := body.find(_BEGIN, position)) >= 0:
        end = body.find(_END, begin)
        samples = _samples(body[begin + len(_BEGIN) - 1 : end + 1]) if end >= 0 else None
        if samples is None:
            return orjson.loads(body)
        rest += (body[position:begin], b'"values":', str(len(found)).encode())
        found.append(samples)
        position = end + len(_END)
    if not found:
        return orjson.loads(body)
    rest.append(body[position:])
    try:
        whole = orjson.loads(b"".join(rest))
    except orjson.JSONDecodeError:
        return orjson.loads(body)
    return whole if _put_back(whole, found) else orjson.loads(body)


def _samples(text: bytes) -> NDArray[np.float64] | None:
    """`[t,"v"],[t,"v"]` as an array; None where it is something else."""
    try:
        figures = np.fromstring(text.translate(None, b'[]"'), sep=",")
    except ValueError:
        return None
    if len(figures) != 2 * text.count(b"["):
        return None
    return figures.reshape(-1, 2)


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
