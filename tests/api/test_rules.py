"""Each rule of the schemas on the real API server: what it takes, what it refuses, and the words of the refusal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from gpu_rightsizer.api import scalars
from gpu_rightsizer.api.crd import KINDS, Kind
from gpu_rightsizer.api.read import InvalidSpec
from tests.api.documents import READERS, document, refusal
from tests.api.schema import fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpu_rightsizer.api.wire import Rule
    from testbed.cluster.local import LocalCluster

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("local-cluster")]

# -- rules on a single value ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Values:
    """Values on either side of a rule's edges, and the words of the refusal."""

    accepted: tuple[str, ...]
    refused: tuple[str, ...]
    words: str


SCALARS: Mapping[str, Values] = {
    scalars.DURATION.cel: Values(
        ("1ms", "90s", "1h30m", "30d", "999d", "0d1ms"),
        ("0s", "30", "30 days", "1000d", "-1s", "1.5h", "1w", "PT30M"),
        "must be a duration greater than zero and less than `1000d`, for example `90s`, `1h30m` or `30d`",
    ),
    scalars.SHARE.cel: Values(
        ("0.1%", "1%", "99.9%", "100%", "100.0%"),
        ("1", "0.01", "101%", "100.1%", "-1%", "1 %", "%"),
        "must be a percentage from `0%` to `100%`, for example `1%` or `99.9%`",
    ),
    scalars.AMOUNT.cel: Values(
        ("0", "2000", "1.861"),
        ("-1", "$2000", "1,000", "1e3", ".5", "USD 5"),
        'must be an amount in USD of 0 or more, as a quoted decimal such as `"1.861"`',
    ),
    scalars.COUNT.cel: Values(
        ("8.03B", "405B", "1.6T", "350M", "8030000000"),
        ("0B", "8.03 B", "8.03b", "eight", "-8B"),
        "must be a number of parameters greater than zero, for example `8.03B` or `405B`",
    ),
    scalars.POSITIVE_QUANTITY.cel: Values(
        ("46068Mi", "32Gi", "4", "500m", "1.5Ti"),
        ("0", "0Gi", "48GB", "-1Gi", "1e9", "32 Gi"),
        "must be a quantity greater than zero, for example `46068Mi`, `32Gi` or `4`",
    ),
    scalars.GLOB.cel: Values(
        ("g6e.xlarge", "g6e.*", "Standard_NC?0ads_A100_v4"),
        ("g6e xlarge", "{g6e,g5}.*", "g[56]*"),
        "must be a class name or a glob with `*` and `?`, for example `g6e.*`",
    ),
}


def ruled_values(kind: Kind) -> Iterator[tuple[str, str, Values]]:
    """Path below the spec, pattern, and the values for each string that a rule holds for."""
    for path, node in fields(kind):
        if node.get("type") == "string":
            for rule in node.get("x-kubernetes-validations", []):
                yield path.removeprefix(".spec."), node.get("pattern", ""), SCALARS[rule["rule"]]


def complaint(path: str, value: str, pattern: str, words: str) -> list[str]:
    """The pattern's error for tools, and the rule's for people."""
    where = f"spec.{path.replace('[]', '[0]')}"
    said = [f'{where}: Invalid value: "{value}": {words}']
    return (
        [*said, f"{where}: Invalid value: \"{value}\": {where} in body should match '{pattern}'"] if pattern else said
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_ruled_value_is_taken_where_it_holds(api: LocalCluster, kind: Kind) -> None:
    for turn in range(6):
        ruled = enumerate(ruled_values(kind), start=turn)  # neighbours differ: `include` and `exclude` may not agree
        good = {path: each.accepted[index % len(each.accepted)] for index, (path, _, each) in ruled}

        assert refusal(api, document(kind.name, good)) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_ruled_value_is_refused_in_words_where_it_does_not(api: LocalCluster, kind: Kind) -> None:
    ruled = [
        (path, pattern, each, each.refused[index % len(each.refused)])
        for index, (path, pattern, each) in enumerate(ruled_values(kind))
    ]
    bad = {path: value for path, _, _, value in ruled}
    expected = [
        line
        for path, pattern, each, value in ruled
        for line in complaint(path, value, "" if re.search(pattern, value) else pattern, each.words)
    ]

    assert refusal(api, document(kind.name, bad)) == sorted(expected)


@pytest.mark.parametrize(
    ("rule", "type_"),
    [
        (scalars.DURATION, scalars.Duration),
        (scalars.SHARE, scalars.Share),
        (scalars.AMOUNT, scalars.Amount),
        (scalars.COUNT, scalars.ParameterCount),
        (scalars.POSITIVE_QUANTITY, scalars.Quantity),
        (scalars.GLOB, scalars.Glob),
    ],
    ids=["duration", "share", "amount", "count", "quantity", "glob"],
)
def test_the_predicate_agrees_with_the_server_on_every_value(api: LocalCluster, rule: Rule, type_: Any) -> None:
    adapter: TypeAdapter[str] = TypeAdapter(type_)
    kind, path = next(
        (kind.name, path.removeprefix(".spec."))
        for kind in KINDS
        for path, node in fields(kind)
        if any(each["rule"] == rule.cel for each in node.get("x-kubernetes-validations", []))
    )
    for value in SCALARS[rule.cel].accepted:
        assert adapter.validate_python(value) == value
        assert refusal(api, document(kind, {path: value})) == []
    for value in SCALARS[rule.cel].refused:
        with pytest.raises(ValidationError):
            adapter.validate_python(value)
        assert refusal(api, document(kind, {path: value})) != []


# -- rules across fields --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """One rule across fields: where it complains and in which words, changes it refuses, changes it takes."""

    kind: str
    where: str
    words: str
    refused: Mapping[str, Any]
    accepted: Mapping[str, Any]

    @property
    def said(self) -> str:
        """The line of the API server."""
        return f"{self.where}: Invalid value: {self.words}"


ACROSS = (
    Case(
        "InferenceDeployment",
        "spec.slo.attainment",
        "`attainment` must be greater than `0%`, for example `99.9%`",
        refused={"slo.attainment": "0.0%"},
        accepted={"slo.attainment": "0.1%"},
    ),
    Case(
        "InferenceDeployment",
        "spec.placement.replicas",
        "`min` must be less than or equal to `max`",
        refused={"placement.replicas": {"min": 3, "max": 2}},
        accepted={"placement.replicas": {"min": 2, "max": 2}},
    ),
    Case(
        "InferenceDeployment",
        "spec.placement.instanceClasses.exclude",
        '`exclude` may not hold `*`, which would leave no class; use `mode: "Off"` to stop recommendations',
        refused={"placement.instanceClasses": {"exclude": ["p5.*", "*"]}},
        accepted={"placement.instanceClasses": {"exclude": ["p5.*", "g?*"]}},
    ),
    Case(
        "InferenceDeployment",
        "spec.placement.instanceClasses",
        "`include` and `exclude` may not hold the same entry; remove it from one of them",
        refused={"placement.instanceClasses": {"include": ["g6e.*", "g5.*"], "exclude": ["g5.*"]}},
        accepted={"placement.instanceClasses": {"include": ["g6e.*", "g5.*"], "exclude": ["g5.xlarge"]}},
    ),
    Case(
        "InstanceClass",
        "spec.accelerator.migProfile",
        "`migProfile` must name the profile of `resource`, for example `1g.10gb` with `nvidia.com/mig-1g.10gb`",
        refused={"accelerator.resource": "nvidia.com/mig-1g.10gb", "accelerator.migProfile": "2g.20gb"},
        accepted={"accelerator.resource": "nvidia.com/mig-1g.10gb.me", "accelerator.migProfile": "1g.10gb+me"},
    ),
    Case(
        "InstanceClass",
        "spec.tolerations[0]",
        "`value` must be left out with `operator: Exists`",
        refused={"tolerations[]": {"key": "gpu", "operator": "Exists", "value": "yes"}},
        accepted={"tolerations[]": {"key": "gpu", "operator": "Exists"}},
    ),
    Case(
        "InstanceClass",
        "spec.tolerations[0]",
        "`key` must be given unless `operator` is `Exists`",
        refused={"tolerations[]": {"value": "yes"}},
        accepted={"tolerations[]": {"key": "gpu", "value": "yes"}},
    ),
    Case(
        "RightsizingPolicy",
        "spec.namespaceSelector.matchExpressions[0]",
        "`values` must be given with `In` and `NotIn`, and may not be given with `Exists` and `DoesNotExist`",
        refused={"namespaceSelector.matchExpressions[]": {"key": "team", "operator": "In"}},
        accepted={"namespaceSelector.matchExpressions[]": {"key": "team", "operator": "In", "values": ["chat"]}},
    ),
    Case(
        "RightsizingPolicy",
        "spec.namespaceSelector.matchExpressions[0]",
        "`values` must be given with `In` and `NotIn`, and may not be given with `Exists` and `DoesNotExist`",
        refused={"namespaceSelector.matchExpressions[]": {"key": "team", "operator": "Exists", "values": ["chat"]}},
        accepted={"namespaceSelector.matchExpressions[]": {"key": "team", "operator": "Exists"}},
    ),
    Case(
        "RightsizingPolicy",
        "spec.defaults.placement.replicas",
        "`min` must be less than or equal to `max`",
        refused={"defaults.placement.replicas": {"min": 3, "max": 2}},
        accepted={"defaults.placement.replicas": {"max": 2}},
    ),
)
IMMUTABLE = {
    "kind": "`targetRef.kind` may not change; create another InferenceDeployment for the other workload",
    "name": "`targetRef.name` may not change; create another InferenceDeployment for the other workload",
}


@pytest.mark.parametrize("case", ACROSS, ids=lambda case: case.words[:48])
def test_a_rule_across_fields(api: LocalCluster, case: Case) -> None:
    assert refusal(api, document(case.kind, case.accepted)) == []
    assert refusal(api, document(case.kind, case.refused)) == [case.said]


@pytest.mark.parametrize("case", ACROSS, ids=lambda case: case.words[:48])
def test_an_object_stored_before_the_rule_existed_is_refused_in_the_same_words(case: Case) -> None:
    READERS[case.kind](document(case.kind, case.accepted))
    with pytest.raises(InvalidSpec) as refused:
        READERS[case.kind](document(case.kind, case.refused))

    assert [(problem.field, problem.fix) for problem in refused.value.problems] == [(case.where, case.words)]


def test_the_target_may_not_become_another_workload(api: LocalCluster) -> None:
    stored = document("InferenceDeployment", {"targetRef": {"kind": "Deployment", "name": "llama"}}, name="settled")
    api.apply(stored)

    def changed(**target: str) -> list[str]:
        wanted = {"kind": "Deployment", "name": "llama"} | target
        return refusal(api, document("InferenceDeployment", {"targetRef": wanted}, name="settled"))

    assert changed(container="vllm") == []
    assert changed(kind="StatefulSet") == [f"spec.targetRef.kind: Invalid value: {IMMUTABLE['kind']}"]
    assert changed(name="mistral") == [f"spec.targetRef.name: Invalid value: {IMMUTABLE['name']}"]


def test_every_rule_has_its_case() -> None:
    tried = {values.words for values in SCALARS.values()} | {case.words for case in ACROSS} | set(IMMUTABLE.values())
    written = {
        rule["message"]
        for kind in KINDS
        for _, node in fields(kind)
        for rule in node.get("x-kubernetes-validations", [])
    }

    assert written == tried
