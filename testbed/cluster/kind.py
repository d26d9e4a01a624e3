"""A kind cluster: real kubelets run real pods, beside kwok's nodes with accelerators.

Docker and its node image where they are at hand; else, as root on Debian, a node image and a Docker daemon of our own
(`python -m testbed.cluster.kind --build`, once). Whatever was started ends with this process, killed or not: a
custodian (testbed/kind/custodian.py) deletes the cluster.
"""

import argparse
import base64
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml
from typing_extensions import override

from testbed import tools
from testbed.certs import certificate_request
from testbed.cluster.base import KWOK_ANNOTATION, Cluster, ClusterKind, ClusterUnavailable, write_kubeconfig
from testbed.kind import custodian
from testbed.kind.docker import (
    NODE_IMAGE,
    OWN_FOLDER,
    SOURCE,
    DockerFailed,
    build_folder,
    kind,
    lack,
    usable,
)
from testbed.processes import ProcessDied, until

CREATE_SECONDS = 300.0
EXPORT_SECONDS = 60.0
CONFIG = {
    "kind": "Cluster",
    "apiVersion": "kind.x-k8s.io/v1alpha4",
    "networking": {"ipFamily": "ipv4", "kubeProxyMode": "iptables"},
    "nodes": [{"role": "control-plane"}],
}


def kind_available() -> str | None:
    """None where kind can be used now, else what is missing."""
    return lack()


def build() -> None:
    """Build our own node image; raises ClusterUnavailable saying what this machine lacks."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None or shutil.which("go") is None:
        raise ClusterUnavailable("a kind node image is built as root, on Debian, with Go: run it there")
    folder = build_folder()
    shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
    environment = {**os.environ, OWN_FOLDER: str(folder)}
    try:
        done = subprocess.run(["bash", folder / "build.sh"], check=False, env=environment)
    finally:  # its last step needs a daemon and leaves it running
        subprocess.run(["bash", folder / "dockerd.sh", "stop"], check=False, env=environment)
    if done.returncode:
        raise ClusterUnavailable(f"the kind node image could not be built: see {folder / 'logs'}")


class KindCluster(Cluster):
    """One node that runs real pods; kwok runs on this machine for nodes that only bear an annotation."""

    kind: ClassVar[ClusterKind] = "kind"

    def __init__(self, *, stages: Sequence[Path] = ()) -> None:
        """Takes about 25 s. Raises ClusterUnavailable where kind cannot be used."""
        docker, missing = usable(), lack()
        if docker is None or missing is not None:
            raise ClusterUnavailable(missing or "kind cannot be used here")
        self.docker = docker
        self.name = f"gpu-rightsizer-{secrets.token_hex(3)}"
        super().__init__(f"{self.name}-")
        with self._starting():
            self._start((tools.kwok_stages(), *stages))

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

    def load_images(self, *tags: str) -> None:
        """Put local images on the node; a tag must not be `latest`, which would be pulled."""
        self.docker.run(kind(), "load", "docker-image", *tags, "--name", self.name)

    def _start(self, stages: Sequence[Path]) -> None:
        self._start_custodian()
        self._create()
        self.server = self._kubeconfig()["clusters"][0]["cluster"]["server"]
        kwok = [tools.program("kwok"), "--manage-all-nodes=false", f"--kubeconfig={self.admin_kubeconfig}"]
        (key, value), *_ = KWOK_ANNOTATION.items()
        kwok += [f"--manage-nodes-with-annotation-selector={key}={value}"]
        kwok += [f"--config={stage}" for stage in stages]
        self.processes.start("kwok", [str(part) for part in kwok], log=self.logs / "kwok.log")
        until(self._node_is_ready, what="the kind node Ready", seconds=120)

    def _start_custodian(self) -> None:
        log = self.logs / "custodian.log"
        environment = {**self.docker.environment, "PYTHONPATH": str(tools.ROOT)}
        process = self.processes.start("custodian", custodian.command(self.name), log=log, env=environment)
        watching = custodian.WATCHING
        self.processes.ready(process, lambda: watching in log.read_text(), seconds=custodian.START_SECONDS)

    def _create(self) -> None:
        """By the supervisor, so that it ends before the custodian deletes what there is by then."""
        config = self.scratch / "kind.yaml"
        config.write_text(yaml.safe_dump(CONFIG))
        self.admin_kubeconfig = self.scratch / "admin.kubeconfig"
        create = [str(kind()), "create", "cluster", "--name", self.name, "--image", NODE_IMAGE, f"--config={config}"]
        create += [f"--kubeconfig={self.admin_kubeconfig}", "--wait=180s"]
        log = self.logs / "kind-create.log"
        process = self.processes.start("kind-create", create, log=log, env=self.docker.environment)
        until(lambda: self.processes.code(process) is not None, what=f"the end of {log}", seconds=CREATE_SECONDS)
        if code := self.processes.code(process):
            raise ProcessDied(process, code)

    @override
    def _end(self) -> None:
        if self._keep:
            self._export_logs()
        super()._end()
        custodian.wait_gone(self.docker, self.name)

    def _export_logs(self) -> None:
        try:
            export = ("export", "logs", self.logs / "kind", "--name", self.name)
            self.docker.run(kind(), *export, check=False, seconds=EXPORT_SECONDS)
        except DockerFailed as error:
            print(f"kind: {error}", file=sys.stderr)

    def _node_is_ready(self) -> bool:
        return '"True"' in self.kubectl(
            "get", "nodes", "-o", 'jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")]}{end}', check=False
        )

    def _kubeconfig(self) -> dict[str, Any]:  # a kubeconfig's shape is kubectl's
        content: dict[str, Any] = yaml.safe_load(self.admin_kubeconfig.read_text())
        return content


def main(argv: Sequence[str] | None = None) -> int:
    """`--build` makes the node image; `--check` says whether kind can be used."""
    parser = argparse.ArgumentParser(prog="python -m testbed.cluster.kind", description=main.__doc__)
    parser.add_argument("--build", action="store_true", help="make a node image of our own where none can be had")
    parser.add_argument("--check", action="store_true", help="say whether kind can be used here")
    options = parser.parse_args(argv)
    if options.build and kind_available() is not None:
        try:
            build()
        except ClusterUnavailable as error:
            print(f"kind: {error}", file=sys.stderr)
            return 1
    missing = kind_available()
    print(f"kind: {missing or 'can be used'}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
