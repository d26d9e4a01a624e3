"""Where the user's own rules leave no class: which of them, and where they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.options import mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_rightsizer.decide.situation import Situation
    from gpu_rightsizer.domain.decision import Candidate, Configuration

# No rule of the user's: such a class could not be proposed under any.
_OUT_OF_REACH: Final = mask([Code.OTHER_VENDOR, Code.NOT_PROVISIONABLE])
_FORBIDDEN: Final = mask([Code.NOT_ALLOWED])


def leave_nothing(situation: Situation) -> tuple[Finding, ...]:
    """The rules that forbid every class within reach: all of them, or all but the present one."""
    reach = ~situation.fail(_OUT_OF_REACH) & ~situation.compared(_same_class)
    if np.count_nonzero(reach & ~situation.fail(_FORBIDDEN)):
        return ()  # the usual case
    elsewhere = situation.those(reach)  # on another class than now, if some rule could allow it
    if not elsewhere.size:
        return ()
    broken = [_rules(situation.candidate(index)) for index in elsewhere.tolist()]
    rules, present = situation.workload.rules, situation.current
    where = {"policies": ", ".join(rules.policies)}
    if rules.conflict:
        return (found(Code.RULES_ALLOW_NOTHING, rule=rules.conflict, **where),)
    forbidden = present is None or any(one.code is Code.NOT_ALLOWED for one in present.notes)
    code = Code.RULES_ALLOW_NOTHING if forbidden else Code.RULES_ALLOW_NO_OTHER
    return (found(code, rule=_decisive(broken), **where),)


def _same_class(one: Configuration, other: Configuration) -> bool:
    return one.instance.name == other.instance.name


def _rules(candidate: Candidate) -> dict[str, str]:
    """What each field that forbids a candidate holds: `regions` -> `eu-west-1`."""
    told = (str(dict(one.facts).get("rule", "")) for one in candidate.failures if one.code is Code.NOT_ALLOWED)
    return {rule.partition(":")[0]: rule.partition(": ")[2] for rule in told}


def _decisive(broken: Sequence[dict[str, str]]) -> str:
    """The fields that forbid every class by themselves, with their values; where none does, all that together do.

    `exclude` tells the one glob that met a class, so that the values of all classes are taken together.
    """
    alone = [field for field in broken[0] if all(field in each for each in broken)]
    fields = alone or sorted({field for each in broken for field in each})
    values = {field: dict.fromkeys(each[field] for each in broken if field in each) for field in fields}
    return "; ".join(f"{field}: {', '.join(told)}" for field, told in values.items())
