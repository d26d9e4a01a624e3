"""One random twin: what the operator recommends after 14 days, and 30 further days on the class it names.

What follows is new demand: the same arrival process goes on, with its growth, its week and its bursts. The twin's own
judge says what becomes of it there, and on every cheaper placement; the predictor has no part in that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.paper import Paper, read, told
from benchmarks.verdicts import asleep, tuned
from gpu_rightsizer.explain.words import say
from testbed.twin.arrivals import DAY_S, split
from testbed.twin.deployment import arrivals_of, simulate, workload_of
from testbed.twin.engine import run_replica
from testbed.twin.hardware import CLASSES, ascending_price
from testbed.twin.judge import WINDOW_S, Placement, Trials, engine_on, holds, placements
from testbed.twin.physics import Engine, StartFailure
from testbed.twin.population import random_life, sizing_of

if TYPE_CHECKING:
    from benchmarks.verdicts import Said
    from gpu_rightsizer.domain.world import Evaluation
    from testbed.twin.deployment import TwinSpec
    from testbed.twin.judge import Workload
    from testbed.twin.population import Life

FOLLOWED_S = 30 * DAY_S
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)  # every run begins on one, at midnight of a time zone of its own
ZONES_H = 9  # time zones to either side
NO_LIMIT = 2**40
FRAGMENT = 16  # tokens in a block: what a request holds beyond its own
REFUSED = ("Keep", "Unknown")


@dataclass(frozen=True, slots=True)
class Followed:
    """What was said of one twin, and what became of it. USD per hour of all nodes; probabilities as stated.

    `ended` is why the engine did not start or ran out of memory there, empty when it did not. `beyond`: demand for KV
    exceeded the pool at some time; `missed` the share of judged windows beyond the objective, `held` whether that is
    within the attainment. `cheapest_usd` is of the cheapest placement that holds, None where none below ours does;
    `against` is what the operator has against that placement.
    """

    seed: int
    twin: str
    family: str
    sizing: str
    past: str
    action: str
    says: str
    stated_overload: float | None
    stated_slo_miss: float | None
    stated_oom: float | None
    ended: str
    beyond: bool
    missed: float
    windows: int
    held: bool
    why: str
    present_usd: float
    usd: float
    cheapest_usd: float | None
    cheapest: str
    against: str
    reasons: str
    seconds: float

    @property
    def stated(self) -> float | None:
        """The probability of either overload: demand beyond what is there, or latency beyond the objective."""
        if self.stated_overload is None or self.stated_slo_miss is None:
            return None
        return 1.0 - (1.0 - self.stated_overload) * (1.0 - self.stated_slo_miss)

    @property
    def overloaded(self) -> bool:
        """What `stated` is about."""
        return not self.ended and (self.beyond or not self.held)

    @property
    def moved(self) -> bool:
        """Whether following it changes anything."""
        return self.action not in (*REFUSED, "none")

    @property
    def ratio(self) -> float | None:
        """Its cost over that of the cheapest that holds; None where it does not hold itself, or runs nowhere."""
        if self.ended or not self.held or not self.usd:
            return None
        return self.usd / self.cheapest_usd if self.cheapest_usd else 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """30 days at one place."""

    ended: str = ""
    beyond: bool = False
    missed: float = 0.0
    windows: int = 0
    held: bool = True
    why: str = ""


def follow(seed: int) -> Followed:
    """Draw, live, recommend, live on."""
    began = time.monotonic()
    life = random_life(seed)
    spec = life.spec
    paper = Paper(life, simulate(spec, live_span_s=60.0), moment(seed))
    (evaluation,) = told([paper])
    said = read(paper, evaluation)
    future, where = future_of(spec), place_of(spec, said)
    there = outcome(replace(future, args=tuned(spec.args, said.engine_args)), where)
    usd = _cost(spec, where)
    best = cheaper_that_holds(future, spec, usd)
    candidate = evaluation.decision.target or evaluation.decision.current
    stated = candidate.prediction if candidate and where else None
    return Followed(
        seed=seed,
        twin=f"{spec.model.split('/')[1]} {spec.args.weight_dtype} on {_place(present(spec))}",
        family=type(getattr(spec.family, "rate", spec.family)).__name__,
        sizing=sizing_of(seed).value,
        past=_past(life),
        action=said.action,
        says=f"{said.action} {_place(where) if where and said.moves else ''}".strip(),
        stated_overload=stated.overload_probability if stated else None,
        stated_slo_miss=stated.slo_miss_probability if stated else None,
        stated_oom=stated.oom_probability if stated else None,
        ended=there.ended,
        beyond=there.beyond,
        missed=there.missed,
        windows=there.windows,
        held=there.held,
        why=there.why,
        present_usd=_cost(spec, present(spec)),
        usd=usd,
        cheapest_usd=hourly(best) if best else None,
        cheapest=_place(best) if best else "",
        against=_against(evaluation, best) if best else "",
        reasons=" ".join(said.reasons[:2])[:300],
        seconds=round(time.monotonic() - began, 2),
    )


def moment(seed: int) -> datetime:
    """The last scrape: two weeks after a Monday's midnight somewhere, at some minute."""
    rng = np.random.default_rng([seed, 0x71E])
    return MONDAY + timedelta(hours=int(rng.integers(-ZONES_H, ZONES_H + 1)), minutes=int(rng.integers(60)))


def future_of(spec: TwinSpec) -> Workload:
    """The 30 days after the history."""
    end = spec.span_s + FOLLOWED_S
    return replace(
        workload_of(replace(spec, span_s=0.0), with_future=False),
        arrivals=arrivals_of(spec, end).between(spec.span_s, end),
        span_s=FOLLOWED_S,
    )


def present(spec: TwinSpec) -> Placement:
    """Where it runs."""
    return Placement(spec.node, spec.tp, spec.replicas)


def place_of(spec: TwinSpec, said: Said) -> Placement | None:
    """Where it runs when the recommendation is followed; None: nowhere."""
    if said.action == "ScaleToZero":
        return None
    if not said.moves or not said.instance_class:
        return present(spec)
    return Placement(CLASSES[said.instance_class], said.tensor_parallel, said.replicas or spec.replicas)


def outcome(future: Workload, where: Placement | None) -> Outcome:
    """What becomes of it there."""
    if where is None:
        held, why = asleep(future)
        return Outcome(held=held, why=why)
    engine = engine_on(future, where)
    if isinstance(engine, StartFailure):
        return Outcome(f"does not start: {engine.value}", held=False)
    verdict = holds(future, where)
    ended = f"out of memory after {verdict.oom_times_s[0] / DAY_S:.1f} d" if verdict.oom else ""
    near = verdict.kv_peak_share * engine.pool_tokens + longest_step(future, engine) > engine.pool_tokens
    beyond = not ended and near and (verdict.preemptions > 0 or demand_beyond(future, where, engine))
    return Outcome(ended, beyond, verdict.violation_share, verdict.judged_windows, verdict.ok, verdict.why)


def longest_step(future: Workload, engine: Engine) -> int:
    """Tokens by which a batch may grow at once: the longest prompt joins while everyone else decodes."""
    return int(future.arrivals.prompt_tokens.max(initial=0)) + engine.max_num_seqs + FRAGMENT


def demand_beyond(future: Workload, where: Placement, engine: Engine) -> bool:
    """Whether the KV demand of any replica ever exceeded the pool: what it would have held had there been no limit."""
    parts = split(future.arrivals, where.replicas, future.imbalance, future.seed)
    samples = np.arange(WINDOW_S, future.span_s + 1.0, WINDOW_S)
    endless = replace(engine, pool_tokens=NO_LIMIT)
    runs = (run_replica(endless, part, samples, future.span_s) for part in parts)
    return any(float(run.column("kv_peak").max(initial=0.0)) > engine.pool_tokens for run in runs)


def _cost(spec: TwinSpec, where: Placement | None) -> float:
    """Where it runs now every replica has a node of its own."""
    if where is None:
        return 0.0
    return float(spec.node.hourly_usd) * spec.replicas if where == present(spec) else hourly(where)


def hourly(where: Placement) -> float:
    """Whole nodes, as many as the replicas need."""
    each = where.node.gpu_count // where.tp
    return float(where.node.hourly_usd) * -(-where.replicas // each)


def cheaper_that_holds(future: Workload, spec: TwinSpec, usd: float) -> Placement | None:
    """The cheapest placement below `usd` that holds, of as many replicas as now; not the present one packed closer."""
    trials = Trials(future)
    every = [place for place in placements(ascending_price(), spec.replicas) if place != present(spec)]
    below = sorted((place for place in every if hourly(place) < usd), key=hourly)
    return next((place for place in below if trials.hold(place)), None)


def _against(evaluation: Evaluation, best: Placement) -> str:
    """What rules the cheapest out, by the physics; a ruling on evidence or risk comes later and is named in reasons."""
    for candidate in evaluation.candidates:
        where = candidate.configuration
        if (where.instance.name, where.tensor_parallel, where.replicas) == (best.node.name, best.tp, best.replicas):
            return "; ".join(f"{each.code.value}: {say(each)}" for each in candidate.failures)[:300]
    return "not looked at"


def _past(life: Life) -> str:
    if life.has_spikes:
        return "spikes"
    return "incident" if life.incidents else "none"


def _place(where: Placement) -> str:
    return f"{where.node.name} tp{where.tp} x{where.replicas}"
