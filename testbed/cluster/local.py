"""A real control plane as local processes: etcd, API server, controllers, scheduler; kwok in place of kubelets."""

import contextlib
import http.client
import ssl
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from testbed import tools
from testbed.certs import Authority, signing_key
from testbed.cluster import audit
from testbed.cluster.base import KWOK_ANNOTATION, Cluster, ClusterKind, KubectlError, write_kubeconfig
from testbed.processes import Process, ProcessDied, free_ports, remove_tree

HOST = "127.0.0.1"
SERVICE_RANGE = "10.96.0.0/16"
SERVING_NAMES = (HOST, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.96.0.1")
ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIT_POLICY = Path(__file__).with_name("audit-policy.yaml")
ATTEMPTS = 5  # a port chosen by the system can be taken before its server binds it
START_SECONDS = 90.0  # 3 s on an idle machine; tests share two cores with other tests


class LocalCluster(Cluster):
    """Starts in about 3 s; any number run side by side, each with its own ports, certificates and folder."""

    kind: ClassVar[ClusterKind] = "local"

    def __init__(self, *, stages: Sequence[Path] = ()) -> None:
        """Extra kwok `stages` come beside kwok's own. Raises ToolMissing, ProcessDied or TimeoutError."""
        self._stages = (tools.kwok_stages(), *stages)
        for program in ("kube-apiserver", "kwok"):
            tools.program(program)
        super().__init__("gpu-rightsizer-cluster-")
        self._pki = self._folder / "pki"
        self._pki.mkdir()
        with self._starting():
            self._write_identities()
            self._start_on_free_ports()

    @override
    def certificate_authority(self) -> bytes:
        return self._authority.certificate

    @override
    def kubeconfig_for_user(self, name: str, groups: Sequence[str] = ()) -> Path:
        pair = self._authority.client(name, groups)
        user = {
            "client-certificate-data": b64encode(pair.certificate).decode(),
            "client-key-data": b64encode(pair.key).decode(),
        }
        path = self.scratch / f"user-{name.replace(':', '-')}.kubeconfig"
        return write_kubeconfig(path, self.server, self._authority.certificate, user)

    def requests(
        self, *, user: str | None = None, service_account: tuple[str, str] | None = None
    ) -> list[audit.Request]:
        """What the audit log recorded so far, of a user, of a (namespace, ServiceAccount) or of all."""
        if service_account is not None:
            user = "system:serviceaccount:" + ":".join(service_account)
        return list(audit.read(self.logs / "audit.log", user=user))

    # -- starting -----------------------------------------------------------------------------------------------

    def _write_identities(self) -> None:
        self._authority = Authority("gpu-rightsizer test cluster")
        self._ca = self._pki / "ca.crt"
        self._ca.write_bytes(self._authority.certificate)
        self._serving = self._authority.server("kube-apiserver", hosts=SERVING_NAMES).write(self._pki, "apiserver")
        self._etcd = self._authority.server("etcd", hosts=[HOST]).write(self._pki, "etcd")
        self._prober = self._authority.client("prober", ["system:masters"]).write(self._pki, "prober")
        self._token_key = signing_key().write(self._pki, "tokens")

    def _start_on_free_ports(self) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._start(*free_ports(3, HOST))
            except ProcessDied as died:
                if attempt == ATTEMPTS or not died.port_was_taken:
                    raise
                self._forget_attempt(died.log)
            else:
                return

    def _forget_attempt(self, log: Path) -> None:
        for process in reversed(self.processes.started):
            self.processes.stop(process, grace_seconds=0.5)  # an API server without its etcd does not heed SIGTERM
        remove_tree(self._folder / "etcd")
        log.unlink(missing_ok=True)

    def _start(self, client_port: int, peer_port: int, port: int) -> None:
        self.server = f"https://{HOST}:{port}"
        etcd = self._start_etcd(client_port, peer_port)
        apiserver = self._start_apiserver(client_port, port)
        self.processes.ready(apiserver, lambda: self._is_ready(port, etcd), seconds=START_SECONDS)
        self.admin_kubeconfig = self.kubeconfig_for_user("admin", ["system:masters"])
        controllers = self._start_controllers()
        self._start_scheduler()
        self._start_kwok()
        self.processes.ready(controllers, self._admits_pods, seconds=START_SECONDS)

    def _run(self, program: str, *flags: str) -> Process:
        return self.processes.start(program, [tools.program(program), *flags], log=self.logs / f"{program}.log")

    def _start_etcd(self, client_port: int, peer_port: int) -> Process:
        client, peer = f"https://{HOST}:{client_port}", f"http://{HOST}:{peer_port}"
        certificate, key = self._etcd
        return self._run(
            "etcd",
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # Mutual TLS, so that an API server can never end up on the etcd of another cluster started beside it.
            f"--cert-file={certificate}",
            f"--key-file={key}",
            f"--trusted-ca-file={self._ca}",
            "--client-cert-auth",
            "--unsafe-no-fsync",  # nothing here is worth a disk flush
        )

    def _start_apiserver(self, etcd_port: int, port: int) -> Process:
        etcd_certificate, etcd_key = self._etcd
        certificate, key = self._serving
        public, private = self._token_key
        return self._run(
            "kube-apiserver",
            f"--etcd-servers=https://{HOST}:{etcd_port}",
            f"--etcd-cafile={self._ca}",
            f"--etcd-certfile={etcd_certificate}",
            f"--etcd-keyfile={etcd_key}",
            f"--bind-address={HOST}",
            f"--secure-port={port}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self._ca}",
            "--authorization-mode=Node,RBAC",
            # Pod Security and the two CEL admission policies are on by default.
            "--enable-admission-plugins=NodeRestriction",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={public}",
            f"--service-account-signing-key-file={private}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",  # no Service leads to a control plane on the loopback address
            f"--audit-policy-file={AUDIT_POLICY}",
            f"--audit-log-path={self.logs / 'audit.log'}",
        )

    def _start_controllers(self) -> Process:
        _, private = self._token_key
        return self._run(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig_for_user('system:kube-controller-manager')}",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={private}",
            f"--root-ca-file={self._ca}",
            "--leader-elect=false",
            "--secure-port=0",  # nobody asks it anything
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        )

    def _start_scheduler(self) -> None:
        kubeconfig = self.kubeconfig_for_user("system:kube-scheduler")
        self._run(
            "kube-scheduler",
            f"--kubeconfig={kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        )

    def _start_kwok(self) -> None:
        ((key, value),) = KWOK_ANNOTATION.items()
        self._run(
            "kwok",
            f"--kubeconfig={self.kubeconfig_for_user('kwok', ['system:masters'])}",
            "--manage-all-nodes=false",
            f"--manage-nodes-with-annotation-selector={key}={value}",
            "--node-lease-duration-seconds=40",
            *(f"--config={stage}" for stage in self._stages),
        )

    # -- readiness ----------------------------------------------------------------------------------------------

    def _is_ready(self, port: int, etcd: Process) -> bool:
        if (code := self.processes.code(etcd)) is not None:
            raise ProcessDied(etcd, code)
        context = ssl.create_default_context(cafile=str(self._ca))
        context.load_cert_chain(*self._prober)
        connection = http.client.HTTPSConnection(HOST, port, context=context, timeout=5)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == http.HTTPStatus.OK
            except (OSError, http.client.HTTPException):
                return False

    def _admits_pods(self) -> bool:
        """A pod needs its namespace's default ServiceAccount, which the controllers make."""
        try:
            self.kubectl("get", "serviceaccount/default", "-n", "default")
        except KubectlError:
            return False
        return True
