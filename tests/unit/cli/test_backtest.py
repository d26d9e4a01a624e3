"""`gpu-rightsizer backtest` from the outside: what it prints, what it refuses, with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from gpu_rightsizer.cli import main

SHORT = ("--fit", "1d", "--judge", "1d")


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Two days of two clients, in intervals of ten minutes."""
    path = tmp_path / "trace.csv"
    hours = np.arange(288) / 6
    rates = 0.3 + 0.2 * np.sin(2 * np.pi * hours / 24)
    rows = [f"{600 * i},{rate:.3f},1.2,600,150,{client}" for client in "ab" for i, rate in enumerate(rates)]
    path.write_text("\n".join(["t,rate,cv,in_tok,out_tok,client", *rows]) + "\n", encoding="utf-8")
    return path


def _run(*arguments: object) -> Result:
    """As the entry point does: a refusal is one line on stderr and exit code 1."""
    return CliRunner().invoke(main.cli, ["backtest", *map(str, arguments)])


def test_the_table_has_ours_first_and_the_baselines_below(trace: Path) -> None:
    answer = _run(trace, *SHORT)

    assert answer.exit_code == 0
    assert answer.output.splitlines()[0].startswith("POLICY")
    assert answer.output.splitlines()[1].startswith("gpu-rightsizer ")
    assert "VPA target" in answer.output
    assert "2 windows of one deployment each" in answer.output
    assert "The trace has intervals of 600 s." in answer.output
    assert "autoscaler target" in answer.output.splitlines()[-1]


def test_json_is_the_same_by_either_option(trace: Path) -> None:
    one, other = _run(trace, *SHORT, "--json"), _run(trace, *SHORT, "-o", "json")

    assert one.output == other.output
    assert json.loads(one.output)["policies"][0]["name"] == "gpu-rightsizer"


def test_with_a_model_sizes_are_classes_and_the_present_one_is_judged_too(trace: Path) -> None:
    options = ("--model", "meta-llama/Llama-3.1-8B-Instruct", "--class", "g6e.xlarge", "--current", "p5.48xlarge")

    answer = _run(trace, *SHORT, *options, "--json")

    policies = {p["name"]: p for p in json.loads(answer.output)["policies"]}
    # the smallest demand takes one g6e.xlarge, and the whole p5.48xlarge costs 55.04/1.861 times as much
    assert policies["static current"]["saving_vs_2x_peak"] == pytest.approx(1 - 55.04 / 1.861)
    assert policies["static current"]["violation_minutes_per_week"] == 0


def test_what_the_operator_would_say_stands_in_json_and_below_the_table(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    rows = [f"{1_793_577_600 + 600 * i},{0.2 + 0.1 * (i % 7)},1.2,600,150,chat" for i in range(9 * 144)]
    path.write_text("\n".join(["t,rate,cv,in_tok,out_tok,client", *rows]) + "\n", encoding="utf-8")
    options = (
        "--model",
        "meta-llama/Llama-3.1-8B-Instruct",
        "--current",
        "p5.48xlarge",
        "--fit",
        "7d",
        "--judge",
        "1d",
    )

    told = json.loads(_run(path, *options, "--json").output)["recommended"]
    lines = _run(path, *options).output.splitlines()

    assert [(each["deployment"], each["from"]) for each in told] == [
        ("chat", "2026-11-09T00:00:00+00:00"),
        ("chat", "2026-11-10T00:00:00+00:00"),
    ]
    last = told[-1]
    assert last["action"] == "Resize"
    assert last["instance_class"] != "p5.48xlarge"
    at = lines.index("As recommended from 2026-11-10 00:00 UTC on:")
    assert lines[at + 1] == f"  chat: Resize, {last['replicas']} x {last['instance_class']}. {last['reason']}"
    assert len(last["reason"]) > 20


def test_the_plot_is_written(trace: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "frontier.svg"

    assert _run(trace, *SHORT, "--plot", drawn).exit_code == 0
    assert drawn.read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--class", "g6e.xlarge"), "--class and --current need --model"),
        (("--lead-time", "10s"), "must be at least 1m"),
        (("--fit", "5 days"), "is not a duration"),
        (("--risk", "2"), "--risk"),
    ],
)
def test_wrong_usage_is_code_2(trace: Path, options: tuple[str, ...], words: str) -> None:
    answer = _run(trace, *options)

    assert answer.exit_code == 2
    assert words in answer.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "give shorter --fit and --judge"),
        ((*SHORT, "--model", "nobody/knows"), "no model 'nobody/knows'"),
        ((*SHORT, "--model", "meta-llama/Llama-3.1-8B-Instruct", "--class", "x9.large"), "no priced instance class"),
        ((*SHORT, "--model", "meta-llama/Llama-3.1-70B-Instruct", "--class", "g6.xlarge"), "does not fit on g6.xlarge"),
        ((*SHORT, "--plot", "/nowhere/at/all.svg"), "/nowhere/at/all.svg: No such file"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_code_1(
    trace: Path,
    options: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["gpu-rightsizer", "backtest", str(trace), *options])

    with pytest.raises(SystemExit) as ended:
        main.main()

    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_a_broken_trace_names_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.csv"
    path.write_text("timestamp,prompt_tokens,output_tokens\n1,2,3\n2,many,3\n", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["gpu-rightsizer", "backtest", str(path)])

    with pytest.raises(SystemExit) as ended:
        main.main()

    assert ended.value.code == 1
    assert "row 3, column prompt_tokens: 'many' is not a number" in capsys.readouterr().err
