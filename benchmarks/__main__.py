"""`make bench` and `python -m benchmarks [name...]`: runs all campaigns, or those named, and writes their results."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CAMPAIGNS = {
    "evaluate": ("benchmarks.evaluate", "deployments per second of the pure evaluation on one core"),
    "scale": ("benchmarks.scale", "queries, time, memory and writes of a cycle at 10, 100 and 1,000 deployments"),
    "large": ("benchmarks.large", "10,000 deployments with two weeks at a minute: bootstrap, steady cycle, memory"),
    "twins": ("benchmarks.campaign", "100 random twins with known truth: what is recommended and what becomes of it"),
    "followed": ("benchmarks.followed", "3,000 recommendations followed for 30 simulated days; can be stopped"),
    "physical_model": ("benchmarks.physical_model", "predicted against published speeds; needs a path to the points"),
    "calibration": (
        "benchmarks.calibration",
        "realised over stated probability on synthetic fleets with known futures",
    ),
    "sharing": ("benchmarks.sharing", "seconds and cost of sharing owned capacity by the fleet"),
    "bounds": ("benchmarks.bounds", "an autoscaler's bounds from block peaks; needs the traces in SERVEGEN_TRACES"),
    "servegen": ("benchmarks.servegen", "real LLM traffic, a week judged; needs the traces in SERVEGEN_TRACES"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run each; 1 when one of them misses its goal. For the options of one: `python -m benchmarks.campaign --help`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="\n".join(f"  {name:15} {what}" for name, (_, what) in CAMPAIGNS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(CAMPAIGNS)}; all when absent")
    names = parser.parse_args(argv).names or list(CAMPAIGNS)
    unknown = [name for name in names if name not in CAMPAIGNS]
    if unknown:
        parser.error(f"no such campaign: {', '.join(unknown)}; there are {', '.join(CAMPAIGNS)}")
    codes = [_run(name) for name in names]
    return max(codes)


def _run(name: str) -> int:
    module, what = CAMPAIGNS[name]
    print(f"== {name}: {what}", flush=True)
    began = time.monotonic()
    code: int = importlib.import_module(module).main([])
    print(f"== {name}: {'ok' if code == 0 else 'goals missed'} ({time.monotonic() - began:.0f} s)", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
