"""The product on one page: what should be done about each deployment, and why. Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from gpu_rightsizer.decide import decide_fleet, offers
from gpu_rightsizer.domain.world import Evaluation
from gpu_rightsizer.estimate import estimate
from gpu_rightsizer.predict import predict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.need import Group, Recalibration
    from gpu_rightsizer.domain.world import World


def evaluate(
    worlds: Sequence[World],
    classes: Sequence[InstanceClass],
    now: datetime,
    recalibrations: Mapping[Group, Recalibration] = MappingProxyType({}),
) -> list[Evaluation]:
    """Evaluate a fleet (one deployment is a fleet of one), in the order given.

    `classes` is every class that may be proposed anywhere; each workload's own rules narrow it. `recalibrations` are
    what `estimate.recalibrate` found on the fleet, where it is large and old enough.
    """
    needs = estimate(worlds, now, recalibrations)
    candidates = predict(worlds, needs, classes)
    elastic = offers(worlds, needs, candidates, classes, now)
    decisions = decide_fleet(worlds, needs, candidates, elastic, classes=classes, now=now)
    return [Evaluation(*each) for each in zip(worlds, needs, candidates, decisions, strict=True)]
