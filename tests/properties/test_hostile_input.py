"""Whatever stands in manifests and metrics, reading ends: in a value or in a named reason, never in an exception."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gpu_rightsizer.api.units import BadValue, parse_duration, parse_time
from gpu_rightsizer.catalogue import load
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.readings import Missing
from gpu_rightsizer.domain.workload import Workload
from gpu_rightsizer.domain.world import World
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.explain.status import status
from gpu_rightsizer.observe import samples as window
from gpu_rightsizer.observe.fleet import ClusterView, read_workloads
from gpu_rightsizer.observe.inventory import build_inventory
from gpu_rightsizer.observe.manifests import count, moment, quantity
from gpu_rightsizer.observe.queries import QUERIES, SIGNAL_LABEL, Slot
from gpu_rightsizer.observe.reading import observe
from tests.builders import LADDER, nothing_observed
from tests.unit.observe import scrapes
from tests.unit.observe.manifest_builders import LLAMA, NOW, container, deployment, node, pod, replica_set, request

CATALOGUE = load()
HASH = "6d4cf56db6"
BIG = "9" * 5000
TEXTS = st.sampled_from(
    (
        "", BIG, "\u00b2", "\u0663", "-1", "0", "1e999999999", "1e-999999999", "NaN", "inf", "9" * 18, "9" * 19, "1.5",
        "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z", "2026-08-20T12:00:00",
        "--tensor-parallel-size", "--tensor-parallel-size=0", "--tensor-parallel-size=1000000000",
        f"--max-model-len={BIG}", "--max-model-len=1e30", "--max-num-seqs=-5", f"--pipeline-parallel-size={'9' * 400}",
        "--data-parallel-size=999999999999", f"--cpu-offload-gb={'9' * 400}", "--gpu-memory-utilization=nan",
        "--block-size=\u0663", "$(A)$(B)", "sh", "-c", "\ud800", "\x00\x1b[2J", "vllm/vllm-openai:v" + "9" * 120 + ".1",
    )
) | st.text(max_size=30)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | TEXTS | st.floats()
    | st.sampled_from((0, -1, 10**9, 2**63, 10**30, 10**4000, -(10**4000)))
)  # fmt: skip
JSON = st.recursive(
    LEAVES, lambda each: st.lists(each, max_size=3) | st.dictionaries(TEXTS, each, max_size=3), max_leaves=6
)


def cluster() -> dict[str, list[Any]]:
    """One healthy deployment on one node, with all the fields that are read."""
    spec: dict[str, Any] = {
        "containers": [container(args=[*LLAMA, "--tensor-parallel-size", "1", "--max-model-len", "8192"])],
        "initContainers": [container("warm", gpus=0)],
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "volumes": [
            {"emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
            {"persistentVolumeClaim": {"claimName": "weights"}},
        ],
    }
    ended = {"reason": "Error", "exitCode": 1, "message": "CUDA out of memory", "startedAt": "2026-08-20T08:00:00Z"}
    state = {
        "name": "vllm",
        "restartCount": 1,
        "lastState": {"terminated": {**ended, "finishedAt": "2026-08-20T09:00:00Z"}},
    }
    labels = {
        "nvidia.com/gpu.product": "NVIDIA-L40S", "nvidia.com/gpu.memory": "46068", "nvidia.com/gpu.replicas": "1",
        "nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.compute.minor": "9",
    }  # fmt: skip
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llm"}
    return {
        "deployments": [deployment("llm", spec)],
        "replicasets": [replica_set("llm", HASH), replica_set("llm", "7c9b5d6f48", revision=2)],
        "pods": [pod(f"llm-{HASH}-bbbbb", spec, node="n1", statuses=[state], labels={"pod-template-hash": HASH})],
        "nodes": [node("n1", labels=labels)],
        "hpas": [{"metadata": {"name": "h", "namespace": "chat"}, "spec": {"scaleTargetRef": owner}}],
        "pvcs": [{"metadata": {"name": "weights", "namespace": "chat"}, "spec": {"volumeName": "pv1"}}],
        "pvs": [{"metadata": {"name": "pv1"}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-east-1a"]}]}
        ]}}}}],
    }  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside, containers too."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield (*at, key)
        yield from places(each, (*at, key))


PLACES = sorted((at for at in places(cluster()) if len(at) > 2), key=repr)


def spoilt(changes: list[tuple[tuple[Any, ...], Any]]) -> dict[str, list[Any]]:
    """With other values at some places; a place that an earlier change took away is left out."""
    objects = cluster()
    for at, value in changes:
        holder: Any = objects
        with contextlib.suppress(LookupError, TypeError):
            for key in at[:-1]:
                holder = holder[key]
            holder[at[-1]] = copy.deepcopy(value)
    return objects


def read(objects: dict[str, list[Any]]) -> Workload:
    view = ClusterView(requests=[request("llm")], **objects)
    inventory = build_inventory(view.nodes, view.pods, [], CATALOGUE)
    (workload,) = read_workloads(view, CATALOGUE, inventory, NOW)
    return workload


def test_the_healthy_cluster_is_read_whole() -> None:
    workload = read(cluster())

    found = (workload.engine, workload.model, workload.placement)
    assert not any(isinstance(each, Missing) for each in found)
    assert not workload.settings.unread
    assert len(workload.incidents) == 1


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=3))
def test_any_value_anywhere_in_the_manifests_is_read(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    workload = read(spoilt(changes))

    assert workload.replicas >= 0
    assert 1 <= workload.settings.tensor_parallel <= 1024
    (found,) = evaluate([World(workload, nothing_observed())], LADDER, NOW)
    assert status(found, NOW)["conditions"]


@pytest.mark.parametrize(
    "flag",
    [
        "--tensor-parallel-size=0", "--tensor-parallel-size=-2", "--tensor-parallel-size=1000000000",
        "--pipeline-parallel-size=99999", "--data-parallel-size=" + BIG, "--max-model-len=200000000",
        "--max-model-len=" + BIG, "--max-num-seqs=" + "9" * 400, "--cpu-offload-gb=1e300", "--block-size=10^9",
    ],
)  # fmt: skip
def test_an_absurd_argument_is_unread_and_nothing_smaller_follows(flag: str) -> None:
    objects = cluster()
    objects["deployments"][0]["spec"]["template"]["spec"]["containers"][0]["args"] = [*LLAMA, flag]

    workload = read(objects)

    assert workload.settings.unread
    (found,) = evaluate([World(workload, nothing_observed())], LADDER, NOW)
    assert Code.SETTINGS_UNREAD in {each.code for each in found.need.shrink_holds}


@given(TEXTS)
def test_any_text_is_a_time_a_count_a_quantity_or_none(text: str) -> None:
    found = moment({"at": text}, "at")
    assert found is None or found.utcoffset() is not None
    number = count(text)
    assert number is None or 0 <= number < 10**18
    size = quantity(text)
    assert size is None or abs(size) < 2**63


@given(TEXTS)
def test_the_notation_of_the_api_is_read_or_refused(text: str) -> None:
    for parse in (parse_time, parse_duration):
        with contextlib.suppress(BadValue):
            assert parse(text) is not None


def test_the_time_that_kubernetes_does_not_know_is_no_time() -> None:
    assert moment({"at": "0001-01-01T00:00:00Z"}, "at") is None


# metrics --------------------------------------------------------------------------------------------------------------

FIGURES = st.floats() | st.sampled_from((-1.0, 1e300, -1e300, 5e-324, float("nan"), float("inf"), 9.223372036854775e18))
NAMES = st.sampled_from(
    ("namespace", "pod", "exported_pod", "exported_namespace", "job", "UUID", "engine", SIGNAL_LABEL)
)
VALUES = st.sampled_from((scrapes.NAMESPACE, scrapes.FIRST, "vllm", "dcgm-exporter", "", "0")) | LEAVES
SIGNALS = st.sampled_from([f"{slot}|m" for slot in Slot]) | st.sampled_from(("", "kv", "nonsense|m", "|"))


@st.composite
def rows(draw: st.DrawFn) -> Any:
    """One row of an answer, whatever the store or a proxy made of it."""
    ours = {"namespace": scrapes.NAMESPACE, "pod": scrapes.FIRST, SIGNAL_LABEL: draw(SIGNALS)}
    labels = draw(st.just(ours) | st.dictionaries(NAMES, VALUES, max_size=4).map(lambda more: {**ours, **more}) | JSON)
    length = draw(st.integers(0, 6))
    end = scrapes.NOW.timestamp()
    stamps = st.integers(-400, 3).map(lambda hours: end // 3600 * 3600 + hours * 3600.0) | FIGURES
    times = draw(arrays(np.float64, length, elements=stamps))
    shape = draw(st.sampled_from((length, length, length, length + 1, (length, 2))))
    return labels, times, draw(arrays(np.float64, shape, elements=FIGURES))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(QUERIES), st.lists(rows(), max_size=4)), max_size=6))
def test_any_answer_of_the_store_is_read(answers: list[tuple[Any, list[Any]]]) -> None:
    now: datetime = scrapes.NOW
    samples = window.advanced(window.empty(now), now, (scrapes.NAMESPACE,))
    asks = {ask.query.name: ask for ask in window.plan(samples, now, pods=1)}
    for query, answer in answers:
        samples = window.merged(samples, asks[query.name], answer)

    (seen,) = observe([scrapes.workload()], scrapes.membership(), samples, now)

    assert 0.0 <= seen.coverage <= 1.0
    assert seen.newest is None or seen.newest <= now
    assert seen.problems  # so little was answered that something has to be named
