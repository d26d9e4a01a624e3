"""What a pod template says: engine, settings, model and what one replica asks of its node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_rightsizer.domain.engines import EngineType
    from gpu_rightsizer.domain.models import WeightDtype


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the user declared in `spec.engine` and `spec.model`; None is "read it from the workload"."""

    engine: EngineType | None = None
    model: str | None = None
    parameters: float | None = None
    weight_dtype: WeightDtype | None = None
    max_context: int | None = None
