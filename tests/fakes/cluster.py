"""A cluster in memory: optimistic locking, uids and counted writes, as the API server has them."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gpu_rightsizer.ports import Conflict, Rejected, Version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

API = "/apis/gpu-rightsizer.dev/v1alpha1"
INFDS = f"{API}/inferencedeployments"
EVENTS = "events"


@dataclass
class FakeCluster:
    """`ports.Cluster`; `before_write` may raise in place of the next write (a crash, an outage)."""

    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    refused: dict[str, Exception] = field(default_factory=dict)  # by path: what listing it raises
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
        if path in self.refused:
            raise self.refused[path]
        return deepcopy(self.lists.get(path, []))

    async def exists(self, path: str) -> bool:
        """Whether anything was put there."""
        return path in self.lists

    async def apply_status(self, seen: Version, status: Mapping[str, object]) -> Version:
        """By uid and resourceVersion; never creates."""
        raw = self._found(seen)
        self._write("status", seen.name)
        self._change(raw, "status", dict(status))
        return replace(seen, resource_version=raw["metadata"]["resourceVersion"])

    async def apply_annotations(self, seen: Version, annotations: Mapping[str, str]) -> None:
        """By uid and resourceVersion; never creates."""
        raw = self._found(seen)
        self._write("annotations", seen.name)
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
        for raw in (each for objects in self.lists.values() for each in objects):
            if raw is holder or raw["metadata"] is holder:
                raw["metadata"]["resourceVersion"] = str(self._version)

    def _found(self, seen: Version) -> dict[str, Any]:
        for raw in self.lists.get(f"{API}/{seen.plural}", []):
            meta = raw["metadata"]
            if (meta.get("namespace", ""), meta["name"]) != (seen.namespace, seen.name):
                continue
            if (meta["uid"], meta["resourceVersion"]) != (seen.uid, seen.resource_version):
                raise Conflict("409: the object has been modified")
            return raw
        raise Rejected(f"404 {seen.namespace}/{seen.name}")
