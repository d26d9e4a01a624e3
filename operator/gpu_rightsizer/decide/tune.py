"""Engine limits on the class it already has, where they remove the risk that a larger one would be bought for.

They cost a restart and no hardware. Each is predicted and judged again with the changed settings: a smaller batch
queues sooner, and what would then miss the objective is not proposed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.decide.limits import CONTEXT_STEP, limited, longest_request, set_by_the_user, takes_limits
from gpu_rightsizer.decide.money import attributed_hourly
from gpu_rightsizer.decide.rulings import judged
from gpu_rightsizer.decide.situation import situation
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.finding import Code, Fact, Finding, found
from gpu_rightsizer.domain.need import Hazard, Load, Need, WeighedIncident
from gpu_rightsizer.domain.options import Change
from gpu_rightsizer.domain.readings import Missing
from gpu_rightsizer.domain.workload import OomKind
from gpu_rightsizer.estimate.incidents import PRIOR_EVENTS, SETTINGS_CHANGED, probability
from gpu_rightsizer.estimate.load import CONTEXT_ROOM, least_context

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpu_rightsizer.decide.situation import Situation
    from gpu_rightsizer.domain.decision import Candidate

_LEAST_REMOVED: Final = 2 / 3  # of what there is beyond a quiet workload's: less is not worth a restart
_SMALL_STEP: Final = 2048  # tokens; what vLLM takes itself on devices below 70 GiB
_LESS_SHARE: Final = 0.05  # of device memory: a verified fix of out-of-memory outside the cache
_NOT_SLOWER: Final = 1.01
_STANDING: Final = 0.8
_WHILE_SERVING: Final = frozenset({OomKind.CUDA_SERVING, OomKind.UNCLASSIFIED})

_Limits = dict[str, float]


def removes_risk(here: Situation) -> Candidate | None:
    """The fewest limits that take away at least two thirds of a risk above `maxOomRisk`, and the objective holds.

    The risk is that beyond what any workload has that nothing ever happened to, which no limit changes.
    """
    risk = _beyond_quiet(here.current, here)
    if risk is None or risk <= _least_risk(here):
        return None
    by_batch = list(_smaller_batches(here))
    by_step = list(_fixes(here)) if _happened_while_serving(here.need) else []
    both = [_with_room(batch) | step for batch in by_batch for step in by_step]
    for tuned in _holding(here, [*by_batch, *by_step, *both]):
        left = _beyond_quiet(tuned, here)
        if left is not None and left <= (1 - _LEAST_REMOVED) * risk:
            return tuned
    return None


def stops_preempting(here: Situation) -> Candidate | None:
    """A batch that its cache always holds, where pushing requests out is all that is wrong."""
    if not here.need.symptoms or any(each.code is not Code.PREEMPTING for each in here.need.symptoms):
        return None
    return next(iter(_holding(here, list(_smaller_batches(here)))), None)


def tuning(here: Situation, target: Candidate) -> Finding:
    """What changes, what it does to the risk and to the wait, and what hardware would cost instead."""
    arguments = target.configuration.engine_args
    facts: dict[str, Fact] = {"arguments": " ".join(f"{flag}={value}" for flag, value in sorted(arguments.items()))}
    own = set_by_the_user(here.workload, arguments)
    if own:
        facts["own"] = " ".join(own)
    before = here.current.prediction.oom_probability if here.current else None
    after = target.prediction.oom_probability
    if before is not None and after is not None:
        facts |= {"before": before, "after": after}
    if target.prediction.ttft_bound is not None:
        facts["ttft"] = target.prediction.ttft_bound
    return found(Code.TUNE_REMOVES_RISK, **facts, **_hardware(here, after))


def _least_risk(here: Situation) -> float:
    """Above which limits are looked for; less, once they are recommended, so that noise does not take them back."""
    limit, advised = here.workload.objective.max_oom_risk, here.workload.advised
    return limit * _STANDING if advised is not None and advised.action is Action.TUNE else limit


def _hardware(here: Situation, risk: float | None) -> dict[str, Fact]:
    """The cheapest class that holds with no more risk, and what it costs more than now."""
    ours = attributed_hourly(here.workload, here.current) if here.current else None
    if ours is None or risk is None:
        return {}
    for index in here.those(here.hold & (here.options.risk <= risk)).tolist():
        there = here.options.places.hourly[index]
        if there is not None and there > ours:
            return {"hardware": here.configuration(index).instance.name, "more": there - ours}
    return {}


def _beyond_quiet(candidate: Candidate | None, here: Situation) -> float | None:
    """P(out of memory) beyond that of a workload of the same age without any event and without any load."""
    risk = candidate.prediction.oom_probability if candidate else None
    if risk is None:
        return None
    days = here.workload.objective.horizon.total_seconds() / 86_400
    return risk - probability(PRIOR_EVENTS, here.need.hazard.exposure_days, days)


def _batch(need: Need) -> float:
    """The largest batch and queue seen: below it requests would wait that never did."""
    return need.load.concurrency if isinstance(need.load, Load) else math.inf


def _smaller_batches(here: Situation) -> Iterator[_Limits]:
    """Limits under which a full batch of the longest requests fits the cache (`--max-num-seqs` x `--max-model-len`)."""
    workload, current = here.workload, here.current
    longest, capacity = longest_request(workload), current.prediction.kv_capacity_tokens if current else None
    if not takes_limits(workload) or longest is None or capacity is None or isinstance(workload.model, Missing):
        return
    most = workload.settings.max_num_seqs or math.inf
    if 1 <= (places := int(capacity) // longest) < most:
        yield {"max_num_seqs": places}
    demand = current.prediction.kv_demand_tokens if current else None
    if demand is None or demand <= 0:
        return
    enough = max(CONTEXT_ROOM * demand, least_context(here.need))
    if enough >= longest:
        return
    enough = math.ceil(enough / CONTEXT_STEP) * CONTEXT_STEP
    if enough < longest and enough * most <= capacity:
        yield {"max_model_len": enough}
    elif enough < longest and 1 <= (places := int(capacity) // enough) < most:
        yield {"max_model_len": enough, "max_num_seqs": places}


def _with_room(batch: _Limits) -> _Limits:
    """A sixth fewer requests: a smaller share of the device is taken from the cache."""
    return {name: max(1, int(value * 5 / 6)) if name == "max_num_seqs" else value for name, value in batch.items()}


def _fixes(here: Situation) -> Iterator[_Limits]:
    """What makes out-of-memory outside the cache less likely: smaller steps, or more left free beside the cache."""
    workload, settings = here.workload, here.workload.settings
    if not takes_limits(workload):
        return
    chunked = settings.chunked_prefill or (settings.chunked_prefill is None and bool(settings.by_device))
    sequences, tokens = settings.max_num_seqs or math.inf, settings.max_num_batched_tokens or 0
    if chunked and tokens > _SMALL_STEP >= sequences:
        yield {"max_num_batched_tokens": _SMALL_STEP}
    yield {"gpu_memory_utilization": round(settings.gpu_memory_utilization - _LESS_SHARE, 2)}


def _happened_while_serving(need: Need) -> bool:
    return any(_is_mended(each) for each in need.hazard.incidents)


def _is_mended(incident: WeighedIncident) -> bool:
    """By limits: outside the cache, with the settings there are now. Others since then count once, in its weight."""
    return incident.kind in _WHILE_SERVING and incident.demand is None and incident.unchanged


def _fixed(need: Need, limits: Mapping[str, float]) -> Need:
    """With such a limit the cause of what happened outside the cache applies a fifth as likely."""
    if not {"max_num_batched_tokens", "gpu_memory_utilization"} & limits.keys():
        return need
    incidents = tuple(
        replace(each, weight=each.weight * SETTINGS_CHANGED) if _is_mended(each) else each
        for each in need.hazard.incidents
    )
    return replace(need, hazard=Hazard(need.hazard.exposure_days, incidents))


def _holding(here: Situation, proposals: Sequence[_Limits]) -> Iterator[Candidate]:
    """Those that hold, with no batch below the largest seen; the fewest changes first.

    What physics doubts of the class as it is does not count.
    """
    current = here.current
    if current is None or not proposals:
        return
    least = _batch(here.need)
    few = sorted((each for each in proposals if each.get("max_num_seqs", math.inf) >= least), key=len)
    where = current.configuration
    changes = [limited(here.workload, _fixed(here.need, each), where, each) for each in few]
    as_it_is, *tried = here.options.otherwise([Change(here.workload, here.need, where), *changes])
    for change, tuned in zip(changes, tried, strict=True):
        if as_it_is is None or tuned is None or not _serves_as_well(tuned, as_it_is):
            continue
        alone = replace(tuned, failures=())
        if judged(situation(change.workload, change.need, (current, alone), here.now)).hold[1]:
            yield alone


def _serves_as_well(tuned: Candidate, as_it_is: Candidate) -> bool:
    """Nothing new against it; where physics already doubts the present settings, no slower than these."""
    if not {each.code for each in tuned.failures} <= {each.code for each in as_it_is.failures}:
        return False
    if not tuned.failures:
        return True
    pairs = (
        (tuned.prediction.tpot_bound, as_it_is.prediction.tpot_bound),
        (tuned.prediction.ttft_bound, as_it_is.prediction.ttft_bound),
    )
    return all(after is not None and before is not None and after <= _NOT_SLOWER * before for after, before in pairs)
