"""Whole cycles against a cluster and a store in memory: what is held, what is told, and what is not written."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gpu_rightsizer import catalogue
from gpu_rightsizer.adapters.prometheus_session import PrometheusSettings
from gpu_rightsizer.controller import cycle
from gpu_rightsizer.controller.cycle import Cycle
from gpu_rightsizer.controller.settings import Settings
from gpu_rightsizer.controller.sight import Sight
from gpu_rightsizer.observe.fleet import read_workloads
from gpu_rightsizer.observe.queries import QUERIES, Scope
from gpu_rightsizer.ports import Rejected, Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.cluster import API, INFDS, FakeCluster
from tests.fakes.metrics import FakeMetrics

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
NAMESPACES, CLASSES, POLICIES = "/api/v1/namespaces", f"{API}/instanceclasses", f"{API}/rightsizingpolicies"
GOOD_CLASS = {
    "nodeSelector": {"node.kubernetes.io/instance-type": "g6e.xlarge"},
    "accelerator": {"product": "NVIDIA-L40S", "count": 1},
}


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name, **labels}}}


def guide(name: str, spec: object, generation: int = 1) -> dict[str, Any]:
    meta = {"name": name, "uid": f"uid-{name}", "generation": generation, "resourceVersion": "7"}
    return {"metadata": meta, "spec": spec}


def ready(raw: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in raw["status"]["conditions"] if each["type"] == "Ready")
    return found


class Stage:
    """A cluster with one namespace and one deployment, and a Cycle over it."""

    def __init__(self, *, served: tuple[str, ...] = (), leads: Callable[[], bool] = lambda: True) -> None:
        self.cluster = FakeCluster()
        self.cluster.lists[NAMESPACES] = [namespace("chat", team="chat")]
        self.llm = self.cluster.add_deployment("llm")
        self.metrics = FakeMetrics([], scopes=(Scope(namespaces=("chat",)),), now=NOON)
        self.clock = FakeClock(start=NOON)
        settings = Settings(PrometheusSettings("http://store"), namespaces=served)
        self.cycle = Cycle(self.cluster, Sight(self.metrics), self.clock, catalogue.load(), settings, leads)

    def put(self, path: str, raw: dict[str, Any]) -> dict[str, Any]:
        self.cluster.lists.setdefault(path, []).append(raw)
        return raw


# -- what users are told about their classes and policies --------------------------------------------------------------


async def test_a_class_in_use_is_accepted() -> None:
    stage = Stage()
    raw = stage.put(CLASSES, guide("g6e.xlarge", GOOD_CLASS))

    await stage.cycle.run()

    assert (ready(raw)["status"], ready(raw)["reason"], ready(raw)["message"]) == ("True", "Accepted", "It is in use.")
    assert (raw["status"]["observedGeneration"], raw["status"]["nodes"]) == (1, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"accelerator": {"product": "NVIDIA-X1", "count": 1}},
            "`spec.accelerator.product` must be a product that the catalogue knows",
        ),
        ({"accelerator": {"product": "NVIDIA-L40S"}}, "`spec.accelerator.count` must be given"),
        ({"accelerator": None}, "`spec.accelerator` must be an object"),
    ],
)
async def test_a_class_that_cannot_be_used_says_which_field_and_what_is_accepted(
    change: dict[str, Any], said: str
) -> None:
    stage = Stage()
    raw = stage.put(CLASSES, guide("mine", GOOD_CLASS | change, 3))

    await stage.cycle.run()

    assert (ready(raw)["status"], ready(raw)["reason"]) == ("False", "InvalidSpec")
    assert ready(raw)["message"] == f"The spec cannot be used: {said}."
    assert raw["status"]["observedGeneration"] == 3


async def test_a_policy_says_for_how_many_it_holds() -> None:
    stage = Stage()
    stage.cluster.add_deployment("other", "search")
    stage.cluster.lists[NAMESPACES].append(namespace("search"))
    raw = stage.put(POLICIES, guide("team", {"namespaceSelector": {"matchLabels": {"team": "chat"}}}))

    await stage.cycle.run()

    assert raw["status"]["deployments"] == 1
    assert (ready(raw)["status"], ready(raw)["message"]) == ("True", "It is in use, for 1 InferenceDeployments.")


async def test_a_policy_that_cannot_be_read_says_so_itself_and_on_everyone_it_holds() -> None:
    stage = Stage()
    raw = stage.put(POLICIES, guide("team", {"regions": "eu"}))

    await stage.cycle.run()

    assert ready(raw)["message"] == "The spec cannot be used: `spec.regions` must be a list."
    held = ready(stage.llm)
    assert (held["status"], held["reason"]) == ("False", "RulesUnread")
    assert held["message"] == (
        "Which rules hold here is not known, so nothing is recommended: "
        "RightsizingPolicy team cannot be read: `spec.regions` must be a list; fix it."
    )


async def test_a_policy_whose_reach_is_unknown_counts_nobody() -> None:
    stage = Stage()
    stage.cluster.refused[NAMESPACES] = Rejected("403 GET /api/v1/namespaces: forbidden")
    raw = stage.put(POLICIES, guide("team", {"namespaceSelector": {"matchLabels": {"team": "chat"}}}))

    await stage.cycle.run()

    assert "deployments" not in raw["status"]
    assert (ready(raw)["status"], ready(raw)["reason"]) == ("Unknown", "RulesUnread")
    assert "grant its ClusterRole `list` on `namespaces`" in ready(raw)["message"]
    assert ready(stage.llm)["reason"] == "RulesUnread"


async def test_nothing_is_written_twice() -> None:
    stage = Stage()
    stage.put(CLASSES, guide("g6e.xlarge", GOOD_CLASS))
    stage.put(CLASSES, guide("broken", {}))
    stage.put(POLICIES, guide("team", {}))
    stage.put(POLICIES, guide("bad", {"regions": 1}))
    await stage.cycle.run()
    assert ("status", "g6e.xlarge") in stage.cluster.writes
    stage.cluster.writes.clear()
    stage.clock.seconds += 300

    stage.metrics.now = stage.clock.now()
    await stage.cycle.run()

    assert stage.cluster.writes == []


async def test_the_time_of_a_transition_stays_while_the_state_does() -> None:
    stage = Stage()
    raw = stage.put(POLICIES, guide("team", {"regions": "eu"}))
    await stage.cycle.run()
    before = ready(raw)["lastTransitionTime"]
    raw["spec"], raw["metadata"]["generation"] = {"maxMode": 7}, 2
    stage.clock.seconds += 60

    await stage.cycle.run()

    assert raw["status"]["observedGeneration"] == 2
    assert ready(raw)["lastTransitionTime"] == before


async def test_an_operator_of_some_namespaces_leaves_the_status_of_what_all_share_alone() -> None:
    stage = Stage(served=("chat",))
    stage.cluster.lists[f"{API}/namespaces/chat/inferencedeployments"] = stage.cluster.lists[INFDS]
    raw = stage.put(POLICIES, guide("team", {}))

    await stage.cycle.run()

    assert "status" not in raw
    assert "status" in stage.llm


# -- clocks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("apart", "said"),
    [(timedelta(hours=1), "ahead of"), (timedelta(seconds=-60), "behind"), (timedelta(seconds=31), "ahead of")],
)
async def test_clocks_that_disagree_hold_everyone_and_nothing_is_asked(apart: timedelta, said: str) -> None:
    stage = Stage()
    add_target(stage)
    stage.metrics.now = NOON + apart

    await stage.cycle.run()

    held = ready(stage.llm)
    assert (held["status"], held["reason"]) == ("False", "ClocksDisagree")
    assert f"the metrics store's is more than 30 s {said} the operator's" in held["message"]
    assert stage.metrics.asked == []


async def test_clocks_that_agree_within_the_bound_cost_one_query() -> None:
    stage = Stage()
    add_target(stage)
    stage.metrics.now = NOON + timedelta(seconds=29)

    await stage.cycle.run()

    assert ready(stage.llm)["reason"] != "ClocksDisagree"
    assert stage.cycle.sight.queries == len(QUERIES) + 1 <= 15


async def test_once_told_the_difference_stands_until_it_is_told_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    add_target(stage)
    stage.metrics.now = NOON + timedelta(hours=1)
    await stage.cycle.run()

    async def fails() -> datetime:
        raise Unavailable("503")

    monkeypatch.setattr(FakeMetrics, "server_time", lambda _: fails())
    await stage.cycle.run()

    assert ready(stage.llm)["reason"] == "ClocksDisagree"
    assert stage.cycle.sight.failures == {"Unavailable": 1}


def add_target(stage: Stage) -> None:
    pod = {"containers": [{"name": "vllm", "image": "vllm/vllm-openai:v0.11.0"}]}
    meta = {"name": "llm", "namespace": "chat", "uid": "uid-target"}
    stage.put("/apis/apps/v1/deployments", {"metadata": meta, "spec": {"replicas": 1, "template": {"spec": pod}}})


# -- leading, namespaces, definitions ----------------------------------------------------------------------------------


async def test_a_leader_that_was_replaced_during_the_cycle_writes_nothing() -> None:
    stage = Stage(leads=lambda: False)

    await stage.cycle.run()

    assert stage.cluster.writes == []


async def test_a_leader_that_is_replaced_between_two_writes_stops_there() -> None:
    answers = iter([True])
    stage = Stage(leads=lambda: next(answers, False))
    stage.put(CLASSES, guide("g6e.xlarge", GOOD_CLASS))

    await stage.cycle.run()

    assert len(stage.cluster.writes) == 1


async def test_a_namespace_that_is_not_there_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(served=("chat", "nope"))
    with caplog.at_level(logging.WARNING):
        await stage.cycle.run()
        await stage.cycle.run()

    said = [each.getMessage() for each in caplog.records if "namespace" in each.getMessage()]
    assert said == ["--namespace: there is no namespace nope; nothing is looked at there"]


async def test_without_the_definitions_the_command_that_installs_them_is_named() -> None:
    stage = Stage()
    stage.cluster.refused[INFDS] = Rejected(f"404 GET {INFDS}: 404 page not found")

    with pytest.raises(Rejected, match=r"gpu-rightsizer crds \| kubectl apply --server-side -f -"):
        await stage.cycle.run()


# -- one by one --------------------------------------------------------------------------------------------------------


async def test_two_that_claim_one_target_are_noticed_one_by_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_at_once(view: Any, *args: Any, **kwargs: Any) -> Any:
        if len({each.target.name for each in view.requests}) > 1:
            raise ValueError("a fault of ours")
        return read_workloads(view, *args, **kwargs)

    monkeypatch.setattr(cycle, "read_workloads", fails_at_once)
    stage = Stage()
    add_target(stage)
    rival = stage.cluster.add_deployment("rival")
    rival["spec"]["targetRef"]["name"] = "llm"
    stage.cluster.add_deployment("another")

    await stage.cycle.run()

    assert ready(stage.llm)["reason"] == ready(rival)["reason"] == "TargetClaimedTwice"
