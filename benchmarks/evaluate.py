"""The pure evaluation, from observations to decisions, on one core: deployments a second, and what memory it takes.

python -m benchmarks.evaluate --sizes 10 100 1000 10000

Every deployment has histories of its own. The goal is on 1,000 of one model and pod shape; beside it stand fleets whose
pods all ask for something else, and fleets of several models, engines, classes and numbers of replicas.
"""

from __future__ import annotations

import argparse
import gc
import re
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.report import Goal, Result, table
from gpu_rightsizer import catalogue
from gpu_rightsizer.controller.collector import paused_collector
from gpu_rightsizer.domain.engines import EngineType
from gpu_rightsizer.domain.readings import Measured
from gpu_rightsizer.domain.units import GIB
from gpu_rightsizer.domain.workload import WorkloadKey
from gpu_rightsizer.evaluate import evaluate
from tests import builders

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.domain.world import World

GOAL_PER_SECOND = 5000
GOAL_SIZE = 1000
SIZES = (10, 100, 1000, 10_000)
REPEATS = 3
_ONCE_FROM = 10_000  # fleets that are evaluated once
_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Run:
    """One fleet: the median of the repetitions, and the MiB that the first one took beyond the fleet itself."""

    fleet: str
    deployments: int
    seconds: float
    per_second: float
    mib: float


def worlds(count: int, kind: Callable[[int, np.random.Generator], World] | None = None) -> list[World]:
    """Complete engine and device metrics of 14 days of diurnal traffic, every deployment with figures of its own."""
    rng = np.random.default_rng(20261125)
    return [(kind or _alike)(index, rng) for index in range(count)]


def _alike(index: int, rng: np.random.Generator) -> World:
    return _named(index, builders.world(_observed(index, rng)))


def _each_pod_its_own(index: int, rng: np.random.Generator) -> World:
    """CPU and memory requests that no other pod has."""
    made = _alike(index, rng)
    asked = builders.pod(memory_gib=float(rng.uniform(4, 60)))
    pod = replace(asked, cpu=type(asked.cpu)(int(rng.integers(1000, 15_000))))
    return replace(made, workload=replace(made.workload, pod=pod))


def _mixed(index: int, rng: np.random.Generator) -> World:
    """Several models, engines, present classes and numbers of replicas; one in seven is seen by its devices alone."""
    model, ranks, on = _MIX[index % len(_MIX)]
    replicas = int(rng.integers(1, 4))
    if index % 7 == 0:
        used = builders.diurnal(float(rng.uniform(4, 30)) * GIB, seed=index)
        return _named(index, builders.world(builders.no_engine(fb_used=used), engine=EngineType.TGI, on=on))
    observed = _observed(index, rng)
    pool = builders.pool_tokens(builders.BY_NAME[on], model, ranks)
    observed = replace(observed, kv_pool=Measured(pool), fb_total=_device(on))
    return _named(index, builders.world(observed, model=model, tensor_parallel=ranks, on=on, replicas=replicas))


_MIX = (
    (builders.LLAMA_8B, 1, "p5.48xlarge"),
    (builders.QWEN_7B, 1, "g6e.xlarge"),
    (builders.LLAMA_70B, 4, "p4de.24xlarge"),
    (builders.MIXTRAL_8X7B, 2, "p5en.48xlarge"),
    (builders.LLAMA_8B, 1, "g6e.12xlarge"),
)
FLEETS = {"alike": _alike, "each pod its own requests": _each_pod_its_own, "mixed": _mixed}


def _device(on: str) -> Measured:
    return Measured(builders.BY_NAME[on].accelerator_memory * 0.98)


def _observed(index: int, rng: np.random.Generator) -> Observation:
    return builders.observation(
        requests_per_second=float(rng.lognormal(0, 0.8)),
        prompt=float(rng.uniform(200, 3000)),
        output=float(rng.uniform(50, 500)),
        seed=index,
    )


def _named(index: int, made: World) -> World:
    workload: Workload = replace(made.workload, key=WorkloadKey("team", f"model-{index}", f"uid-{index}", 1))
    return replace(made, workload=workload)


def classes() -> list[InstanceClass]:
    """Everything the catalogue knows."""
    return list(catalogue.load().instances.values())


def measured(fleet: str, count: int) -> Run:
    """In a process of its own, whose memory no other fleet has used."""
    with get_context("spawn").Pool(1) as process:
        return process.apply(measure, (fleet, count))


def measure(fleet: str, count: int) -> Run:
    """The median of some runs over fresh worlds, as the operator runs them; memory is that of the first."""
    known = classes()
    evaluate(worlds(2), known, builders.NOW)  # loads what is loaded lazily
    seconds, taken = [], []
    for _ in range(REPEATS if count < _ONCE_FROM else 1):
        made = worlds(count, FLEETS[fleet])
        gc.collect()
        before = _memory(peak=False)
        began = time.process_time()
        with paused_collector():
            evaluate(made, known, builders.NOW)
        seconds.append(time.process_time() - began)
        taken.append(_memory(peak=True) - before)
    took = statistics.median(seconds)
    return Run(fleet, count, took, count / took, round(taken[0], 1))


def _memory(*, peak: bool) -> float:
    """MiB this process holds, and lets Linux count its peak from here on; or that peak."""
    if not peak:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    name = "VmHWM" if peak else "VmRSS"
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) * 1024 / _MIB if found else 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each fleet and write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluate", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of deployments")
    parser.add_argument("--output", type=Path, help="folder of the result, when not benchmarks/results")
    chosen = parser.parse_args(argv)
    known = classes()
    found = [measured("alike", count) for count in chosen.sizes]
    beside = sorted({GOAL_SIZE, max(chosen.sizes)} & set(chosen.sizes))
    found += [measured(fleet, count) for fleet in list(FLEETS)[1:] for count in beside]
    rows = [(m.fleet, m.deployments, f"{m.seconds:.2f}", f"{m.per_second:.0f}", f"{m.mib:.0f}") for m in found]
    body = f"""Median of {REPEATS} runs (one from {_ONCE_FROM:,} deployments on), in seconds of processor time of one \
process with one thread; {len(known)} instance classes of the catalogue, 14 days of hourly blocks. No Prometheus and \
no cluster takes part, and nothing is kept from one run to the next. As in the operator, the garbage collector waits \
meanwhile. Memory is the peak beyond what the process held with the fleet's histories.

{table(("fleet", "deployments", "CPU seconds", "deployments per second", "MiB beyond the histories"), rows)}
"""
    result = Result(
        name="evaluate",
        title="Pure evaluation",
        command=f"python -m benchmarks.evaluate --sizes {' '.join(map(str, chosen.sizes))}",
        goals=_goals(found),
        body=body,
        figures={"classes": len(known), "sizes": [asdict(each) for each in found]},
    )
    return result.write(chosen.output)


def _goals(found: Sequence[Run]) -> list[Goal]:
    of = [m.per_second for m in found if m.fleet == "alike" and m.deployments == GOAL_SIZE]
    aim = f"at least {GOAL_PER_SECOND:,} a second"
    return [Goal(f"{GOAL_SIZE:,} deployments, one core", aim, f"{each:.0f}", each >= GOAL_PER_SECOND) for each in of]


if __name__ == "__main__":
    sys.exit(main())
