"""Ten thousand deployments with two weeks of history in a real Prometheus: bootstrap, steady cycle, and KRR's way.

python -m benchmarks.large --deployments 10000

The history is laid down once, as blocks of Prometheus' own library, and kept in the cache for the next eight hours
(`--forget` removes it). The Kubernetes side is a real API server that holds every object; its controllers rest.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from benchmarks import large_fleet
from benchmarks.operator_figures import CYCLES, ERRORS, QUERIES, SAMPLES, SECONDS, figures
from benchmarks.report import Figure, Goal, Result, table
from benchmarks.rest import Rest
from testbed import blocks, tools
from testbed.cluster.local import LocalCluster
from testbed.ground import install
from testbed.operator_process import OperatorProcess
from testbed.processes import until
from testbed.prometheus import PrometheusServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.large_fleet import Member

MOST_QUERIES, MOST_SECONDS = 120, 180.0  # of the bootstrap
STEADY_QUERIES, STEADY_SECONDS, EVALUATE_SECONDS, MOST_MIB = 15, 10.0, 2.0, 600.0
KRR_DEPLOYMENTS, KRR_WORKERS = 1000, 6
KRR_BOOTSTRAP, KRR_STEADY = 20.0, 100.0  # times slower than ours
STEADY_CYCLES = 3
LEAST_AHEAD_S = 3600.0  # of history laid down before, for it to be used again
CYCLE_TIMEOUT_S = 1800.0
INTERVAL_S = 60
THREADS = 8
_STAGES = re.compile(r"cycle: \d+ deployments, \d+ queries, [\d.]+ s \((?P<stages>[^)]*)\); wrote (?P<wrote>[^\n]*)")


@dataclass(frozen=True, slots=True)
class Cycle:
    """One cycle as the operator tells it, and its resident set in MiB: the largest until then, and at its end."""

    queries: int
    samples: int
    seconds: float
    failures: int
    stages: Mapping[str, float]
    wrote: str
    peak_mib: float
    mib: float

    @property
    def decided_seconds(self) -> float:
        """Until it was known what is to be written: a first cycle writes every status, which the API server limits."""
        return self.seconds - self.stages.get("write", 0.0)


@dataclass(frozen=True, slots=True)
class Krr:
    """KRR's queries over some of the deployments; `failed` were refused or not answered."""

    deployments: int
    queries: int
    seconds: float
    failed: int


@dataclass(slots=True)
class Found:
    """What came out."""

    deployments: int
    nodes: int
    series: int = 0
    samples: int = 0
    store_mib: float = 0.0
    laid_seconds: float = 0.0
    objects_seconds: float = 0.0
    prometheus_mib: float = 0.0
    bootstrap: list[Cycle] = field(default_factory=list)  # up to the first cycle in which nothing failed
    steady: list[Cycle] = field(default_factory=list)
    krr: Krr | None = None


def measure(deployments: int, krr_deployments: int) -> Found:
    """Every stage."""
    began = time.monotonic()
    fleet = large_fleet.members(deployments)
    found = Found(deployments, len({each.pod.node for each in fleet}))
    data = history(fleet, found)
    _say(began, f"{found.series} series, {found.samples / 1e9:.2f} billion samples, {found.store_mib:.0f} MiB")
    with PrometheusServer(data=data, flags=blocks.FLAGS) as prometheus, LocalCluster() as cluster:
        laid = time.monotonic()
        put_up(cluster, prometheus.url, fleet)
        found.objects_seconds = time.monotonic() - laid
        _say(began, f"{deployments} deployments on {found.nodes} nodes; the operator starts")
        with OperatorProcess(cluster, prometheus.url, interval=f"{INTERVAL_S}s") as operator:
            found.bootstrap, found.steady = _cycles(operator, began)
        found.prometheus_mib = _memory(prometheus.processes.started[0].pid)[0]
        if krr_deployments:
            found.krr = krr(prometheus.url, fleet[:krr_deployments])
            _say(began, f"{found.krr}")
    return found


# -- laying down ----------------------------------------------------------------------------------------------------


def folder() -> Path:
    """Where histories are kept."""
    return tools.cache() / "large"


def history(fleet: Sequence[Member], found: Found) -> Path:
    """The store's folder; from the cache where it still reaches far enough ahead."""
    key = large_fleet.key(len(fleet))
    known = [
        path for path in folder().glob(f"{key}-*") if float(path.name.rpartition("-")[2]) > time.time() + LEAST_AHEAD_S
    ]
    if not known:
        began = time.monotonic()
        _forget(key)
        end = (time.time() + large_fleet.AHEAD_S) // 60 * 60
        fresh = folder() / f".laying-{key}"
        shutil.rmtree(fresh, ignore_errors=True)
        blocks.write(fresh, large_fleet.templates(end), large_fleet.copies(fleet))
        known = [fresh.rename(folder() / f"{key}-{end:.0f}")]
        found.laid_seconds = time.monotonic() - began
    metas = [json.loads(path.read_text()) for path in known[0].glob("*/meta.json")]
    found.series = max(meta["stats"]["numSeries"] for meta in metas)
    found.samples = sum(meta["stats"]["numSamples"] for meta in metas)
    found.store_mib = sum(path.stat().st_size for path in known[0].glob("*/**/*") if path.is_file()) / (1 << 20)
    return known[0]


def _forget(key: str = "") -> None:
    for path in itertools.chain(folder().glob(f"{key}*"), folder().glob(f".laying-{key}*")):
        shutil.rmtree(path)


def put_up(cluster: LocalCluster, prometheus_url: str, fleet: Sequence[Member]) -> None:
    """The chart, and every object as it stands two weeks after its roll-out, written by us: the controllers rest."""
    for namespace in sorted({each.twin.namespace for each in fleet}):
        cluster.create_namespace(namespace)
    for process in cluster.processes.started:
        if process.name in ("kube-controller-manager", "kube-scheduler", "kwok"):
            cluster.processes.signal(process, signal.SIGSTOP)
    install(cluster, prometheus_url)
    began = time.time() - large_fleet.DAYS * 86_400
    with Rest(cluster) as rest, ThreadPoolExecutor(THREADS) as pool:
        rest.send(large_fleet.node_calls(fleet))
        list(pool.map(lambda each: [rest.one(call) for call in large_fleet.object_calls(each, began)], fleet))


# -- the operator ---------------------------------------------------------------------------------------------------


def _cycles(operator: OperatorProcess, began: float) -> tuple[list[Cycle], list[Cycle]]:
    """Those until nothing failed any more, and the steady ones after them."""
    bootstrap: list[Cycle] = []
    steady: list[Cycle] = []
    before = {SECONDS: 0.0, ERRORS: 0.0}
    operator.wait_ready(CYCLE_TIMEOUT_S)
    while len(steady) < STEADY_CYCLES:
        now = _after(operator, 1 + len(bootstrap) + len(steady))
        cycle = _cycle(operator, now, before)
        _say(began, f"{cycle}")
        (steady if bootstrap and not bootstrap[-1].failures else bootstrap).append(cycle)
        before = now
    return bootstrap, steady


def _after(operator: OperatorProcess, number: int) -> dict[str, float]:
    found: dict[str, float] = {}

    def ended() -> bool:
        found.update(figures(operator))
        return found[CYCLES] >= number

    until(ended, what=f"{number} cycles", seconds=CYCLE_TIMEOUT_S)
    if found[CYCLES] > number:
        raise RuntimeError(f"missed the end of cycle {number}")
    return found


def _cycle(operator: OperatorProcess, now: Mapping[str, float], before: Mapping[str, float]) -> Cycle:
    told = list(_STAGES.finditer(operator.log.read_text(encoding="utf-8", errors="replace")))[-1]
    stages = dict(each.rsplit(" ", 1) for each in told["stages"].split(", "))
    peak, present = _memory(operator.pid)
    return Cycle(
        queries=int(now[QUERIES]),
        samples=int(now[SAMPLES]),
        seconds=now[SECONDS] - before[SECONDS],
        failures=int(now[ERRORS] - before[ERRORS]),
        stages={stage: float(seconds) for stage, seconds in stages.items()},
        wrote=told["wrote"],
        peak_mib=peak,
        mib=present,
    )


def _memory(pid: int) -> tuple[float, float]:
    """Largest and present resident set, MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = dict(re.findall(r"(VmHWM|VmRSS):\s+(\d+) kB", status))
    return round(int(found["VmHWM"]) / 1024, 1), round(int(found["VmRSS"]) / 1024, 1)


# -- KRR ------------------------------------------------------------------------------------------------------------

# robusta_krr/core/integrations/prometheus/metrics/{cpu,memory}.py: for each workload and container one instant query
# of each of these, over two weeks at 75 seconds.
_CPU, _MEMORY = "container_cpu_usage_seconds_total{{{of}}}", "container_memory_working_set_bytes{{{of}}}"
_BY = "by (container, pod, job)"
KRR_QUERIES = (
    f"quantile_over_time(0.95, max(rate({_CPU}[75s])) {_BY}[14d:75s])",
    f"count_over_time(max({_CPU}) {_BY}[14d:75s])",
    f"max_over_time(max({_MEMORY}) {_BY}[14d:75s])",
    f"count_over_time(max({_MEMORY}) {_BY}[14d:75s])",
)


def krr(url: str, fleet: Sequence[Member]) -> Krr:
    """The way KRR asks: four queries a container, six at once."""
    now = time.time()
    asked = [query.format(of=_selector(each)) for each in fleet for query in KRR_QUERIES]
    began = time.monotonic()
    with ThreadPoolExecutor(KRR_WORKERS) as pool:
        answered = list(pool.map(lambda query: _answered(url, query, now), asked))
    return Krr(len(fleet), len(asked), time.monotonic() - began, answered.count(False))


def _selector(member: Member) -> str:
    pod = member.pod
    return f'namespace="{pod.namespace}", pod=~"{pod.name}", container="{pod.container}"'


def _answered(url: str, query: str, at: float) -> bool:
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=120)
    try:
        connection.request("GET", f"/api/v1/query?{urlencode({'query': query, 'time': repr(at)})}")
        answer = connection.getresponse()
        return answer.status == http.HTTPStatus.OK and len(json.loads(answer.read())["data"]["result"]) == 1
    finally:
        connection.close()


# -- what is told ---------------------------------------------------------------------------------------------------


def _goals(found: Found) -> list[Goal]:
    cold, worst = found.bootstrap, max(found.steady, key=lambda each: each.seconds)
    decided = sum(each.decided_seconds for each in cold)
    evaluate = max(each.stages.get("evaluate", 0.0) for each in found.steady)
    peak = max(each.peak_mib for each in found.steady)
    goals = [
        _at_most("bootstrap: queries", MOST_QUERIES, sum(each.queries for each in cold), ""),
        _at_most("bootstrap: until all are decided, nothing written yet", MOST_SECONDS, decided, " s"),
        _at_most("steady cycle: queries", STEADY_QUERIES, max(each.queries for each in found.steady), ""),
        _at_most("steady cycle, the API's lists included (slowest)", STEADY_SECONDS, worst.seconds, " s"),
        _at_most("of which evaluate", EVALUATE_SECONDS, evaluate, " s"),
        _at_most("the operator's largest resident set", MOST_MIB, peak, " MiB"),
        _at_most("queries and writes that failed", 0, sum(each.failures for each in (*cold, *found.steady)), ""),
    ]
    return goals + (_krr_goals(found.krr, decided, worst.seconds, found.deployments) if found.krr else [])


def _at_most(what: str, most: float, found: float, unit: str) -> Goal:
    return Goal(what, f"at most {most:g}{unit}", f"{found:.1f}".removesuffix(".0") + unit, found <= most)


def _krr_goals(krr: Krr, cold: float, steady: float, deployments: int) -> list[Goal]:
    """KRR's time scaled to our number of deployments: it asks for each by itself."""
    scaled = krr.seconds * deployments / krr.deployments
    return [
        Goal(what, f"at least {least:g} times", f"{scaled / ours:.1f} times", scaled >= least * ours)
        for what, least, ours in (
            ("KRR's queries for as many deployments over our bootstrap", KRR_BOOTSTRAP, cold),
            ("the same over our steady cycle", KRR_STEADY, steady),
        )
    ]


def _body(found: Found) -> str:
    cycles = [("bootstrap", each) for each in found.bootstrap] + [("steady", each) for each in found.steady]
    stages = list(found.steady[0].stages)
    rows: list[tuple[Figure, ...]] = [
        (
            *(name, each.queries, each.samples, f"{each.seconds:.1f}"),
            *(f"{each.stages.get(stage, 0.0):.1f}" for stage in stages),
            *(each.mib, each.peak_mib, each.wrote),
        )
        for name, each in cycles
    ]
    head = ("cycle", "queries", "samples read", "seconds", *stages, "RSS MiB", "peak MiB", "wrote")
    asked = found.krr and (
        f"KRR's pattern, four instant queries a container by {KRR_WORKERS} workers over {found.krr.deployments} of "
        f"the deployments in the same store: {found.krr.queries} queries in {found.krr.seconds:.1f} s, "
        f"{found.krr.failed} without an answer. It asks for each deployment by itself, so that its time for all is "
        "that times their number."
    )
    return f"""{found.deployments} deployments of one pod each on {found.nodes} nodes, {large_fleet.DAYS} days at a \
minute: {found.series} series, {found.samples / 1e9:.2f} billion samples, {found.store_mib / 1024:.1f} GiB of \
blocks of 18 hours, written with Prometheus' own library (laid down in {found.laid_seconds:.0f} s, 0 when they were \
there). {large_fleet.DISTINCT} twins are simulated; the others are copies under names of their own, with index \
entries and chunks of their own. Every metric that the operator asks for is there: vLLM's gauges and counters, its \
three latency histograms over the last {large_fleet.HISTOGRAM_DAYS} days (the operator looks back three), DCGM, \
cAdvisor, `up`. The Kubernetes side is a real API server that holds every object ({found.objects_seconds:.0f} s to \
write them); controllers, scheduler and kwok rest. Load on the machine at the end: {os.getloadavg()[0]:.1f}.

{table(head, rows)}

The bootstrap ends with the first cycle in which nothing failed. Time goes on meanwhile, so that facts change from \
cycle to cycle. Stages in seconds, each from the end of the one before: the API's lists; reading them; asking \
Prometheus and taking its answers in; observing; evaluating; what is to be said about it; writing. Prometheus' largest \
resident set was \
{found.prometheus_mib:.0f} MiB, the page cache not counted.

{asked or ""}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the result; 0 when the goals are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__)
    parser.add_argument("--deployments", type=int, default=10_000)
    parser.add_argument("--krr", type=int, default=KRR_DEPLOYMENTS, help="deployments that KRR's pattern is run over")
    parser.add_argument("--lay", action="store_true", help="only lay the history down")
    parser.add_argument("--forget", action="store_true", help="only remove every history from the cache")
    parser.add_argument("--output", type=Path, help="folder of the result, when not benchmarks/results")
    chosen = parser.parse_args(argv)
    if chosen.forget:
        _forget()
        return 0
    if chosen.lay:
        history(large_fleet.members(chosen.deployments), Found(chosen.deployments, 0))
        return 0
    found = measure(chosen.deployments, min(chosen.krr, chosen.deployments))
    result = Result(
        name="large",
        title=f"{found.deployments} deployments over two weeks",
        command=f"python -m benchmarks.large --deployments {found.deployments}",
        goals=_goals(found),
        body=_body(found),
        figures={"found": asdict(found)},
        cluster=True,
    )
    return result.write(chosen.output)


def _say(began: float, what: str) -> None:
    print(f"-- {time.monotonic() - began:6.1f} s  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
