"""The Lease: who leads, who does not, and that no two processes take themselves for one."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_rightsizer.adapters.lease import Lease
from gpu_rightsizer.controller.wiring import identity
from gpu_rightsizer.ports import Rejected
from tests.fakes.clock import FakeClock


class Leases:
    """The API of one Lease; `stored` is what is there."""

    def __init__(self, stored: dict[str, Any] | None = None) -> None:
        self.stored = stored

    async def request(self, method: str, path: str, *, body: Any = None) -> dict[str, Any]:
        """GET, POST or PUT."""
        if method == "GET" and self.stored is None:
            raise Rejected(f"404 GET {path}: not found")
        if method != "GET":
            self.stored = body
        assert self.stored is not None
        return self.stored


def lease(leases: Leases, clock: FakeClock, holder: str) -> Lease:
    return Lease(leases, clock, namespace="ns", name="gpu-rightsizer", holder=holder)  # type: ignore[arg-type]  # the one method it uses


async def test_two_processes_of_one_pod_do_not_both_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    """`kubectl exec` of a second operator, or a container that is started while the old one still ends."""
    monkeypatch.setenv("POD_NAME", "gpu-rightsizer-0")
    leases, clock = Leases(), FakeClock()
    first, second = (lease(leases, clock, identity()) for _ in range(2))

    assert [await first.step(), await second.step()] == [True, False]
    assert not second.held()
    assert second.other.startswith("gpu-rightsizer-0_")


async def test_who_cannot_renew_no_longer_leads_before_another_may() -> None:
    leases, clock = Leases(), FakeClock()
    first, second = lease(leases, clock, "a"), lease(leases, clock, "b")
    await first.step()
    await second.step()

    clock.seconds = 10.5
    assert not first.held()
    assert not await second.step()
    clock.seconds = 15.5
    assert await second.step()
    assert second.number == 2


@pytest.mark.parametrize("spec", [None, "x", {}])
async def test_a_lease_without_a_spec_is_nobodys(spec: object) -> None:
    leases = Leases({"metadata": {"name": "gpu-rightsizer"}, "spec": spec})
    ours = lease(leases, FakeClock(), "a")

    assert await ours.step()
    assert leases.stored is not None
    assert leases.stored["spec"]["holderIdentity"] == "a"


async def test_a_spec_that_vanished_is_no_error_at_the_end() -> None:
    leases = Leases()
    ours = lease(leases, FakeClock(), "a")
    await ours.step()
    assert leases.stored is not None
    leases.stored["spec"] = None

    await ours.release()

    assert not ours.held()
