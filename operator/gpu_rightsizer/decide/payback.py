"""What a change costs once, how soon its saving pays that back, and whether the load stays so long as it is.

    K = surge + review + P(rollback) x (K + failure)
    move if and only if  (1 - z sigma) x saving x (1 - exp(-h H)) / h  >=  (1 + m) x K

`h` is how often a load becomes another one, `H` the horizon: a saving is only counted while the load is what it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.decide.money import potential_hourly
from gpu_rightsizer.domain.finding import Code, Finding, found

if TYPE_CHECKING:
    from gpu_rightsizer.decide.situation import Situation
    from gpu_rightsizer.domain.decision import Candidate

REGIME_ENDS: Final = 0.08
"""A day: in 44 % of 632 deployments of ServeGen (Alibaba, 14 days) a week's peak was over 1.15 times that of the week
before; -ln(0.56) / 7. Clients come and go there as few services do, so that this is careful."""
ROLLBACKS: Final = 0.03  # of changes, where the latency there cannot be predicted: what is aimed at, not measured
_MOST_ROLLBACKS: Final = 0.05  # a class is held to the 95 % bound of the prediction; what runs is held to what it does
REVIEW_USD: Final = Decimal(25)  # assumed: a quarter of an hour of somebody who costs 100 USD an hour
_DRAIN: Final = timedelta(seconds=30)  # Kubernetes' default terminationGracePeriodSeconds
_NODE: Final = timedelta(minutes=7)  # until a GPU node is ready: 2 to 7 min (llm-d workload-variant-autoscaler's docs)
_LOAD: Final = timedelta(seconds=294)  # an 8B model with cold caches on an L40S (tensorfuse, 2025)
_SURENESS: Final = 1 - 1.2816 * 0.1  # 90 % sure of a saving that is known to 10 %
_MARGIN: Final = Decimal("1.1")
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Payback:
    """USD of the change, USD an hour saved, USD saved while the load stays as it is, and for how long that counts."""

    change: Decimal
    saved_hourly: Decimal
    worth: Decimal
    lasts: timedelta

    @property
    def after(self) -> timedelta:
        """How long it takes."""
        return float(self.change / self.saved_hourly) * _HOUR

    @property
    def is_worth_it(self) -> bool:
        """The saving of the time that counts is above the cost, with a margin."""
        return self.worth >= _MARGIN * self.change


def payback(here: Situation, target: Candidate) -> Payback | None:
    """Of a move that saves; None where no saving is known."""
    saved = potential_hourly(here.workload, here.current, target)
    if saved is None or saved <= 0:
        return None
    lasts, hours = _counted(here.workload.objective.horizon)
    return Payback(_change(here, target), saved, saved * hours, lasts)


@lru_cache(maxsize=64)
def _counted(horizon: timedelta) -> tuple[timedelta, Decimal]:
    """For how long a saving counts, and the hours of it that are as good as sure."""
    days = horizon / timedelta(days=1)
    lasts = timedelta(days=-math.expm1(-REGIME_ENDS * days) / REGIME_ENDS)
    return lasts, Decimal(str(_SURENESS * (lasts / _HOUR)))


@lru_cache(maxsize=64)
def _doubled(cold_start: timedelta) -> Decimal:
    """Hours for which a replica and its successor both run."""
    return Decimal(str((_DRAIN + _NODE + max(_LOAD, cold_start)) / _HOUR))


def pays_back(back: Payback) -> Finding:
    """For a move."""
    return found(Code.PAYS_BACK, change=float(back.change), after=back.after)


def too_long(back: Payback) -> Finding:
    """Against a move."""
    return found(
        Code.PAYBACK_TOO_LONG, change=float(back.change), after=back.after, worth=float(back.worth), lasts=back.lasts
    )


def _change(here: Situation, target: Candidate) -> Decimal:
    """Every replica runs twice while its successor starts; a rollback costs the same again, and what failed."""
    rules, objective = here.workload.scale_to_zero, here.workload.objective
    surge = (target.hourly or Decimal(0)) * _doubled(rules.cold_start)
    chance = target.prediction.slo_miss_probability
    back = Decimal(str(ROLLBACKS if chance is None else min(chance, _MOST_ROLLBACKS)))
    return (surge + REVIEW_USD + back * objective.oom_cost_usd) / (1 - back)
