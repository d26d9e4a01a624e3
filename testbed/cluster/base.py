"""What tests and the demo may ask of a cluster, whichever kind it is."""

import contextlib
import json
import os
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, TypeAlias

import yaml

from testbed import tools
from testbed.processes import Processes, remove_tree

ClusterKind: TypeAlias = Literal["local", "kind"]
Object: TypeAlias = dict[str, Any]  # a Kubernetes object as JSON: its shape belongs to the API server, not to us

FIELD_MANAGER = "testbed"
KWOK_ANNOTATION = {"kwok.x-k8s.io/node": "fake"}
KWOK_LABEL = {"type": "kwok"}
NODE_INFO = {  # the fields the API requires; kwok fills in what is empty
    "operatingSystem": "linux",
    **dict.fromkeys(("machineID", "systemUUID", "bootID", "osImage", "kernelVersion"), ""),
    **dict.fromkeys(("containerRuntimeVersion", "kubeletVersion", "kubeProxyVersion"), ""),
}


class ClusterUnavailable(RuntimeError):
    """This kind of cluster cannot be had on this machine; the message says what is missing."""


class KubectlError(RuntimeError):
    """kubectl exited with an error: the API server refused, or was not there."""

    def __init__(self, arguments: Sequence[str], code: int, stdout: str, stderr: str) -> None:
        self.arguments, self.code, self.stdout, self.stderr = tuple(arguments), code, stdout, stderr
        super().__init__(f"kubectl {' '.join(arguments)}: exit {code}\n{stderr}{stdout}".rstrip())


@dataclass(frozen=True, slots=True)
class Taint:
    """A node taint; `effect` is NoSchedule, PreferNoSchedule or NoExecute."""

    key: str
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


@dataclass(frozen=True, slots=True)
class KwokNode:
    """A node whose kubelet is kwok: it becomes Ready and its pods run, without containers.

    `allocatable` holds Kubernetes quantities ("nvidia.com/gpu": "8", "memory": "1900Gi"); `capacity` defaults to it.
    """

    name: str
    allocatable: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Taint] = ()
    capacity: Mapping[str, str] | None = None
    architecture: Literal["amd64", "arm64"] = "amd64"

    def manifest(self) -> Object:
        """The Node object; the API server keeps the status of a node that is being created."""
        labels = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": self.architecture,
            **KWOK_LABEL,
            **self.labels,
        }
        taints = [{"key": t.key, "value": t.value, "effect": t.effect} for t in self.taints]
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": labels, "annotations": KWOK_ANNOTATION},
            "spec": {"taints": taints} if taints else {},
            "status": {
                "allocatable": dict(self.allocatable),
                "capacity": dict(self.allocatable if self.capacity is None else self.capacity),
                "nodeInfo": {**NODE_INFO, "architecture": self.architecture},
            },
        }


class Cluster(ABC):
    """A running cluster. Subclasses start it in their constructor and set `admin_kubeconfig` and `server`."""

    kind: ClassVar[ClusterKind]
    admin_kubeconfig: Path
    server: str
    """URL of the API server as seen from this machine."""
    logs: Path
    """Folder with the logs of the cluster's processes."""
    scratch: Path
    """Folder for kubeconfigs and caches; goes away with the cluster."""
    processes: Processes
    """What runs on this machine for the cluster."""

    def __init__(self, prefix: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=prefix))
        self._keep = False
        self.logs, self.scratch = self._folder / "logs", self._folder / "scratch"
        self.logs.mkdir()
        self.scratch.mkdir()
        self.processes = Processes(remove=[self._folder])

    def close(self) -> None:
        """Ends every process and removes every file of this cluster, except the logs after `keep_logs`."""
        self._end()
        if not self._keep:
            remove_tree(self._folder)
            return
        for folder in self._folder.iterdir():
            if folder != self.logs:
                remove_tree(folder)

    def keep_logs(self) -> Path:
        """Asks `close` to leave the logs in place; returns their folder."""
        self._keep = True
        return self.logs

    def detach(self) -> int:
        """Lets the cluster outlive this process; SIGTERM to the returned pid ends it and removes its folder."""
        return self.processes.detach()

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        """What starts within ends where it fails; the logs stay then, but not after Ctrl-C."""
        try:
            yield
        except BaseException as error:
            self._keep = isinstance(error, Exception)
            self.close()
            raise

    def _end(self) -> None:
        """Ends what runs."""
        self.processes.close()

    @abstractmethod
    def kubeconfig_for_user(self, name: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig with a client certificate of that user and those groups."""

    @abstractmethod
    def certificate_authority(self) -> bytes:
        """The PEM of the CA that signed the API server's certificate."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- kubectl ------------------------------------------------------------------------------------------------

    def kubectl(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002  the name subprocess.run uses for the same thing
        check: bool = True,
        as_user: Path | None = None,
        seconds: float = 60,
    ) -> str:
        """Runs kubectl as admin, or with the kubeconfig `as_user`, and returns what it printed.

        With check=False the standard error is part of the answer and a failure raises nothing.
        """
        command = [str(tools.program("kubectl")), *args]
        done = subprocess.run(
            command,
            input=input,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            env=self.environment(as_user),
        )
        if not check:
            return done.stdout + done.stderr
        if done.returncode != 0:
            raise KubectlError(args, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def environment(self, kubeconfig: Path | None = None) -> dict[str, str]:
        """Environment for kubectl, helm and the operator: this cluster, and nothing read from or left in the home."""
        return {
            **os.environ,
            "KUBECONFIG": str(kubeconfig or self.admin_kubeconfig),
            "KUBECACHEDIR": str(self.scratch / "kubectl-cache"),
            "KUBECTL_KUBERC": "false",
        }

    def apply(self, manifests: str | Object | Sequence[Object], *, server_side: bool = True) -> str:
        """Applies YAML text, one object or several; server-side by field manager `testbed`."""
        how = ("--server-side", f"--field-manager={FIELD_MANAGER}") if server_side else ()
        return self.kubectl("apply", *how, "-f", "-", input=_as_yaml(manifests))

    def get(self, resource: str, name: str, *, namespace: str | None = None) -> Object:
        """One object; raises KubectlError where it does not exist."""
        where = ("-n", namespace) if namespace else ()
        found: Object = json.loads(self.kubectl("get", resource, name, *where, "-o", "json"))
        return found

    def objects(self, resource: str, *, namespace: str | None = None, selector: str | None = None) -> Sequence[Object]:
        """All objects of a resource, of one namespace or of all."""
        where = ("-n", namespace) if namespace else ("-A",)
        which = ("-l", selector) if selector else ()
        found: Sequence[Object] = json.loads(self.kubectl("get", resource, *where, *which, "-o", "json"))["items"]
        return found

    def create_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> str:
        """Creates the namespace and waits for its default ServiceAccount, without which no pod is admitted."""
        metadata = {"name": name, "labels": dict(labels or {})}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        self.wait("create", "serviceaccount/default", namespace=name)
        return name

    # -- waiting ------------------------------------------------------------------------------------------------

    def wait(self, for_: str, *what: str, namespace: str | None = None, seconds: float = 30) -> None:
        """`kubectl wait`: for_ is `condition=Ready`, `jsonpath={.status.x}=y`, `delete` or `create`."""
        where = ("-n", namespace) if namespace else ()
        timeout = f"--timeout={seconds:g}s"
        self.kubectl("wait", f"--for={for_}", *what, *where, timeout, seconds=seconds + 10)

    def eventually(self, predicate: Callable[[], object], *, what: str, seconds: float = 30) -> None:
        """Polls until `predicate` is true; a refused kubectl counts as not yet. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        last: KubectlError | None = None
        while time.monotonic() < deadline:
            try:
                if predicate():
                    return
            except KubectlError as error:
                last = error
            time.sleep(0.1)
        message = f"not within {seconds:g} s: {what}"
        raise TimeoutError(message) from last

    # -- identities ---------------------------------------------------------------------------------------------

    def kubeconfig_for(self, namespace: str, service_account: str, *, seconds: int = 86_400) -> Path:
        """A kubeconfig with a TokenRequest token of that ServiceAccount, valid for `seconds`."""
        duration = f"--duration={seconds}s"
        token = self.kubectl("create", "token", service_account, "-n", namespace, duration).strip()
        path = self.scratch / f"{namespace}-{service_account}.kubeconfig"
        return write_kubeconfig(path, self.server, self.certificate_authority(), {"token": token})

    # -- nodes --------------------------------------------------------------------------------------------------

    def add_node(
        self,
        name: str,
        allocatable: Mapping[str, str],
        *,
        labels: Mapping[str, str] | None = None,
        taints: Sequence[Taint] = (),
    ) -> KwokNode:
        """Adds one kwok node and waits until it is Ready."""
        node = KwokNode(name, allocatable, labels or {}, taints)
        self.add_nodes([node])
        return node

    def add_nodes(self, nodes: Sequence[KwokNode], *, seconds: float = 30) -> None:
        """Adds kwok nodes in one call and waits until all are Ready."""
        self.apply([node.manifest() for node in nodes])
        self.wait("condition=Ready", *(f"node/{node.name}" for node in nodes), seconds=seconds)


def write_kubeconfig(path: Path, server: str, ca_pem: bytes, user: Mapping[str, str]) -> Path:
    """Writes a kubeconfig of one context, readable by its owner only; `user` is the kubeconfig's user entry."""
    cluster = {"server": server, "certificate-authority-data": b64encode(ca_pem).decode()}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": cluster}],
        "users": [{"name": "testbed", "user": dict(user)}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "testbed"}}],
        "current-context": "testbed",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content))
    return path


def _as_yaml(manifests: str | Object | Sequence[Object]) -> str:
    if isinstance(manifests, str):
        return manifests
    objects = [manifests] if isinstance(manifests, dict) else list(manifests)
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
