import gzip
from pathlib import Path

import numpy as np
import pytest

from testbed.twin.arrivals import (
    DAY_S,
    Batch,
    Diurnal,
    Family,
    Growing,
    Lengths,
    OnOff,
    Rate,
    Sequence,
    Spiky,
    Steady,
    merged,
    split,
)
from testbed.twin.traces import Replay, TraceUnreadable, read

RATES: list[Rate] = [
    Steady(0.5),
    Diurnal(0.5),
    Spiky(0.2),
    OnOff(1.0),
    Growing(0.3),
    Batch(1.0),
    Sequence((0.1, 0.9)),
]
HOUR_S = 3600.0


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: type(rate).__name__)
def test_a_longer_run_begins_like_a_shorter_one(rate: Rate) -> None:
    family = Family(rate)

    short, long = family.draw(2 * DAY_S, 5), family.draw(5 * DAY_S, 5)

    count = len(short)
    assert count > 100
    assert np.array_equal(short.time_s, long.time_s[:count])
    assert np.array_equal(short.prompt_tokens, long.prompt_tokens[:count])
    assert np.array_equal(short.output_tokens, long.output_tokens[:count])
    assert long.time_s[count] >= 2 * DAY_S


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: type(rate).__name__)
def test_another_seed_gives_other_arrivals_in_order(rate: Rate) -> None:
    one, other = Family(rate).draw(DAY_S, 1), Family(rate).draw(DAY_S, 2)

    assert (np.diff(one.time_s) >= 0).all()
    assert len(one) != len(other) or not np.array_equal(one.time_s, other.time_s)


def test_a_steady_family_has_its_rate_and_its_variation() -> None:
    gaps = {cv: np.diff(Family(Steady(1.0), cv=cv, wander=0.0).draw(DAY_S, 3).time_s) for cv in (0.5, 1.0, 2.0)}

    for cv, gap in gaps.items():
        assert gap.mean() == pytest.approx(1.0, rel=0.03)
        assert gap.std() / gap.mean() == pytest.approx(cv, rel=0.06)


def test_lengths_have_their_means() -> None:
    drawn = Family(Steady(2.0), Lengths(prompt_mean=500, output_mean=150)).draw(DAY_S, 1)

    assert drawn.prompt_tokens.mean() == pytest.approx(500, rel=0.05)
    assert drawn.output_tokens.mean() == pytest.approx(150, rel=0.05)


def test_a_working_day_has_its_mean_and_peaks_at_its_hour() -> None:
    drawn = Family(Diurnal(1.0, peak_hour=14.0, weekend=0.5), wander=0.0).draw(7 * DAY_S, 1)
    by_day = np.histogram(drawn.time_s, bins=7, range=(0, 7 * DAY_S))[0] / DAY_S
    by_hour = np.histogram(drawn.time_s[drawn.time_s < DAY_S] / HOUR_S, bins=24, range=(0, 24))[0]

    assert by_day[:5] == pytest.approx([1.0] * 5, rel=0.03)
    assert by_day[5:] == pytest.approx([0.5] * 2, rel=0.03)
    assert int(by_hour.argmax()) in (13, 14)


def test_nothing_arrives_once_it_is_idle() -> None:
    drawn = Family(Steady(1.0), idle_after_s=DAY_S).draw(3 * DAY_S, 1)

    assert DAY_S - 60 < drawn.time_s[-1] < DAY_S + 60


def test_splitting_loses_nobody_and_follows_the_imbalance() -> None:
    drawn = Family(Steady(1.0)).draw(DAY_S, 1)

    even, skewed = split(drawn, 3, 0.0, 1), split(drawn, 3, 0.4, 1)

    assert [len(part) for part in even] == pytest.approx([len(drawn) / 3] * 3, rel=0.01)
    assert max(map(len, skewed)) > 1.1 * len(drawn) / 3
    assert np.array_equal(merged(skewed).time_s, drawn.time_s)


def test_mooncake_requests_are_read(tmp_path: Path) -> None:
    path = tmp_path / "requests.csv.gz"
    path.write_bytes(gzip.compress(b"t_ms,input_tokens,output_tokens,blocks512\n5000,100,7,1\n3000,6758,500,14\n"))

    found = read(path)

    assert found.time_s.tolist() == [0.0, 2.0]
    assert found.prompt_tokens.tolist() == [6758, 100]
    assert found.output_tokens.tolist() == [500, 7]


def test_a_plain_request_table_is_read_with_iso_or_numeric_times(tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    path.write_text(
        "timestamp,prompt_tokens,output_tokens\n2026-01-01T00:00:00+00:00,10,20\n2026-01-01T00:00:01.5+00:00,1,2\n"
    )

    assert read(path).time_s.tolist() == [0.0, 1.5]


def test_an_aggregated_client_keeps_its_rates_and_token_counts(tmp_path: Path) -> None:
    path = tmp_path / "clients.csv"
    rows = [f"m,{client},{600 * step},{rate},1.0,400,80" for client, rate in ((0, 0.5), (1, 0.1)) for step in range(72)]
    path.write_text("model,client,t,rate,cv,in_tok,out_tok\n" + "\n".join(rows) + "\n")

    both, one = read(path), read(path, client="1")

    assert len(both) == pytest.approx(0.6 * 43_200, rel=0.03)
    assert len(one) == pytest.approx(0.1 * 43_200, rel=0.08)
    assert both.prompt_tokens.mean() == pytest.approx(400, rel=0.03)
    assert both.output_tokens.mean() == pytest.approx(80, rel=0.03)


def test_windows_without_rows_are_windows_without_requests(tmp_path: Path) -> None:
    path = tmp_path / "clients.csv"
    path.write_text("model,client,t,rate,cv,in_tok,out_tok\nm,3,82200,1,1,10,5\nm,3,85200,1,1,10,5\nm,4,600,1,1,10,5\n")

    found = read(path)

    starts = np.unique(found.time_s // 600 * 600)
    assert starts.tolist() == [600.0, 82200.0, 85200.0]
    assert len(found) == pytest.approx(1800, rel=0.1)


def test_an_unknown_table_is_refused_by_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")

    with pytest.raises(TraceUnreadable, match=r"\['a', 'b'\]"):
        read(path)


def test_parquet_without_pyarrow_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)

    with pytest.raises(TraceUnreadable, match="pyarrow"):
        read(tmp_path / "clients.parquet")


def test_a_replayed_trace_begins_again_when_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    path.write_text("timestamp,prompt_tokens,output_tokens\n0,10,20\n9,1,2\n")

    found = Replay(str(path)).draw(25.0, 0)

    assert found.time_s.tolist() == [0.0, 9.0, 10.0, 19.0, 20.0]
    assert found.prompt_tokens.tolist() == [10, 1, 10, 1, 10]
