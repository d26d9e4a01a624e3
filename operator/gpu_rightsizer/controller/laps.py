"""How long each stage of a cycle took."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from gpu_rightsizer.ports import Clock


@dataclass(slots=True)
class Laps:
    """Monotonic seconds by stage, in their order; a stage begins where the one before it ends."""

    clock: Clock
    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = 0.0

    def begin(self) -> None:
        """The first stage begins."""
        self.seconds, self._last = {}, self.clock.monotonic()

    def end(self, stage: str) -> None:
        """That stage ends here."""
        now = self.clock.monotonic()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    @override
    def __str__(self) -> str:
        return ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in self.seconds.items())
