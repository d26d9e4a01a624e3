"""Real traffic: seven days of ServeGen seen, the next seven judged, against everybody else and against the clairvoyant.

python -m benchmarks.servegen --traces FOLDER     (or SERVEGEN_TRACES=FOLDER)

The traces are not part of this repository; `servegen_fleet` says what they are and what files are expected. Parquet
needs pyarrow. The setting is chosen on the first seven days alone (`--tune` repeats the choice): days 1 to 4 seen,
5 to 7 judged. While the method was developed the later week was looked at as well; nothing was chosen by it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks import servegen_rows as rows
from benchmarks.report import RESULTS, Result
from benchmarks.servegen_fleet import CLIENTS, FIT_MINUTES, INTERVALS, build
from gpu_rightsizer.backtest.replay import Settings
from gpu_rightsizer.decide.elastic import Rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.servegen_fleet import Fleet

LEADS: Final = (5, 2, 10)
OVERHEAD: Final = 0.05  # of the fit week's peak: a copy of the weights beside a replica of 1/4 takes a sixth of it
OVERHEADS: Final = (0.0, 0.05, 0.1, 0.2)
ENVIRONMENT: Final = "SERVEGEN_TRACES"
PLOT: Final = """![cost against violations](servegen.svg)

The reliability diagram beside it is of the tail alone, before recalibration: this trace has one origin."""


def main(argv: Sequence[str] | None = None) -> int:
    """Build the fleet, judge, write; 1 when a goal is missed, 2 when there are no traces."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servegen", description=__doc__)
    parser.add_argument("--traces", type=Path, default=os.environ.get(ENVIRONMENT), help=f"folder; or {ENVIRONMENT}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="only every n-th deployment, for a quick look")
    parser.add_argument("--tune", action="store_true", help="only repeat the choice of settings on days 1 to 7")
    parser.add_argument("--output", type=Path, help="folder of the result, when not benchmarks/results")
    chosen = parser.parse_args(argv)
    folder = Path(chosen.traces) if chosen.traces else None
    if folder is None or not all((folder / name).is_file() for name in (INTERVALS, CLIENTS)):
        print(f"no ServeGen traces: give --traces or {ENVIRONMENT}, a folder with {INTERVALS} and {CLIENTS}")
        return 2
    began = time.monotonic()
    fleet = build(folder, chosen.seed)
    fleet = fleet.only(np.arange(len(fleet.fold)) % chosen.every == 0)
    if chosen.tune:
        print(rows.tuning(fleet.only(fleet.busy()), OVERHEAD)[0])
        return 0
    result, plot = _judged(fleet, chosen.seed, began)
    code = result.write(chosen.output)
    ((chosen.output or RESULTS) / "servegen.svg").write_text(plot, encoding="utf-8")
    return code


def _judged(fleet: Fleet, seed: int, began: float) -> tuple[Result, str]:
    busy = fleet.only(fleet.busy())
    settings = Settings(FIT_MINUTES, FIT_MINUTES, rules=Rules())
    static = rows.static(fleet, OVERHEAD)
    elastic = {
        lead: rows.elastic(busy, replace(settings, rules=replace(settings.rules, lead=lead)), OVERHEAD)
        for lead in LEADS
    }
    tuned, tuned_figures = rows.tuning(busy, OVERHEAD)
    calibrated = rows.calibration(fleet)
    sensitivity = rows.overheads(busy, settings, OVERHEADS)
    goals = [*calibrated.goals, *rows.elastic_goals(elastic[5])]
    sections = [
        ("Setting", rows.about(fleet, busy, OVERHEAD, seed)),
        ("Recalibrated probabilities", calibrated.text),
        ("Static sizing, all deployments", static.text),
        ("Elastic, busy deployments", "\n\n".join(f"Lead time {lead} min.\n\n{elastic[lead].text}" for lead in LEADS)),
        ("Frontier: each margin swept, read at our violations",
         f"{elastic[5].frontier}\n\n{PLOT}"),
        ("Per-replica overhead", sensitivity.text),
        ("How the setting was chosen", tuned),
        ("What was tried", rows.TRIED),
    ]  # fmt: skip
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)
    body += f"\n\n{time.monotonic() - began:.0f} s.\n"
    figures = {
        "calibration": calibrated.figures,
        "static": static.figures,
        "elastic": {str(lead): each.figures for lead, each in elastic.items()},
        "overheads": sensitivity.figures,
        "tuning": tuned_figures,
    }
    command = f"python -m benchmarks.servegen --traces FOLDER --seed {seed}"
    title = "ServeGen: seven days seen, seven judged"
    return Result("servegen", title, command, goals, body, figures), elastic[5].plot


if __name__ == "__main__":
    sys.exit(main())
