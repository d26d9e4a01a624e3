"""The terms a deployment is judged by: its own, else the most cautious default; the most restrictive policy wins."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from gpu_rightsizer.api.crd import INFERENCE_DEPLOYMENT
from gpu_rightsizer.api.narrowing import CAPACITY_TYPES, selects
from gpu_rightsizer.api.policy import LabelSelector, RightsizingPolicySpec
from gpu_rightsizer.api.read import read_inference_deployment
from gpu_rightsizer.api.to_domain import Terms, terms
from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.hardware import Commitment
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.domain.workload import Mode, Objective, Overrides, PlacementRules, ScaleToZeroRules, TargetRef
from tests.api.documents import document
from tests.api.schema import fields

CLASSES = ("g5.xlarge", "g6e.12xlarge", "g6e.xlarge", "p5.48xlarge")
BUILT_IN = Objective(
    ttft_p95=2.0,
    tpot_p95=0.1,
    attainment=0.999,
    max_oom_risk=0.01,
    horizon=timedelta(days=30),
    oom_cost_usd=Decimal(2000),
)


def judged(spec: dict[str, Any] | None = None, *policies: dict[str, Any]) -> Terms:
    """The terms of a least deployment with this spec under these policies."""
    thing = document("InferenceDeployment") | {"spec": {"targetRef": {"name": "llama"}} | (spec or {})}
    named = [(f"policy-{index}", RightsizingPolicySpec.from_wire(policy)) for index, policy in enumerate(policies)]
    return terms(read_inference_deployment(thing).object, named, CLASSES)


def slo(**figures: str) -> dict[str, Any]:
    return {"defaults": {"slo": figures}}


def placed(**rules: Any) -> dict[str, Any]:
    return {"defaults": {"placement": rules}}


# -- nothing said ---------------------------------------------------------------------------------------------------


def test_what_holds_when_nobody_says_anything() -> None:
    assert judged() == Terms(
        mode=Mode.RECOMMEND,
        target=TargetRef("apps/v1", "Deployment", "llama"),
        objective=BUILT_IN,
        rules=PlacementRules(capacity_types=CAPACITY_TYPES),
        scale_to_zero=ScaleToZeroRules(True, timedelta(minutes=30), timedelta(minutes=5)),
        overrides=Overrides(),
    )


def test_spot_is_proposed_only_when_listed() -> None:
    assert Commitment.SPOT not in judged().rules.capacity_types
    assert judged({"placement": {"capacityTypes": ["Spot"]}}).rules.capacity_types == (Commitment.SPOT,)


@pytest.mark.parametrize(
    ("field", "figure"),
    [
        ("ttft", "p95 of 2s"),
        ("tpot", "p95 of 100ms"),
        ("attainment", "99.9%"),
        ("maxOomRisk", "1%"),
        ("horizon", "30d"),
        ("oomCost", "2000"),
    ],
)
def test_the_descriptions_tell_the_built_in_figures(field: str, figure: str) -> None:
    described = dict(fields(INFERENCE_DEPLOYMENT))[f".spec.slo.{field}"]["description"]

    assert described.endswith(f"When absent: the policy's default, else {figure}.")


# -- the deployment's own -------------------------------------------------------------------------------------------


def test_everything_a_deployment_can_say() -> None:
    full = terms(read_inference_deployment(document("InferenceDeployment")).object)

    assert full == Terms(
        mode=Mode.RECOMMEND,
        target=TargetRef("apps/v1", "StatefulSet", "my-large-model", "vllm"),
        objective=Objective(
            ttft_p95=1.0,
            tpot_p95=0.075,
            attainment=0.999,
            max_oom_risk=0.01,
            horizon=timedelta(days=30),
            oom_cost_usd=Decimal(2000),
            stated=frozenset({"TTFT", "TPOT"}),
        ),
        rules=PlacementRules(
            include=("g6e.*", "p4d.*", "p5.*"),
            exclude=("p5.48xlarge",),
            regions=("us-east-1",),
            capacity_types=(Commitment.ON_DEMAND, Commitment.RESERVED),
            min_replicas=1,
            max_replicas=8,
        ),
        scale_to_zero=ScaleToZeroRules(False, timedelta(minutes=30), timedelta(minutes=8)),
        overrides=Overrides(
            engine=EngineType.VLLM,
            model_name="meta-llama/Llama-3.3-70B-Instruct",
            parameters=70_600_000_000,
            weight_dtype=WeightDtype.BFLOAT16,
            max_context_length=32768,
        ),
    )


# -- policies -------------------------------------------------------------------------------------------------------


def test_a_default_fills_a_gap_and_never_overrides() -> None:
    policy = slo(maxOomRisk="0.5%", horizon="7d")

    filled = judged({"slo": {"horizon": "60d"}}, policy).objective

    assert filled.max_oom_risk == 0.005
    assert filled.horizon == timedelta(days=60)


def test_of_several_defaults_the_most_cautious_counts() -> None:
    loose = slo(attainment="99%", maxOomRisk="5%", horizon="7d", oomCost="10")
    loose["defaults"]["slo"] |= {"ttft": {"p95": "10s"}, "tpot": {"p95": "1s"}}
    strict = slo(attainment="99.99%", maxOomRisk="0.1%", horizon="90d", oomCost="9000")
    strict["defaults"]["slo"] |= {"ttft": {"p95": "500ms"}, "tpot": {"p95": "30ms"}}
    cautious = Objective(
        ttft_p95=0.5,
        tpot_p95=0.03,
        attainment=0.9999,
        max_oom_risk=0.001,
        horizon=timedelta(days=90),
        oom_cost_usd=Decimal(9000),
        stated=frozenset({"TTFT", "TPOT"}),
    )

    assert judged({}, loose, strict).objective == judged({}, strict, loose).objective == cautious


def test_one_policy_that_is_off_stops_everything() -> None:
    stopped = judged({"mode": "Recommend"}, {"maxMode": "Recommend"}, {"maxMode": "Off"})

    assert stopped.mode is Mode.OFF
    assert not stopped.scale_to_zero.enabled
    assert stopped.policies == ("policy-0", "policy-1")


def test_scaling_to_zero_is_never_above_the_mode() -> None:
    assert not judged({"mode": "Off", "scaleToZero": {"mode": "Recommend"}}).scale_to_zero.enabled


def test_a_policy_narrows_what_the_deployment_allows() -> None:
    own = {"placement": {"instanceClasses": {"include": ["g6e.*", "p5.*"]}, "regions": ["us-east-1", "us-east-2"]}}
    policy = {"instanceClasses": {"include": ["g*"], "exclude": ["*.12xlarge"]}, "regions": ["us-east-2", "eu-west-1"]}

    rules = judged(own, policy).rules

    assert rules.include == ("g6e.12xlarge", "g6e.xlarge")
    assert rules.exclude == ("*.12xlarge",)
    assert rules.regions == ("us-east-2",)


def test_limits_that_leave_no_region_leave_no_class() -> None:
    """An empty list of regions means any region, so it may not stand for none."""
    own = {"placement": {"regions": ["us-east-1"]}}

    assert judged(own, {"regions": ["eu-west-1"]}).rules.include == ()


def test_limits_that_leave_no_kind_of_capacity_leave_no_class() -> None:
    rules = judged({}, placed(capacityTypes=["Spot"]), placed(capacityTypes=["OnDemand"])).rules

    assert rules.include == ()


@pytest.mark.parametrize(
    ("own", "policy", "field"),
    [
        ({"regions": ["us-east-1"]}, {"regions": ["eu-west-1"]}, "regions"),
        ({"instanceClasses": {"include": ["g6e.*"]}}, {"instanceClasses": {"include": ["p5.*"]}},
         "instanceClasses.include"),
        ({"regions": ["us-east-1"]}, {"regions": ["us-east-1"]}, ""),
    ],
)  # fmt: skip
def test_the_field_that_agrees_in_nothing_is_named_with_the_policy(
    own: dict[str, Any], policy: dict[str, Any], field: str
) -> None:
    rules = judged({"placement": own}, policy, {"maxMode": "Recommend"}).rules

    assert (rules.conflict, rules.policies) == (field, ("policy-0",))


def test_one_list_of_globs_stays_globs() -> None:
    """So that a class discovered later is met too."""
    assert judged({}, {"instanceClasses": {"include": ["g6e.*"]}}).rules.include == ("g6e.*",)
    assert judged({}, {"instanceClasses": {"exclude": ["p5.*"]}}).rules.include == ("*",)


def test_a_default_placement_gives_way_and_a_limit_does_not() -> None:
    own = {"placement": {"instanceClasses": {"include": ["p5.*"]}, "replicas": {"min": 2}}}
    default = placed(instanceClasses={"include": ["g6e.*"]}, replicas={"min": 5, "max": 9})

    rules = judged(own, default).rules

    assert rules.include == ("p5.*",)
    assert (rules.min_replicas, rules.max_replicas) == (2, None)


def test_default_bounds_are_narrowed_together_and_never_crossed() -> None:
    rules = judged({}, placed(replicas={"min": 1, "max": 3}), placed(replicas={"min": 5, "max": 8})).rules

    assert (rules.min_replicas, rules.max_replicas) == (5, 5)


# -- selecting namespaces -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        ({}, {}, True),
        ({"matchLabels": {"team": "chat"}}, {"team": "chat", "x": "y"}, True),
        ({"matchLabels": {"team": "chat"}}, {"team": "search"}, False),
        ({"matchLabels": {"team": "chat"}}, {}, False),
        ({"matchExpressions": [{"key": "env", "operator": "In", "values": ["a", "b"]}]}, {"env": "b"}, True),
        ({"matchExpressions": [{"key": "env", "operator": "In", "values": ["a", "b"]}]}, {}, False),
        ({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["a"]}]}, {"env": "a"}, False),
        ({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["a"]}]}, {}, True),
        ({"matchExpressions": [{"key": "env", "operator": "Exists"}]}, {"env": ""}, True),
        ({"matchExpressions": [{"key": "env", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}, {}, True),
        ({"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}, {"env": ""}, False),
        (
            {"matchLabels": {"team": "chat"}, "matchExpressions": [{"key": "env", "operator": "Exists"}]},
            {"team": "chat"},
            False,
        ),
    ],
)
def test_a_selector_means_what_it_means_to_kubernetes(
    selector: dict[str, Any], labels: dict[str, str], *, selected: bool
) -> None:
    assert selects(LabelSelector.from_wire(selector), labels) is selected
