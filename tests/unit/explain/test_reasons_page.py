"""docs/reference/reasons.md: every code at its anchor, with the sentence it says and the facts it takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.explain.words import TEMPLATES, facts_of

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "reasons.md").read_text()
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))


def test_every_code_has_one_anchor_and_there_are_no_others() -> None:
    headings = re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)

    assert sorted(headings) == sorted(code.value for code in Code)


@pytest.mark.parametrize("code", Code)
def test_a_code_is_explained_with_what_it_says_and_its_facts(code: Code) -> None:
    section = SECTIONS[code.value]

    says = re.sub(r"\{(\w+):\w+\}", r"‹\1›", TEMPLATES[code])
    explained, _, _ = section.partition("*Says:*")
    assert len(explained.strip()) > 20
    assert f"*Says:* {says}" in section
    assert re.findall(r"`(\w+)` \(", section.partition("*Facts:*")[2]) == list(facts_of(code))
