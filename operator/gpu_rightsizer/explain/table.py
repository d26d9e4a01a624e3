"""A fleet as a text table: where the money is first."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.explain import numbers
from gpu_rightsizer.explain.recommendation import brief
from gpu_rightsizer.explain.text import safe
from gpu_rightsizer.explain.usage import present
from gpu_rightsizer.explain.words import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_rightsizer.domain.decision import Decision
    from gpu_rightsizer.domain.world import Evaluation

COLUMNS: Final = ("NAMESPACE", "NAME", "CURRENT", "RECOMMENDED", "SAVED/MONTH", "OOM RISK", "CONFIDENCE", "WHY")
LONGEST_WHY: Final = 90
_RIGHT: Final = frozenset({"SAVED/MONTH", "OOM RISK"})


def fleet_table(evaluations: Sequence[Evaluation]) -> str:
    """One line a deployment, the largest saving first, then a line with the sum. Ends with a line break."""
    ordered = sorted(evaluations, key=lambda each: (-_saved(each.decision), _name(each)))
    lines = aligned(COLUMNS, [_row(each) for each in ordered], _RIGHT)
    return lines + total(evaluations) + "\n"


def total(evaluations: Sequence[Evaluation]) -> str:
    """What the fleet costs and would save, counting only what is known."""
    saved = sum((max(Decimal(0), _saved(each.decision)) for each in evaluations), Decimal(0))
    known = [each.decision.cost.current_hourly for each in evaluations if each.decision.cost.current_hourly is not None]
    cost = sum(known, Decimal(0))
    unpriced = len(evaluations) - len(known)
    without = f", {unpriced} without a known price" if unpriced else ""
    return (
        f"{len(evaluations)} deployments cost {_whole(numbers.monthly(cost))} a month{without}; "
        f"{_whole(numbers.monthly(saved))} of it could be saved."
    )


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[str] = frozenset()) -> str:
    """Columns as wide as their widest cell, two spaces apart, no trailing spaces; each line ends with a break."""
    widths = [max(len(row[place]) for row in [header, *rows]) for place in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = (
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(row, widths, header, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return "".join(f"{line}\n" for line in lines)


def _row(evaluation: Evaluation) -> tuple[str, ...]:
    workload, decision = evaluation.world.workload, evaluation.decision
    return (
        safe(workload.key.namespace, 63),
        safe(workload.key.name, 63),
        present(workload),
        brief(decision),
        _saving(decision),
        _risk(decision),
        decision.certainty.value,
        safe(say(decision.reasons[0]), LONGEST_WHY) if decision.reasons else "",
    )


def _saving(decision: Decision) -> str:
    if decision.action is Action.UNKNOWN or (decision.target is not None and decision.cost.saved_hourly is None):
        return "-"
    return _whole(numbers.monthly(_saved(decision)))


def _risk(decision: Decision) -> str:
    there = decision.target or decision.current
    risk = there.prediction.oom_probability if there else None
    return "-" if risk is None or decision.action is Action.UNKNOWN else numbers.probability(risk)


def _saved(decision: Decision) -> Decimal:
    return decision.cost.saved_hourly or Decimal(0)


def _whole(amount: Decimal) -> str:
    sign = "-" if amount < 0 else ""
    return f"{sign}${abs(amount):,.0f}"


def _name(evaluation: Evaluation) -> tuple[str, str]:
    key = evaluation.world.workload.key
    return key.namespace, key.name
