"""Sharing owned capacity: seconds and cost of the joint choice, and what it adds to the evaluation of a fleet.

python -m benchmarks.sharing --sizes 100 1000 10000
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.evaluate import classes, worlds
from benchmarks.report import Goal, Result, table
from gpu_rightsizer.decide.allocation import Option, allocate
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.hardware import Commitment, Provisionable
from gpu_rightsizer.evaluate import evaluate
from tests import builders

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpu_rightsizer.domain.hardware import InstanceClass

SIZES: Final = (100, 1000, 10_000)
POOLS: Final = 6
FLEET: Final = 1000
MOST_SECONDS: Final = 1.0  # for a thousand


@dataclass(frozen=True, slots=True)
class Choice:
    """One crowd: the solver's seconds, how far its answer may be off, and what prices alone cost over it."""

    deployments: int
    seconds: float
    gap: float
    prices: float
    prices_seconds: float


def crowd(count: int, rng: np.random.Generator) -> tuple[list[list[Option]], dict[str, int]]:
    """Options of up to four pools, then one that takes of none; the pools hold a third of what is asked first."""
    menu = []
    for _ in range(count):
        names = rng.choice(POOLS, size=rng.integers(1, 5), replace=False)
        costs = np.sort(rng.lognormal(1.0, 0.7, size=len(names) + 1)).round(4)
        amounts = rng.choice((1, 2, 4, 8), size=len(names))
        pooled = [Option(float(c), f"pool-{n}", int(a)) for c, n, a in zip(costs, names, amounts, strict=False)]
        menu.append([*pooled, Option(float(costs[-1]))])
    asked = {f"pool-{n}": sum(o[0].amount for o in menu if o[0].pool == f"pool-{n}") for n in range(POOLS)}
    return menu, {name: amount // 3 for name, amount in asked.items()}


def measure(count: int) -> Choice:
    """One crowd, both ways."""
    menu, free = crowd(count, np.random.default_rng(20261125))
    began = time.process_time()
    solved = allocate(menu, free)
    took = time.process_time() - began
    began = time.process_time()
    simple = allocate(menu, free, seconds=0)
    over = _cost(menu, simple.chosen) / _cost(menu, solved.chosen)
    return Choice(count, took, solved.gap, over, time.process_time() - began)


def _cost(menu: Sequence[Sequence[Option]], chosen: Sequence[int]) -> float:
    return sum(options[at].cost for options, at in zip(menu, chosen, strict=True))


def owned(known: Sequence[InstanceClass], nodes: int) -> list[InstanceClass]:
    """Two kinds of single accelerators that the fleet owns, cheaper than to buy."""
    like = {name: next(each for each in known if each.name == name) for name in ("g6e.xlarge", "g5.xlarge")}
    made = [
        builders.instance(f"own-{name}", each.accelerator, 1, "0.40", commitment=Commitment.OWNED, nodes=nodes,
                          provisionable=Provisionable.YES)
        for name, each in like.items()
    ]  # fmt: skip
    return [replace(each, held=0) for each in made]


def fleet(known: Sequence[InstanceClass]) -> Mapping[str, float]:
    """Processor seconds to evaluate a thousand deployments, with room for all and with room for a quarter."""
    found: dict[str, float] = {}
    for name, nodes in (("room for all", 10 * FLEET), ("room for a quarter", FLEET // 8)):
        everybody = worlds(FLEET)
        began = time.process_time()
        told = evaluate(everybody, [*known, *owned(known, nodes)], builders.NOW)
        found[name] = time.process_time() - began
        found[f"{name}: told that it is taken"] = float(
            sum(any(one.code is Code.POOL_TAKEN for one in each.decision.reasons) for each in told)
        )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each size and write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sharing", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of deployments")
    parser.add_argument("--output", type=Path, help="folder of the result, when not benchmarks/results")
    chosen = parser.parse_args(argv)
    measure(10)  # loads what is loaded lazily
    found = [measure(count) for count in chosen.sizes]
    known = classes()
    evaluate(worlds(2), known, builders.NOW)
    whole = fleet(known)
    rows = [
        (c.deployments, f"{c.seconds:.2f}", f"{100 * c.gap:.3f} %", f"{c.prices:.4f}", f"{c.prices_seconds:.2f}")
        for c in found
    ]
    thousand = [each for each in found if each.deployments == FLEET]
    goals = [
        Goal("the joint choice for a thousand", f"at most {MOST_SECONDS:g} s", f"{each.seconds:.2f} s",
             each.seconds <= MOST_SECONDS)
        for each in thousand
    ]  # fmt: skip
    lines = [(name, f"{figure:.2f}" if "told" not in name else f"{figure:.0f}") for name, figure in whole.items()]
    head = ("deployments", "seconds", "may be off by", "by prices: cost over it", "seconds")
    body = f"""All deployments want one of {POOLS} pools, of which there is a third of what they ask for first; each has
up to four pools to turn to and one class without limit. *By prices* is what is done where the solver has no answer in
time. Seconds are of processor time.

{table(head, rows)}

{FLEET} deployments of `benchmarks.evaluate`, the catalogue and two owned classes: seconds of processor time of the
whole evaluation, and how many were told that a class is taken.

{table(("fleet", "figure"), lines)}
"""
    command = f"python -m benchmarks.sharing --sizes {' '.join(map(str, chosen.sizes))}"
    figures = {"choices": [asdict(each) for each in found], "fleet": whole}
    return Result("sharing", "Owned capacity, shared", command, goals, body, figures).write(chosen.output)


if __name__ == "__main__":
    sys.exit(main())
