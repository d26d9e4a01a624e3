"""The ground truth about a deployment, kept on disk.

The truth is found by trying every class and tensor-parallel degree over the demand of the history and of the week
after it. It is keyed by the spec and by the twin's own source, so a change of either finds it anew.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from testbed.twin.deployment import TwinSpec, workload_of
from testbed.twin.hardware import CLASSES
from testbed.twin.judge import Placement, Verdict, cheapest_that_holds, holds
from testbed.twin.kernel import cache_directory
from testbed.twin.knobs import Knobs


class Sizing(StrEnum):
    """How the deployment's class compares with the cheapest that holds."""

    OVER = "OverProvisioned"
    RIGHT = "RightSized"
    UNDER = "UnderSized"
    NONE_HOLDS = "NoClassHolds"


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The cheapest placement that holds (None: no class does), and how the present one does. USD per hour a node."""

    sizing: Sizing
    current_holds: bool
    current_why: str
    current_hourly_usd: Decimal
    cheapest_class: str | None
    cheapest_tp: int
    cheapest_hourly_usd: Decimal | None

    @property
    def possible_saving_usd(self) -> Decimal:
        """Per hour and replica, 0 where there is none."""
        if self.cheapest_hourly_usd is None or not self.current_holds:
            return Decimal(0)
        return max(Decimal(0), self.current_hourly_usd - self.cheapest_hourly_usd)


def ground_truth(spec: TwinSpec, classes: tuple[str, ...] | None = None) -> GroundTruth:
    """Looks on disk first. `classes`: names that may be chosen, all when absent."""
    bare = replace(spec, name="", namespace="", knobs=Knobs())  # names and presentation do not change what is true
    return _read(remembered("truth", repr((bare, classes)), lambda: asdict(_found(spec, classes))))


def _found(spec: TwinSpec, classes: tuple[str, ...] | None) -> GroundTruth:
    workload = workload_of(spec)
    best = cheapest_that_holds(workload, classes, spec.replicas)
    return _compared(spec, holds(workload, Placement(spec.node, spec.tp, spec.replicas)), best)


def holds_on(spec: TwinSpec, node_class: str, tp: int, replicas: int | None = None) -> Verdict:
    """Whether the deployment would hold there, over history and future: the judge of a recommendation."""
    return holds(workload_of(spec), Placement(CLASSES[node_class], tp, replicas or spec.replicas))


def _compared(spec: TwinSpec, current: Verdict, best: Placement | None) -> GroundTruth:
    if best is None:
        sizing = Sizing.NONE_HOLDS
    elif not current.ok:
        sizing = Sizing.UNDER
    else:
        sizing = Sizing.OVER if best.node.hourly_usd < spec.node.hourly_usd else Sizing.RIGHT
    return GroundTruth(
        sizing=sizing,
        current_holds=current.ok,
        current_why=current.why,
        current_hourly_usd=spec.node.hourly_usd,
        cheapest_class=None if best is None else best.node.name,
        cheapest_tp=0 if best is None else best.tp,
        cheapest_hourly_usd=None if best is None else best.node.hourly_usd,
    )


@cache
def _source_hash() -> bytes:
    digest = hashlib.sha256()
    for name in (
        *("arrivals.py", "deployment.py", "engine.py", "hardware.py", "judge.py", "kernel.c", "kernel.py"),
        *("models.py", "physics.py", "traces.py", "truth.py", "fleet.py", "population.py"),
    ):
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.digest()


def remembered(kind: str, key: str, find: Callable[[], object]) -> Any:  # JSON
    """What was found before under this key by the same source, else found now and written down."""
    digest = hashlib.sha256(_source_hash() + key.encode()).hexdigest()[:24]
    path = cache_directory() / f"{kind}-{digest}.json"
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, suffix=".partial") as partial:
            partial.write(json.dumps(find(), default=str))
        Path(partial.name).replace(path)
    return json.loads(path.read_text())


def _read(found: Any) -> GroundTruth:  # JSON
    cheapest = found["cheapest_hourly_usd"]
    return GroundTruth(
        sizing=Sizing(found["sizing"]),
        current_holds=found["current_holds"],
        current_why=found["current_why"],
        current_hourly_usd=Decimal(found["current_hourly_usd"]),
        cheapest_class=found["cheapest_class"],
        cheapest_tp=found["cheapest_tp"],
        cheapest_hourly_usd=None if cheapest is None else Decimal(cheapest),
    )
