"""The operator's own HTTP: `/metrics` on one port, `/healthz` and `/readyz` on another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from gpu_rightsizer.explain.samples import Sample

    Check = Callable[[], str]  # empty when all is well, else what is wrong

EXPOSITION = {"Content-Type": CONTENT_TYPE_LATEST}


class _Samples(Collector):
    """Whatever samples the latest cycle left, grouped into families."""

    def __init__(self, latest: Callable[[], Sequence[Sample]]) -> None:
        self._latest = latest

    @override
    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for sample in self._latest():
            family = families.get(sample.name)
            if family is None:
                kind = CounterMetricFamily if sample.name.endswith("_total") else GaugeMetricFamily
                family = families[sample.name] = kind(sample.name, sample.help, labels=list(sample.labels))
            family.add_metric(list(sample.labels.values()), sample.value)
        return families.values()


class Web:
    """Serves until closed."""

    def __init__(self, latest: Callable[[], Sequence[Sample]], *, live: Check, ready: Check) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Samples(latest))
        self._live = live
        self._ready = ready
        self._runners: list[web.AppRunner] = []

    async def start(self, *, metrics_port: int, health_port: int) -> None:
        """Listen on both ports; a port that is taken raises OSError."""
        metrics, health = web.Application(), web.Application()
        metrics.router.add_get("/metrics", self._metrics)
        health.router.add_get("/healthz", _answering(self._live))
        health.router.add_get("/readyz", _answering(self._ready))
        for app, port in ((metrics, metrics_port), (health, health_port)):
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, port=port).start()
            self._runners.append(runner)

    async def close(self) -> None:
        """Stop listening."""
        for runner in self._runners:
            await runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers=EXPOSITION)


def _answering(check: Check) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(_: web.Request) -> web.StreamResponse:
        wrong = check()
        return web.Response(text=wrong or "ok", status=503 if wrong else 200)

    return answer
