"""What an autoscaler could make of each workload that has one, may have one or would gain most by one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_rightsizer.decide.rulings import judged
from gpu_rightsizer.decide.scaling import HOLD, ROOM, STEP, Demand, Limits, Plan, Size, plan, usual
from gpu_rightsizer.decide.situation import Situation, situation
from gpu_rightsizer.domain.decision import Candidate, Elastic
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.need import DemandTail, IdleState, PreallocatedMemory
from gpu_rightsizer.domain.options import Options, Places, mask
from gpu_rightsizer.domain.readings import BlockSeries, Missing
from gpu_rightsizer.domain.world import World
from gpu_rightsizer.predict import predict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.workload import PlacementRules, Workload

DETECTION: Final = timedelta(minutes=1)  # a scrape of 30 s, an autoscaler's turn of 15 s, and the scheduler
LEAST_DAYS: Final = 7  # of which half are judged
LEAST_SHARE: Final = 0.9  # of blocks known
_WEEK_MINUTES: Final = 7 * 1440
_MOST: Final = 8  # replicas looked at where no bound is given
_LARGEST: Final = 256  # a larger number of replicas is not replayed
_SIZES: Final = 4  # classes replayed, the most promising first
_SPIKY: Final = 3.0  # a peak that many times the usual demand is far above it
_WORTH_A_LOOK: Final = 2.0  # one that holds costs that many times the cheapest that could serve fewer requests
_USAGE_STEP: Final = 0.05  # of the KV cache: below it an autoscaler would follow noise
_BY_LOAD: Final = mask(
    [Code.MEMORY_TOO_SMALL, Code.OVERLOADED, Code.TPOT_TOO_SLOW, Code.TTFT_TOO_SLOW, Code.MEMORY_RISK]
)


@dataclass(frozen=True, slots=True, eq=False)
class Offers:
    """Elastic configurations, cheapest first, one a size of replica; `here` is the present one, at its mean cost.

    `workload` has the number of replicas that the demand seen was the work of, and nobody who owns it but `owner`;
    `block` is what its peaks are of.
    """

    workload: Workload
    owner: str
    here: Candidate
    elastic: tuple[Elastic, ...]
    block: timedelta


def offers(
    worlds: Sequence[World],
    needs: Sequence[Need],
    candidates: Sequence[Sequence[Candidate]],
    classes: Sequence[InstanceClass],
    now: datetime,
) -> list[Offers | None]:
    """In the order given; None where nothing is to be gained, or nothing can be said."""
    asked = [row for row, each in enumerate(zip(worlds, needs, candidates, strict=True)) if _asks(*each)]
    seen = {row: found for row in asked if (found := _seen(worlds[row], needs[row])) is not None}
    opened = [World(_opened(worlds[row].workload, found), worlds[row].observation) for row, found in seen.items()]
    predicted = predict(opened, [needs[row] for row in seen], classes)
    out: list[Offers | None] = [None] * len(worlds)
    for (row, found), world, options in zip(seen.items(), opened, predicted, strict=True):
        here = judged(situation(world.workload, needs[row], options, now))
        out[row] = _offers(here, worlds[row].workload, found)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """`demand` is of all replicas together, `replicas` that many at the peak, `mean` on average; `peak` is of one."""

    demand: Demand
    replicas: int
    mean: float
    peak: float


def _asks(world: World, need: Need, candidates: Sequence[Candidate]) -> bool:
    """Whose evidence allows it and who has an autoscaler, may have one, or is likely to gain by one."""
    workload, rules = world.workload, world.workload.rules
    if need.shrink_holds or need.memory_holds or need.symptoms or need.idleness.state is IdleState.IDLE:
        return False
    if isinstance(need.load, Missing) or isinstance(workload.placement, Missing) or not workload.replicas:
        return False
    if workload.replicas_owner:
        return True
    if rules.max_replicas is not None and rules.max_replicas > (rules.min_replicas or 1):
        return True
    demand = world.observation.kv_demand
    if isinstance(demand, Missing):
        return False
    values = demand.values[demand.known()]
    spiky = values.size > 0 and values.max() >= _SPIKY * _median(values)
    return (workload.replicas > 1 or spiky) and _may_gain(workload, Options.of(candidates))


def _median(values: NDArray[np.floating]) -> float:
    """As `np.median`, which takes several times as long on some hundred."""
    middle = [(values.size - 1) // 2, values.size // 2]
    low, high = np.partition(values, middle)[middle]
    return float(low + high) / 2


def _may_gain(workload: Workload, options: Options) -> bool:
    """Whether one replica somewhere costs far less than the cheapest that holds all."""
    dollars = options.places.dollars
    holds, could = dollars[options.faults == 0], dollars[options.codes & ~_BY_LOAD == 0] / workload.replicas
    if not np.isfinite(holds).any() or not np.isfinite(could).any():
        return False
    return bool(np.nanmin(holds) >= _WORTH_A_LOOK * np.nanmin(could))


def _seen(world: World, need: Need) -> _Seen | None:
    """None where less than a week is known, or the number of replicas is not."""
    workload, observation = world.workload, world.observation
    if not isinstance(need.memory, PreallocatedMemory) or not isinstance(need.memory.demand, DemandTail):
        return None
    series, peak = observation.kv_demand, need.memory.demand.peak
    if isinstance(series, Missing) or series.span_seconds() < LEAST_DAYS * 86_400 or not peak > 0:
        return None
    count = _replicas(workload, observation, series)
    replicas = None if count is None else _at_peak(observation, series, count)
    if count is None or replicas is None or series.known_share() < LEAST_SHARE:
        return None
    first = int(np.argmax(series.known()))
    # What the estimate adds for peaks between scrapes counts for every block, what it takes off as a backlog for those.
    highest = series.peak()
    values = np.minimum(series.values * max(1.0, peak / highest if highest > 0 else 1.0), peak) * count
    demand = Demand(series.start + first * series.block, series.block // 60, values[first:])
    # Who came or went within a block counts in it for the demand, but was not paid for all of it.
    paid = np.fmin(count[first:-1], count[first + 1 :])
    return _Seen(demand, replicas, float(np.nanmean(paid)), peak)


def _replicas(workload: Workload, observation: Observation, like: BlockSeries) -> NDArray[np.float64] | None:
    """That served in each block of `like`: as configured, or as they were seen where an autoscaler moves them."""
    if not workload.replicas_owner:
        return np.full(len(like.values), float(workload.replicas))
    counted = observation.replicas
    if isinstance(counted, Missing):
        return None
    at = (like.times() - counted.start) // counted.block
    inside = (at >= 0) & (at < len(counted.values))
    found = np.where(inside, counted.values[np.clip(at, 0, len(counted.values) - 1)], np.nan)
    if not np.isfinite(found).any():
        return None
    return np.where(np.isfinite(like.values) & ~np.isfinite(found), np.nanmax(found), found)


def _at_peak(observation: Observation, like: BlockSeries, count: NDArray[np.float64]) -> int | None:
    """So many replicas at the busiest one's peak are as much work as was ever seen, by every measure of it."""
    if not np.nanmax(count) <= _LARGEST:
        return None
    most = 1.0
    for each in (observation.kv_demand, observation.running, observation.generation_rate, observation.prompt_rate):
        if isinstance(each, BlockSeries) and each.peak() > 0:
            at = np.clip((each.times() - like.start) // like.block, 0, len(count) - 1)
            most = max(most, float(np.nanmax(each.values * count[at])) / each.peak())
    return math.ceil(most - 1e-9)


def _opened(workload: Workload, seen: _Seen) -> Workload:
    """With as many replicas as the peak was the work of, and any number allowed that a person allows."""
    rules = workload.rules
    most = max(_MOST, 2 * seen.replicas)
    open_rules = replace(rules, min_replicas=1, max_replicas=min(most, rules.max_replicas or most))
    return replace(workload, replicas=seen.replicas, replicas_owner="", rules=open_rules)


def _offers(here: Situation, workload: Workload, seen: _Seen) -> Offers | None:
    if here.current is None or here.current.hourly is None:
        return None
    usually, limits, found = usual(seen.demand), _limits(workload), []
    for place in _promising(here, seen):
        candidate, size = _size(here, place, seen, workload.rules)
        found.append(_elastic(candidate, size, plan(seen.demand, usually, size, limits), limits))
    found.sort(key=lambda each: (each.hourly, each.at.configuration.instance.name, each.most))
    cost = here.current.hourly * _quarters(seen.mean) / max(workload.replicas, 1)
    at_mean, block = replace(here.current, hourly=cost), timedelta(minutes=seen.demand.minutes)
    return Offers(here.workload, workload.replicas_owner, at_mean, tuple(found), block)


def _promising(here: Situation, seen: _Seen) -> list[int]:
    """Of each size of replica the place with the fewest that hold the peak: the present, and those likely cheapest."""
    columns = _columns(here.options.places)
    holding = np.flatnonzero(here.hold & np.isfinite(here.options.places.dollars))
    order = holding[np.lexsort((columns.replicas[holding], columns.size[holding]))]
    fewest = order[np.unique(columns.size[order], return_index=True)[1]]
    busy = np.nanmean(seen.demand.peaks) / (seen.peak * seen.replicas)  # of the peak, on average
    count = columns.replicas[fewest]
    usually = columns.dollars[fewest] / count * np.maximum(1.0, count * busy)
    present = columns.size[fewest] == (-1 if here.here is None else columns.size[here.here])
    return [int(each) for each in fewest[np.lexsort((usually, ~present))[:_SIZES]]]


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """Of each place: the size of replica it is of, how many there are, and their price in USD/h."""

    size: NDArray[np.int64]
    replicas: NDArray[np.int64]
    dollars: NDArray[np.float64]
    single: tuple[Decimal | None, ...]  # of one replica of that size


@lru_cache(maxsize=64)
def _columns(places: Places) -> _Columns:
    keys = [(c.instance.name, c.accelerators, c.tensor_parallel) for c in places.configurations]
    index = {key: at for at, key in enumerate(sorted(set(keys)))}
    counts = [c.replicas for c in places.configurations]
    one = {key: price for key, count, price in zip(keys, counts, places.hourly, strict=True) if count == 1}
    return _Columns(
        np.array([index[key] for key in keys]),
        np.array(counts),
        places.dollars,
        tuple(one.get(key) for key in keys),
    )


def _size(here: Situation, place: int, seen: _Seen, rules: PlacementRules) -> tuple[Candidate, Size]:
    """With whole nodes for any number of replicas; the candidate has as many as hold the peak."""
    candidate, columns = here.candidate(place), _columns(here.options.places)
    holding, price = candidate.configuration.replicas, candidate.hourly or Decimal(0)
    node = columns.single[place] or price / holding
    room = -(-holding // max(1, round(price / node) if node else 1))
    enough = max(holding, min(rules.min_replicas or 1, _LARGEST))
    most = max(enough, min(ROOM * enough, rules.max_replicas or ROOM * enough))
    hourly = np.array([-(-count // room) * float(node) for count in range(most + 1)])
    placed = replace(candidate, configuration=replace(candidate.configuration, replicas=enough))
    return placed, Size(seen.peak * seen.replicas / holding, hourly)


def _limits(workload: Workload) -> Limits:
    lead = math.ceil((workload.scale_to_zero.cold_start + DETECTION) / timedelta(minutes=1))
    late = (1 - workload.objective.attainment) * _WEEK_MINUTES
    return Limits(max(1, workload.rules.min_replicas or 1), lead, late)


def _elastic(candidate: Candidate, size: Size, found: Plan | None, limits: Limits) -> Elastic:
    """As planned; where no plan keeps within the objective and costs less, as many as hold the peak, always."""
    what, enough, most = candidate.prediction, candidate.configuration.replicas, size.most
    full = (what.kv_demand_tokens or 0.0) / what.kv_capacity_tokens if what.kv_capacity_tokens else 0.0
    fixed = float(size.hourly[enough])
    if found is None or found.hourly >= fixed or found.usage * full < _USAGE_STEP:
        found, most = Plan(1.0, (enough,), fixed, 0.0), enough
    one = Decimal(repr(float(size.hourly[1])))
    hourly = one * _quarters(found.hourly / float(one)) if one else one
    return Elastic(
        at=replace(candidate, hourly=hourly),
        least=found.least,
        most=most,
        kv_usage=math.floor(found.usage * full / _USAGE_STEP + 1e-9) * _USAGE_STEP,
        hold=timedelta(minutes=HOLD),
        step=timedelta(minutes=STEP),
        lead=timedelta(minutes=limits.lead),
        hourly=hourly,
        instead=hourly,
        late_minutes=found.minutes_a_week,
    )


def _quarters(count: float) -> Decimal:
    """Rounded up to a quarter: a mean that moves with every block is no news."""
    return Decimal(math.ceil(count * 4 - 1e-6)) / 4
