"""A range answer is read the same with numpy as with JSON, whatever stands in it."""

from __future__ import annotations

import json
import math

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_rightsizer.adapters.matrix import decoded

FIGURES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["NaN", "+Inf", "-Inf", "0", "1e-07", "12345678901234567890"]),
)
SAMPLES = st.lists(st.tuples(st.one_of(st.integers(0, 2**33), st.floats(0, 2**33)), FIGURES), max_size=5)
LABELS = st.dictionaries(
    st.text(max_size=5), st.one_of(st.text(max_size=12), st.just('"values":[[1,"2"]]')), max_size=3
)


def body(rows: list[object]) -> bytes:
    return json.dumps(
        {"status": "success", "data": {"resultType": "matrix", "result": rows}}, separators=(",", ":")
    ).encode()


@given(st.lists(st.tuples(LABELS, SAMPLES), max_size=4))
def test_a_range_answer_holds_the_same_series_and_figures(
    series: list[tuple[dict[str, str], list[tuple[float, str]]]],
) -> None:
    text = body([{"metric": labels, "values": samples} for labels, samples in series])
    rows = decoded(text)["data"]["result"]
    assert [row["metric"] for row in rows] == [labels for labels, _ in series]
    for row, (_, samples) in zip(rows, series, strict=True):
        expected = np.array([[time, float(text)] for time, text in samples]).reshape(-1, 2)
        np.testing.assert_array_equal(np.asarray(row["values"], dtype=np.float64).reshape(-1, 2), expected)


def test_samples_become_an_array_and_not_objects() -> None:
    (row,) = decoded(body([{"metric": {}, "values": [[1, "2.5"], [3, "NaN"]]}]))["data"]["result"]
    assert isinstance(row["values"], np.ndarray)
    assert row["values"][0].tolist() == [1, 2.5]
    assert math.isnan(row["values"][1][1])


@pytest.mark.parametrize(
    "values",
    [
        [[1, "many"]],
        [[1, "2", "3"]],
        [[1, None]],
        [[[1], "2"]],
        [["1", "2"], [3]],
        [[]],
        [[1, "2]]"]],
        [[1, "0x1"]],
    ],
)
def test_what_is_laid_out_otherwise_is_read_as_json(values: object) -> None:
    text = body([{"metric": {"pod": "a"}, "values": values}])
    assert decoded(text) == orjson.loads(text)


@pytest.mark.parametrize(
    "text",
    [b"[]", b"1", b'{"values":[[1,"2"]]}', b'{"data":{"result":{"values":[[1,"2"]]}}}', b'{"data":{"result":[]}}'],
)
def test_what_is_no_range_answer_is_read_as_json(text: bytes) -> None:
    assert decoded(text) == orjson.loads(text)


@pytest.mark.parametrize("text", [b"", b"<html>", b'{"data":{"result":[{"values":[[1,"2"]]', b'"values":[[1,"2"]]'])
def test_what_is_no_json_is_an_error(text: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        decoded(text)
