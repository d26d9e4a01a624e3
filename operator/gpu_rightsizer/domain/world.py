"""What `evaluate` is given for one deployment, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_rightsizer.domain.decision import Candidate, Decision
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.observation import Observation
    from gpu_rightsizer.domain.workload import Workload


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """One deployment as it stands: configuration and observed usage."""

    workload: Workload
    observation: Observation


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The path from observation to decision, kept whole so that it can be explained."""

    world: World
    need: Need
    candidates: Sequence[Candidate]
    decision: Decision
