"""Finds pods for Prometheus: what its kubernetes_sd_configs would find, with the same meta labels, by http_sd_configs.

Debian builds Prometheus without the Kubernetes discovery, so this runs beside it in the pod, under the pod's own
ServiceAccount. Standard library only.
"""

import json
import signal
import ssl
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]  # as the API server answers, and as Prometheus reads targets

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
API = "https://kubernetes.default.svc"
PORT = 9099
META = "__meta_kubernetes"


def targets(pods: list[Json]) -> Iterator[Json]:
    """A target group for each port of each container of each pod that has an address."""
    for pod in pods:
        address = pod["status"].get("podIP")
        for container in pod["spec"]["containers"] if address else ():
            for port in container.get("ports", ()):
                labels = {**_labels_of(pod), **_labels_of_port(container, port)}
                yield {"targets": [f"{address}:{port['containerPort']}"], "labels": labels}


def _labels_of(pod: Json) -> dict[str, str]:
    conditions = pod["status"].get("conditions", ())
    ready = next((each["status"] for each in conditions if each["type"] == "Ready"), "unknown")
    return {
        f"{META}_namespace": pod["metadata"]["namespace"],
        f"{META}_pod_name": pod["metadata"]["name"],
        f"{META}_pod_node_name": pod["spec"].get("nodeName", ""),
        f"{META}_pod_ready": ready.lower(),
    }


def _labels_of_port(container: Json, port: Json) -> dict[str, str]:
    return {
        f"{META}_pod_container_name": container["name"],
        f"{META}_pod_container_port_name": port.get("name", ""),
    }


def _pods() -> list[Json]:
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    authorization = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"}  # read again: tokens are rotated
    asked = urllib.request.Request(f"{API}/api/v1/pods", headers=authorization)  # noqa: S310 - a constant https URL
    with urllib.request.urlopen(asked, timeout=10, context=trust) as answer:  # noqa: S310 - as above
        found: list[Json] = json.load(answer)["items"]
    return found


class Handler(BaseHTTPRequestHandler):
    """Every request lists the pods anew; a failure is a 502, at which Prometheus keeps the targets it has."""

    def do_GET(self) -> None:
        """All pods' ports."""
        try:
            status, body = 200, json.dumps(list(targets(_pods()))).encode()
        except OSError as error:
            status, body = 502, str(error).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> int:
    """Serve until the pod ends."""
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    told.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
