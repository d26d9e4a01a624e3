"""The cheapest that holds, what else holds, and the nearest that do not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.decide.guards import HELD
from gpu_rightsizer.decide.money import attributed_hourly
from gpu_rightsizer.decide.rulings import is_worth_its_risk
from gpu_rightsizer.decide.situation import has_less_memory, is_smaller_or_slower, is_stronger, rank, same_place
from gpu_rightsizer.domain.finding import Code, Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from decimal import Decimal

    from gpu_rightsizer.decide.situation import Situation
    from gpu_rightsizer.domain.decision import Candidate

MOST_ALTERNATIVES: Final = 5
MOST_REJECTED: Final = 5

# What rules out first: rules and hardware before size, size before speed, judgement of the evidence last.
_DECISIVE: Final = (
    Code.NOT_ALLOWED,
    Code.OTHER_VENDOR,
    Code.NOT_PROVISIONABLE,
    Code.HOST_ARCHITECTURE,
    Code.NODE_CONSTRAINT,
    Code.VOLUME_ZONE,
    Code.PRECISION_UNSUPPORTED,
    Code.TENSOR_PARALLEL_IMPOSSIBLE,
    Code.MEMORY_TOO_SMALL,
    Code.CONTEXT_TOO_LONG,
    Code.HOST_MEMORY_TOO_SMALL,
    Code.HOST_CPU_TOO_SMALL,
    Code.HOST_STORAGE_TOO_SMALL,
    Code.HOST_RESOURCE_MISSING,
    Code.OVERLOADED,
    Code.TPOT_TOO_SLOW,
    Code.TTFT_TOO_SLOW,
    Code.FAILED_THERE_BEFORE,
    Code.MEMORY_RISK,
    Code.RISK_OUTWEIGHS_SAVING,
)
_ORDER: Final = {code: place for place, code in enumerate(_DECISIVE)}
# A class that is out by these says little about the workload, so that others are shown before it.
_RULES: Final = frozenset(_DECISIVE[:6]) | {Code.PRICE_UNKNOWN}


def cheaper(situation: Situation) -> tuple[Candidate, ...]:
    """Configurations elsewhere that cost less than what is ours now, cheapest first; empty without prices."""
    current = situation.current
    ours = attributed_hourly(situation.workload, current) if current else None
    if current is None or ours is None:
        return ()
    return tuple(
        each
        for each in situation.others
        if each.hourly is not None and each.hourly < ours and not same_place(each.configuration, current.configuration)
    )


def split_by_risk(candidates: Iterable[Candidate], situation: Situation) -> tuple[list[Candidate], list[Candidate]]:
    """Those whose added risk costs less than they save, and the others with that finding."""
    worth: list[Candidate] = []
    risky: list[Candidate] = []
    for each in candidates:
        finding = is_worth_its_risk(each, situation)
        if finding is None:
            worth.append(each)
        else:
            risky.append(replace(each, failures=(*each.failures, finding)))
    return worth, risky


def larger(situation: Situation) -> tuple[Candidate, ...]:
    """Configurations that hold what the present one does not, cheapest first, whatever they cost.

    With partial data nothing smaller or slower is trusted. Where symptoms contradict a prediction that the present
    configuration holds, the prediction is not trusted either: only what is stronger in every respect may be proposed.
    """
    current = situation.current
    if current is None:
        return ()
    here = current.configuration
    options = (each for each in situation.others if each.holds)
    if current.holds:
        options = (each for each in options if is_stronger(each.configuration, here) or _tunes(each, current))
    if situation.need.shrink_holds:
        options = (each for each in options if not is_smaller_or_slower(each.configuration, here))
    if situation.need.memory_holds:
        options = (each for each in options if not has_less_memory(each.configuration, here))
    return tuple(options)


def withheld(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Those that nothing but the reach of the evidence rules out."""
    return tuple(each for each in candidates if each.failures and all(one.code in HELD for one in each.failures))


def alternatives(target: Candidate | None, holding: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """At most five others that hold, one a class, cheapest first.

    One of each kind of accelerator comes before a second of the same: a kind without capacity must be no dead end.
    """
    if target is None:
        return ()
    classes = _first_of_each([each for each in sorted(holding, key=rank) if _class(each) != _class(target)], key=_class)
    kinds = _first_of_each(classes, key=_kind)
    rest = [each for each in classes if each not in kinds]
    return tuple(sorted((kinds + rest)[:MOST_ALTERNATIVES], key=rank))


def rejected(candidates: Iterable[Candidate], limit: Decimal | None) -> tuple[Candidate, ...]:
    """At most five that do not hold and would cost less than `limit`, nearest first, with the decisive finding first.

    Nearest is with the fewest findings against it, then closest in price; one of each kind of accelerator.
    """
    failing = [
        replace(each, failures=tuple(sorted(each.failures, key=_decisive)))
        for each in candidates
        if not each.holds and (limit is None or (each.hourly is not None and each.hourly < limit))
    ]
    nearest = _first_of_each(sorted(failing, key=_distance), key=_class)
    kinds = _first_of_each(nearest, key=_kind)
    rest = [each for each in nearest if each not in kinds]
    return tuple((kinds + rest)[:MOST_REJECTED])


def _tunes(candidate: Candidate, current: Candidate) -> bool:
    return same_place(candidate.configuration, current.configuration)


def _decisive(finding: Finding) -> int:
    return _ORDER.get(finding.code, len(_ORDER))


def _distance(candidate: Candidate) -> tuple[object, ...]:
    by_rule = any(finding.code in _RULES for finding in candidate.failures)
    return by_rule, len(candidate.failures), -(candidate.hourly or 0), rank(candidate)


def _class(candidate: Candidate) -> str:
    return candidate.configuration.instance.name


def _kind(candidate: Candidate) -> str:
    return candidate.configuration.instance.accelerator.key


def _first_of_each(candidates: Sequence[Candidate], key: Callable[[Candidate], str]) -> list[Candidate]:
    first: dict[str, Candidate] = {}
    for each in candidates:
        first.setdefault(key(each), each)
    return list(first.values())
