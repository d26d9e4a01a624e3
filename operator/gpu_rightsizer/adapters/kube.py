"""The Kubernetes API as raw JSON: paged lists, server-side apply of our own fields, Events, Leases.

Raw on purpose: the client's typed models drop fields they do not know, and a list through them
costs four times as much.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import orjson
from kubernetes.aio import client, config
from kubernetes.aio.config import ConfigException

from gpu_rightsizer.adapters.redact import redacted
from gpu_rightsizer.ports import Conflict, Rejected, Unavailable, Version

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUP = "gpu-rightsizer.dev"
API_VERSION = "v1alpha1"
FIELD_MANAGER = "gpu-rightsizer"  # of the status
ANNOTATION_MANAGER = "gpu-rightsizer-annotations"  # a manager of its own: an apply drops what it leaves out
PAGE = 500
TIMEOUT_S = 30.0
APPLY = "application/apply-patch+yaml"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
EXPIRED = 410
RETRY_LATER = frozenset({408, 429, 500, 502, 503, 504})

Json = dict[str, Any]  # what the API server sends; its shape is checked where it is read


class KubeCluster:
    """`ports.Cluster` over kubernetes.aio. Use as an async context manager."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @classmethod
    async def connect(cls, kubeconfig: str | None = None) -> Self:
        """By the given kubeconfig, else $KUBECONFIG or ~/.kube/config, else the pod's ServiceAccount.

        Raises Rejected when there is none.
        """
        settings = client.Configuration()
        try:
            if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
                config.load_incluster_config(client_configuration=settings)
            else:
                await config.load_kube_config(config_file=kubeconfig, client_configuration=settings)
        except ConfigException as error:
            raise Rejected(f"no cluster to talk to: {error}; set KUBECONFIG or run inside a pod") from error
        settings.client_session_kwargs = {"trust_env": False}  # an injected HTTPS_PROXY must not redirect API traffic
        return cls(client.ApiClient(settings))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Json:
        """One request. Raises Unavailable, Conflict or Rejected (with the server's own message)."""
        headers = {"Accept": accept, "Content-Type": content_type}
        serialized = await self._api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            auth_settings=["BearerToken"],
            header_params=headers,
            body=body,
        )
        try:
            answer = await self._api.call_api(*serialized, _request_timeout=TIMEOUT_S)
            content = await answer.read()
        except (TimeoutError, aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            raise Unavailable(f"the API server did not answer {method} {path}: {type(error).__name__}") from error
        return _checked(answer.status, content, f"{method} {path}")

    async def list_objects(self, path: str, *, metadata_only: bool = False) -> list[Json]:
        """Every object under `path`, in pages of 500; a list that expired midway is started again, once."""
        accept = METADATA_ONLY if metadata_only else "application/json"
        for attempt in (1, 2):
            try:
                return await self._pages(path, accept)
            except Rejected as error:
                if attempt == 2 or not str(error).startswith(f"{EXPIRED} "):
                    raise
        raise AssertionError  # the loop returns or raises

    async def _pages(self, path: str, accept: str) -> list[Json]:
        items: list[Json] = []
        query = {"limit": str(PAGE)}
        while True:
            page = await self.request("GET", path, query=query, accept=accept)
            found = page.get("items")
            if found is None and "items" in page and page.get("kind") == "PartialObjectMetadataList":
                found = []  # how the API server writes one that is empty
            if not isinstance(found, list):
                raise Unavailable(f"the API server answered GET {path} with something that is no list")
            for each in found:
                _mapping(each, "metadata").pop("managedFields", None)  # a third of it, and none of our business
            items += found
            token = _mapping(page, "metadata").get("continue")
            if not token:
                return items
            query = {"limit": str(PAGE), "continue": token}

    async def exists(self, path: str) -> bool:
        """Whether an API path can be listed (used to wait for our own CRDs)."""
        try:
            await self.request("GET", path, query={"limit": "1"})
        except Rejected:
            return False
        return True

    async def apply_status(self, seen: Version, status: Mapping[str, object]) -> Version:
        """Apply the whole status (what is left out is removed), only onto the version it was computed from."""
        written = await self._apply(f"{_object_path(seen)}/status", _identity(seen) | {"status": status}, FIELD_MANAGER)
        return replace(seen, resource_version=str(_mapping(written, "metadata").get("resourceVersion", "")))

    async def apply_annotations(self, seen: Version, annotations: Mapping[str, str]) -> None:
        """Apply our annotations, only onto that version: a leader that was replaced meanwhile writes nothing."""
        body = _identity(seen)
        body["metadata"]["annotations"] = dict(annotations)
        await self._apply(_object_path(seen), body, ANNOTATION_MANAGER)

    async def _apply(self, path: str, body: Json, manager: str) -> Json:
        # Forced: these fields are ours alone, whoever wrote them last.
        return await self.request(
            "PATCH", path, query={"fieldManager": manager, "force": "true"}, body=body, content_type=APPLY
        )

    async def post_event(self, event: Mapping[str, object]) -> None:
        """Create an Event, or add to the one of that name which is there."""
        metadata = event["metadata"]
        assert isinstance(metadata, dict)  # noqa: S101 - our own renderer makes it
        path = f"/apis/events.k8s.io/v1/namespaces/{metadata['namespace']}/events"
        try:
            await self.request("POST", path, body=event)
        except Conflict:
            patch = {key: event[key] for key in ("series", "note") if key in event}
            if patch:
                target = f"{path}/{metadata['name']}"
                await self.request("PATCH", target, body=patch, content_type="application/merge-patch+json")


def _checked(status: int, content: bytes, what: str) -> Json:
    if status in RETRY_LATER:
        raise Unavailable(f"the API server answered {what} with {status}")
    body = _object(content)
    if body is None and status < 400:
        raise Unavailable(f"the API server answered {what} with something that is no JSON object: {_words(content)}")
    # A group that is not served answers in plain text, and so does a proxy, which may repeat the request's headers.
    message = _words(content) if body is None else redacted(str(body.get("message", "")))
    if status == 409:
        raise Conflict(f"409 {what}: {message}"[:500])
    if status >= 400:
        raise Rejected(f"{status} {what}: {message}"[:500])
    return body or {}


def _object(content: bytes) -> Json | None:
    try:
        body = orjson.loads(content) if content else {}
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def _words(content: bytes) -> str:
    return redacted(content[:1000].decode(errors="replace").strip())[:200]


def _mapping(body: Json, key: str) -> Json:
    """What stands there if it is an object, else an empty one: the field may be null."""
    found = body.get(key)
    return found if isinstance(found, dict) else {}


def _identity(seen: Version) -> Json:
    """The uid keeps a deleted or recreated object from being made or touched, the version a changed one."""
    metadata = {"name": seen.name, "uid": seen.uid, "resourceVersion": seen.resource_version}
    if seen.namespace:
        metadata["namespace"] = seen.namespace
    return {"apiVersion": f"{GROUP}/{API_VERSION}", "kind": seen.kind, "metadata": metadata}


def _object_path(seen: Version) -> str:
    where = f"namespaces/{seen.namespace}/" if seen.namespace else ""
    return f"/apis/{GROUP}/{API_VERSION}/{where}{seen.plural}/{seen.name}"
