"""One kind cluster for all tests here: the installed operator, real and simulated workloads, a Prometheus pod."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed.agreement import Advice, judge
from testbed.cases import Case, demo_fleet
from testbed.cluster.base import Object
from testbed.cluster.kind import KindCluster
from testbed.kind.images import Images, build_all
from testbed.kind.stage import OPERATOR, KindStage, install_operator
from testbed.manifests import inference_deployment
from testbed.operator_process import wait_for_advice
from testbed.prometheus import PrometheusServer
from tests.conftest import FAILED, KEPT

REAL, SIMULATED = ("chat", "llama-8b"), ("assist", "mistral-7b")


@dataclass(frozen=True, slots=True)
class Live:
    """What stands on the cluster."""

    cluster: KindCluster
    images: Images
    node: str
    prometheus: PrometheusServer
    cases: dict[tuple[str, str], Case]

    def advice(self, key: tuple[str, str]) -> Object:
        """The recommendation as it stands in the status."""
        namespace, name = key
        found: Object = self.cluster.get("infd", name, namespace=namespace)["status"]["recommendation"]
        return found

    def judged(self, key: tuple[str, str]) -> tuple[bool, str]:
        """Whether the twin agrees, and what was said."""
        namespace, name = key
        judgement = judge(self.cases[key], Advice.read(self.cluster.get("infd", name, namespace=namespace)))
        return judgement.agrees, f"{judgement.says}; truth: {judgement.truth}"

    def pod(self) -> Object:
        """The operator's one pod that is not about to go."""
        found = self.cluster.objects("pods", namespace=OPERATOR, selector=f"app.kubernetes.io/name={OPERATOR}")
        (pod,) = [each for each in found if "deletionTimestamp" not in each["metadata"]]
        return pod

    def wait_ready(self) -> Object:
        """The operator's pod, Ready."""
        self.cluster.wait("condition=Available", f"deployment/{OPERATOR}", namespace=OPERATOR, seconds=60)
        name = self.pod()["metadata"]["name"]
        self.cluster.wait("condition=Ready", f"pod/{name}", namespace=OPERATOR, seconds=60)
        return self.cluster.get("pod", name, namespace=OPERATOR)

    def holder(self) -> str:
        """The pod that holds the Lease; the holder's name goes on with a mark of the process."""
        lease = self.cluster.get("lease", "gpu-rightsizer", namespace=OPERATOR)
        name: str = lease["spec"].get("holderIdentity", "")
        return name.partition("_")[0]


@pytest.fixture(scope="session")
def kind_cluster(pytestconfig: pytest.Config) -> Iterator[KindCluster]:
    """A cluster of its own, its logs kept after a failure."""
    with KindCluster() as cluster:
        yield cluster
        if pytestconfig.stash.get(FAILED, False):
            pytestconfig.stash.setdefault(KEPT, []).append(str(cluster.keep_logs()))


@pytest.fixture(scope="session")
def live(kind_cluster: KindCluster) -> Iterator[Live]:
    """The operator installed by the chart, its first recommendations written."""
    cluster = kind_cluster
    images = build_all(cluster.docker)
    cluster.load_images(images.operator, images.double, images.prometheus)
    cases = {case.actor.key: case for case in demo_fleet() if case.actor.key in (REAL, SIMULATED)}
    with KindStage(cluster, images, REAL) as stage:
        stage.put_up([case.actor for case in cases.values()])
        install_operator(cluster, images)
        cluster.apply([inference_deployment(case.actor.twin, case.actor.asked) for case in cases.values()])
        wait_for_advice(cluster, len(cases), seconds=60)
        yield Live(cluster, images, stage.node, stage.prometheus, cases)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One installation lives through the tests in the order they are written: the last one ends it."""
    here = [item for item in items if item.path.parent == Path(__file__).parent]
    ordered = iter(sorted(here, key=lambda item: (str(item.path), item.reportinfo()[1] or 0)))
    items[:] = [next(ordered) if item in here else item for item in items]
