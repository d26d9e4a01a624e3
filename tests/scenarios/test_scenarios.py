"""Situations in, decision and words out: `situations/*.yaml` against `outcomes/*.yaml`, both reviewed by people.

A bug report becomes a situation first. `UPDATE_REVIEWED=1 pytest tests/scenarios` writes the outcomes anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_rightsizer.explain.annotations import summary
from gpu_rightsizer.explain.events import announcements
from gpu_rightsizer.explain.status import status
from tests.builders import NOW
from tests.reviewed import reviewed
from tests.scenarios.situation import read

HERE = Path(__file__).parent
SITUATIONS = sorted((HERE / "situations").glob("*.yaml"))


@pytest.mark.parametrize("path", SITUATIONS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    situation = read(path)
    told = status(situation.evaluation, NOW)
    advice = told["recommendation"]
    assert isinstance(advice, dict)
    shown = ("action", "confidence", "target", "cost", "risk", "reasons")

    outcome = {
        "about": situation.about,
        "summary": summary(told),
        **{key: advice[key] for key in shown if key in advice},
        "alternatives": [each["instanceClass"] for each in advice.get("alternatives", [])],
        "rejected": {each["instanceClass"]: each["message"] for each in advice.get("rejected", [])},
        "conditions": {each["type"]: f"{each['status']}: {each['reason']}" for each in told["conditions"]},
        "events": [f"{each.reason}: {each.note}" for each in announcements("uid", told, None)],
    }

    assert outcome == reviewed(HERE / "outcomes" / path.name, outcome)


def test_every_outcome_has_its_situation() -> None:
    assert {path.name for path in (HERE / "outcomes").glob("*.yaml")} == {path.name for path in SITUATIONS}
