"""Lays weeks of history for a large fleet down as blocks of a Prometheus store, by testbed/go/blockwriter."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from testbed import tools
from testbed.processes import Processes, tail, until
from testbed.remote_write import Series

BLOCK_MS = 18 * 3_600_000
MOST_SECONDS = 3600.0  # for ten thousand deployments
FLAGS = ("--storage.tsdb.min-block-duration=2h", "--storage.tsdb.max-block-duration=18h")
"""With these Prometheus leaves such blocks as they are."""
SAMPLE = np.dtype([("time", "<i8"), ("value", "<f8")])


@dataclass(frozen=True, slots=True)
class Copy:
    """One more deployment: the series of a template, with other values in their labels where `names` has them."""

    template: int
    names: Mapping[str, str]


def write(folder: Path, templates: Sequence[Sequence[Series]], copies: Sequence[Copy]) -> None:
    """Blocks into the folder, which must be a new store's. The templates themselves are not written, only copies."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".plan-") as scratch, Processes() as group:
        plan = _plan(Path(scratch), templates, copies)
        log = Path(scratch) / "blockwriter.log"
        writer = tools.ensure(tools.BLOCKWRITER) / "blockwriter"
        process = group.start("blockwriter", [writer, plan, folder], log=log)
        until(lambda: group.code(process) is not None, what="all blocks written", seconds=MOST_SECONDS)
        if group.code(process) != 0:
            raise RuntimeError(f"blockwriter failed:\n{tail(log)}")


def _plan(scratch: Path, templates: Sequence[Sequence[Series]], copies: Sequence[Copy]) -> Path:
    samples, plan = scratch / "samples", scratch / "plan.json"
    with samples.open("wb") as file:
        for each in (series for template in templates for series in template):
            both = np.empty(len(each.values), dtype=SAMPLE)
            both["time"], both["value"] = each.times_ms, each.values
            file.write(both.tobytes())
    content = {
        "samples": str(samples),
        "blockMs": BLOCK_MS,
        "templates": list(_placed(templates)),
        "copies": [{"template": each.template, "names": dict(each.names)} for each in copies],
    }
    plan.write_text(json.dumps(content), encoding="utf-8")
    return plan


def _placed(templates: Sequence[Sequence[Series]]) -> Iterator[list[dict[str, object]]]:
    """Each series with where its samples lie in the file."""
    first = 0
    for template in templates:
        placed: list[dict[str, object]] = []
        for each in template:
            placed.append({"labels": dict(each.labels), "first": first, "count": len(each.values)})
            first += len(each.values)
        yield placed
