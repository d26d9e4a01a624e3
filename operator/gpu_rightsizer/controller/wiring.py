"""Puts the parts of one installation together and runs them, for ever or once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import socket
import threading
import uuid
from typing import TYPE_CHECKING, Any

from gpu_rightsizer import catalogue
from gpu_rightsizer.adapters.clock import SystemClock
from gpu_rightsizer.adapters.kube import KubeCluster
from gpu_rightsizer.adapters.lease import Lease
from gpu_rightsizer.adapters.prometheus_session import PrometheusSettings
from gpu_rightsizer.adapters.web import Web
from gpu_rightsizer.controller.cycle import Cycle
from gpu_rightsizer.controller.door import Door
from gpu_rightsizer.controller.look import API, INSTALL_CRDS
from gpu_rightsizer.controller.loop import Loop
from gpu_rightsizer.controller.settings import Settings
from gpu_rightsizer.controller.sight import Sight
from gpu_rightsizer.ports import Rejected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gpu_rightsizer.ports import Clock

log = logging.getLogger(__name__)

WAIT_FOR_CRDS_S = 5.0
LEASE_LASTS_S = 17.0  # a Lease lasts 15 s after its holder was last seen
EXIT_WITHIN_S = 8.0  # after SIGTERM; what hangs is a read, writes take milliseconds


def configure_logging(level: str) -> None:
    """One line an entry, on stderr, for the engineer at 3 a.m."""
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("aiohttp", "urllib3", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def settings_from(options: Mapping[str, Any]) -> Settings:
    """From the command line's options, by their names. Raises ValueError naming the option and the form it takes."""
    prometheus = PrometheusSettings(
        url=_url(options["prometheus_url"]),
        bearer_token_file=options["prometheus_bearer_token_file"],
        user_file=options["prometheus_basic_auth_user_file"],
        password_file=options["prometheus_basic_auth_password_file"],
        client_cert=options["prometheus_client_cert"],
        client_key=options["prometheus_client_key"],
        ca=options["prometheus_ca"],
        headers=dict(_header(each) for each in options["headers"]),
    )
    kubeconfig = str(options["kubeconfig"]) if options["kubeconfig"] else os.environ.get("KUBECONFIG")
    if kubeconfig:
        os.environ["KUBECONFIG"] = kubeconfig  # for kopf; the client read the variable when it was imported
    return Settings(
        prometheus=prometheus,
        namespaces=tuple(options["namespaces"]),
        interval=options["interval"],
        cluster_matchers=tuple(_matcher(each) for each in options["cluster_matchers"]),
        lease_namespace=options["lease_namespace"],
        identity=identity(),
        kubeconfig=kubeconfig,
        metrics_port=options["metrics_port"],
        health_port=options["health_port"],
    )


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#@\s]*)?", text):
        shown = re.sub(r"//.*@", "//[redacted]@", re.split(r"[?#]", text)[0], flags=re.DOTALL)
        raise ValueError(f"--prometheus-url {shown!r}: give http(s)://host[:port][/path], credentials go into files")
    return text


def _header(text: str) -> tuple[str, str]:
    """What stands there may be a secret: no message repeats it."""
    name, colon, value = (each.strip() for each in text.partition(":"))
    if not colon or not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise ValueError("--prometheus-header: give Name: value, the name of letters, digits and hyphens")
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"--prometheus-header {name}: the value must be one line of printable ASCII")
    return name, value


def _matcher(text: str) -> tuple[str, str]:
    """One exact value: a pattern could take in pods of several clusters that bear the same name."""
    found = re.fullmatch(r'([a-zA-Z_][a-zA-Z0-9_]*)=(?:"([^"\\]*)"|([^"\\~][^"\\]*))', text)
    if found is None:
        raise ValueError(f'--cluster-matcher {text!r}: give label="value", one exact value')
    return found[1], found[2] if found[2] is not None else found[3]


def identity() -> str:
    """The pod's or machine's name and a mark of this process alone, as client-go's: no two may think they are one."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4()}"


def run_for_ever(settings: Settings) -> None:
    """The operator, until SIGTERM or SIGINT; then it gives the Lease back and ends within seconds."""
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_until_told(settings))


def run_once(settings: Settings) -> None:
    """One whole cycle. Raises Rejected when another operator leads, Unavailable when a side does not answer."""
    asyncio.run(_once(settings))


@contextlib.asynccontextmanager
async def _parts(settings: Settings) -> AsyncIterator[tuple[Cycle, Lease]]:
    clock = SystemClock()
    async with await KubeCluster.connect(settings.kubeconfig) as cluster:
        with Sight.open(settings) as sight:
            lease = Lease(
                cluster,
                clock,
                namespace=settings.lease_namespace,
                name=settings.lease_name,
                holder=settings.identity,
            )
            cycle = Cycle(cluster, sight, clock, catalogue.load(), settings, lease.held)
            try:
                yield cycle, lease
            finally:
                await lease.release()


async def _once(settings: Settings) -> None:
    async with _parts(settings) as (cycle, lease):
        if not await _taken(lease, cycle.clock):
            raise Rejected(f"another operator leads: {lease.other}; stop it, or let it do the work")
        keeping = asyncio.create_task(lease.keep())
        try:
            await cycle.run()
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


async def _taken(lease: Lease, clock: Clock) -> bool:
    """Whether we lead; a Lease that nobody renews is taken over once it has lasted for as long as it says."""
    began = clock.monotonic()
    while not await lease.step():
        if clock.monotonic() - began > LEASE_LASTS_S:
            return False
        await asyncio.sleep(1)
    return True


async def _until_told(settings: Settings) -> None:
    stop = asyncio.Event()

    def told() -> None:
        stop.set()
        _leave_in_time()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)
    async with _parts(settings) as (cycle, lease):
        loop = Loop(cycle.run, lease, cycle.clock, settings.interval)
        web = Web(lambda: cycle.samples if lease.held() else (), live=loop.alive, ready=loop.ready)
        door = Door(loop.wake, namespaces=settings.namespaces)
        await web.start(metrics_port=settings.metrics_port, health_port=settings.health_port)
        tasks = [asyncio.create_task(each) for each in (stop.wait(), lease.keep(), _work(cycle, loop, door))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises what ended it
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(door.close)
            await web.close()


def _leave_in_time() -> None:
    """End the process even if a thread hangs on a slow store: by then the Lease is back and no write is half done."""
    timer = threading.Timer(EXIT_WITHIN_S, os._exit, args=(0,))
    timer.daemon = True
    timer.start()


async def _work(cycle: Cycle, loop: Loop, door: Door) -> None:
    """Watch and cycle, once our CRDs are there (the chart may install them after us)."""
    said = False
    scope = f"namespaces/{cycle.settings.namespaces[0]}/" if cycle.settings.namespaces else ""
    while not await cycle.cluster.exists(f"{API}/{scope}inferencedeployments"):
        if not said:
            log.warning(
                "InferenceDeployments cannot be listed; looking again every 5 s. Where the custom resource definitions "
                "are not installed: %s; else the operator lacks `list` on inferencedeployments.gpu-rightsizer.dev",
                INSTALL_CRDS,
            )
        said = True
        await asyncio.sleep(WAIT_FOR_CRDS_S)
    door.open()
    await loop.run()
