"""What the demo stands on: a cluster of either kind with a Prometheus, a stage, and the operator by the chart."""

import contextlib
from abc import ABC, abstractmethod
from typing import Self

from typing_extensions import override

from testbed import tools
from testbed.cluster.base import Cluster, ClusterKind
from testbed.cluster.kind import KindCluster
from testbed.cluster.local import LocalCluster
from testbed.helm import Helm
from testbed.kind.images import Images, build_all
from testbed.kind.stage import KindStage, install_operator
from testbed.operator_process import NAMESPACE, OperatorProcess
from testbed.processes import Processes
from testbed.prometheus import PrometheusServer
from testbed.stage import Stage

CHART = tools.ROOT / "helm" / "gpu-rightsizer"


class Ground(ABC):
    """A context: what it starts ends with the block, or after `detach` with SIGTERM to the processes named."""

    what: str
    """For the reader."""
    cluster: Cluster
    prometheus: PrometheusServer
    stage: Stage

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._start(stack)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @abstractmethod
    def _start(self, stack: contextlib.ExitStack) -> None:
        """Starts the cluster, Prometheus and the stage, in this order, into the stack."""

    @abstractmethod
    def install(self) -> None:
        """Installs the chart."""

    @abstractmethod
    def operate(self) -> None:
        """Has the operator running; returns once it is Ready."""

    @abstractmethod
    def log_command(self) -> str:
        """What shows the operator's log, to be copied into a shell."""

    def detach(self) -> list[int]:
        """Lets everything outlive this process; the pids to end it by, in the order in which they should be."""
        pids = [group.detach() for group in reversed(self._groups())]
        self._open.pop_all()
        return pids

    def _groups(self) -> list[Processes]:
        return [*self._own_groups(), self.prometheus.processes, self.stage.processes]

    @abstractmethod
    def _own_groups(self) -> list[Processes]:
        """The groups of processes that this kind of ground adds, the cluster's first."""


class LocalGround(Ground):
    """A control plane of local processes; the operator is one too, under the chart's ServiceAccount."""

    what = "etcd, kube-apiserver and kwok as local processes, Prometheus"
    _operator: OperatorProcess | None = None

    @override
    def _start(self, stack: contextlib.ExitStack) -> None:
        self._local = stack.enter_context(LocalCluster())
        self.cluster = self._local
        self.prometheus = stack.enter_context(PrometheusServer())
        self.stage = stack.enter_context(Stage(self.cluster, self.prometheus))

    @override
    def install(self) -> None:
        install(self.cluster, self.prometheus.url)

    @override
    def operate(self) -> None:
        """As a process of this machine."""
        self._operator = self._open.enter_context(OperatorProcess(self.cluster, self.prometheus.url))
        self._operator.wait_ready()

    @override
    def log_command(self) -> str:
        return f"tail -f {self.cluster.logs / 'operator.log'}"

    @override
    def _own_groups(self) -> list[Processes]:
        return [self._local.processes, *([self._operator.processes] if self._operator else [])]


class KindGround(Ground):
    """kind: the operator, Prometheus and the doubles of one workload's servers are real pods."""

    what = "kind, with the images of the operator, of Prometheus and of the inference double"

    def __init__(self, real: tuple[str, str]) -> None:
        """`real` names (namespace, name) the workload whose pods are processes."""
        super().__init__()
        self._real = real

    @override
    def _start(self, stack: contextlib.ExitStack) -> None:
        self._kind = stack.enter_context(KindCluster())
        self.cluster = self._kind
        self._images: Images = build_all(self._kind.docker)
        self._kind.load_images(self._images.operator, self._images.double, self._images.prometheus)
        stage = stack.enter_context(KindStage(self._kind, self._images, self._real))
        self.stage, self.prometheus = stage, stage.prometheus

    @override
    def install(self) -> None:
        """Waits until the pod is Ready."""
        install_operator(self._kind, self._images)

    @override
    def operate(self) -> None:
        """The pod runs since `install`."""

    @override
    def log_command(self) -> str:
        return f"kubectl logs -f -n {NAMESPACE} deployment/gpu-rightsizer"

    @override
    def _own_groups(self) -> list[Processes]:
        return [self._kind.processes]


def install(cluster: Cluster, prometheus_url: str) -> None:
    """Installs the chart on a control plane without kubelets, where its Deployment has no replicas."""
    values = {"prometheus.url": prometheus_url, "replicas": "0"}
    Helm(cluster).install("gpu-rightsizer", CHART, "--create-namespace", namespace=NAMESPACE, values=values)


def ground(kind: ClusterKind, real: tuple[str, str]) -> Ground:
    """The ground of that kind."""
    return KindGround(real) if kind == "kind" else LocalGround()
