"""One deployment as it is in the twin's world, and its run: what the cluster would have lived through."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from testbed.twin.arrivals import DAY_S, Arrivals, Family, Floats, Steady, split
from testbed.twin.engine import Interruption, ReplicaRun, run_replica
from testbed.twin.hardware import CLASSES, NodeClass
from testbed.twin.judge import Objective, Placement, Workload, start_on
from testbed.twin.knobs import Knobs
from testbed.twin.models import MODELS, Model
from testbed.twin.physics import Engine, EngineArgs, StartFailure
from testbed.twin.traces import Replay
from testbed.twin.truth import Truth, draw

HISTORY_STEP_S = 60.0
LIVE_STEP_S = 10.0
LIVE_SPAN_S = 3 * 3600.0


class DoesNotStart(RuntimeError):
    """The deployment's own engine does not come up on its class, so it has no history to show."""


@dataclass(frozen=True, slots=True)
class TwinSpec:
    """A deployment: what the product can see of it, its demand, and (by `seed`) the hidden figures.

    `truth` overrides the figures drawn from the seed. `span_s` is the history that Prometheus holds, `future_s` the
    demand after it, on which a recommendation has to hold as well.
    """

    name: str
    namespace: str
    model: str
    node_class: str
    tp: int = 1
    replicas: int = 1
    args: EngineArgs = field(default_factory=EngineArgs)
    family: Family | Replay = field(default_factory=lambda: Family(Steady(0.2)))
    objective: Objective = field(default_factory=Objective)
    knobs: Knobs = field(default_factory=Knobs)
    seed: int = 0
    span_s: float = 14 * DAY_S
    future_s: float = 7 * DAY_S
    imbalance: float = 0.05
    truth: Truth | None = None

    @property
    def node(self) -> NodeClass:
        """The class it runs on."""
        return CLASSES[self.node_class]

    @property
    def architecture(self) -> Model:
        """The model it serves."""
        return MODELS[self.model]

    @property
    def hidden(self) -> Truth:
        """What no metric shows."""
        return self.truth if self.truth is not None else draw(self.seed)

    def on(self, node_class: str, tp: int) -> "TwinSpec":
        """The same deployment on another class."""
        return replace(self, node_class=node_class, tp=tp)


class Cause(StrEnum):
    """Why a container ended."""

    CUDA_OOM = "CudaOutOfMemory"
    HOST_OOM = "HostOutOfMemory"
    CRASH = "Crash"


@dataclass(frozen=True, slots=True)
class Termination:
    """When, and what stands in `lastState.terminated`: only host memory gives OOMKilled; a CUDA one is an Error."""

    at_s: float
    cause: Cause
    reason: str
    exit_code: int


@dataclass(frozen=True, slots=True, eq=False)
class TwinRun:
    """History and live part of a deployment's life on its own class, one ReplicaRun a replica.

    All share `sample_times`: history every HISTORY_STEP_S up to `spec.span_s`, then the live part.
    """

    spec: TwinSpec
    engine: Engine
    replicas: tuple[ReplicaRun, ...]
    sample_times: Floats

    @property
    def history_samples(self) -> int:
        """How many of the samples are history."""
        return int(np.searchsorted(self.sample_times, self.spec.span_s, side="right"))

    @property
    def oom_times_s(self) -> tuple[float, ...]:
        """Every out-of-memory of the history, in seconds from its start."""
        every = (float(at) for run in self.replicas for at in run.oom_times)
        return tuple(sorted(at for at in every if at <= self.spec.span_s))


def terminations(run: TwinRun) -> tuple[Termination, ...]:
    """Every end of a container in the history that Kubernetes would have recorded, oldest first."""
    knobs, end = run.spec.knobs, run.spec.span_s
    found = [Termination(at, Cause.CUDA_OOM, "Error", 1) for at in run.oom_times_s]
    found += [Termination(at, Cause.HOST_OOM, "OOMKilled", 137) for at in knobs.host_ooms_s if at <= end]
    found += [Termination(at, Cause.CRASH, "Error", 1) for at in knobs.restarts_s if at <= end]
    return tuple(sorted(found, key=lambda termination: termination.at_s))


def arrivals_of(spec: TwinSpec, span_s: float) -> Arrivals:
    """The demand on all replicas together."""
    return spec.family.draw(span_s, spec.seed)


def interruptions_of(spec: TwinSpec, loading_s: float) -> tuple[Interruption, ...]:
    """Restarts (down for the loading time) and rollouts of the spec."""
    restarts = tuple(Interruption(at, loading_s) for at in (*spec.knobs.restarts_s, *spec.knobs.host_ooms_s))
    return restarts + tuple(Interruption(at, None) for at in spec.knobs.rollouts_s)


def workload_of(spec: TwinSpec, *, with_future: bool = True) -> Workload:
    """What the judge needs: the demand of the history and, unless told otherwise, of the time after it.

    Restarts and rollouts of the spec are left out: they would be the same on every class.
    """
    span = spec.span_s + (spec.future_s if with_future else 0.0)
    return Workload(
        model=spec.architecture,
        args=spec.args,
        truth=spec.hidden,
        arrivals=arrivals_of(spec, span),
        span_s=span,
        objective=spec.objective,
        imbalance=spec.imbalance,
        seed=spec.seed,
    )


def engine_of(spec: TwinSpec) -> Engine | StartFailure:
    """The engine on the deployment's own class."""
    return start_on(spec.architecture, spec.args, spec.hidden, Placement(spec.node, spec.tp))


def simulate(spec: TwinSpec, *, live_span_s: float = LIVE_SPAN_S, live_step_s: float = LIVE_STEP_S) -> TwinRun:
    """Runs the deployment over its history and the live part. Raises DoesNotStart."""
    engine = engine_of(spec)
    if isinstance(engine, StartFailure):
        raise DoesNotStart(f"{spec.name} on {spec.node_class} with tp={spec.tp}: {engine.value}")
    total = spec.span_s + live_span_s
    live = np.arange(spec.span_s + live_step_s, total + live_step_s / 2, live_step_s)
    times = np.concatenate((np.arange(0.0, spec.span_s + HISTORY_STEP_S / 2, HISTORY_STEP_S), live))
    parts = split(arrivals_of(spec, total), spec.replicas, spec.imbalance, spec.seed)
    breaks = interruptions_of(spec, engine.loading_s)
    runs = tuple(run_replica(engine, part, times, total + live_step_s, breaks) for part in parts)
    return TwinRun(spec, engine, runs, times)
