"""A cluster in memory: optimistic locking, uids and counted writes, as the API server has them."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpu_rightsizer.ports import Conflict, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

INFDS = "/apis/gpu-rightsizer.dev/v1alpha1/inferencedeployments"
EVENTS = "events"


@dataclass
class FakeCluster:
    """`ports.Cluster`; `before_write` may raise in place of the next write (a crash, an outage)."""

    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    writes: list[tuple[str, str]] = field(default_factory=list)
    before_write: Callable[[str], None] = lambda _: None
    _version: int = 100

    def add_deployment(self, name: str, namespace: str = "chat", **spec: object) -> dict[str, Any]:
        """An InferenceDeployment as listed."""
        self._version += 1
        raw: dict[str, Any] = {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": f"uid-{name}",
                "generation": 1,
                "resourceVersion": str(self._version),
            },
            "spec": {"targetRef": {"kind": "Deployment", "name": name}, **spec},
        }
        self.lists.setdefault(INFDS, []).append(raw)
        return raw

    async def list_objects(
        self,
        path: str,
        *,
        metadata_only: bool = False,  # noqa: ARG002 - the port has it
    ) -> list[dict[str, Any]]:
        """Copies, so that nobody changes the store by changing an answer."""
        return deepcopy(self.lists.get(path, []))

    async def apply_status(
        self, namespace: str, name: str, resource_version: str, status: Mapping[str, object]
    ) -> None:
        """By resourceVersion; never creates."""
        raw = self._found(namespace, name)
        if raw["metadata"]["resourceVersion"] != resource_version:
            raise Conflict("409: the object has been modified")
        self._write("status", name)
        self._change(raw, "status", dict(status))

    async def apply_annotations(self, namespace: str, name: str, uid: str, annotations: Mapping[str, str]) -> None:
        """By uid; never creates."""
        raw = self._found(namespace, name)
        if raw["metadata"]["uid"] != uid:
            raise Conflict("409: uid mismatch")
        self._write("annotations", name)
        present = raw["metadata"].get("annotations", {})
        kept = {key: value for key, value in present.items() if not key.startswith("gpu-rightsizer.dev/")}
        self._change(raw["metadata"], "annotations", {**kept, **annotations})

    async def post_event(self, event: Mapping[str, object]) -> None:
        """Remembered under the name `events`."""
        self._write("event", str(event["reason"]))
        self.lists.setdefault(EVENTS, []).append(dict(event))

    def _write(self, what: str, name: str) -> None:
        self.before_write(what)
        self.writes.append((what, name))

    def _change(self, holder: dict[str, Any], key: str, value: object) -> None:
        self._version += 1
        holder[key] = value
        for raw in self.lists[INFDS]:
            if raw is holder or raw["metadata"] is holder:
                raw["metadata"]["resourceVersion"] = str(self._version)

    def _found(self, namespace: str, name: str) -> dict[str, Any]:
        for raw in self.lists.get(INFDS, []):
            if (raw["metadata"]["namespace"], raw["metadata"]["name"]) == (namespace, name):
                return raw
        raise Rejected(f"404 {namespace}/{name}")
