"""Verdicts as figures, as a table and as JSON of a stable form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_rightsizer.backtest.replay import OURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.backtest.advice import Advice
    from gpu_rightsizer.backtest.recommended import Said
    from gpu_rightsizer.backtest.replay import Replay, Verdict

_SHOWN: Final = 10  # deployments told of below the table
FEW_MINUTES: Final = 10.0  # a week: 99.9 % of it
_HEADER: Final = ("POLICY", "SAVED", "MEDIAN", "/CLAIRVOYANT", "VIOLATED MIN/WEEK", "<= 10 MIN", "RESCALES/DAY",
                  "REALISED/STATED")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figures:
    """One policy in figures: shares and ratios as numbers, None where there is nothing to divide by.

    `saving` and `over_clairvoyant` are sums over sums; `median_saving` is over windows. `realised_over_stated` maps
    a stated probability to the share of windows exceeded over it; `own` is of probabilities that differ by window.
    """

    name: str
    saving: float | None
    median_saving: float | None
    over_clairvoyant: float | None
    violations: float
    within: float
    rescalings: float
    realised_over_stated: Mapping[str, float]

    def as_json(self) -> dict[str, object]:
        """The form that `docs/how-to/backtest.md` promises."""
        return {
            "name": self.name,
            "saving_vs_2x_peak": self.saving,
            "median_saving_vs_2x_peak": self.median_saving,
            "cost_over_clairvoyant": self.over_clairvoyant,
            "violation_minutes_per_week": self.violations,
            "share_within_10_min": self.within,
            "rescalings_per_day": self.rescalings,
            "realised_over_stated": dict(self.realised_over_stated),
        }


def figures(verdict: Verdict, reference: NDArray[np.float64], clairvoyant: NDArray[np.float64]) -> Figures:
    """Of one policy against what it is measured against."""
    outcome = verdict.outcome
    violations = outcome.violations_a_week()
    paid = reference > 0
    return Figures(
        verdict.name,
        _ratio(reference.sum() - outcome.hourly.sum(), reference.sum()),
        float(np.median(1.0 - outcome.hourly[paid] / reference[paid])) if paid.any() else None,
        _ratio(outcome.hourly.sum(), clairvoyant.sum()),
        float(violations.mean()),
        float((violations <= FEW_MINUTES).mean()),
        float(outcome.rescalings.mean()),
        _came_true(verdict),
    )


def _came_true(verdict: Verdict) -> dict[str, float]:
    told = {f"{p:g}": float(exceeded.mean() / p) for p, exceeded in verdict.realised.items()}
    if verdict.stated is not None and verdict.exceeded is not None and np.nansum(verdict.stated) > 0:
        told["own"] = float(verdict.exceeded.sum() / np.nansum(verdict.stated))
    return told


def _ratio(above: float, below: float) -> float | None:
    return float(above / below) if below > 0 else None


def as_json(result: Replay, advised: Sequence[Advice] = ()) -> str:
    """`policies`, the swept `frontier`, what was `recommended`, and the `advice` for what comes."""
    content = {
        "policies": [figures(v, result.reference, result.clairvoyant).as_json() for v in result.verdicts],
        "frontier": {name: [_point(v, result) for v in curve] for name, curve in result.frontier.items()},
        "windows": len(result.reference),
        "origins": result.origins,
        "skipped_without_history": result.skipped,
        "recalibrated_windows": result.recalibrated,
        "recommended": [each.as_json() for each in _said(result)],
        "advice": [each.as_json() for each in advised],
    }
    return json.dumps(content, indent=2, allow_nan=False)


def _point(verdict: Verdict, result: Replay) -> dict[str, object]:
    found = figures(verdict, result.reference, result.clairvoyant)
    return {"at": verdict.name, "cost_vs_2x_peak": None if found.saving is None else 1.0 - found.saving,
            "violation_minutes_per_week": found.violations}  # fmt: skip


def as_table(result: Replay, advised: Sequence[Advice] = (), read: str = "") -> str:
    """One line a policy, ours first; then what the figures rest on, and what to set up; `read` is how the trace was."""
    rows = [_row(figures(v, result.reference, result.clairvoyant)) for v in result.verdicts]
    widths = [max(len(row[i]) for row in [_HEADER, *rows]) for i in range(len(_HEADER))]
    lines = [
        "  ".join(cell.ljust(w) if i in {0, len(_HEADER) - 1} else cell.rjust(w)
                  for i, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in [_HEADER, *rows]
    ]  # fmt: skip
    return "\n".join(
        [*lines, "", *_footnotes(result), *filter(None, [read]), *_recommended(result), *_advised(advised)]
    )


def _row(found: Figures) -> tuple[str, ...]:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.0f}%"

    ratios = " ".join(f"{p}:{ratio:.2f}" for p, ratio in found.realised_over_stated.items())
    over = "-" if found.over_clairvoyant is None else f"{found.over_clairvoyant:.2f}"
    return (found.name, share(found.saving), share(found.median_saving), over, f"{found.violations:.1f}",
            share(found.within), f"{found.rescalings:.1f}", ratios)  # fmt: skip


def _footnotes(result: Replay) -> Sequence[str]:
    windows = len(result.reference)
    notes = [f"{windows} windows of one deployment each, {result.origins} origins; saved is against 2 x peak."]
    if result.skipped:
        notes.append(f"{result.skipped} windows without a request in their history were left out.")
    if result.recalibrated < windows:
        notes.append(
            f"{OURS}: the static size of {windows - result.recalibrated} windows is model-based; recalibration needs "
            "more windows judged before."
        )
    return notes


def _said(result: Replay) -> list[Said]:
    return [one for each in result.verdicts for one in each.said]


def _recommended(result: Replay) -> list[str]:
    """What the operator says after the last history."""
    said = _said(result)
    if not said:
        return []
    last = max(each.origin for each in said)
    return _listed(f"As recommended from {last:%Y-%m-%d %H:%M} UTC on:", [e for e in said if e.origin == last])


def _advised(advised: Sequence[Advice]) -> list[str]:
    return _listed("Elastic from here on:", advised)


def _listed(title: str, lines: Sequence[object]) -> list[str]:
    if not lines:
        return []
    more = [f"  and {len(lines) - _SHOWN} more; --json has them all"] if len(lines) > _SHOWN else []
    return ["", title, *(f"  {each}" for each in lines[:_SHOWN]), *more]


def read_at(curve: Sequence[Verdict], violations: float, reference: NDArray[np.float64]) -> float | None:
    """What a policy costs, as a share of 2 x peak, at these mean violation minutes a week; None outside its sweep.

    Linear between swept points in log cost against log(1 + violations).
    """
    points = sorted(
        (float(v.outcome.violations_a_week().mean()), float(v.outcome.hourly.sum() / reference.sum())) for v in curve
    )
    minutes, costs = (np.array(each) for each in zip(*points, strict=True))
    if not minutes[0] <= violations <= minutes[-1]:
        return None
    return float(np.exp(np.interp(np.log1p(violations), np.log1p(minutes), np.log(np.maximum(costs, 1e-12)))))
