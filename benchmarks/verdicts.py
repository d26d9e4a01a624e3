"""What the operator recommended for a twin, held against what the twin lives through there; never the predictor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from testbed.twin.arrivals import DAY_S
from testbed.twin.deployment import workload_of
from testbed.twin.fleet import Sizing, ground_truth, holds_on
from testbed.twin.hardware import CLASSES
from testbed.twin.judge import LEAST_FINISHED, WINDOW_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testbed.twin.deployment import TwinSpec
    from testbed.twin.fleet import GroundTruth
    from testbed.twin.judge import Workload
    from testbed.twin.physics import EngineArgs

LONGEST_REASON = 200
IDLE_AFTER_S, COLD_START_S = 1800.0, 300.0  # the API's defaults of scaleToZero


class Outcome(StrEnum):
    """What became of one recommendation, worst first."""

    BAD = "Bad"  # the twin runs out of memory or misses its objective there
    NOT_TOLD = "NotTold"  # under-sized, and not told so
    DEARER = "Dearer"  # told to pay more although it holds where it runs
    UNKNOWN = "Unknown"  # nothing said although the data are complete
    MISSED = "Missed"  # something cheaper holds, and nothing of it was found
    PARTLY = "Partly"  # a part of the possible saving
    RIGHT = "Right"


@dataclass(frozen=True, slots=True)
class Said:
    """The recommendation as it stands in the status."""

    action: str
    instance_class: str
    tensor_parallel: int
    replicas: int
    engine_args: Mapping[str, str]
    confidence: str
    reasons: Sequence[str]
    rejected: Mapping[str, str]  # class to the reason's code and sentence

    @classmethod
    def read(cls, status: Mapping[str, Any]) -> Said:
        """From the status as kubectl prints it."""
        advice = status.get("recommendation", {})
        target = advice.get("target", {})
        conditions = {each["type"]: each for each in status.get("conditions", ())}
        reasons = advice.get("reasons") or [f"{c['reason']}: {c['message']}" for c in conditions.values()]
        return cls(
            action=advice.get("action", "none"),
            instance_class=target.get("instanceClass", ""),
            tensor_parallel=target.get("tensorParallel") or target.get("accelerators", 1),
            replicas=target.get("replicas", 0),
            engine_args=target.get("engineArgs", {}),
            confidence=advice.get("confidence", ""),
            reasons=reasons,
            rejected={
                each["instanceClass"]: f"{each['reason']}: {each['message']}" for each in advice.get("rejected", ())
            },
        )

    @property
    def moves(self) -> bool:
        """Another class, or other arguments."""
        return self.action in ("Resize", "Tune")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One twin: what it is, what was said, what is true. Savings in USD per hour of all replicas."""

    name: str
    seed: int
    twin: TwinSpec
    said: Said
    truth: GroundTruth
    holds_there: bool | None  # None: nothing to try
    why: str  # why it does not hold there
    found_usd: Decimal
    possible_usd: Decimal
    dearer: bool  # a class that costs more, which is how the under-sized are told

    @property
    def told(self) -> bool | None:
        """Of an under-sized twin whether it was told so; whether the larger class holds is judged apart."""
        return self.dearer if self.truth.sizing is Sizing.UNDER else None

    @property
    def outcome(self) -> Outcome:
        """The worst that is true of it."""
        if self.holds_there is False:
            return Outcome.BAD
        if self.said.action in ("Unknown", "none"):
            return Outcome.UNKNOWN
        if self.told is False:
            return Outcome.NOT_TOLD
        if self.truth.current_holds and self.dearer:
            return Outcome.DEARER
        if self.possible_usd > 0 and self.found_usd <= 0:
            return Outcome.MISSED
        return Outcome.PARTLY if self.found_usd < self.possible_usd else Outcome.RIGHT

    @property
    def says(self) -> str:
        """In a cell."""
        where = f" {self.said.instance_class} tp{self.said.tensor_parallel}" if self.said.instance_class else ""
        arguments = " ".join(f"{flag}={value}" for flag, value in self.said.engine_args.items())
        return f"{self.said.action}{where} {arguments}".strip()

    @property
    def reason(self) -> str:
        """Why it came to that: the twin's word on what is bad, the product's on what is missed."""
        if self.outcome in (Outcome.BAD, Outcome.RIGHT):
            return self.why[:LONGEST_REASON]
        said = self.said.rejected.get(self.truth.cheapest_class or "") or "; ".join(self.said.reasons[:3])
        return said[:LONGEST_REASON]


def judge(seed: int, twin: TwinSpec, said: Said) -> Verdict:
    """By the twin alone, over the history and the week after it."""
    truth = ground_truth(twin)
    possible = truth.possible_saving_usd * twin.replicas
    held, why = _tried(twin, said)
    price = CLASSES[said.instance_class].hourly_usd if said.instance_class in CLASSES else None
    found = Decimal(0)
    if said.action == "Resize" and held and price is not None and truth.current_holds:
        found = max(Decimal(0), twin.node.hourly_usd * twin.replicas - price * said.replicas)
    dearer = said.action == "Resize" and price is not None and price > twin.node.hourly_usd
    return Verdict(twin.name, seed, twin, said, truth, held, why, found, possible, dearer)


def _tried(twin: TwinSpec, said: Said) -> tuple[bool | None, str]:
    if said.action == "ScaleToZero":
        return asleep(workload_of(twin))
    if not said.moves:
        return None, ""
    where = said.instance_class or twin.node_class
    if where not in CLASSES:
        return False, f"{where} is not among the classes that were allowed"
    tp = said.tensor_parallel if said.instance_class else twin.tp
    verdict = holds_on(replace(twin, args=tuned(twin.args, said.engine_args)), where, tp, said.replicas or None)
    return verdict.ok, verdict.why


def asleep(workload: Workload) -> tuple[bool, str]:
    """Without a replica after IDLE_AFTER_S of silence; whoever comes first, and all after, wait out the cold start.

    Windows as the twin's judge has them, each request counted when it arrives; only waking is judged.
    """
    at = workload.arrivals.time_s
    wakes = at[1:][np.diff(at) > IDLE_AFTER_S]
    since = at - wakes[np.maximum(np.searchsorted(wakes, at, side="right") - 1, 0)] if len(wakes) else at * np.inf
    late = (since >= 0) & (since < COLD_START_S - workload.objective.ttft_p95_s)
    window = (at // WINDOW_S).astype(np.int64)
    finished, waited = np.bincount(window), np.bincount(window, weights=late)
    judged = finished >= LEAST_FINISHED
    share = float((waited[judged] > 0.05 * finished[judged]).mean()) if judged.any() else 0.0
    if share <= 1.0 - workload.objective.attainment:
        return True, ""
    days = workload.span_s / DAY_S
    return False, f"woken {len(wakes)} times in {days:.0f} days, {share:.1%} of windows miss the time to first token"


def tuned(args: EngineArgs, changes: Mapping[str, str]) -> EngineArgs:
    """With the limits that the recommendation would change."""

    def whole(flag: str, now: int | None) -> int | None:
        return int(changes[flag]) if flag in changes else now

    return replace(
        args,
        gpu_memory_utilization=float(changes.get("--gpu-memory-utilization", args.gpu_memory_utilization)),
        max_model_len=whole("--max-model-len", args.max_model_len),
        max_num_seqs=whole("--max-num-seqs", args.max_num_seqs),
        max_num_batched_tokens=whole("--max-num-batched-tokens", args.max_num_batched_tokens),
    )
