"""kopf as the door: it watches our custom resources and wakes the loop, nothing else.

It runs in a thread and a loop of its own, for two reasons: embedded in ours it takes SIGTERM over and keeps the process
up to five seconds at exit; and a long evaluation must not delay its watch. No handler writes, so no finalizer and no
annotation of kopf's ever reaches an object. What the watch misses, the next cycle's list finds.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import kopf

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

GROUP, VERSION = "gpu-rightsizer.dev", "v1alpha1"
NAMESPACED = ("inferencedeployments",)
CLUSTER_SCOPED = ("instanceclasses", "rightsizingpolicies")
PAUSE_S = 2.0


class Door:
    """Calls `on_wake` in the caller's loop whenever one of our objects asks for something new."""

    def __init__(self, on_wake: Callable[[], None], *, namespaces: tuple[str, ...]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_wake = on_wake
        self._scope: dict[str, Any] = {"namespaces": list(namespaces)} if namespaces else {"clusterwide": True}
        self._wishes: dict[str, object] = {}  # uid -> what the object asked for when last seen
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)

    def open(self) -> None:
        """Start watching."""
        self._thread.start()

    def close(self, timeout: float = 3.0) -> None:
        """Stop watching; the thread is a daemon, so a stuck one does not keep the process."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                asyncio.run(self._watch())
            except Exception as error:  # noqa: BLE001 - kopf ends with many kinds; watching must come back after each
                log.warning("watching stopped, the cycles list instead: %s: %s", type(error).__name__, error)
            self._stop.wait(PAUSE_S)

    async def _watch(self) -> None:
        await kopf.operator(
            registry=self._registry(), settings=_settings(), standalone=True, stop_flag=self._stop, **self._scope
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
            return kopf.login_with_kubeconfig(**kwargs) or kopf.login_with_service_account(**kwargs)

        async def noticed(event: kopf.RawEvent, **_: Any) -> None:
            if self._wants_something_new(event):
                self._loop.call_soon_threadsafe(self._on_wake)

        for plural in NAMESPACED if "namespaces" in self._scope else NAMESPACED + CLUSTER_SCOPED:
            kopf.on.event(GROUP, VERSION, plural, registry=registry, id=f"noticed-{plural}")(noticed)
        return registry

    def _wants_something_new(self, event: kopf.RawEvent) -> bool:
        metadata = event["object"].get("metadata", {})
        uid = metadata.get("uid", "")
        if event["type"] == "DELETED":
            self._wishes.pop(uid, None)
            return True
        wish = (metadata.get("generation"), metadata.get("annotations", {}).get("gpu-rightsizer.dev/paused"))
        changed = self._wishes.get(uid) != wish
        self._wishes[uid] = wish
        return changed


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # else it asks for every CRD and namespace
    settings.networking.error_backoffs = [0.2, 0.5, 1, 2, 5, 10]
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.inactivity_timeout = 70
    settings.queueing.worker_limit = 20
    settings.queueing.exit_timeout = 0.5
    for noisy in ("kopf", "kopf.objects"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return settings
