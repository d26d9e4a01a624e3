"""The distinct pieces of hardware among the classes: an accelerator, its memory and a tensor-parallel degree.

Physics depends on these alone, so that it is computed once for the many classes that differ only in their host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gpu_rightsizer.domain.engines import takes_large_defaults
from gpu_rightsizer.domain.readings import Missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.hardware import Accelerator, InstanceClass
    from gpu_rightsizer.domain.workload import Workload

RANKS = (1, 2, 4, 8)
MEASURED = frozenset({"h100-sxm", "h200-sxm", "b200-sxm", "h100", "h200", "b200"})
"""Accelerators with trusted published points of vLLM's decode speed (ai-dynamo/aiconfigurator silicon samples)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One accelerator type with so much memory each, `ranks` of them splitting a replica's tensors."""

    key: str
    memory: int
    ranks: int


@dataclass(frozen=True, slots=True, eq=False)
class Hardware:
    """Shapes as arrays that broadcast together: bytes, bytes/s, FLOPS (NaN where there is no such arithmetic).

    `capability` is ten times major plus minor, NaN where unknown; `large` where vLLM takes its larger limits.
    """

    memory: NDArray[np.float64]
    bandwidth: NDArray[np.float64]
    bf16: NDArray[np.float64]
    fp8: NDArray[np.float64]
    int8: NDArray[np.float64]
    fp4: NDArray[np.float64]
    capability: NDArray[np.float64]
    link: NDArray[np.float64]
    ranks: NDArray[np.int64]
    measured: NDArray[np.bool_]
    large: NDArray[np.bool_]

    def at(self, index: NDArray[np.intp]) -> Hardware:
        """The shapes at `index`, as a column: one for each row."""
        names = self.__dataclass_fields__
        return Hardware(**{name: getattr(self, name).reshape(-1)[index][:, None] for name in names})


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """All shapes, their hardware as rows of one line, and where each stands."""

    known: tuple[Shape, ...]
    hardware: Hardware
    index: dict[Shape, int]

    def of(self, instance: InstanceClass, ranks: int) -> int | None:
        """The index of a class at a tensor-parallel degree; None where that was not enumerated."""
        return self.index.get(Shape(instance.accelerator.key, instance.accelerator_memory, ranks))


def shapes(classes: Sequence[InstanceClass], workloads: Sequence[Workload]) -> Shapes:
    """Every class at 1, 2, 4 and 8 ranks as far as its accelerators go, and every workload as it stands."""
    found: dict[Shape, Accelerator] = {}
    for each in classes:
        for ranks in RANKS:
            if ranks <= each.accelerators:
                found.setdefault(Shape(each.accelerator.key, each.accelerator_memory, ranks), each.accelerator)
    for workload in workloads:
        here = workload.placement
        if not isinstance(here, Missing):
            shape = Shape(here.accelerator.key, here.accelerator_memory, workload.settings.tensor_parallel)
            found.setdefault(shape, here.accelerator)
    known = tuple(found)
    return Shapes(known, hardware(known, list(found.values())), {shape: i for i, shape in enumerate(known)})


def hardware(known: Sequence[Shape], accelerators: Sequence[Accelerator]) -> Hardware:
    """Shapes and their accelerators as arrays of one row."""

    def scaled(values: list[float | None], unit: float = 1e12) -> NDArray[np.float64]:
        return np.array([np.nan if v is None else v * unit for v in values], dtype=np.float64)[None, :]

    capability = [a.compute_capability for a in accelerators]
    return Hardware(
        memory=np.array([float(s.memory) for s in known])[None, :],
        bandwidth=scaled([a.bandwidth_gbps for a in accelerators], 1e9),
        bf16=scaled([a.tflops_bf16 for a in accelerators]),
        fp8=scaled([a.tflops_fp8 for a in accelerators]),
        int8=scaled([a.tflops_int8 for a in accelerators]),
        fp4=scaled([a.tflops_fp4 for a in accelerators]),
        capability=np.array([np.nan if c is None else 10.0 * c[0] + c[1] for c in capability])[None, :],
        link=scaled([a.link_gbps for a in accelerators], 1e9),
        ranks=np.array([s.ranks for s in known], dtype=np.int64)[None, :],
        measured=np.array([a.key in MEASURED for a in accelerators])[None, :],
        large=np.array(
            [takes_large_defaults(s.memory, a.product) for s, a in zip(known, accelerators, strict=True)], dtype=bool
        )[None, :],
    )
