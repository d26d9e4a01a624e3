"""Whose series is whose: never a foreign pod's, and never two clusters' as one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpu_rightsizer.domain.readings import BlockSeries, Missing, MissingReason, Signal
from gpu_rightsizer.domain.workload import Workload
from gpu_rightsizer.observe.queries import Scope
from tests.unit.observe.scrapes import (
    FIRST,
    HASH,
    NAMESPACE,
    SCOPE,
    Device,
    Engine,
    fleet_seen,
    membership,
    seen,
    store,
    workload,
)


def running(history: object) -> float:
    assert isinstance(history, BlockSeries), history
    return float(history.values[-6])


def test_a_pod_of_the_same_name_in_another_namespace_is_not_ours() -> None:
    observation = seen(store(Engine(running=2), Engine(running=30, namespace="other")))

    assert running(observation.running) == 2


def test_a_pod_of_no_known_workload_is_foreign_and_counted() -> None:
    observation = seen(store(Engine(running=2), Engine(pod="other-0", running=30)))

    assert running(observation.running) == 2
    assert observation.attribution.foreign_series == 1


def test_two_deployments_of_one_namespace_are_told_apart() -> None:
    chat, code = f"chat-{HASH}-bbbbb", f"code-{HASH}-bbbbb"
    metrics = store(Engine(chat, running=2), Engine(code, running=7))
    workloads = [_named("chat", chat), _named("code", code)]

    found = fleet_seen(metrics, workloads, SCOPE, membership("chat", "code"))

    assert [running(each.running) for each in found] == [2, 7]


def test_a_deployment_whose_name_begins_like_ours_is_not_ours() -> None:
    longer = f"llm-chat-{HASH}-bbbbb"
    metrics = store(Engine(FIRST, running=2), Engine(longer, running=30))

    observation = seen(metrics, members=membership("llm", "llm-chat"))

    assert running(observation.running) == 2


def test_the_exporters_own_labels_are_not_a_workloads() -> None:
    """Where the exporter names no pod, `pod` is its own: the device is nobody's, not the exporter's."""
    unlabelled = [
        type(each)({k: v for k, v in each.labels.items() if not k.startswith("exported_")}, each.times, each.values)
        for each in Device().series()
    ]

    observation = seen(store(Engine(), *unlabelled))

    assert observation.fb_used == Missing(Signal.FB_USED, MissingReason.NO_SERIES)
    assert all(each.why is not MissingReason.SHARED for each in observation.problems)


def test_two_clusters_in_one_store_contradict_each_other_unless_a_matcher_tells_them_apart() -> None:
    metrics = store(Engine(running=2, more={"cluster": "a"}), Engine(running=30, more={"cluster": "b"}))
    both = seen(metrics)
    assert (Signal.KV_DEMAND, MissingReason.CONTRADICTORY, "clusters a, b") in [
        (each.what, each.why, each.detail) for each in both.problems
    ]

    ours = seen(metrics, scope=Scope((("cluster", "a"),), (NAMESPACE,)))

    assert running(ours.running) == 2
    assert all(each.why is not MissingReason.CONTRADICTORY for each in ours.problems)


@pytest.mark.parametrize("prefix", ["", "exported_"])
def test_the_label_that_named_the_pod_is_told(prefix: str) -> None:
    observation = seen(store(Engine(), Device(direct=not prefix)))

    assert f"device: {prefix}pod" in observation.attribution.scheme


def _named(name: str, pod: str) -> Workload:
    made = workload(pod)
    return replace(made, key=replace(made.key, name=name), target=replace(made.target, name=name))
