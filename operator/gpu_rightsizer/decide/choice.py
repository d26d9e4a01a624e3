"""The cheapest that holds, what else holds, and the nearest that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_rightsizer.decide.guards import HELD
from gpu_rightsizer.decide.money import attributed_hourly
from gpu_rightsizer.decide.situation import has_less_memory, is_smaller_or_slower, is_stronger, same_place
from gpu_rightsizer.domain.finding import Code, Finding
from gpu_rightsizer.domain.options import mask

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

    from numpy.typing import NDArray

    from gpu_rightsizer.decide.situation import Situation
    from gpu_rightsizer.domain.decision import Candidate
    from gpu_rightsizer.domain.options import Places

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
    Code.POOL_TAKEN,
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
_HELD: Final = mask(HELD)
_ORDER: Final = {code: place for place, code in enumerate(_DECISIVE)}
# A class that is out by these says little about the workload, so that others are shown before it.
_RULES: Final = mask([*_DECISIVE[:6], Code.PRICE_UNKNOWN])


def cheaper(situation: Situation) -> NDArray[np.intp]:
    """Configurations elsewhere that cost less than what is ours now, cheapest first; empty without prices."""
    current = situation.current
    ours = attributed_hourly(situation.workload, current) if current else None
    if ours is None:
        return situation.others[:0]
    return situation.those(situation.options.places.below(ours) & ~situation.compared(same_place))


def larger(situation: Situation) -> NDArray[np.intp]:
    """Configurations that hold what the present one does not, cheapest first, whatever they cost.

    With partial data nothing smaller or slower is trusted. Where symptoms contradict a prediction that the present
    configuration holds, the prediction is not trusted either: only what is stronger in every respect may be proposed.
    """
    current = situation.current
    if current is None:
        return situation.others[:0]
    which = situation.hold
    if current.holds:
        which = which & situation.compared(is_stronger)
    if situation.need.shrink_holds:
        which = which & ~situation.compared(is_smaller_or_slower)
    if situation.need.memory_holds:
        which = which & ~situation.compared(has_less_memory)
    return situation.those(which)


def withheld(situation: Situation, indices: NDArray[np.intp]) -> Candidate | None:
    """The first that nothing but the reach of the evidence rules out."""
    codes = situation.codes[indices]
    only = indices[(codes != 0) & (codes & ~_HELD == 0)]
    return situation.candidate(int(only[0])) if only.size else None


def alternatives(situation: Situation, target: Candidate | None, holding: NDArray[np.intp]) -> tuple[Candidate, ...]:
    """At most five others that hold, one a class, cheapest first.

    One of each kind of accelerator comes before a second of the same: a kind without capacity must be no dead end.
    """
    if target is None:
        return ()
    places, name = situation.options.places, target.configuration.instance.name
    others = (index for index in holding.tolist() if places.names[index] != name)
    chosen = set(_of_each_kind(places, others, MOST_ALTERNATIVES))
    return tuple([situation.candidate(index) for index in holding.tolist() if index in chosen])


def rejected(situation: Situation, indices: NDArray[np.intp], limit: Decimal | None) -> tuple[Candidate, ...]:
    """At most five that do not hold and would cost less than `limit`, nearest first, with the decisive finding first.

    Nearest is with the fewest findings against it, then closest in price, then split the most; one of each kind of
    accelerator.
    """
    places = situation.options.places
    out = ~situation.hold if limit is None else ~situation.hold & places.below(limit)
    failing = indices[out[indices]]
    distance = (
        -places.ranks[failing],
        -places.level[failing],
        situation.faults[failing],
        situation.codes[failing] & _RULES != 0,
    )
    nearest = failing[np.lexsort(distance)]  # stable: equals stay cheapest first
    shown = _of_each_kind(places, nearest.tolist(), MOST_REJECTED)
    return tuple([_decisive_first(situation.candidate(index)) for index in shown])


def _of_each_kind(places: Places, indices: Iterable[int], most: int) -> list[int]:
    """The first of each class; of these the first of each kind of accelerator, then the rest, in their order."""
    classes, kinds = set[str](), set[str]()
    first: list[int] = []
    rest: list[int] = []
    for index in indices:
        name = places.names[index]
        if name in classes:
            continue
        classes.add(name)
        (rest if places.kinds[index] in kinds else first).append(index)
        kinds.add(places.kinds[index])
        if len(first) == most:
            break
    return (first + rest)[:most]


def _decisive_first(candidate: Candidate) -> Candidate:
    if len(candidate.failures) == 1:
        return candidate
    return candidate.failing_by(tuple(sorted(candidate.failures, key=_decisive)))


def _decisive(finding: Finding) -> int:
    return _ORDER.get(finding.code, len(_ORDER))
