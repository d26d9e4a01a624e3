"""The pure evaluation, from observations to decisions, over 10, 100 and 1,000 deployments on one core.

python -m benchmarks.evaluate --sizes 10 100 1000
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.report import Result, table
from gpu_rightsizer import catalogue
from gpu_rightsizer.domain.workload import WorkloadKey
from gpu_rightsizer.evaluate import evaluate
from tests import builders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.world import World

SIZES = (10, 100, 1000)
REPEATS = 3


@dataclass(frozen=True, slots=True)
class Size:
    """One fleet: the median of the repetitions."""

    deployments: int
    seconds: float
    per_second: float


def worlds(count: int) -> list[World]:
    """Complete engine and device metrics of 14 days of diurnal traffic, every deployment with figures of its own."""
    rng = np.random.default_rng(20261125)
    return [_world(index, rng) for index in range(count)]


def _world(index: int, rng: np.random.Generator) -> World:
    observed = builders.observation(
        requests_per_second=float(rng.lognormal(0, 0.8)),
        prompt=float(rng.uniform(200, 3000)),
        output=float(rng.uniform(50, 500)),
        seed=index,
    )
    made = builders.world(observed)
    key = WorkloadKey("team", f"model-{index}", f"uid-{index}", 1)
    return replace(made, workload=replace(made.workload, key=key))


def classes() -> list[InstanceClass]:
    """Everything the catalogue knows."""
    return list(catalogue.load().instances.values())


def measure(count: int, known: Sequence[InstanceClass]) -> Size:
    """The median of some runs over fresh worlds."""
    seconds = []
    for _ in range(REPEATS):
        fleet = worlds(count)
        began = time.process_time()
        evaluate(fleet, known, builders.NOW)
        seconds.append(time.process_time() - began)
    took = statistics.median(seconds)
    return Size(count, took, count / took)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each size and write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluate", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of deployments")
    parser.add_argument("--output", type=Path, help="folder of the result, when not benchmarks/results")
    chosen = parser.parse_args(argv)
    known = classes()
    evaluate(worlds(2), known, builders.NOW)  # loads what is loaded lazily
    sizes = [measure(count, known) for count in chosen.sizes]
    rows = [(each.deployments, f"{each.seconds:.2f}", f"{each.per_second:.0f}") for each in sizes]
    body = f"""Median of {REPEATS} runs, in seconds of processor time of one process; {len(known)} instance classes of \
the catalogue, 14 days of hourly blocks. No Prometheus and no cluster takes part.

{table(("deployments", "CPU seconds", "deployments per second"), rows)}
"""
    result = Result(
        name="evaluate",
        title="Pure evaluation",
        command=f"python -m benchmarks.evaluate --sizes {' '.join(map(str, chosen.sizes))}",
        goals=(),
        body=body,
        figures={"classes": len(known), "sizes": [asdict(each) for each in sizes]},
    )
    return result.write(chosen.output)


if __name__ == "__main__":
    sys.exit(main())
