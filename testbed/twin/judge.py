"""The ground truth: whether a deployment holds on a class, and the cheapest class on which it does.

Judged as the API defines it: per 10-minute window with at least 20 finished requests, the 95th percentile of the
time to first token and of the mean time per output token against the objective; the share of windows within both is
the attainment. A class on which the engine does not start or runs out of memory does not hold.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from testbed.twin.arrivals import DAY_S, Arrivals, Floats, split
from testbed.twin.engine import Interruption, ReplicaRun, run_replica
from testbed.twin.hardware import NodeClass, ascending_price
from testbed.twin.models import Model
from testbed.twin.physics import Attempt, Engine, EngineArgs, StartFailure, start
from testbed.twin.truth import Truth

WINDOW_S = 600.0
LEAST_FINISHED = 20
_EARLY_S = (2 * DAY_S, 7 * DAY_S)  # a class that is far too small shows it in days


@dataclass(frozen=True, slots=True)
class Objective:
    """Limits in seconds on the 95th percentiles, and the share of judged windows that must be within both."""

    ttft_p95_s: float = 1.0
    tpot_p95_s: float = 0.075
    attainment: float = 0.999


@dataclass(frozen=True, slots=True)
class Window:
    """One judged window: seconds from the start, finished requests, and the two percentiles in seconds."""

    start_s: float
    finished: int
    ttft_p95_s: float
    tpot_p95_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a deployment did on one placement. `why` is empty when it holds."""

    ok: bool
    oom: bool
    start_failure: StartFailure | None
    violation_share: float
    judged_windows: int
    worst: tuple[Window, ...]
    oom_times_s: tuple[float, ...]
    lost_requests: int
    kv_peak_share: float
    preemptions: int
    why: str


@dataclass(frozen=True, slots=True)
class Placement:
    """A class, how many GPUs a replica spans and how many replicas there are."""

    node: NodeClass
    tp: int
    replicas: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """What is the same on every class: model, engine arguments, hidden figures, demand and objective."""

    model: Model
    args: EngineArgs
    truth: Truth
    arrivals: Arrivals
    span_s: float
    objective: Objective
    imbalance: float = 0.05
    seed: int = 0
    interruptions: tuple[Interruption, ...] = field(default=())


def holds(workload: Workload, placement: Placement) -> Verdict:
    """Runs the whole demand on the placement and judges it; a failed start and the first out-of-memory end early."""
    engine = engine_on(workload, placement)
    if isinstance(engine, StartFailure):
        return _not_started(engine)
    parts = split(workload.arrivals, placement.replicas, workload.imbalance, workload.seed)
    samples = np.arange(WINDOW_S, workload.span_s + 1.0, WINDOW_S)
    runs = [run_replica(engine, part, samples, workload.span_s, workload.interruptions, max_oom=1) for part in parts]
    return judge(tuple(runs), workload.objective)


def engine_on(workload: Workload, placement: Placement) -> Engine | StartFailure:
    """The engine that the placement would start."""
    return start_on(workload.model, workload.args, workload.truth, placement)


def start_on(model: Model, args: EngineArgs, truth: Truth, placement: Placement) -> Engine | StartFailure:
    """Starts one replica on a node of the placement's class."""
    if placement.tp > placement.node.gpu_count:
        return StartFailure.PARALLELISM
    attempt = Attempt(model, args, placement.node.accelerator, placement.tp, truth)
    return start(attempt, host_ram_gib=float(placement.node.ram_gib))


def _not_started(failure: StartFailure) -> Verdict:
    memory = failure in (StartFailure.WEIGHTS, StartFailure.NO_KV, StartFailure.KV_TOO_SMALL)
    return Verdict(False, memory, failure, 1.0, 0, (), (), 0, 0.0, 0, f"does not start: {failure.value}")


def judge(runs: tuple[ReplicaRun, ...], objective: Objective) -> Verdict:
    """The verdict on a finished run."""
    windows = list(_windows(runs))
    bad = [
        window
        for window in windows
        if window.ttft_p95_s > objective.ttft_p95_s or window.tpot_p95_s > objective.tpot_p95_s
    ]
    share = len(bad) / len(windows) if windows else 0.0
    ooms = tuple(sorted(float(at) for run in runs for at in run.oom_times))
    lost = sum(int(np.isin(run.status, (2, 3)).sum()) for run in runs)
    stuck = any(_is_stuck(run, objective) for run in runs)
    why = _why(ooms, share, stuck, objective, bad)
    bad.sort(key=lambda window: -_excess(window, objective))
    return Verdict(
        ok=not why,
        oom=bool(ooms),
        start_failure=None,
        violation_share=share,
        judged_windows=len(windows),
        worst=tuple(bad[:5]),
        oom_times_s=ooms,
        lost_requests=lost,
        kv_peak_share=max(float(run.column("kv_peak").max(initial=0.0)) / run.engine.pool_tokens for run in runs),
        preemptions=sum(int(run.preemptions.sum()) for run in runs),
        why=why,
    )


def _why(ooms: tuple[float, ...], share: float, stuck: bool, objective: Objective, bad: list[Window]) -> str:
    if ooms:
        return f"out of memory after {ooms[0] / 3600:.1f} h"
    if share > 1.0 - objective.attainment + 1e-12:
        worst = max(bad, key=lambda window: _excess(window, objective))
        return (
            f"{share:.2%} of windows miss the objective; worst ttft p95 {worst.ttft_p95_s:.2f} s, "
            f"tpot p95 {worst.tpot_p95_s * 1e3:.0f} ms"
        )
    return "the queue had not drained at the end" if stuck else ""


def _excess(window: Window, objective: Objective) -> float:
    return max(window.ttft_p95_s / objective.ttft_p95_s, window.tpot_p95_s / objective.tpot_p95_s)


def _is_stuck(run: ReplicaRun, objective: Objective) -> bool:
    """More requests wait at the end than one window needs to be judged, longer than the objective allows."""
    end = float(run.sample_times[-1]) if len(run.sample_times) else 0.0
    waiting = (run.status == 0) & np.isnan(run.first_token_s) & (run.arrivals.time_s < end - objective.ttft_p95_s)
    return int(waiting.sum()) >= LEAST_FINISHED


def _windows(runs: tuple[ReplicaRun, ...]) -> Iterator[Window]:
    finished = np.concatenate([run.finished_s[run.is_finished] for run in runs])
    ttft = np.concatenate([run.ttft_s[run.is_finished] for run in runs])
    tpot = np.concatenate([run.tpot_s[run.is_finished] for run in runs])
    order = np.argsort(finished, kind="stable")
    finished, ttft, tpot = finished[order], ttft[order], tpot[order]
    last = float(finished[-1]) if len(finished) else 0.0
    starts = np.arange(0.0, last + WINDOW_S, WINDOW_S)
    bounds = np.searchsorted(finished, starts)
    for index in range(len(starts) - 1):
        low, high = int(bounds[index]), int(bounds[index + 1])
        if high - low >= LEAST_FINISHED:
            yield Window(float(starts[index]), high - low, _p95(ttft[low:high]), _p95(tpot[low:high]))


def _p95(values: Floats) -> float:
    """The smallest value that at least 95 % are at or below."""
    rank = int(np.ceil(0.95 * len(values))) - 1
    return float(np.partition(values, rank)[rank])


def placements(classes: Iterable[NodeClass], replicas: int) -> Iterator[Placement]:
    """Every class with every tensor-parallel degree it has GPUs for, in the given order, fewest GPUs first."""
    for node in classes:
        for tp in (1, 2, 4, 8):
            if tp <= node.gpu_count:
                yield Placement(node, tp, replicas)


def cheapest_that_holds(
    workload: Workload, classes: tuple[str, ...] | None = None, replicas: int = 1
) -> Placement | None:
    """The first placement, by ascending price of the node, that holds; None when none does."""
    trials = Trials(workload)
    return next((place for place in placements(ascending_price(classes), replicas) if trials.hold(place)), None)


@dataclass(slots=True)
class Trials:
    """One demand tried on many placements: each engine and number of replicas once, hopeless ones given up early."""

    workload: Workload
    known: dict[tuple[Engine | StartFailure, int], bool] = field(default_factory=dict)

    def hold(self, placement: Placement) -> bool:
        """As `holds(...).ok`, without the figures of those that do not hold."""
        key = engine_on(self.workload, placement), placement.replicas
        if key not in self.known:
            self.known[key] = not isinstance(key[0], StartFailure) and self._lives(placement)
        return self.known[key]

    def _lives(self, placement: Placement) -> bool:
        hopeless = any(fails_within(self.workload, placement, span) for span in _EARLY_S if span < self.workload.span_s)
        return not hopeless and holds(self.workload, placement).ok


def fails_within(workload: Workload, placement: Placement, span_s: float) -> bool:
    """Whether the beginning alone misses more windows than the whole span is allowed to, or runs out of memory.

    What comes later changes nothing of what was, so that this is no guess; the last window may have been cut off.
    """
    begin = replace(workload, arrivals=workload.arrivals.between(0.0, span_s), span_s=span_s)
    verdict = holds(begin, placement)
    missed = round(verdict.violation_share * verdict.judged_windows) - 1
    return verdict.oom or missed > (1.0 - workload.objective.attainment + 1e-12) * np.ceil(workload.span_s / WINDOW_S)
