"""Laws of reading configuration: no pod goes to a neighbour, spelling changes nothing, nothing raises."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpu_rightsizer.catalogue import load
from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.observe.command_line import read_command_line
from gpu_rightsizer.observe.configuration import read_configuration
from gpu_rightsizer.observe.fleet import ClusterView, read_workloads
from gpu_rightsizer.observe.inventory import build_inventory
from gpu_rightsizer.observe.manifests import quantity
from gpu_rightsizer.observe.membership import Membership
from gpu_rightsizer.observe.vllm_args import read_settings, settings_hash
from tests.unit.observe.manifest_builders import NOW, request

SAFE = "bcdfghjklmnpqrstvwxz2456789"
hashes = st.text(SAFE, min_size=1, max_size=10)
suffixes = st.text(SAFE, min_size=5, max_size=5)
# Names that like to be each other's beginnings: few letters, many dashes, parts that look like hashes.
parts = st.one_of(
    st.sampled_from(["llm", "7b", "chat", "b", "x2k9z", "6d4cf56db6"]), st.text("bm2-0", min_size=1, max_size=6)
)
names = (
    st.lists(parts, min_size=1, max_size=9)
    .map(lambda each: "-".join(each).strip("-")[:63].strip("-"))
    .filter(lambda name: bool(name) and name[0] in string.ascii_lowercase)
)


def made_name(deployment: str, template: str, suffix: str) -> str:
    """What the ReplicaSet controller and the API server make of it (58 characters of the base, then the suffix)."""
    return f"{deployment}-{template}-"[:58] + suffix


@given(st.sets(names, min_size=1, max_size=12), hashes, suffixes)
@example({"llm", "llm-7b"}, "6d4cf56db6", "x2k9z")
@example({"b", "b-b"}, "b", "bbbbb")
@settings(max_examples=300, deadline=None)
def test_no_pod_goes_to_a_neighbour(deployments: set[str], template: str, suffix: str) -> None:
    members = Membership([("ns", "Deployment", name) for name in deployments], [], [])
    for name in deployments:
        owner = members.workload_of("ns", made_name(name, template, suffix))
        assert owner in {("ns", "Deployment", name), None}
        if len(f"{name}-{template}-") <= 58:
            assert owner == ("ns", "Deployment", name)


@given(st.sets(names, min_size=1, max_size=8), st.sets(names, min_size=1, max_size=8), st.integers(0, 999))
@settings(max_examples=300, deadline=None)
def test_stateful_sets_and_deployments_do_not_mix(sets: set[str], deployments: set[str], ordinal: int) -> None:
    known = [("ns", "StatefulSet", name) for name in sets] + [("ns", "Deployment", name) for name in deployments]
    members = Membership(known, [], [])
    for name in sets:
        assert members.workload_of("ns", f"{name}-{ordinal}") == ("ns", "StatefulSet", name)


@given(st.sets(names, min_size=2, max_size=8), hashes, suffixes, st.data())
@settings(max_examples=200, deadline=None)
def test_a_missing_neighbour_never_turns_a_pod_into_ours_by_prefix(
    deployments: set[str], template: str, suffix: str, data: st.DataObject
) -> None:
    """Only the name without its two last parts can match, so a deleted longer neighbour leaves no pod to us."""
    gone = data.draw(st.sampled_from(sorted(deployments)))
    pod = made_name(gone, template, suffix)
    members = Membership([("ns", "Deployment", name) for name in deployments if name != gone], [], [])
    if len(f"{gone}-{template}-") <= 58:
        assert members.workload_of("ns", pod) is None


FLAGS: dict[str, list[str]] = {
    "--tensor-parallel-size": ["1", "2", "8"],
    "--max-model-len": ["4096", "32k", "32K"],
    "--max-num-seqs": ["1", "64"],
    "--gpu-memory-utilization": ["0.5", "0.95"],
    "--kv-cache-dtype": ["auto", "fp8"],
    "--quantization": ["fp8", "awq"],
    "--speculative-config": ["{}"],
    "--port": ["8000"],
}
flags = st.dictionaries(st.sampled_from(sorted(FLAGS)), st.integers(0, 2), min_size=0).map(
    lambda chosen: [(flag, FLAGS[flag][which % len(FLAGS[flag])]) for flag, which in chosen.items()]
)


def words(told: list[tuple[str, str]], spell: list[int]) -> list[str]:
    spoken: list[str] = []
    for (flag, value), how in zip(told, spell, strict=False):
        name = flag if how % 2 else "--" + flag[2:].replace("-", "_")
        spoken += [f"{name}={value}"] if how // 2 else [name, value]
    return spoken


@given(flags, st.lists(st.integers(0, 3), min_size=8, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_spelling_and_order_change_nothing(told: list[tuple[str, str]], spell: list[int], random: Any) -> None:
    def read(args: list[str], *, in_shell: bool = False) -> str:
        line = "vllm serve m " + " ".join(f"'{arg}'" for arg in args)
        container = {"command": ["sh", "-c", line]} if in_shell else {"args": ["--model", "m", *args]}
        found = read_settings(EngineType.VLLM, read_command_line(container), "")
        return settings_hash(EngineType.VLLM, found.settings)

    plain = read(words(told, [1] * 8))
    shuffled = list(told)
    random.shuffle(shuffled)
    assert read(words(shuffled, spell)) == plain
    assert read(words(told, spell), in_shell=True) == plain


json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(
    [
        "metadata",
        "name",
        "namespace",
        "labels",
        "ownerReferences",
        "kind",
        "controller",
        "spec",
        "containers",
        "initContainers",
        "resources",
        "requests",
        "limits",
        "args",
        "command",
        "env",
        "value",
        "image",
        "volumes",
        "emptyDir",
        "affinity",
        "nodeAffinity",
        "nodeSelector",
        "nodeSelectorTerms",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "matchExpressions",
        "status",
        "allocatable",
        "capacity",
        "conditions",
        "containerStatuses",
        "lastState",
        "terminated",
        "template",
        "taints",
        "cpu",
        "memory",
        "nvidia.com/gpu",
    ]
)
objects = st.dictionaries(
    keys,
    st.recursive(
        json, lambda inner: st.dictionaries(keys, inner, max_size=5) | st.lists(inner, max_size=3), max_leaves=20
    ),
    max_size=6,
)


@given(objects)
@settings(max_examples=300, deadline=None)
def test_any_object_is_read_without_an_error(raw: dict[str, Any]) -> None:
    catalogue = load()
    read_configuration(raw, catalogue)
    named = {**raw, "metadata": {"name": "llm", "namespace": "chat"}}
    everything = [raw, named]
    view = ClusterView(
        requests=[request("llm")],
        deployments=everything,
        statefulsets=everything,
        replicasets=everything,
        pods=everything,
        nodes=everything,
        hpas=everything,
        scaledobjects=everything,
        pvcs=everything,
        pvs=everything,
    )
    classes = build_inventory(view.nodes, view.pods, [], catalogue)
    assert len(read_workloads(view, catalogue, classes, NOW)) == 1


@given(st.text(max_size=20))
def test_any_text_is_a_quantity_or_none(text: str) -> None:
    found = quantity(text)
    assert found is None or found.is_finite()


@given(st.text(max_size=40))
def test_any_name_is_a_model_or_missing(text: str) -> None:
    load().model(text)
    load().accelerator_by_product(text)
