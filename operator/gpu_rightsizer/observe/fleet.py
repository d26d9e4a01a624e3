"""From raw cluster objects to Workloads: what each InferenceDeployment names, how it is configured and where it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_rightsizer.observe.configuration import Overrides

if TYPE_CHECKING:
    from gpu_rightsizer.domain.workload import (
        Incident,
        Mode,
        Objective,
        PlacementRules,
        ScaleToZeroRules,
        TargetRef,
        WorkloadKey,
    )


@dataclass(frozen=True, slots=True)
class Request:
    """One InferenceDeployment as plain values; `incidents` are those its status remembers."""

    key: WorkloadKey
    target: TargetRef
    mode: Mode
    objective: Objective
    rules: PlacementRules
    scale_to_zero: ScaleToZeroRules
    overrides: Overrides = Overrides()
    incidents: tuple[Incident, ...] = ()
