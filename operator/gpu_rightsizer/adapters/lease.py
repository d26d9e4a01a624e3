"""A Lease that elects one leader: our monotonic clock, a number that rises with every acquisition, released at exit.

The client's own leader election cannot be used: it writes local time as UTC, never raises `leaseTransitions`, and goes
on leading after its loop has died. The API server compares no write with a Lease: it elects, it does not fence.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpu_rightsizer.ports import Conflict, Rejected, Unavailable

if TYPE_CHECKING:
    from gpu_rightsizer.adapters.kube import KubeCluster
    from gpu_rightsizer.ports import Clock

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds: how long a Lease lasts, when a holder that cannot renew gives up, how often it renews."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0


class Lease:
    """Holds, or tries to hold, one Lease. `held()` is true only while no other may hold it."""

    def __init__(
        self,
        cluster: KubeCluster,
        clock: Clock,
        *,
        namespace: str,
        name: str,
        holder: str,
        times: LeaseTimes | None = None,
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._namespace = namespace
        self._name = name
        self._holder = holder
        self._times = times or LeaseTimes()
        self._seen: tuple[object, float] = (None, 0.0)
        self._until = 0.0
        self.number: int | None = None
        self.other = ""  # who holds it when we do not

    def held(self) -> bool:
        """Whether we lead now."""
        return self.number is not None and self._clock.monotonic() < self._until

    async def step(self) -> bool:
        """Try once to take or renew; whether we lead afterwards. Raises Unavailable or Rejected."""
        started = self._clock.monotonic()
        try:
            lease = await self._cluster.request("GET", self._path())
        except Rejected as error:
            if not str(error).startswith("404 "):
                raise
            return await self._write("POST", self._collection(), self._fresh(), started)
        spec = _spec(lease)
        if self._held_by_another(spec, started):
            self.number = None
            return False
        self._claim(spec)
        return await self._write("PUT", self._path(), lease, started)

    def _held_by_another(self, spec: dict[str, Any], now: float) -> bool:
        holder = spec.get("holderIdentity") or ""
        record = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if record != self._seen[0]:
            self._seen = (record, now)
        self.other = holder if holder != self._holder else ""
        lasts = float(spec.get("leaseDurationSeconds") or self._times.duration)
        return bool(self.other) and now < self._seen[1] + lasts

    def _claim(self, spec: dict[str, Any]) -> None:
        stamp = self._stamp()
        if spec.get("holderIdentity") != self._holder or self.number is None:  # taken over, or ours from a former life
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
            spec["acquireTime"] = stamp
        spec |= {
            "holderIdentity": self._holder,
            "renewTime": stamp,
            "leaseDurationSeconds": int(self._times.duration),
        }

    def _fresh(self) -> dict[str, Any]:
        stamp = self._stamp()
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._holder,
                "leaseDurationSeconds": int(self._times.duration),
                "acquireTime": stamp,
                "renewTime": stamp,
                "leaseTransitions": 1,
            },
        }

    async def _write(self, method: str, path: str, lease: dict[str, Any], started: float) -> bool:
        try:
            written = await self._cluster.request(method, path, body=lease)
        except Conflict:  # somebody was quicker
            self.number = None
            return False
        self.number = int(_spec(written).get("leaseTransitions") or 0)
        self._until = started + self._times.renew_deadline
        return True

    async def release(self) -> None:
        """Give it back so that the next one need not wait; silent when it is no longer ours or cannot be reached."""
        if self.number is None:
            return
        self.number = None
        try:
            lease = await self._cluster.request("GET", self._path())
            spec = _spec(lease)
            if spec.get("holderIdentity") == self._holder:
                spec |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._cluster.request("PUT", self._path(), body=lease)
        except (Unavailable, Rejected, Conflict) as error:
            log.info("the Lease was not released, it expires by itself: %s", error)

    async def keep(self) -> None:
        """Take and renew for ever; errors are logged once per kind and tried again."""
        last = ""
        while True:
            try:
                async with asyncio.timeout(self._times.retry + 3):
                    await self.step()
                last = ""
            except (Unavailable, Rejected, TimeoutError) as error:
                if str(error) != last:
                    log.warning("cannot renew the Lease %s/%s: %s", self._namespace, self._name, error)
                last = str(error)
            await asyncio.sleep(self._times.retry)

    def _stamp(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _collection(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases"

    def _path(self) -> str:
        return f"{self._collection()}/{self._name}"


def _spec(lease: dict[str, Any]) -> dict[str, Any]:
    """Its spec, put in place where it is absent or null: a Lease without one is nobody's."""
    if not isinstance(lease.get("spec"), dict):
        lease["spec"] = {}
    spec: dict[str, Any] = lease["spec"]
    return spec
