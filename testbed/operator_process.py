"""The operator as a process of this machine, under the chart's ServiceAccount and never as admin."""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed import tools
from testbed.cluster.base import Cluster
from testbed.processes import Processes, free_ports, until

NAMESPACE = "gpu-rightsizer"
SERVICE_ACCOUNT = "gpu-rightsizer"


class OperatorProcess:
    """Runs `gpu-rightsizer run` until closed; install the chart first, its ServiceAccount is used."""

    def __init__(
        self,
        cluster: Cluster,
        prometheus_url: str,
        *,
        namespace: str = NAMESPACE,
        service_account: str = SERVICE_ACCOUNT,
        interval: str = "15s",
        options: Sequence[str] = (),
    ) -> None:
        self._cluster = cluster
        self._kubeconfig = cluster.kubeconfig_for(namespace, service_account)
        self._metrics, self._health = free_ports(2)
        self._arguments = (
            *("--prometheus-url", prometheus_url, "--lease-namespace", namespace, "--interval", interval),
            *("--metrics-port", str(self._metrics), "--health-port", str(self._health), *options),
        )
        self.log = cluster.logs / "operator.log"
        self.processes = Processes()
        self._process = self.processes.start("operator", self.command(), log=self.log, env=self.environment())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def command(self) -> list[str | Path]:
        """The command line, for those who want to see or run it."""
        return [sys.executable, "-m", "gpu_rightsizer.cli.main", "run", *self._arguments]

    def environment(self) -> dict[str, str]:
        """Its environment: the ServiceAccount's kubeconfig, the source root, and what the image sets."""
        own = {"PYTHONPATH": str(tools.ROOT / "operator"), "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
        return {**self._cluster.environment(self._kubeconfig), **own}

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def is_ready(self) -> bool:
        """`/readyz` says so; raises ProcessDied's cause when the process has ended."""
        return self._answers(self._health, "/readyz")[0] == 200

    def wait_ready(self, seconds: float = 60) -> None:
        """Until the first whole cycle is done; raises ProcessDied or TimeoutError with the log's tail."""
        self.processes.ready(self._process, self.is_ready, seconds=seconds)

    def healthz(self) -> tuple[int, str]:
        """Status and text of the liveness probe."""
        return self._answers(self._health, "/healthz")

    def metrics(self) -> str:
        """The operator's own metrics, as scraped."""
        return self._answers(self._metrics, "/metrics")[1]

    def terminate(self, grace_seconds: float = 10) -> int:
        """SIGTERM; the exit code, negative when it had to be killed."""
        return self.processes.stop(self._process, grace_seconds=grace_seconds)

    def close(self) -> None:
        """End it."""
        self.processes.close()

    def _answers(self, port: int, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)


def wait_for_advice(cluster: Cluster, count: int, seconds: float = 120) -> None:
    """Until so many InferenceDeployments carry the condition Advised, whatever it says."""

    def advised() -> bool:
        listed = json.loads(cluster.kubectl("get", "inferencedeployments", "-A", "-o", "json"))["items"]
        conditions = [each.get("status", {}).get("conditions", []) for each in listed]
        return sum(any(one["type"] == "Advised" for one in each) for each in conditions) >= count

    until(advised, what=f"{count} InferenceDeployments judged", seconds=seconds)
