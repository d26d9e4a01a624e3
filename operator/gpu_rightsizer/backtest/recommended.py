"""The product itself on a trace: what `evaluate` recommends from the history, on the classes of the catalogue.

It is given what it would see of a cluster: hourly figures of an engine that serves as fast as the model predicts for
the present class, and nothing of the days to come. What a trace does not tell (devices, hosts, latencies) is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
from typing_extensions import override

from gpu_rightsizer.api.to_domain import objective
from gpu_rightsizer.backtest.classes import tokens_of
from gpu_rightsizer.backtest.demand import Service
from gpu_rightsizer.backtest.trace import Requests
from gpu_rightsizer.catalogue.loading import load
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.engines import EngineSettings, EngineType
from gpu_rightsizer.domain.observation import Attribution, Observation
from gpu_rightsizer.domain.readings import BlockSeries, Measured, Missing, MissingReason, Signal
from gpu_rightsizer.domain.units import Bytes, Millicores
from gpu_rightsizer.domain.workload import (
    Mode,
    PlacementRules,
    PodShape,
    ScaleToZeroRules,
    TargetRef,
    Workload,
    WorkloadKey,
)
from gpu_rightsizer.domain.world import World
from gpu_rightsizer.estimate import recalibrate
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.explain.text import safe
from gpu_rightsizer.explain.words import say
from gpu_rightsizer.predict.case import Case, mean_tpot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.backtest.trace import Traffic
    from gpu_rightsizer.backtest.window import Window
    from gpu_rightsizer.domain.decision import Candidate
    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.models import ModelArchitecture
    from gpu_rightsizer.domain.readings import History
    from gpu_rightsizer.domain.world import Evaluation

_HOUR_MINUTES: Final = 60
_RATE_MINUTES: Final = 5
_SETTLES: Final = 5  # rounds in which batch and speed agree to a per cent
_CONTEXT: Final = 32_768  # tokens; enough for any request of a trace, and as long as teams commonly allow


@dataclass(frozen=True, slots=True)
class Runs:
    """What every deployment runs now: the model, on replicas of a class, split over all its accelerators."""

    model: ModelArchitecture
    instance: InstanceClass
    replicas: int
    risk: float
    tpot: float = Service().tpot  # seconds: how fast it serves there, see `pace_on`
    names: tuple[str, ...] = ()  # of the classes that may be proposed; empty: all


def pace_on(runs: Runs, fleet: Sequence[Traffic]) -> Service:
    """How fast requests are served there, by the physical model: of the deployment with the most work, at its mean."""
    busiest = max((_work(each) for each in fleet), key=lambda work: work.requests * work.output)
    settings, tpot = EngineSettings(tensor_parallel=runs.instance.accelerators), Service().tpot
    for _ in range(_SETTLES):
        batch = max(1.0, busiest.requests * busiest.output * tpot / runs.replicas)
        case = Case(runs.model, runs.instance.accelerator, batch, busiest.prompt, busiest.output, settings=settings)
        tpot = float(mean_tpot([case])[0])
    return Service(tpot=tpot)


@dataclass(frozen=True, slots=True)
class _Work:
    """Means: requests/s, tokens a request."""

    requests: float
    prompt: float
    output: float


def _work(traffic: Traffic) -> _Work:
    if isinstance(traffic, Requests):
        count, span = np.ones(len(traffic.time)), float(traffic.time[-1] - traffic.time[0])
    else:
        count, span = traffic.rate * traffic.step, float(traffic.step * len(traffic.time))
    total = max(float(count.sum()), 1e-9)
    prompt, output = (float((count * each).sum()) / total for each in (traffic.prompt, traffic.output))
    return _Work(total / max(span, 1.0), max(prompt, 1.0), max(output, 1.0))


@dataclass(frozen=True, slots=True)
class Said:
    """What is recommended of one deployment at an origin: where it would run from then on, and the first reason."""

    deployment: str
    origin: datetime
    action: Action
    instance_class: str
    replicas: int
    reason: str

    def as_json(self) -> dict[str, object]:
        """As the how-to page promises."""
        return {
            "deployment": self.deployment,
            "from": self.origin.isoformat(),
            "action": self.action.value,
            "instance_class": self.instance_class,
            "replicas": self.replicas,
            "reason": self.reason,
        }

    @override
    def __str__(self) -> str:
        name = safe(self.deployment, 63) or "the deployment"
        return f"{name}: {self.action}, {self.replicas} x {self.instance_class}. {self.reason}".rstrip()


@dataclass(frozen=True, slots=True, eq=False)
class Recommended:
    """Per deployment the KV tokens and the price an hour as recommended, and the stated chance that they do not do."""

    capacity: NDArray[np.float64]
    hourly: NDArray[np.float64]
    stated: NDArray[np.float64]
    said: tuple[Said, ...]


def recommended(window: Window, runs: Runs, judge: timedelta) -> Recommended:
    """Of a window whose demand was traced."""
    worlds = [_world(window, row, runs, judge) for row in range(len(window.history))]
    now = datetime.fromtimestamp(window.start + 60 * window.history.shape[1], UTC)
    wanted = {*runs.names, runs.instance.name} if runs.names else None
    classes = [each for each in load().instances.values() if wanted is None or each.name in wanted]
    found = evaluate(worlds, classes, now, recalibrate(worlds, now))
    each = [_where(evaluation) for evaluation in found]
    return Recommended(
        np.array([_holds(where, runs.model) for where in each]),
        np.array([_hourly(where) for where in each]),
        np.array([_stated(where) for where in each]),
        tuple(_said(*pair, now) for pair in zip(found, each, strict=True)),
    )


def _said(evaluation: Evaluation, where: Candidate, now: datetime) -> Said:
    decision, runs = evaluation.decision, where.configuration
    reason = say(decision.reasons[0]) if decision.reasons else ""
    name = evaluation.world.workload.key.name
    return Said(name, now, decision.action, runs.instance.name, runs.replicas, reason)


def _where(evaluation: Evaluation) -> Candidate:
    decision = evaluation.decision
    where = decision.target if decision.action is Action.RESIZE else decision.current
    if where is None:
        raise ValueError("a deployment of a trace runs on a known class")
    return where


def _hourly(where: Candidate) -> float:
    if where.hourly is None:
        raise ValueError("a class that is recommended, or named as the present one, has a price")
    return float(where.hourly)


def _holds(where: Candidate, model: ModelArchitecture) -> float:
    """KV tokens of all replicas."""
    place = where.configuration
    return place.replicas * tokens_of(model, place.instance, place.tensor_parallel)


def _stated(where: Candidate) -> float:
    chance = where.prediction.overload_probability
    return np.nan if chance is None else chance


def _world(window: Window, row: int, runs: Runs, judge: timedelta) -> World:
    return World(_workload(window.names[row], runs, judge), _observation(window, row, runs))


def _workload(name: str, runs: Runs, judge: timedelta) -> Workload:
    place, split = runs.instance, runs.instance.accelerators
    limits = EngineSettings(tensor_parallel=split, max_model_len=min(_CONTEXT, runs.model.max_context))
    return Workload(
        key=WorkloadKey("trace", name, name, 1),
        target=TargetRef("apps/v1", "Deployment", name, "engine"),
        mode=Mode.RECOMMEND,
        objective=replace(objective(None), max_oom_risk=runs.risk, horizon=judge),
        rules=PlacementRules(),
        scale_to_zero=ScaleToZeroRules(False, timedelta(days=1), timedelta(minutes=5)),
        engine=EngineType.VLLM,
        settings=limits,
        settings_hash="",
        model=runs.model,
        pod=PodShape(Millicores(0), Bytes(0), Bytes(0), Bytes(0), split, place.resource, place.host.architecture),
        replicas=runs.replicas,
        replicas_owner="",
        pods=(),
        placement=place,
        nodes=(),
        shared_device=False,
        incidents=(),
        since=None,
    )


def _observation(window: Window, row: int, runs: Runs) -> Observation:
    """Whole hours of the history; load is spread evenly over the replicas."""
    traced = window.traced
    if traced is None:
        raise ValueError("the demand was not traced")
    skip = -(window.start // 60) % _HOUR_MINUTES
    hours = (window.history.shape[1] - skip) // _HOUR_MINUTES
    span = slice(skip, skip + hours * _HOUR_MINUTES)
    begin, each = window.start + 60 * skip, runs.replicas
    unknown = window.history_unknown[row, span].reshape(hours, -1).mean(axis=1)

    def series(minutes: NDArray[np.float64], *, total: bool = False) -> BlockSeries:
        blocks = minutes[span].reshape(hours, -1)
        figures = blocks.sum(axis=1) if total else blocks.max(axis=1)
        return BlockSeries(begin, 3600, np.where(unknown < 1, figures, np.nan), 1 - unknown)

    def missing(signal: Signal) -> History:
        return Missing(signal, MissingReason.NO_SERIES)

    requests, prompt, output = (part[row] for part in (traced.requests, traced.prompt, traced.output))
    count = max(float(requests[span].sum()), 1.0)
    end = datetime.fromtimestamp(begin + 3600 * hours, UTC)
    return Observation(
        kv_demand=series(traced.tokens[row] / each), running=series(traced.running[row] / each),
        waiting=series(np.zeros_like(requests)), prompt_rate=series(_highest_rate(prompt) / each),
        generation_rate=series(_highest_rate(output) / each), requests=series(requests, total=True),
        replicas=series(np.full_like(requests, each)), ttft=missing(Signal.TTFT),
        tpot=series(np.full_like(requests, runs.tpot)),
        preemptions=series(np.zeros_like(requests), total=True), fb_used=missing(Signal.FB_USED),
        gpu_activity=missing(Signal.GPU_ACTIVITY), dram_activity=missing(Signal.DRAM_ACTIVITY),
        host_memory=missing(Signal.HOST_MEMORY), host_cpu=missing(Signal.HOST_CPU),
        kv_pool=Measured(tokens_of(runs.model, runs.instance, runs.instance.accelerators)),
        fb_total=Missing(Signal.FB_TOTAL, MissingReason.NO_SERIES),
        prompt_tokens=Measured(float(prompt[span].sum()) / count),
        output_tokens=Measured(float(output[span].sum()) / count),
        attribution=Attribution("trace", (), each, each), newest=end, span=timedelta(hours=hours),
        coverage=float(1 - unknown.mean()) if hours else 0.0, problems=(),
    )  # fmt: skip


def _highest_rate(tokens: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tokens a second on the mean of the five minutes up to each minute."""
    sums = np.cumsum(np.concatenate([np.zeros(_RATE_MINUTES), tokens]))
    return np.asarray((sums[_RATE_MINUTES:] - sums[:-_RATE_MINUTES]) / (60.0 * _RATE_MINUTES))
