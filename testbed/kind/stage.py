"""The stage on kind: one twin's pods run for real on the node with a kubelet, the others on kwok's nodes.

Prometheus is a pod that finds the real ones by the API and scrapes them; a stand-in shows what kwok's pods would.
"""

import base64
import json
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from typing_extensions import override

from testbed import manifests, tools
from testbed.cluster.base import Object
from testbed.cluster.kind import KindCluster
from testbed.helm import Helm
from testbed.kind.double import receive_command
from testbed.kind.images import Images
from testbed.kind.manifests import (
    DCGM,
    DCGM_NAMESPACE,
    DCGM_PORT,
    MONITORING,
    PROMETHEUS_URL,
    RESTRICTED,
    STAND_INS,
    dcgm_exporter,
    prometheus,
    readiness,
    stand_in,
)
from testbed.manifests import Host
from testbed.processes import Processes, free_ports, until
from testbed.prometheus import PrometheusServer
from testbed.remote_write import Series
from testbed.stage import LIVE_SPAN_S, Actor, Stage
from testbed.twin.deployment import simulate
from testbed.twin.exporter import Recording
from testbed.twin.identity import Pod
from testbed.twin.series import history, recording

CHART = tools.ROOT / "helm" / "gpu-rightsizer"
OPERATOR = "gpu-rightsizer"
SMALL_HOST = Host("50m", "64Mi", "256Mi")  # what the double needs; the server it stands for would ask for more
START_SECONDS = 90.0


class PodPrometheus(PrometheusServer):
    """The Prometheus in a pod: history is pushed and questions are asked as usual.

    Through its node port, where this machine has a route to the node, as Docker on Linux gives it; else through a
    port-forward, which is several times slower.
    """

    def __init__(self, cluster: KindCluster) -> None:
        self._cluster = cluster
        self.logs = cluster.logs
        self.processes = Processes()
        host, port = self._node_port()
        self.url = f"http://{host}:{port}"
        if not _reaches(host, port):
            self._forward(cluster)

    def _node_port(self) -> tuple[str, int]:
        (port,) = self._cluster.get("service", "prometheus", namespace=MONITORING)["spec"]["ports"]
        pods = self._cluster.objects("pods", namespace=MONITORING, selector="app=prometheus")
        return pods[0]["status"]["hostIP"], port["nodePort"]

    def _forward(self, cluster: KindCluster) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        forward = ("port-forward", "-n", MONITORING, "deployment/prometheus", f"{port}:9090")
        process = self.processes.start(
            "port-forward",
            [tools.program("kubectl"), *forward],
            log=self.logs / "port-forward.log",
            env=cluster.environment(),
        )
        self.processes.ready(process, self._is_ready, seconds=30)

    @override
    def close(self) -> None:
        """Ends the port-forward, if there is one; the pod goes with the cluster."""
        self.processes.close()

    @override
    def reload(self) -> None:
        raise NotImplementedError("its configuration is a ConfigMap: see testbed/kind/manifests.py")


class KindStage(Stage):
    """Twins on kind, and a Prometheus in a pod; `put_up` brings all of it."""

    cluster: KindCluster

    def __init__(self, cluster: KindCluster, images: Images, real: tuple[str, str]) -> None:
        """`real` names (namespace, name) the twin whose pods are processes."""
        (node,) = [each for each in cluster.objects("nodes") if each["metadata"]["labels"].get("type") != "kwok"]
        self.node: str = node["metadata"]["name"]
        self.images, self.real = images, real
        _put_up_monitoring(cluster, images, self.node)
        super().__init__(cluster, PodPrometheus(cluster))

    @override
    def close(self) -> None:
        self.prometheus.close()
        super().close()

    @override
    def put_up(self, actors: Sequence[Actor]) -> None:
        actors = [self._small(actor) if actor.key == self.real else actor for actor in actors]
        (real,) = [actor for actor in actors if actor.key == self.real]
        self._deploy([actor for actor in actors if actor is not real])
        self._deploy_real(real)
        pods = {actor.key: self._pods(actor) for actor in actors}
        for actor in actors:
            self.runs[actor.key] = simulate(actor.twin, live_span_s=LIVE_SPAN_S)
        now = time.time()
        live = recording([(self.runs[actor.key], pods[actor.key]) for actor in actors], now)
        for actor in actors:
            past = history(self.runs[actor.key], now, pods[actor.key])
            self.prometheus.push(self._with_real_exporter(past, live))
        self._hand_over(live, pods[real.key])
        self._backdate([actor for actor in actors if actor is not real], pods, datetime.fromtimestamp(now, UTC))

    @staticmethod
    def _small(actor: Actor) -> Actor:
        return replace(actor, asked=replace(actor.asked, host=SMALL_HOST))

    def _deploy_real(self, actor: Actor) -> None:
        """After the others, so that none of them finds these GPUs."""
        twin = actor.twin
        if twin.namespace not in {each["metadata"]["name"] for each in self.cluster.objects("namespaces")}:
            self.cluster.create_namespace(twin.namespace)
        model = manifests.nodes(twin)[0]
        labels = [f"{key}={value}" for key, value in model.labels.items()]
        self.cluster.kubectl("label", "node", self.node, "--overwrite", *labels)
        gpus = {"nvidia.com/gpu": model.allocatable["nvidia.com/gpu"]}
        patch = json.dumps({"status": {"capacity": gpus, "allocatable": gpus}})
        self.cluster.kubectl("patch", "node", self.node, "--subresource=status", "--type=merge", "-p", patch)
        self.cluster.apply(self._real_deployment(actor))
        _wait_running(self.cluster, twin.namespace, twin.name, twin.replicas)

    def _real_deployment(self, actor: Actor) -> Object:
        """The team's own manifest, with the double in place of the server's image."""
        deployment = manifests.deployment(actor.twin, actor.asked)
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        container |= {"image": self.images.double, "readinessProbe": readiness("http")}
        return deployment

    def _exporter(self) -> Object:
        (found,) = self.cluster.objects("pods", namespace=DCGM_NAMESPACE, selector=f"app={DCGM}")
        return found

    def _with_real_exporter(self, past: list[Series], live: Recording) -> list[Series]:
        """The twin invents a name and an address for a node's DCGM exporter; here it is a pod that has its own."""
        invented = live.pages[_dcgm_page(self.node)].target_labels
        exporter = self._exporter()
        own = {"pod": exporter["metadata"]["name"], "instance": f"{exporter['status']['podIP']}:{DCGM_PORT}"}

        def renamed(series: Series) -> Series:
            if any(series.labels.get(key) != value for key, value in invented.items()):
                return series
            return replace(series, labels={**series.labels, **own})

        return [renamed(series) for series in past]

    def _hand_over(self, live: Recording, pods: Sequence[Pod]) -> None:
        """To each double its part; all are Ready and scraped afterwards."""
        parts = {f"/pods/{pod.namespace}/{pod.name}/metrics": (pod.namespace, pod.name) for pod in pods}
        parts[_dcgm_page(self.node)] = (DCGM_NAMESPACE, self._exporter()["metadata"]["name"])
        for page, (namespace, name) in parts.items():
            self._give(namespace, name, _part(live, [page]))
        rest = [page for page in live.pages if page not in parts]
        (other,) = self.cluster.objects("pods", namespace=STAND_INS, selector="app=stand-in")
        self._give(STAND_INS, other["metadata"]["name"], _part(live, rest))
        for namespace, name in [*parts.values(), (STAND_INS, other["metadata"]["name"])]:
            self.cluster.wait("condition=Ready", f"pod/{name}", namespace=namespace, seconds=60)
        until(lambda: self._scrapes(len(live.pages)), what="every target scraped", seconds=60)

    def _give(self, namespace: str, pod: str, part: Recording) -> None:
        with tempfile.NamedTemporaryFile(dir=self._folder) as file:
            part.save(Path(file.name))
            encoded = base64.b64encode(Path(file.name).read_bytes()).decode()
        self.cluster.kubectl("exec", "-i", pod, "-n", namespace, "--", *receive_command(), input=encoded, seconds=120)

    def _scrapes(self, count: int) -> bool:
        healths = [target["health"] for target in self.prometheus.targets()]
        return len(healths) >= count and "unknown" not in healths


def install_operator(cluster: KindCluster, images: Images, *flags: str, interval: str = "15s") -> str:
    """The chart with the image just built, in a namespace that enforces the restricted standard; waits until Ready."""
    if OPERATOR not in {each["metadata"]["name"] for each in cluster.objects("namespaces")}:
        cluster.create_namespace(OPERATOR, RESTRICTED)
    values = operator_values(images, interval)
    wait = ("--wait", "--timeout=120s")
    return Helm(cluster).upgrade(OPERATOR, CHART, "--install", *wait, *flags, namespace=OPERATOR, values=values)


def operator_values(images: Images, interval: str) -> dict[str, str]:
    """Where the image and Prometheus are."""
    repository, _, tag = images.operator.rpartition(":")
    url = PROMETHEUS_URL
    return {"image.repository": repository, "image.tag": tag, "prometheus.url": url, "interval": interval}


def _reaches(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError:
        return False
    return True


def _put_up_monitoring(cluster: KindCluster, images: Images, node: str) -> None:
    for namespace in (MONITORING, DCGM_NAMESPACE, STAND_INS):
        cluster.create_namespace(namespace, RESTRICTED)
    cluster.apply([dcgm_exporter(images.double, node), *stand_in(images.double)])
    _wait_running(cluster, DCGM_NAMESPACE, DCGM, 1)
    _wait_running(cluster, STAND_INS, "stand-in", 1)
    cluster.apply(prometheus(images.prometheus, images.double, node))  # last: a name that it misses is cached as absent
    cluster.wait("condition=Available", "deployment/prometheus", namespace=MONITORING, seconds=START_SECONDS)


def _wait_running(cluster: KindCluster, namespace: str, app: str, count: int) -> None:
    def running() -> bool:
        pods = cluster.objects("pods", namespace=namespace, selector=f"app={app}")
        up = [pod for pod in pods if pod["status"]["phase"] == "Running" and "podIP" in pod["status"]]
        return len(up) == count

    cluster.eventually(running, what=f"{count} running pods of {namespace}/{app}", seconds=START_SECONDS)


def _dcgm_page(node: str) -> str:
    return f"/dcgm/{node}/metrics"


def _part(live: Recording, pages: Sequence[str]) -> Recording:
    return replace(live, pages={page: live.pages[page] for page in pages})
