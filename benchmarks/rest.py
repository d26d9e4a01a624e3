"""The Kubernetes API for laying out a fleet in bulk: raw JSON over kept connections, many requests at once."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from urllib.parse import urlsplit

import orjson
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from testbed.cluster.base import Cluster

Object: TypeAlias = dict[str, Any]  # a Kubernetes object as JSON

THREADS = 8
TIMEOUT_S = 60.0
PAGE = 500
CREATED_BEFORE = http.HTTPStatus.CONFLICT


class Refused(RuntimeError):
    """The API server refused; the message is its own."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request; a POST of what exists already counts as done."""

    method: str
    path: str
    body: Object | None = None
    content_type: str = "application/json"


def merge_patch(path: str, body: Object) -> Call:
    """A JSON merge patch."""
    return Call("PATCH", path, body, "application/merge-patch+json")


class Rest:
    """The API server as the cluster's admin; the end of the `with` block closes its connections."""

    def __init__(self, cluster: Cluster) -> None:
        self._where = urlsplit(cluster.server)
        config = yaml.safe_load(cluster.admin_kubeconfig.read_text())
        user = config["users"][0]["user"]
        self._tls = ssl.create_default_context(cadata=cluster.certificate_authority().decode())
        pair = cluster.scratch / "bulk-admin.pem"
        pair.touch(mode=0o600)
        parts = (user["client-certificate-data"], user["client-key-data"])
        pair.write_bytes(b"\n".join(b64decode(part) for part in parts))
        self._tls.load_cert_chain(pair)
        self._local = threading.local()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def send(self, calls: Iterable[Call]) -> list[Object]:
        """All of them, several at a time, answers in their order. Raises Refused at the first refusal."""
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(self.one, calls))

    def one(self, call: Call) -> Object:
        """One request and its answer."""
        connection = self._connection()
        body = None if call.body is None else orjson.dumps(call.body)
        try:
            connection.request(call.method, call.path, body, {"Content-Type": call.content_type})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self._local.connection = None
            raise
        exists = call.method == "POST" and answer.status == CREATED_BEFORE
        if answer.status >= http.HTTPStatus.MULTIPLE_CHOICES and not exists:
            raise Refused(f"{call.method} {call.path}: {answer.status} {content[:500].decode(errors='replace')}")
        found: Object = json.loads(content)
        return found

    def listed(self, path: str) -> Sequence[Object]:
        """Every object under a path, in pages."""
        items: list[Object] = []
        token = ""
        while True:
            page = self.one(Call("GET", f"{path}?limit={PAGE}" + (f"&continue={token}" if token else "")))
            items += page["items"]
            token = page["metadata"].get("continue", "")
            if not token:
                return items

    def _connection(self) -> http.client.HTTPSConnection:
        known: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
        if known is None:
            known = http.client.HTTPSConnection(
                self._where.hostname or "", self._where.port, context=self._tls, timeout=TIMEOUT_S
            )
            self._local.connection = known
            self._open.callback(known.close)
        return known
