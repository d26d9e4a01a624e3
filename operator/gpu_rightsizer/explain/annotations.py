"""Annotations, read off the status so that the two never tell different stories."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.decision import Realisation
from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.explain import numbers
from gpu_rightsizer.explain.text import shortened

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMMARY: Final = "gpu-rightsizer.dev/summary"
RECOMMENDATION: Final = "gpu-rightsizer.dev/recommendation"
RECOMMENDATION_ID: Final = "gpu-rightsizer.dev/recommendation-id"
SCHEMA: Final = 1
LONGEST_SUMMARY: Final = 250
MOST_BYTES: Final = 262_144  # of all annotations of an object together, names included (apimachinery)

_Json = dict[str, object]


def annotations_of(status: Mapping[str, object], taken: int = 0) -> dict[str, str]:
    """The three annotations; none where nothing is recommended.

    `taken` is how many bytes the object's other annotations take: where the whole recommendation does not fit beside
    them, it stands in the status alone.
    """
    advice = _object(status, "recommendation")
    if not advice:
        return {}
    short = {SUMMARY: summary(status), RECOMMENDATION_ID: str(advice["id"])}
    whole = {RECOMMENDATION: _compact(advice)}
    return short | whole if taken + _size(short | whole) <= MOST_BYTES else short


def summary(status: Mapping[str, object]) -> str:
    """One line for people.

    For example `p5.48xlarge x1 -> g6e.xlarge x1, saves $53.18/h (97%), OOM risk 1.6% in 30d (now 1.4%, model-based)`
    """
    advice, here = _object(status, "recommendation"), str(_object(status, "current").get("brief", ""))
    match Action(str(advice["action"])):
        case Action.RESIZE:
            move = f"{here} -> {advice.get('brief')}{_arguments(advice)}"
            parts = [move, _too_small(status), _saving(advice), _risk(advice)]
        case Action.SCALE_TO_ZERO:
            parts = [f"{here} -> 0 replicas", _saving(advice), _reason(advice)]
        case Action.TUNE:
            parts = [f"{here}: tune{_arguments(advice)}", _risk(advice)]
        case Action.KEEP:
            parts = [f"{here}: keep", _reason(advice), _risk(advice)]
        case Action.UNKNOWN:
            parts = [f"{here}: unknown", _reason(advice)]
    return shortened(", ".join(part for part in parts if part), LONGEST_SUMMARY)


def _compact(advice: _Json) -> str:
    """The schema first, the rest sorted: the API server gives a status back with its keys in an order of its own."""
    text = json.dumps(advice, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return f'{{"schema":{SCHEMA},{text[1:]}'


def _too_small(status: Mapping[str, object]) -> str:
    listed = status.get("conditions")
    reasons = [each.get("reason") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return "too small now" if Code.UNDER_SIZED.value in reasons else ""


def _saving(advice: _Json) -> str:
    bill = _object(advice, "cost")
    if "savedHourlyUSD" not in bill:
        return "saving unknown"
    saved = Decimal(str(bill["savedHourlyUSD"]))
    if saved < 0:
        return f"costs {numbers.dollars(-saved)}/h more"
    if saved == 0 and bill.get("realisation") == Realisation.NODE_STAYS.value:
        return "saves nothing until others leave its nodes"
    now = Decimal(str(bill.get("currentHourlyUSD", "0")))
    part = f" ({numbers.share(saved / now)})" if now else ""
    return f"saves {numbers.dollars(saved)}/h{part}"


def _risk(advice: _Json) -> str:
    risk = _object(advice, "risk")
    if "oomProbability" not in risk:
        return ""
    state = "model-based" if risk.get("state") == "ModelBased" else "calibrated"
    moves = advice["action"] != Action.KEEP.value
    now = f"now {risk['currentOomProbability']}, " if moves and "currentOomProbability" in risk else ""
    return f"OOM risk {risk['oomProbability']} in {risk['horizon']} ({now}{state})"


def _arguments(advice: _Json) -> str:
    arguments = _object(_object(advice, "target"), "engineArgs")
    return "".join(f" {flag}={value}" for flag, value in sorted(arguments.items()))


def _reason(advice: _Json) -> str:
    """The first sentence of the first reason, without what to do about it."""
    reasons = advice.get("reasons")
    if not isinstance(reasons, list) or not reasons:
        return ""
    first = str(reasons[0]).split(". ")[0].rstrip(".")
    return first[:1].lower() + first[1:]


def _object(fields: Mapping[str, object], key: str) -> _Json:
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def _size(annotations: Mapping[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
