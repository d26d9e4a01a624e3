"""The samples can be applied beside the demo: nobody's object is taken over, no workload is claimed twice."""

from __future__ import annotations

import yaml

from testbed.cases import demo_fleet
from testbed.manifests import inference_deployment
from tests.docs.pages import ROOT

SAMPLES = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "manifests" / "samples").glob("*.yaml"))]


def test_no_sample_bears_a_name_or_claims_a_target_of_the_demo() -> None:
    demo = [inference_deployment(case.actor.twin, case.actor.asked) for case in demo_fleet()]
    samples = [each for each in SAMPLES if each["kind"] == "InferenceDeployment"]
    assert samples

    def claims(each: dict) -> set[tuple[str, ...]]:  # type: ignore[type-arg]  # JSON
        meta = each["metadata"]
        return {(meta["namespace"], meta["name"]), (meta["namespace"], "target", each["spec"]["targetRef"]["name"])}

    taken = set().union(*(claims(each) for each in demo))
    assert taken
    for each in samples:
        assert not claims(each) & taken


def test_every_sample_has_a_name_of_its_own() -> None:
    named = [(each["kind"], each["metadata"]["name"]) for each in SAMPLES]

    assert len(set(named)) == len(named)
