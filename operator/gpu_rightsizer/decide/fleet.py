"""Decisions of a fleet: each on its own, and where they would take more of a pool than there is, together."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.decide import elasticity
from gpu_rightsizer.decide.allocation import Allocation, Option, allocate
from gpu_rightsizer.decide.money import attributed_hourly
from gpu_rightsizer.decide.pools import Claim, claimed, overdrawn, pools, present
from gpu_rightsizer.decide.verdict import decide
from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.finding import Code, Fact, Finding, found

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from gpu_rightsizer.decide.offers import Offers
    from gpu_rightsizer.decide.pools import Pool
    from gpu_rightsizer.domain.decision import Candidate, Decision
    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.workload import Workload
    from gpu_rightsizer.domain.world import World

_MOST_NAMED: Final = 4
_NONE: Final[Mapping[str, Finding]] = MappingProxyType({})
_WORTH_A_WORD: Final = 0.001  # of the cost: a smaller gap is below what prices tell


def decide_fleet(
    worlds: Sequence[World],
    needs: Sequence[Need],
    candidates: Sequence[Sequence[Candidate]],
    scaled: Sequence[Offers | None],
    *,
    classes: Sequence[InstanceClass],
    now: datetime,
) -> list[Decision]:
    """One decision each, in the order given; what they would take of owned or reserved classes is there."""
    cases = [
        _Case(world.workload, need, options, elastic, now)
        for world, need, options, elastic in zip(worlds, needs, candidates, scaled, strict=True)
    ]
    decisions = [each.decide() for each in cases]
    limits = pools(classes, [each.workload for each in cases])
    claims = [_claim(each.workload, decision) for each, decision in zip(cases, decisions, strict=True)]
    contested = overdrawn(limits, claims)
    return _shared(cases, decisions, claims, limits, contested) if contested else decisions


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """All that the decision about one workload rests on."""

    workload: Workload
    need: Need
    candidates: Sequence[Candidate]
    elastic: Offers | None
    now: datetime

    def decide(self, taken: Mapping[str, Finding] = _NONE) -> Decision:
        """With none of the classes that others have in full."""
        if self.elastic is not None and self.elastic.owner:
            return elasticity.owned(self.need, self.elastic, self.now, taken)
        alone = decide(self.workload, self.need, self.candidates, self.now, taken)
        if self.elastic is not None:
            return elasticity.optional(alone, self.workload, self.elastic, taken)
        return elasticity.unbounded(alone, self.workload) if self.workload.replicas_owner else alone

    @property
    def name(self) -> str:
        return f"{self.workload.key.namespace}/{self.workload.key.name}"


@dataclass(frozen=True, slots=True, eq=False)
class _Menu:
    """What one workload would be told as long as nothing, one, two ... of the pools it asks for are full.

    `without` are the classes that are full in each, in the order they fill. `fails`: the last leaves it too small.
    """

    row: int
    options: tuple[Option, ...]
    without: tuple[str, ...]
    fails: bool


def _shared(
    cases: Sequence[_Case],
    decisions: list[Decision],
    claims: Sequence[Claim | None],
    limits: Mapping[str, Pool],
    contested: frozenset[str],
) -> list[Decision]:
    menus = _menus(cases, decisions, claims, limits, contested)
    inside = {menu.row for menu in menus}
    free = {name: pool.free for name, pool in limits.items()}
    given: dict[str, list[str]] = defaultdict(list)
    for row, claim in enumerate(claims):
        if claim is not None and row not in inside and claim.instance_class in free:
            free[claim.instance_class] -= claim.accelerators
            given[claim.instance_class].append(cases[row].name)
    answer = allocate(_weighted(menus), free)
    taken = Counter({name: pool.free - free[name] for name, pool in limits.items()})
    for menu, at in zip(menus, answer.chosen, strict=True):
        if menu.options[at].pool:
            given[menu.options[at].pool].append(cases[menu.row].name)
            taken[menu.options[at].pool] += menu.options[at].amount
    words = {name: _word(pool, taken[name], given[name], answer) for name, pool in limits.items()}
    told = list(decisions)
    for menu, at in zip(menus, answer.chosen, strict=True):
        full = {name: words[name] for name in menu.without[:at]}
        if full:
            told[menu.row] = _telling(cases[menu.row].decide(full), full)
    return told


def _menus(
    cases: Sequence[_Case],
    decisions: Sequence[Decision],
    claims: Sequence[Claim | None],
    limits: Mapping[str, Pool],
    contested: frozenset[str],
) -> list[_Menu]:
    """Of all that take part: who asks for a contested pool, and who asks for one that those might turn to."""
    names = set(contested)
    found: dict[int, _Menu] = {}
    while True:
        joining = [
            row
            for row, claim in enumerate(claims)
            if row not in found and claim is not None and claim.instance_class in names
        ]
        if not joining:
            break
        for row in joining:
            found[row] = _menu(row, cases[row], decisions[row], limits)
            names |= {option.pool for option in found[row].options}
    key = {row: cases[row].workload.key for row in found}
    return sorted(found.values(), key=lambda menu: (key[menu.row].namespace, key[menu.row].name, key[menu.row].uid))


def _menu(row: int, case: _Case, decision: Decision, limits: Mapping[str, Pool]) -> _Menu:
    options: list[Option] = []
    full: dict[str, Finding] = {}
    too_small = any(one.code is Code.UNDER_SIZED for one in decision.reasons)
    while True:
        options.append(_option(case.workload, decision, limits))
        name = decision.target.configuration.instance.name if decision.target else ""
        if name not in limits or name in full or decision.action is not Action.RESIZE:
            break
        full[name] = found(Code.POOL_TAKEN, instance_class=name)
        decision = case.decide(full)
    return _Menu(row, tuple(options), tuple(full), fails=too_small and decision.target is None)


def _weighted(menus: Sequence[_Menu]) -> list[tuple[Option, ...]]:
    """Being left too small counts as much as all of them cost at most: no saving of the others outweighs it."""
    most = sum(max(option.cost for option in menu.options) for menu in menus)
    return [
        (*menu.options[:-1], replace(menu.options[-1], cost=menu.options[-1].cost + most))
        if menu.fails
        else menu.options
        for menu in menus
    ]


def _option(workload: Workload, decision: Decision, limits: Mapping[str, Pool]) -> Option:
    claim = _claim(workload, decision)
    pool = claim.instance_class if claim is not None and claim.instance_class in limits else ""
    now = attributed_hourly(workload, decision.current) if decision.current else None
    cost = now if decision.target is None else decision.target.hourly
    return Option(float(cost or 0), pool, claim.accelerators if claim is not None and pool else 0)


def _claim(workload: Workload, decision: Decision) -> Claim | None:
    """What it will hold: as recommended, else as now."""
    return claimed(decision.target.configuration) if decision.target else present(workload)


def _word(pool: Pool, taken: int, by: Sequence[str], answer: Allocation) -> Finding:
    """Who has it, and how sure it is that no better use of it was found."""
    names = sorted(by)
    more = len(names) - _MOST_NAMED
    shown = names[: _MOST_NAMED if more > 1 else _MOST_NAMED + 1]
    listed = [*shown, *([f"{more} others of the fleet"] if more > 1 else [])]
    listed += [f"other pods ({pool.others})"] if pool.others else []
    facts: dict[str, Fact] = {
        "instance_class": pool.instance_class,
        "taken": taken + pool.others,
        "accelerators": pool.accelerators,
        "by": ", ".join(listed),
    }
    gap = {"gap": answer.gap} if answer.gap > _WORTH_A_WORD else {}
    return found(Code.POOL_TAKEN, **facts, **gap)


def _telling(decision: Decision, full: Mapping[str, Finding]) -> Decision:
    """With the pools that are full: after what is recommended, or first where they leave nothing to recommend."""
    at = 0 if decision.action is Action.KEEP else 1
    return replace(decision, reasons=(*decision.reasons[:at], *full.values(), *decision.reasons[at:]))
