"""Traces are read, and what cannot be read is named with its row, its column and the fix."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

from gpu_rightsizer.backtest.trace import Intervals, InvalidTrace, Requests, read

REQUESTS = "timestamp,prompt_tokens,output_tokens\n"
INTERVALS = "t,rate,cv,in_tok,out_tok,client\n"


def _file(folder: Path, text: str, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_requests_are_put_in_order_of_time(tmp_path: Path) -> None:
    (one,) = read(_file(tmp_path, REQUESTS + "1700000060,10,1\n1700000000,20,2\n"))

    assert isinstance(one, Requests)
    assert one.time.tolist() == [1_700_000_000, 1_700_000_060]
    assert (one.prompt.tolist(), one.output.tolist()) == ([20, 10], [2, 1])


def test_a_time_may_be_iso_8601_and_is_utc_without_a_zone(tmp_path: Path) -> None:
    (one,) = read(_file(tmp_path, REQUESTS + "2026-11-25T00:00:00,1,1\n2026-11-25T02:00:00+01:00,1,1\n"))

    assert np.diff(one.time).tolist() == [3600.0]


def test_intervals_of_several_clients_are_told_apart(tmp_path: Path) -> None:
    text = INTERVALS + "0,1,1,100,10,b\n600,2,1,100,10,b\n1200,3,1,100,10,a\n"

    first, second = read(_file(tmp_path, text))

    assert isinstance(first, Intervals)
    assert isinstance(second, Intervals)
    assert (first.client, first.step, first.rate.tolist()) == ("b", 600, [1, 2])
    assert (second.client, second.time.tolist()) == ("a", [1200])


def test_packed_text_and_further_columns_are_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("note,timestamp,prompt_tokens,output_tokens\nx,1,2,3\n")

    assert read(path)[0].prompt.tolist() == [2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        (REQUESTS, "no row"),
        ("a,b\n1,2\n", "timestamp,prompt_tokens,output_tokens"),
        ("timestamp,prompt_tokens\n1,2\n", "column output_tokens is missing"),
        (REQUESTS + "1,2,3\n2,x,3\n", "row 3, column prompt_tokens: 'x' is not a number"),
        (REQUESTS + "1,2,3\n2,-1,3\n", "row 3, column prompt_tokens: -1 must be between 0"),
        (REQUESTS + "1,nan,3\n", "row 2, column prompt_tokens: nan must be"),
        (REQUESTS + "1,2,1e12\n", "row 2, column output_tokens: 1e12 must be between 0 and 1e+08"),
        (REQUESTS + "yesterday,2,3\n", "row 2, column timestamp: 'yesterday' is not Unix seconds or ISO 8601"),
        (REQUESTS + "1700000000000,2,3\n", "looks like milliseconds"),
        (REQUESTS + "1,2\n", "row 2: 2 fields, the header has 3"),
        ("timestamp,timestamp,prompt_tokens,output_tokens\n1,1,2,3\n", "twice"),
        (INTERVALS + "0,1,1,1,1,a\n", "two intervals are needed"),
        (INTERVALS + "0,1,1,1,1,a\n600,1,1,1,1,a\n600,1,1,1,1,a\n", "row 4, column t: 600 stands twice"),
        (INTERVALS + "0,1,1,1,1,a\n0.5,1,1,1,1,a\n", "row 3, column t: 0.5 is no whole second"),
        (INTERVALS + "1793578500,1,1,1,1,a\n" * 2, "row 3, column t: 1793578500 stands twice for a client, first in"),
        (INTERVALS + "0,1,1,1,1,a\n600,1e9,1,1,1,a\n", "row 3, column rate: 1e9 must be between 0 and 1e+05 req"),
        (INTERVALS + "0,1,1,1,1,a\n3600,9e4,1,1,1,a\n", "row 3, column rate: 90000 requests/s are more than 10,000"),
        (INTERVALS + "0,1,1,1,1,a\n600,1,1,1,1,\n", "row 3, column client: empty"),
        (REQUESTS + "5,2,3\n1700000000000,2,3\n1800000000000,2,3\n", "row 3, column timestamp: 1700000000000 looks"),
        (REQUESTS + "1700000000,2,3\n0,2,3\n", "19,676 days from row 3 (0) to row 2 (1700000000), and at most 400"),
        (REQUESTS + "1700000000,2,3\n99999999999,2,3\n", "to row 3 (99999999999)"),
        (REQUESTS + "\x1b[31m\u202e,2,3\n", r"column timestamp: '\x1b[31m\u202e' is not"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidTrace) as caught:
        read(_file(tmp_path, text))

    assert words in str(caught.value)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(b"timestamp,\xff\xfe\n")

    with pytest.raises(InvalidTrace, match="neither UTF-8 text nor Parquet"):
        read(path)


def test_parquet_without_pyarrow_says_which_extra_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trace.parquet"
    path.write_bytes(b"PAR1rest")
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(InvalidTrace, match=r"gpu-rightsizer\[parquet\]"):
        read(path)


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "trace.parquet"
    columns = {"timestamp": [1.0, 61.0], "prompt_tokens": [10, 20], "output_tokens": [1, 2], "client": ["a", "b"]}
    parquet.write_table(pyarrow.table(columns), path)

    assert [(t.client, t.prompt.tolist()) for t in read(path)] == [("a", [10]), ("b", [20])]


def _quarter_hours(*changed: tuple[int, str]) -> str:
    """A day from 1793578500 on."""
    times = [str(1_793_578_500 + 900 * i) for i in range(96)]
    for at, text in changed:
        times[at] = text
    return INTERVALS + "".join(f"{t},1,1,100,10,a\n" for t in times)


@pytest.mark.parametrize("shifted", [0, 40, 95])
def test_one_shifted_interval_is_refused_and_does_not_shorten_the_others(tmp_path: Path, shifted: int) -> None:
    wrong = 1_793_578_537 + 900 * shifted

    with pytest.raises(InvalidTrace) as caught:
        read(_file(tmp_path, _quarter_hours((shifted, str(wrong)))))

    assert f"row {shifted + 2}, column t: {wrong} is not whole intervals of 900 s (the usual gap)" in str(caught.value)


def test_intervals_left_out_do_not_lengthen_the_others(tmp_path: Path) -> None:
    rows = _quarter_hours().splitlines(keepends=True)

    (one,) = read(_file(tmp_path, "".join(rows[:20] + rows[50:52] + rows[80:])))

    assert isinstance(one, Intervals)
    assert one.step == 900
