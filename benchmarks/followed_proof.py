"""The short path of `followed` against the whole one: the same twins through a control plane and a Prometheus.

python -m benchmarks.followed_proof --twins 20
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.campaign import LIVE_SPAN_S, advised
from benchmarks.followed import FIRST_SEED
from benchmarks.paper import STEP_S, Paper, asked, read, told
from benchmarks.report import Goal, Result, table
from benchmarks.verdicts import Said
from testbed.stage import Actor
from testbed.twin.deployment import LIVE_STEP_S, simulate
from testbed.twin.hardware import CLASSES
from testbed.twin.population import random_life

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testbed.twin.deployment import TwinSpec
    from testbed.twin.population import Life

TWINS = 20


@dataclass(frozen=True, slots=True)
class Pair:
    """One twin's recommendation by both paths."""

    seed: int
    runs_on: str
    whole: Said
    short: Said

    @property
    def same(self) -> bool:
        """The same action, to the same place."""
        return _said(self.whole) == _said(self.short)


def pairs(lives: Mapping[int, Life]) -> list[Pair]:
    """The whole path is scraped on until it is read; the short one ends where that ended."""
    actors = [Actor(each.spec, asked()) for each in lives.values()]
    there = advised(actors, time.monotonic(), step_s=STEP_S, spares=list(CLASSES))
    began = datetime.fromtimestamp(there.now, UTC)
    ends = [datetime.fromisoformat(each["recommendation"]["basis"]["to"]) for each in there.statuses.values()]
    papers = [until(max(ends), life, began) for life in lives.values()]
    return [
        Pair(seed, _place(life.spec), Said.read(there.statuses[life.spec.name]), read(paper, evaluation))
        for (seed, life), paper, evaluation in zip(lives.items(), papers, told(papers), strict=True)
    ]


def until(end: datetime, life: Life, began: datetime) -> Paper:
    """The life on paper at `end`: after the history, which ends at `began`, what was scraped every ten seconds."""
    run = simulate(life.spec, live_span_s=LIVE_SPAN_S)
    passed = (end - began).total_seconds() // LIVE_STEP_S * LIVE_STEP_S
    longer = replace(life.spec, span_s=life.spec.span_s + passed)
    return Paper(replace(life, spec=longer), replace(run, spec=longer), began + timedelta(seconds=passed))


def without_a_past(first: int, twins: int) -> dict[int, Life]:
    """The first so many: a cluster that is minutes old remembers no out-of-memory."""
    drawn = ((seed, random_life(seed)) for seed in count(first))
    return dict(islice(((seed, life) for seed, life in drawn if not (life.incidents or life.has_spikes)), twins))


def _said(said: Said) -> tuple[str, str, int, int, tuple[tuple[str, str], ...]]:
    return (
        said.action, said.instance_class, said.tensor_parallel, said.replicas, tuple(sorted(said.engine_args.items()))
    )  # fmt: skip


def _place(spec: TwinSpec) -> str:
    return f"{spec.node_class} tp{spec.tp} x{spec.replicas}"


def _words(said: Said) -> str:
    where = f" {said.instance_class} tp{said.tensor_parallel} x{said.replicas}" if said.moves else ""
    return f"{said.action}{where} ({said.confidence})"


def main(argv: Sequence[str] | None = None) -> int:
    """Both paths and the result; 0 when they say the same of every twin."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.followed_proof", description=__doc__)
    parser.add_argument("--twins", type=int, default=TWINS, help="how many")
    parser.add_argument("--seeds", type=int, default=FIRST_SEED, help="the first seed")
    parser.add_argument("--output", type=Path, help="folder of the result, when not benchmarks/results")
    chosen = parser.parse_args(argv)
    found = pairs(without_a_past(chosen.seeds, chosen.twins))
    same = sum(each.same for each in found)
    rows = [(each.seed, each.runs_on, _words(each.whole), _words(each.short), each.same) for each in found]
    return Result(
        name="followed_proof",
        title=f"The short path to {len(found)} recommendations, and the whole one",
        command=f"python -m benchmarks.followed_proof --twins {chosen.twins} --seeds {chosen.seeds}",
        goals=[Goal("the same recommendation by both", "all", f"{same} of {len(found)}", same == len(found))],
        body=f"""`followed` reads twins without a cluster and without Prometheus. Here the same twins go through \
a real Prometheus and a local control plane as well, the operator as a process of its own under the chart's \
ServiceAccount, scraping on until it has read; the short path is given the same time, to the second, and the same \
fleet (`followed` itself looks at each twin alone).

{table(("seed", "runs on", "whole path", "short path", "same"), rows)}
""",
        figures={"same": same, "twins": len(found)},
        cluster=True,
    ).write(chosen.output)


if __name__ == "__main__":
    sys.exit(main())
