"""A cycle of the operator over 10, 100 and 1,000 deployments: queries, time, memory, requests, and needless writes.

python -m benchmarks.scale --sizes 10 100 1000
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import fleet
from benchmarks.operator_figures import ERRORS, QUERIES, SAMPLES, SECONDS, wait_for_cycle
from benchmarks.report import Goal, Result, table
from testbed.cluster.local import LocalCluster
from testbed.ground import install
from testbed.manifests import Asked, Host
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT, OperatorProcess
from testbed.prometheus import PrometheusServer
from testbed.remote_write import Series
from testbed.stage import Actor
from testbed.twin.arrivals import DAY_S
from testbed.twin.deployment import simulate
from testbed.twin.identity import address, device_uuid, letters
from testbed.twin.population import random_twin
from testbed.twin.series import default_pods, history

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from testbed.cluster.audit import Request
    from testbed.twin.identity import Pod

SIZES = (10, 100, 1000)
STEP_S = 240.0  # at most 300, the window of the token rates
AHEAD_S = 7200.0  # samples beyond the history, pushed as their time comes
BRIDGE_SECONDS = 20.0
DISTINCT = 10  # twins that are simulated; the others are copies of them under other names
FIRST_SEED = 3000
MOST_QUERIES = 15
CYCLE_SECONDS = 900.0
PER_NAMESPACE = 50


@dataclass(frozen=True, slots=True)
class Cycle:
    """One cycle as the operator and the audit log tell it."""

    queries: int
    samples: int
    seconds: float
    failures: int  # of queries and writes
    requests: int
    writes: int  # without the Lease's


@dataclass(frozen=True, slots=True)
class Size:
    """One fleet. Memory in MiB: the operator's largest resident set until the end of the second cycle."""

    deployments: int
    series: int
    cold: Cycle
    warm: Cycle
    peak_mib: float
    laying_down_seconds: float
    no_writes: str = ""  # why the second cycle's writes say nothing here


def measure(deployments: int) -> Size:
    """A fleet of that size, two cycles of one operator over it."""
    began = time.monotonic()
    with LocalCluster() as cluster, PrometheusServer() as prometheus:
        actors = _actors(deployments)
        pods = fleet.deploy(cluster, actors).pods
        _freeze(cluster)
        _say(began, f"{deployments} Deployments with their pods")
        end = math.floor(time.time() / STEP_S) * STEP_S + AHEAD_S
        series = _series(actors, pods, end)
        with _kept_current(prometheus, series, began):
            install(cluster, prometheus.url)
            fleet.ask(cluster, actors)
            laid = time.monotonic() - began
            _say(began, "chart installed, InferenceDeployments created; the operator starts")
            with OperatorProcess(cluster, prometheus.url, interval="30s") as operator:
                cold, warm, peak = _two_cycles(cluster, operator)
        _say(began, f"cold {cold.seconds:.1f} s, warm {warm.seconds:.1f} s")
    return Size(deployments, len(series), cold, warm, peak, laid)


def _freeze(cluster: LocalCluster) -> None:
    """The controllers and kubelets rest: a thousand nodes renewing their leases would take the cores from the rest."""
    for process in cluster.processes.started:
        if process.name in ("kube-controller-manager", "kwok"):
            cluster.processes.signal(process, signal.SIGSTOP)


def _actors(deployments: int) -> list[Actor]:
    twins = [random_twin(FIRST_SEED + index) for index in range(min(DISTINCT, deployments))]
    asked = Asked(host=Host(cpu="1", memory="4Gi", shared_memory="1Gi"))
    return [
        Actor(
            replace(
                twins[index % len(twins)],
                name=f"model-{index:04d}",
                namespace=f"team-{index // PER_NAMESPACE:02d}",
                replicas=1,
                span_s=14 * DAY_S + AHEAD_S,
                knobs=replace(twins[index % len(twins)].knobs, idle_devices=False, rollouts_s=(), restarts_s=()),
            ),
            asked,
        )
        for index in range(deployments)
    ]


def _series(actors: Sequence[Actor], pods: Mapping[fleet.Key, Sequence[Pod]], end: float) -> list[Series]:
    """The history of each until `end`: some are simulated, the others share their values under their own labels."""
    found: list[Series] = []
    for actor in actors[:DISTINCT]:
        run = simulate(actor.twin)
        template = default_pods(run)[0]
        shown = fleet.kept(history(run, end, [template], step_s=STEP_S))
        for copy in actors[actors.index(actor) :: DISTINCT]:
            (pod,) = pods[copy.key]
            names = _names(template, pod, actor.twin.tp)
            found += [_relabelled(each, names) for each in shown]
    return found


def _names(old: Pod, new: Pod, devices: int) -> dict[str, str]:
    """What stands in the labels of one pod's series, and what stands there for another pod."""
    names = {old.name: new.name, old.namespace: new.namespace, old.node: new.node, f"{old.ip}:8000": f"{new.ip}:8000"}
    names |= {_exporter(old.node)[part]: _exporter(new.node)[part] for part in (0, 1)}
    return names | {device_uuid(old.node, index): device_uuid(new.node, index) for index in range(devices)}


def _exporter(node: str) -> tuple[str, str]:
    """Address and pod of a node's DCGM exporter, as the twin names them."""
    return f"{address(node, '10.0')}:9400", f"nvidia-dcgm-exporter-{letters(node, 5)}"


def _relabelled(series: Series, names: dict[str, str]) -> Series:
    labels = {label: names.get(value, value) for label, value in series.labels.items()}
    return Series(labels, series.times_ms, series.values)


@contextlib.contextmanager
def _kept_current(prometheus: PrometheusServer, series: Sequence[Series], began: float) -> Iterator[None]:
    """All samples up to now; then, until the block ends, each one when its time has come."""
    done = _push(prometheus, series, -math.inf)
    _say(began, f"{len(series)} series with 14 days of history")
    stop = threading.Event()

    def bridge(last: float) -> None:
        while not stop.wait(BRIDGE_SECONDS):
            last = _push(prometheus, series, last)

    last = _push(prometheus, series, done)  # what came due while the history was pushed
    thread = threading.Thread(target=bridge, args=(last,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _push(prometheus: PrometheusServer, series: Sequence[Series], after_ms: float) -> float:
    """The samples between that time and now; returns the time up to which they are there."""
    now_ms = time.time() * 1000
    cut: dict[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
    due = []
    for each in series:
        arrays = (id(each.times_ms), id(each.values))
        if arrays not in cut:
            chosen = (each.times_ms > after_ms) & (each.times_ms <= now_ms)
            cut[arrays] = each.times_ms[chosen], each.values[chosen]
        due.append(Series(each.labels, *cut[arrays]))
    prometheus.push(due)
    return now_ms


def _two_cycles(cluster: LocalCluster, operator: OperatorProcess) -> tuple[Cycle, Cycle, float]:
    operator.wait_ready(CYCLE_SECONDS)
    first = wait_for_cycle(operator, 1, CYCLE_SECONDS)
    between = _requests(cluster)
    second = wait_for_cycle(operator, 2, CYCLE_SECONDS)
    after = _requests(cluster)
    cold = _cycle(first, {SECONDS: 0.0, ERRORS: 0.0}, between)
    return cold, _cycle(second, first, after[len(between) :]), _peak_mib(operator.pid)


def _cycle(now: Mapping[str, float], before: Mapping[str, float], requests: Sequence[Request]) -> Cycle:
    return Cycle(
        queries=int(now[QUERIES]),
        samples=int(now[SAMPLES]),
        seconds=now[SECONDS] - before[SECONDS],
        failures=int(now[ERRORS] - before[ERRORS]),
        requests=len(requests),
        writes=sum(each.writes and each.resource != "leases" for each in requests),
    )


def _requests(cluster: LocalCluster) -> list[Request]:
    return cluster.requests(service_account=(NAMESPACE, SERVICE_ACCOUNT))


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    (kib,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return round(int(kib) / 1024, 1)


def _goals(sizes: Sequence[Size]) -> list[Goal]:
    counts = [each.cold.queries for each in sizes]
    warm = [each.warm.queries for each in sizes]
    writes = {each.deployments: each.warm.writes for each in sizes if not each.no_writes}
    shown = ", ".join(f"{each.deployments}: {each.cold.queries} cold, {each.warm.queries} warm" for each in sizes)
    return [
        Goal(
            "PromQL queries of a cycle",
            f"the same at each size, at most {MOST_QUERIES}",
            shown,
            len(set(counts)) == 1 and len(set(warm)) == 1 and max(counts + warm) <= MOST_QUERIES,
        ),
        Goal(
            "queries and writes that failed",
            "0",
            ", ".join(f"{each.deployments}: {each.cold.failures + each.warm.failures}" for each in sizes),
            not any(each.cold.failures + each.warm.failures for each in sizes),
        ),
        Goal(
            "writes of a second cycle over unchanged facts",
            "0",
            ", ".join(f"{each.deployments}: {writes.get(each.deployments, 'not measured')}" for each in sizes),
            not any(writes.values()) and len(writes) == len(sizes),
        ),
    ]


def _body(sizes: Sequence[Size]) -> str:
    head = (
        *("deployments", "series", "queries cold", "warm", "samples read cold", "warm", "cycle cold s", "warm s"),
        *("operator's peak MiB", "API requests cold", "warm", "writes cold", "warm"),
    )
    rows = [
        (
            *(each.deployments, each.series, each.cold.queries, each.warm.queries),
            *(each.cold.samples, each.warm.samples, f"{each.cold.seconds:.1f}", f"{each.warm.seconds:.1f}"),
            *(each.peak_mib, each.cold.requests, each.warm.requests, each.cold.writes, each.warm.writes),
        )
        for each in sizes
    ]
    return f"""Each deployment has one pod on a node of its own and 14 days of history at {STEP_S:.0f} s (the operator \
learns the interval from `up`), in a real Prometheus on the same machine that keeps the metrics the operator asks for. \
{DISTINCT} twins are simulated and copied under other names; samples newer than the history are written into \
Prometheus as their time comes, not scraped. There are no cAdvisor series. The operator runs under the chart's \
ServiceAccount on a local control plane; requests and writes are those the API server's audit log has of it, writes \
without its Lease.

{table(head, rows)}

{" ".join(f"Writes at {each.deployments}: {each.no_writes}." for each in sizes if each.no_writes)}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each size and write the result; 0 when the goals are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="numbers of deployments")
    parser.add_argument("--also", type=Path, nargs="*", default=(), help="scale.json of sizes measured before")
    parser.add_argument("--output", type=Path, help="folder of the result, when not benchmarks/results")
    chosen = parser.parse_args(argv)
    sizes = sorted([measure(count) for count in chosen.sizes] + _read(chosen.also), key=lambda each: each.deployments)
    counts = [each.deployments for each in sizes]
    result = Result(
        name="scale",
        title=f"A cycle over {', '.join(map(str, counts))} deployments",
        command=f"python -m benchmarks.scale --sizes {' '.join(map(str, counts))}",
        goals=_goals(sizes),
        body=_body(sizes),
        figures={"stepSeconds": STEP_S, "sizes": [asdict(each) for each in sizes]},
        cluster=True,
    )
    return result.write(chosen.output)


def _read(results: Sequence[Path]) -> list[Size]:
    return [
        Size(**{**each, "cold": Cycle(**each["cold"]), "warm": Cycle(**each["warm"])})
        for path in results
        for each in json.loads(path.read_text(encoding="utf-8"))["sizes"]
    ]


def _say(began: float, what: str) -> None:
    print(f"-- {time.monotonic() - began:6.1f} s  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
