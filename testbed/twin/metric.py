"""One metric of one target over the sample grid, and the target that serves it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from testbed.twin.histograms import edge_label

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """`values` runs with the sample grid; where `present` is false the exporter does not show the metric."""

    name: str
    labels: dict[str, str]
    values: Floats
    present: Mask | None = None

    @property
    def line(self) -> str:
        """The series as it stands in the exposition format, without its value."""
        inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in self.labels.items())
        return f"{self.name}{{{inner}}}" if inner else self.name

    @property
    def family(self) -> str:
        """The name under which the exposition format groups it."""
        for suffix in ("_bucket", "_count", "_sum"):
            if self.name.endswith(suffix):
                return self.name.removesuffix(suffix)
        return self.name

    @property
    def kind(self) -> str:
        """Its type in the exposition format."""
        if self.family != self.name:
            return "histogram"
        return "counter" if self.name.endswith("_total") else "gauge"


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A scrape target: its path on the exporter, target labels, metrics, and when it exists and answers.

    `exists`: service discovery lists it; `answers`: a scrape succeeds (`up` is 1).
    """

    path: str
    labels: dict[str, str]
    metrics: tuple[Metric, ...]
    exists: Mask
    answers: Mask


@dataclass(frozen=True, slots=True, eq=False)
class HistogramValues:
    """A histogram over the sample grid: a row a sample, a cumulative column an edge and one for +Inf."""

    name: str
    edges: tuple[float, ...]
    counts: Floats
    sums: Floats

    def metrics(self, labels: dict[str, str]) -> Iterator[Metric]:
        """`_bucket`, `_count` and `_sum` series."""
        for column, edge in enumerate((*self.edges, np.inf)):
            yield Metric(
                f"{self.name}_bucket", {**labels, "le": edge_label(edge)}, np.ascontiguousarray(self.counts[:, column])
            )
        yield Metric(f"{self.name}_count", labels, np.ascontiguousarray(self.counts[:, -1]))
        yield Metric(f"{self.name}_sum", labels, self.sums)


@dataclass(frozen=True, slots=True)
class Spoiler:
    """Replaces a share of a gauge's samples by something that is no measurement."""

    share: float
    value: float
    seed: int
    names: frozenset[str] = field(default=frozenset())

    def applied(self, metric: Metric) -> Metric:
        """The metric with the bad samples in it."""
        if self.share <= 0 or (self.names and metric.name not in self.names):
            return metric
        rng = np.random.default_rng([self.seed, len(metric.line)])
        bad = rng.random(len(metric.values)) < self.share
        return Metric(metric.name, metric.labels, np.where(bad, self.value, metric.values), metric.present)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
