"""A fleet of twins put up in bulk: what testbed.stage does with kubectl for ten, for a hundred or a thousand."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from benchmarks.rest import Call, Rest, merge_patch
from gpu_rightsizer.observe.queries import QUERIES
from testbed import manifests
from testbed.listed import stamp
from testbed.processes import until
from testbed.twin.deployment import TwinSpec
from testbed.twin.identity import Pod

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.rest import Object
    from testbed.cluster.base import Cluster, KwokNode
    from testbed.remote_write import Series
    from testbed.stage import Actor
    from testbed.twin.exporter import Page, Recording

ASKED = frozenset(metric for query in QUERIES for part in query.parts for metric in part.metrics) | {"up"}
"""What the operator's queries name: a Prometheus may keep only these (metric_relabel_configs)."""

INFERENCE_DEPLOYMENTS = "/apis/gpu-rightsizer.dev/v1alpha1/namespaces/{}/inferencedeployments"
READY_SECONDS = 300.0

Key = tuple[str, str]  # namespace and name


@dataclass(frozen=True, slots=True)
class Standing:
    """The fleet's pods as they stand, by workload."""

    pods: Mapping[Key, Sequence[Pod]]


def deploy(cluster: Cluster, actors: Sequence[Actor]) -> Standing:
    """Nodes, namespaces and Deployments, all pods Ready, rolled out when their history began."""
    for namespace in sorted({actor.twin.namespace for actor in actors}):
        cluster.create_namespace(namespace)
    with Rest(cluster) as rest:
        nodes = [node.manifest() for actor in actors for node in manifests.nodes(actor.twin)]
        rest.send(Call("POST", "/api/v1/nodes", node) for node in nodes)
        until(lambda: _ready_nodes(rest) >= len(nodes), what=f"{len(nodes)} nodes Ready", seconds=READY_SECONDS)
        rest.send(_created(actor) for actor in actors)
        expected = sum(actor.twin.replicas for actor in actors)
        until(lambda: len(_ready_pods(rest)) >= expected, what=f"{expected} pods Ready", seconds=READY_SECONDS)
        standing = _standing(_ready_pods(rest))
        _backdate(rest, actors, standing)
    return standing


def ask(cluster: Cluster, actors: Sequence[Actor]) -> None:
    """An InferenceDeployment for each."""
    with Rest(cluster) as rest:
        rest.send(
            Call(
                "POST",
                INFERENCE_DEPLOYMENTS.format(actor.twin.namespace),
                manifests.inference_deployment(actor.twin, actor.asked),
            )
            for actor in actors
        )


def kept(series: Sequence[Series]) -> list[Series]:
    """Those that the operator asks for."""
    return [each for each in series if each.labels["__name__"] in ASKED]


def kept_live(live: Recording) -> Recording:
    """The same of what is scraped."""
    return replace(live, pages={path: _kept_page(page) for path, page in live.pages.items()})


def _kept_page(page: Page) -> Page:
    chosen = [index for index, line in enumerate(page.lines) if line.split("{")[0] in ASKED]
    return replace(
        page,
        lines=[page.lines[index] for index in chosen],
        families=[page.families[index] for index in chosen],
        columns=[page.columns[index] for index in chosen],
    )


def spare_node(instance_class: str) -> KwokNode:
    """An empty node, so that a class of which clusters often can have none is known to be had here."""
    twin = TwinSpec(f"spare-{instance_class.replace('.', '-')}", "spare", "Qwen/Qwen3-8B", instance_class)
    return manifests.nodes(twin)[0]


def _created(actor: Actor) -> Call:
    path = f"/apis/apps/v1/namespaces/{actor.twin.namespace}/deployments"
    return Call("POST", path, manifests.deployment(actor.twin, actor.asked))


def _ready_nodes(rest: Rest) -> int:
    return sum(_is_ready(each) for each in rest.listed("/api/v1/nodes"))


def _ready_pods(rest: Rest) -> list[Object]:
    return [each for each in rest.listed("/api/v1/pods") if _is_ready(each)]


def _is_ready(raw: Object) -> bool:
    conditions = raw["status"].get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _standing(pods: Sequence[Object]) -> Standing:
    found: dict[Key, list[Pod]] = defaultdict(list)
    for raw in sorted(pods, key=lambda each: str(each["metadata"]["name"])):
        meta, spec = raw["metadata"], raw["spec"]
        container, address = spec["containers"][0]["name"], raw["status"].get("podIP", "10.0.0.1")
        pod = Pod(meta["name"], meta["namespace"], container, spec["nodeName"], address)
        found[meta["namespace"], meta["labels"]["app"]].append(pod)
    return Standing(found)


def _backdate(rest: Rest, actors: Sequence[Actor], standing: Standing) -> None:
    """The cluster is a minute old and its workloads weeks: said where Kubernetes keeps it, as testbed.stage does."""
    began = {actor.key: stamp(datetime.now(UTC) - timedelta(seconds=actor.twin.span_s)) for actor in actors}
    rest.send(
        merge_patch(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/status", {"status": {"startTime": began[key]}})
        for key, pods in standing.pods.items()
        for pod in pods
    )
    rest.send(_rolled_out(each, began) for each in rest.listed("/apis/apps/v1/deployments") if _key(each) in began)
    again = {"metadata": {"annotations": {"deployment.kubernetes.io/revision-history": "1"}}}
    rest.send(
        merge_patch(f"/apis/apps/v1/namespaces/{namespace}/replicasets/{each['metadata']['name']}", again)
        for each in rest.listed("/apis/apps/v1/replicasets")
        if (namespace := each["metadata"]["namespace"]) and (namespace, each["metadata"]["labels"].get("app")) in began
    )


def _rolled_out(deployment: Object, began: Mapping[Key, str]) -> Call:
    namespace, name = _key(deployment)
    then = {"lastUpdateTime": began[namespace, name], "lastTransitionTime": began[namespace, name]}
    conditions = [{**each, **then} for each in deployment["status"].get("conditions", ())]
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/status"
    return merge_patch(path, {"status": {"conditions": conditions}})


def _key(raw: Object) -> Key:
    return raw["metadata"]["namespace"], raw["metadata"]["name"]
