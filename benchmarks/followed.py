"""3,000 recommendations to random twins, each followed for 30 days of new demand; can be stopped and goes on.

python -m benchmarks.followed            follows those that are not yet, then reports
python -m benchmarks.followed --report   reports what is there
python -m benchmarks.followed --share 1/2 --minutes 60
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.follow import Followed, follow
from benchmarks.followed_report import result
from testbed import tools
from testbed.twin.kernel import cache_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TWINS, FIRST_SEED = 3000, 100_000
SOURCES = (
    "operator/gpu_rightsizer",
    "testbed/twin",
    "testbed/listed.py",
    "benchmarks/follow.py",
    "benchmarks/paper.py",
)
KINDS = frozenset({".py", ".c", ".yaml", ".json", ".csv"})


def code() -> str:
    """What the product and the twin are made of: lines of other code are no lines of this campaign."""
    digest = hashlib.sha256()
    for path in sorted(each for name in SOURCES for each in _files(tools.ROOT / name)):
        digest.update(str(path.relative_to(tools.ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _files(path: Path) -> Iterator[Path]:
    return (each for each in [path, *path.rglob("*")] if each.suffix in KINDS and "__pycache__" not in each.parts)


def rows_of(code_digest: str) -> Path:
    """The file with a line a twin."""
    return cache_directory().with_name("followed") / f"{code_digest}.jsonl"


def read(path: Path) -> list[Followed]:
    """Those that are there, by seed; a line that was cut off is left out."""
    found: dict[int, Followed] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = Followed(**json.loads(line))
        except json.JSONDecodeError:
            continue
        found[row.seed] = row
    return [found[seed] for seed in sorted(found)]


def run(path: Path, seeds: Sequence[int], seconds: float) -> None:
    """Follows those that are not there yet, until the time is up."""
    began = time.monotonic()
    known = {row.seed for row in read(path)}
    for seed in seeds:
        if seed in known:
            continue
        if time.monotonic() - began > seconds:
            return
        row = follow(seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(asdict(row)))  # the break comes first: a line that was cut off spoils no other


def _share(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError("give it as 1/2")
    return int(part), int(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Follow and report; 0 when all goals are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.followed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--twins", type=int, default=TWINS, help="how many in all")
    parser.add_argument("--seeds", type=int, default=FIRST_SEED, help="the first seed")
    parser.add_argument("--share", type=_share, default=(1, 1), help="which part of them this process takes, as 1/2")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--report", action="store_true", help="only report what is there")
    parser.add_argument("--rows", type=Path, help="another file of rows")
    parser.add_argument("--output", type=Path, help="folder of the result, when not benchmarks/results")
    chosen = parser.parse_args(argv)
    made_of = code()
    path = chosen.rows or rows_of(made_of)
    seeds = range(chosen.seeds, chosen.seeds + chosen.twins)
    if not chosen.report:
        part, parts = chosen.share
        run(path, seeds[part - 1 :: parts], chosen.minutes * 60)
    rows = [row for row in read(path) if row.seed in seeds]
    if not rows:
        parser.error(f"nothing is there yet: {path.name}")
    command = f"python -m benchmarks.followed --twins {chosen.twins} --seeds {chosen.seeds}"
    return result(rows, chosen.twins, path.stem, command).write(chosen.output)


if __name__ == "__main__":
    sys.exit(main())
