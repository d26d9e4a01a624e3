"""What the core asks of the outside world, and the three ways it may fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray


class Unavailable(Exception):
    """The other side did not answer, or not wholly: ask again later."""


class Rejected(Exception):
    """The other side refused: asking again changes nothing; the message says what a person must do."""


class Conflict(Exception):
    """The object changed or exists meanwhile: look again, then decide again."""


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One series of an answer: labels, sample times (Unix seconds) and values, both of shape (n,)."""

    labels: Mapping[str, str]
    times: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A whole answer. `warnings` other than allow-listed notes make it partial: good for growing only."""

    series: Sequence[Series]
    warnings: tuple[str, ...] = ()


class Metrics(Protocol):
    """A Prometheus-compatible store."""

    async def instant(self, promql: str, at: datetime) -> Answer:
        """One instant query; raises Unavailable or Rejected."""
        ...

    async def between(self, promql: str, start: datetime, end: datetime, step_seconds: int) -> Answer:
        """One range query, both ends included; raises Unavailable or Rejected."""
        ...

    async def server_time(self) -> datetime:
        """The store's own clock; raises Unavailable or Rejected."""
        ...


@dataclass(frozen=True, slots=True)
class Version:
    """One of our objects as it was seen: a write by it onto a newer version, or onto a namesake, is refused."""

    kind: str
    plural: str
    name: str
    uid: str
    resource_version: str
    namespace: str = ""  # empty: the kind has none


class Cluster(Protocol):
    """The Kubernetes API as raw JSON objects."""

    async def list_objects(self, path: str, *, metadata_only: bool = False) -> list[dict[str, object]]:
        """Every object under an API path (paged); raises Unavailable, or Rejected (starting with the code)."""
        ...

    async def exists(self, path: str) -> bool:
        """Whether an API path can be listed."""
        ...

    async def apply_status(self, seen: Version, status: Mapping[str, object]) -> Version:
        """Server-side apply of the whole status; never creates. The version that this write made."""
        ...

    async def apply_annotations(self, seen: Version, annotations: Mapping[str, str]) -> None:
        """Server-side apply of our annotations; never creates."""
        ...

    async def post_event(self, event: Mapping[str, object]) -> None:
        """Create or patch one Event."""
        ...


class Clock(Protocol):
    """Wall time for what users read, monotonic time for what must not jump."""

    def now(self) -> datetime:
        """Aware wall-clock time, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...
