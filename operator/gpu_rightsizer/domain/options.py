"""The candidates of one workload as columns: what screens them is numbers, a candidate is made when it is looked at."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final, overload

import numpy as np
from typing_extensions import override

from gpu_rightsizer.domain.finding import Code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from gpu_rightsizer.domain.decision import Candidate, Configuration
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.workload import Workload

_BITS: Final = {code: 1 << min(place, 62) for place, code in enumerate(Code)}
"""A bit for each code that can rule a candidate out: those are declared first. The others share the last bit."""


def mask(codes: Iterable[Code]) -> int:
    """These codes as a set of bits."""
    bits = 0
    for code in codes:
        bits |= _BITS[code]
    return bits


def rank(candidate: Candidate) -> tuple[object, ...]:
    """Cheapest first; without a price last. Equal prices: what changes least and risks least, then by name.

    The order depends on nothing but the candidates, so that the same facts give the same recommendation.
    """
    where = candidate.configuration
    risk = candidate.prediction.oom_probability
    return (
        candidate.hourly is None,
        candidate.hourly or 0,
        len(where.engine_args),
        1.0 if risk is None else risk,
        not candidate.prediction.measured_accelerator,
        *tie(where),
        tuple(sorted(where.engine_args.items())),
    )


def tie(where: Configuration) -> tuple[object, ...]:
    """What decides between configurations of one price and one risk."""
    return where.instance.name, where.replicas, where.accelerators, where.tensor_parallel


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Configurations before anything is predicted, shared by the workloads that may choose among the same ones.

    `hourly` is USD/h (None: no price), `prices` the different ones in order, from zero on, and `level` the index of
    each configuration's among them; it is 0 too where there is no price. `dollars` is the price as a float, NaN where
    there is none: near enough to tell what need not be computed exactly. `ranks` is the tensor-parallel degree,
    `names` and `kinds` are of the class and of its accelerator.
    """

    configurations: tuple[Configuration, ...]
    hourly: tuple[Decimal | None, ...]
    prices: tuple[Decimal, ...]
    level: NDArray[np.int64]
    dollars: NDArray[np.float64]
    priced: NDArray[np.bool_]
    ranks: NDArray[np.int64]
    names: tuple[str, ...]
    kinds: tuple[str, ...]

    @staticmethod
    def of(configurations: Iterable[Configuration], hourly: Iterable[Decimal | None]) -> Places:
        """With the prices in order."""
        where, each = tuple(configurations), tuple(hourly)
        prices = tuple(sorted({Decimal(0), *(price for price in each if price is not None)}))
        level = {price: place for place, price in enumerate(prices)}
        return Places(
            configurations=where,
            hourly=each,
            prices=prices,
            level=np.array([level[price or Decimal(0)] for price in each], dtype=np.int64),
            dollars=np.array([np.nan if price is None else float(price) for price in each], dtype=np.float64),
            priced=np.array([price is not None for price in each], dtype=bool),
            ranks=np.array([one.tensor_parallel for one in where], dtype=np.int64),
            names=tuple(one.instance.name for one in where),
            kinds=tuple(one.instance.accelerator.key for one in where),
        )

    def below(self, limit: Decimal) -> NDArray[np.bool_]:
        """Which have a price, and a lower one."""
        return np.asarray((self.level < bisect_left(self.prices, limit)) & self.priced)


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """The same workload if one thing were otherwise: as configured, what it would need, and where it would run."""

    workload: Workload
    need: Need
    where: Configuration


def _untold(changes: Sequence[Change]) -> list[Candidate | None]:
    return [None] * len(changes)


@dataclass(frozen=True, slots=True, eq=False)
class Options(Sequence["Candidate"]):
    """Candidates by index into `places`; each is made when it is looked at.

    `order` is by `rank`; `codes` are the bits of what rules each out, `faults` the number of those findings. `risk` is
    the out-of-memory probability (NaN: unknown), `changes` the number of engine arguments that change, `unpredicted`
    where TTFT and TPOT are not known. `otherwise` predicts again, with something changed (None: cannot be told).
    """

    places: Places
    order: NDArray[np.intp]
    codes: NDArray[np.int64]
    faults: NDArray[np.int16]
    risk: NDArray[np.float64]
    changes: NDArray[np.int8]
    unpredicted: Mapping[str, NDArray[np.bool_]]
    make: Callable[[int], Candidate]
    otherwise: Callable[[Sequence[Change]], Sequence[Candidate | None]] = _untold
    made: dict[int, Candidate] = field(default_factory=dict)

    @staticmethod
    def of(candidates: Sequence[Candidate]) -> Options:
        """Of candidates that exist already."""
        if isinstance(candidates, Options):
            return candidates
        risks = [each.prediction.oom_probability for each in candidates]
        return Options(
            places=Places.of((each.configuration for each in candidates), (each.hourly for each in candidates)),
            order=np.array(sorted(range(len(candidates)), key=lambda i: rank(candidates[i])), dtype=np.intp),
            codes=np.array([mask(one.code for one in each.failures) for each in candidates], dtype=np.int64),
            faults=np.array([len(each.failures) for each in candidates], dtype=np.int16),
            risk=np.array([np.nan if risk is None else risk for risk in risks], dtype=np.float64),
            changes=np.array([len(each.configuration.engine_args) for each in candidates], dtype=np.int8),
            unpredicted={
                "TTFT": np.array([each.prediction.ttft is None for each in candidates], dtype=bool),
                "TPOT": np.array([each.prediction.tpot is None for each in candidates], dtype=bool),
            },
            make=candidates.__getitem__,
        )

    @override
    def __len__(self) -> int:
        return len(self.places.configurations)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Candidate]: ...
    @override
    def __getitem__(self, index: int | slice) -> Candidate | Sequence[Candidate]:
        if isinstance(index, slice):
            return tuple(self[each] for each in range(*index.indices(len(self))))
        at = range(len(self))[index]
        if at not in self.made:
            self.made[at] = self.make(at)
        return self.made[at]
