"""A kind cluster: real kubelets run real pods, beside kwok's nodes with accelerators.

Docker and its node image where they are at hand; else, as root on Debian, a node image and a Docker daemon of our own
(`python -m testbed.cluster.kind --build`, once). Whatever was started ends with this process, killed or not: a
custodian under the supervisor deletes the cluster.
"""

import argparse
import base64
import functools
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml
from typing_extensions import override

from testbed import tools
from testbed.certs import certificate_request
from testbed.cluster.base import KWOK_ANNOTATION, Cluster, ClusterKind, ClusterUnavailable, write_kubeconfig
from testbed.processes import Processes, remove_tree, until

KIND_MODULE = "sigs.k8s.io/kind@v0.33.0"
NODE_IMAGE = "kindest/node:v1.36.3"
SOURCE = Path(__file__).resolve().parent.parent / "kind" / "node"
CREATE_SECONDS = 300.0
QUICK_SECONDS = 15.0
BUILD_HINT = "`python -m testbed.cluster.kind --build` makes one (root, Debian, about 6 minutes once)"
CONFIG = {
    "kind": "Cluster",
    "apiVersion": "kind.x-k8s.io/v1alpha4",
    "networking": {"ipFamily": "ipv4", "kubeProxyMode": "iptables"},
    "nodes": [{"role": "control-plane"}],
}


@dataclass(frozen=True, slots=True)
class Docker:
    """A Docker daemon to use: its environment, and the folder of our own one (None: the machine's)."""

    environment: Mapping[str, str]
    folder: Path | None

    def run(
        self, *args: str | Path, check: bool = True, seconds: float = CREATE_SECONDS, cwd: Path | None = None
    ) -> str:
        """Run a program in this daemon's environment; its output. Raises RuntimeError with its last words."""
        done = subprocess.run(
            [str(arg) for arg in args],
            env=dict(self.environment),
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        if check and done.returncode:
            words = (done.stdout + done.stderr)[-2000:]
            raise RuntimeError(f"{' '.join(map(str, args))}: exit {done.returncode}\n{words}")
        return done.stdout


def build_folder() -> Path:
    """Where our own node image is built."""
    return tools.cache() / "kind"


@functools.cache
def kind_available() -> str | None:
    """None where kind can be used now, else what is missing."""
    if _machine_docker() is not None or _is_built():
        return None
    if shutil.which("docker") is None:
        return f"there is no Docker here; {BUILD_HINT}"
    return f"Docker does not run or has no node image {NODE_IMAGE}; {BUILD_HINT}"


def build() -> None:
    """Build our own node image; raises ClusterUnavailable saying what this machine lacks."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None or shutil.which("go") is None:
        raise ClusterUnavailable("a kind node image is built as root, on Debian, with Go: run it there")
    folder = build_folder()
    shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
    done = subprocess.run(["bash", folder / "build.sh"], check=False, env={**os.environ, "KINDNODE": str(folder)})
    if done.returncode:
        raise ClusterUnavailable(f"the kind node image could not be built: see {folder / 'logs'}")
    kind_available.cache_clear()


class KindCluster(Cluster):
    """One node that runs real pods; kwok runs on this machine for nodes that only bear an annotation."""

    kind: ClassVar[ClusterKind] = "kind"

    def __init__(self, *, stages: Sequence[Path] = ()) -> None:
        """Takes about 25 s. Raises ClusterUnavailable where kind cannot be used."""
        docker = _machine_docker() or _own_docker()
        if docker is None:
            raise ClusterUnavailable(kind_available() or "kind cannot be used here")
        self.docker = docker
        self.name = f"gpu-rightsizer-{secrets.token_hex(3)}"
        self._folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.logs = self._folder / "logs"
        self.scratch = self._folder / "scratch"
        self.logs.mkdir()
        self.scratch.mkdir()
        self._keep = False
        self.processes = Processes(remove=[self._folder])
        try:
            self._start((tools.kwok_stages(), *stages))
        except BaseException:
            self.keep_logs()
            self.close()
            raise

    @override
    def close(self) -> None:
        if self._keep:
            self.docker.run(_kind(), "export", "logs", self.logs / "kind", "--name", self.name, check=False)
        self.processes.close()
        if not self._keep:
            remove_tree(self._folder)

    @override
    def keep_logs(self) -> Path:
        self._keep = True
        return self.logs

    @override
    def certificate_authority(self) -> bytes:
        return base64.b64decode(self._kubeconfig()["clusters"][0]["cluster"]["certificate-authority-data"])

    @override
    def kubeconfig_for_user(self, name: str, groups: Sequence[str] = ()) -> Path:
        key, request = certificate_request(name, groups)
        object_name = f"{self.name}-{secrets.token_hex(3)}"
        self.apply(
            {
                "apiVersion": "certificates.k8s.io/v1",
                "kind": "CertificateSigningRequest",
                "metadata": {"name": object_name},
                "spec": {
                    "request": base64.b64encode(request).decode(),
                    "signerName": "kubernetes.io/kube-apiserver-client",
                    "usages": ["client auth"],
                },
            }
        )
        self.kubectl("certificate", "approve", object_name)
        self.wait("jsonpath={.status.certificate}", f"csr/{object_name}")
        certificate = self.get("csr", object_name)["status"]["certificate"]
        user = {"client-certificate-data": certificate, "client-key-data": base64.b64encode(key).decode()}
        path = self.scratch / f"user-{name.replace(':', '-')}.kubeconfig"
        return write_kubeconfig(path, self.server, self.certificate_authority(), user)

    def load_image(self, tag: str) -> None:
        """Put a local image on the node; its tag must not be `latest`, which would be pulled."""
        self.docker.run(_kind(), "load", "docker-image", tag, "--name", self.name)

    def detach(self) -> int:
        """Lets the cluster outlive this process; SIGTERM to the returned pid ends it and removes its folder."""
        return self.processes.detach()

    def _start(self, stages: Sequence[Path]) -> None:
        custodian = [sys.executable, "-m", "testbed.cluster.kind", "--custodian", self.name]
        environment = {**self.docker.environment, "PYTHONPATH": str(tools.ROOT)}
        self.processes.start("custodian", custodian, log=self.logs / "custodian.log", env=environment)
        config = self.scratch / "kind.yaml"
        config.write_text(yaml.safe_dump(CONFIG))
        self.admin_kubeconfig = self.scratch / "admin.kubeconfig"
        create = ("create", "cluster", "--name", self.name, "--image", NODE_IMAGE, "--config", config)
        self.docker.run(_kind(), *create, "--kubeconfig", self.admin_kubeconfig, "--wait", "180s")
        self.server = self._kubeconfig()["clusters"][0]["cluster"]["server"]
        kwok = [tools.program("kwok"), "--manage-all-nodes=false", f"--kubeconfig={self.admin_kubeconfig}"]
        (key, value), *_ = KWOK_ANNOTATION.items()
        kwok += [f"--manage-nodes-with-annotation-selector={key}={value}"]
        kwok += [f"--config={stage}" for stage in stages]
        self.processes.start("kwok", [str(part) for part in kwok], log=self.logs / "kwok.log")
        until(self._node_is_ready, what="the kind node Ready", seconds=120)

    def _node_is_ready(self) -> bool:
        return '"True"' in self.kubectl(
            "get", "nodes", "-o", 'jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")]}{end}', check=False
        )

    def _kubeconfig(self) -> dict[str, Any]:  # a kubeconfig's shape is kubectl's
        content: dict[str, Any] = yaml.safe_load(self.admin_kubeconfig.read_text())
        return content


def _kind() -> Path:
    built = build_folder() / "out" / "bin" / "kind"
    return built if built.exists() else tools.program("kind")


@functools.cache
def _machine_docker() -> Docker | None:
    """The machine's own Docker, when it answers and has or can pull the node image."""
    docker = Docker(dict(os.environ), None)
    if shutil.which("docker") is None:
        return None
    try:
        docker.run("docker", "info", seconds=QUICK_SECONDS)
        docker.run("docker", "image", "inspect", NODE_IMAGE, seconds=QUICK_SECONDS)
    except (RuntimeError, subprocess.TimeoutExpired):
        return _pulling(docker)
    return docker


def _pulling(docker: Docker) -> Docker | None:
    try:
        docker.run("docker", "info", seconds=QUICK_SECONDS)
        docker.run("docker", "pull", "-q", NODE_IMAGE, seconds=600)
    except (RuntimeError, subprocess.TimeoutExpired):
        return None
    return docker


def _is_built() -> bool:
    return os.geteuid() == 0 and (build_folder() / "out" / "built").exists()


def _own_docker() -> Docker | None:
    """Our own daemon, started if need be; None where no node image was built."""
    if not _is_built():
        return None
    folder = build_folder()
    environment = {
        **os.environ,
        "KINDNODE": str(folder),
        "DOCKER_HOST": f"unix://{folder}/dockerd/docker.sock",
        "DOCKER_BUILDKIT": "0",
    }
    docker = Docker(environment, folder)
    docker.run("bash", folder / "dockerd.sh", "start", seconds=120)
    return docker


def _custodian(name: str) -> None:
    """Wait for SIGTERM, then delete the cluster, and end our own daemon when no cluster is left in it."""
    import signal

    mask = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, mask)
    signal.sigwait(mask)
    docker = Docker(dict(os.environ), Path(os.environ["KINDNODE"]) if "KINDNODE" in os.environ else None)
    docker.run(_kind(), "delete", "cluster", "--name", name, check=False)
    if docker.folder is not None and not docker.run(_kind(), "get", "clusters", check=False).strip():
        docker.run("docker", "network", "rm", "kind", check=False)
        docker.run("bash", docker.folder / "dockerd.sh", "stop", check=False)


def main(argv: Sequence[str] | None = None) -> int:
    """`--build` makes the node image; `--check` says whether kind can be used."""
    parser = argparse.ArgumentParser(prog="python -m testbed.cluster.kind", description=main.__doc__)
    parser.add_argument("--build", action="store_true", help="make a node image of our own where none can be had")
    parser.add_argument("--check", action="store_true", help="say whether kind can be used here")
    parser.add_argument("--custodian", metavar="NAME", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.custodian:
        _custodian(options.custodian)
        return 0
    if options.build and kind_available() is not None:
        try:
            build()
        except ClusterUnavailable as error:
            print(f"kind: {error}", file=sys.stderr)
            return 1
    lack = kind_available()
    print(f"kind: {lack or 'can be used'}")
    return 1 if lack else 0


if __name__ == "__main__":
    sys.exit(main())
