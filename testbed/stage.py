"""A cluster on which twins live: nodes and Deployments, their past in Prometheus, their present on an exporter."""

import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed import listed, manifests, tools
from testbed.cluster.base import Cluster, Object
from testbed.processes import Processes, free_ports, remove_tree
from testbed.prometheus import Job, PrometheusServer, Targets
from testbed.twin.deployment import TwinRun, TwinSpec, simulate
from testbed.twin.exporter import Exporter, Recording
from testbed.twin.identity import Pod
from testbed.twin.series import history, recording

HOST = "127.0.0.1"
LIVE_SPAN_S = 3 * 3600.0


@dataclass(frozen=True, slots=True)
class Actor:
    """One twin and how it is presented; `oom_days_ago` puts a CUDA out-of-memory into its pod's status."""

    twin: TwinSpec
    asked: manifests.Asked = field(default_factory=manifests.Asked)
    oom_days_ago: float | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.twin.namespace, self.twin.name


class Stage:
    """Twins on a cluster; closes what it started (not the cluster)."""

    def __init__(self, cluster: Cluster, prometheus: PrometheusServer) -> None:
        self.cluster = cluster
        self.prometheus = prometheus
        self.runs: dict[tuple[str, str], TwinRun] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="gpu-rightsizer-stage-"))
        self.processes = Processes(remove=[self._folder])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the exporters and removes the recording."""
        self.processes.close()
        remove_tree(self._folder)

    def put_up(self, actors: Sequence[Actor]) -> None:
        """Nodes, namespaces and Deployments, all pods Ready; then their past; then their present, scraped."""
        self._deploy(actors)
        pods = {actor.key: self._pods(actor) for actor in actors}
        for actor in actors:
            self.runs[actor.key] = simulate(actor.twin, live_span_s=LIVE_SPAN_S)
        now = time.time()
        for actor in actors:
            self.prometheus.push(history(self.runs[actor.key], now, pods[actor.key]))
        self._play(recording([(self.runs[actor.key], pods[actor.key]) for actor in actors], now))
        self._backdate(actors, pods, datetime.fromtimestamp(now, UTC))

    def _deploy(self, actors: Sequence[Actor]) -> None:
        for namespace in sorted({actor.twin.namespace for actor in actors}):
            self.cluster.create_namespace(namespace)
        self.cluster.add_nodes([node for actor in actors for node in manifests.nodes(actor.twin)])
        self.cluster.apply([manifests.deployment(actor.twin, actor.asked) for actor in actors])
        for actor in actors:
            self.cluster.wait(
                f"jsonpath={{.status.readyReplicas}}={actor.twin.replicas}",
                f"deployment/{actor.twin.name}",
                namespace=actor.twin.namespace,
                seconds=60,
            )

    def _pods(self, actor: Actor) -> list[Pod]:
        found = self.cluster.objects("pods", namespace=actor.twin.namespace, selector=f"app={actor.twin.name}")
        return sorted((_pod(each) for each in found), key=lambda pod: pod.name)

    def _play(self, live: Recording) -> None:
        """A process of its own plays the exporters, so that it can outlive this one."""
        (port,) = free_ports(1)
        saved = self._folder / "recording"
        live.save(saved)
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "testbed.twin.exporter",
            saved,
            "--host",
            HOST,
            "--port",
            str(port),
        ]
        environment = {**os.environ, "PYTHONPATH": str(tools.ROOT)}
        log = self.cluster.logs / "exporter.log"
        exporter = self.processes.start("exporter", command, log=log, env=environment)
        self.processes.ready(exporter, lambda: _listens(port), seconds=60)
        jobs: dict[str, list[Targets]] = {}
        for group in Exporter(live, HOST, port).target_groups():
            labels = dict(group["labels"])
            jobs.setdefault(labels.pop("job"), []).append(Targets(group["targets"], labels))
        for name, groups in jobs.items():
            self.prometheus.add_job(Job(name, scrape_interval_seconds=10, groups=groups))

    def _backdate(self, actors: Sequence[Actor], pods: Mapping[tuple[str, str], Sequence[Pod]], now: datetime) -> None:
        """The cluster was made a minute ago and its workloads are weeks old: say so where Kubernetes keeps it."""
        for actor in actors:
            began = listed.stamp(now - timedelta(seconds=actor.twin.span_s))
            for pod in pods[actor.key]:
                patch = {"status": {"startTime": began, **self._past_oom(actor, pod, now)}}
                self._patch("pod", pod.name, pod.namespace, patch)
            self._backdate_rollout(actor.twin, began)

    def _backdate_rollout(self, twin: TwinSpec, began: str) -> None:
        selector = f"app={twin.name}"
        for replica_set in self.cluster.objects("replicasets", namespace=twin.namespace, selector=selector):
            self.cluster.kubectl(
                "annotate", "replicaset", replica_set["metadata"]["name"], "-n", twin.namespace, "--overwrite",
                "deployment.kubernetes.io/revision-history=1",
            )  # fmt: skip
        found = self.cluster.get("deployment", twin.name, namespace=twin.namespace)
        conditions = [{**each, "lastUpdateTime": began, "lastTransitionTime": began} for each in _conditions(found)]
        self._patch("deployment", twin.name, twin.namespace, {"status": {"conditions": conditions}})

    def _past_oom(self, actor: Actor, pod: Pod, now: datetime) -> Object:
        if actor.oom_days_ago is None:
            return {}
        last = listed.out_of_memory(now - timedelta(days=actor.oom_days_ago))
        statuses = self.cluster.get("pod", pod.name, namespace=pod.namespace)["status"]["containerStatuses"]
        return {
            "containerStatuses": [{**each, "restartCount": 1, "lastState": {"terminated": last}} for each in statuses]
        }

    def _patch(self, kind: str, name: str, namespace: str, patch: Object) -> None:
        self.cluster.kubectl(
            "patch", kind, name, "-n", namespace, "--subresource=status", "--type=merge", "-p", json.dumps(patch)
        )


def _pod(raw: Object) -> Pod:
    meta, spec = raw["metadata"], raw["spec"]
    address = raw["status"].get("podIP", "10.0.0.1")
    return Pod(meta["name"], meta["namespace"], spec["containers"][0]["name"], spec["nodeName"], address)


def _conditions(deployment: Object) -> list[Object]:
    found: list[Object] = deployment["status"].get("conditions", [])
    return found


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
