"""The README's recorded output: it is there, has the columns of this release, and says how far it agrees."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from gpu_rightsizer.api.crd import crd_files
from tests.docs.pages import ROOT
from tools import readme

README = (ROOT / "README.md").read_text()
PLACES = "".join(
    f"<!-- demo:{name} -->\nold\n<!-- /demo:{name} -->\n" for name in (*readme.BLOCKS, readme.AGREE, readme.TOOK)
)


def placed(name: str, text: str = README) -> str:
    """What stands in a place."""
    found = re.search(rf"<!-- demo:{name} -->\n(.*?)<!-- /demo:{name} -->", text, re.DOTALL)
    assert found, name
    return found[1]


@pytest.mark.parametrize("name", readme.BLOCKS)
def test_a_recorded_block_stands_in_its_place(name: str) -> None:
    block = placed(name)

    assert block.startswith(("```console\n$ kubectl ", "```text\n"))
    assert len(block.splitlines()) >= 4


def test_the_table_has_the_columns_of_the_crd_and_a_row_for_every_workload() -> None:
    crd = next(yaml.safe_load(text) for path, text in crd_files().items() if "inferencedeployments" in path)
    columns = [each for each in crd["spec"]["versions"][0]["additionalPrinterColumns"] if not each.get("priority")]
    command, header, *rows = placed("get").splitlines()[1:-1]

    assert command == "$ kubectl get infd -A"
    assert header.split() == ["NAMESPACE", "NAME", *(each["name"].upper() for each in columns)]
    judged = [line.split()[0] for line in placed("truth").splitlines()[2:-1]]
    assert sorted(judged) == sorted("/".join(row.split()[:2]) for row in rows)


def test_the_sentence_below_the_comparison_counts_it_right() -> None:
    assert placed("agree") == readme.agreement(placed("truth"))


def test_the_summary_is_that_of_the_recommendation_in_full() -> None:
    line = placed("summary").splitlines()[2]
    words = " ".join(placed("describe").split())

    assert line.removesuffix("...")[:60] in words


def recorded(folder: Path, truth: str) -> Path:
    """A folder as the demo writes it."""
    for name in readme.BLOCKS:
        (folder / f"{name}.txt").write_text(f"$ kubectl {name}\nnew {name}\n")
    (folder / "truth.txt").write_text(truth)
    return folder


def test_a_recorded_run_replaces_what_stood_there(tmp_path: Path) -> None:
    text = readme.filled(f"before\n{PLACES}after\n", recorded(tmp_path, "chat/a  says  true  ok\n"))

    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert placed("get", text) == "```console\n$ kubectl get\nnew get\n```\n"
    assert placed("truth", text) == "```text\nchat/a  says  true  ok\n```\n"
    assert placed("took", text) == "old\n"  # somebody else recorded it: no time is known


def test_a_run_that_disagrees_says_so(tmp_path: Path) -> None:
    text = readme.filled(PLACES, recorded(tmp_path, "a  says  true  ok\nb  says  true  DISAGREES\nc  says  true  ok\n"))

    assert placed("agree", text) == "In the run recorded here, 2 of 3 answers agree with it.\n"


def test_a_place_that_was_lost_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no place `describe`"):
        readme.filled(PLACES.replace("demo:describe", "demo:gone"), recorded(tmp_path, "ok\n"))
