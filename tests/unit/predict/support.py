"""What tests of predict share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_rightsizer.estimate import estimate
from gpu_rightsizer.predict import predict
from tests import builders as make

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_rightsizer.domain.decision import Candidate
    from gpu_rightsizer.domain.finding import Code
    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.world import World


def all_of(world: World, classes: Sequence[InstanceClass] = make.LADDER) -> Sequence[Candidate]:
    """Every candidate of one workload."""
    return predict([world], estimate([world], make.NOW), classes)[0]


def found(
    world: World, name: str, ranks: int = 1, classes: Sequence[InstanceClass] = make.LADDER, replicas: int | None = None
) -> Candidate:
    """The candidate on a class at so many ranks (the first of them, whatever its engine arguments)."""
    return next(
        c
        for c in all_of(world, classes)
        if c.configuration.instance.name == name
        and c.configuration.tensor_parallel == ranks
        and replicas in (None, c.configuration.replicas)
    )


def codes(candidate: Candidate) -> list[Code]:
    """What rules it out, in order."""
    return [finding.code for finding in candidate.failures]
