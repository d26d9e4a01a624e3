"""The one workload being decided, and how two configurations of it compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gpu_rightsizer.domain.readings import Missing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gpu_rightsizer.domain.decision import Candidate, Configuration
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.workload import Workload


_Pair: TypeAlias = "tuple[float | None, float | None]"


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """What is known about one workload. `others` are the candidates besides `current`, cheapest first."""

    workload: Workload
    need: Need
    current: Candidate | None
    others: tuple[Candidate, ...]
    now: datetime


def situation(workload: Workload, need: Need, candidates: Sequence[Candidate], now: datetime) -> Situation:
    """Finds the present configuration among the candidates and brings the others into an order of their own."""
    ordered = tuple(sorted(candidates, key=rank))
    current = next((each for each in ordered if _is_present(each.configuration, workload)), None)
    return Situation(workload, need, current, tuple(each for each in ordered if each is not current), now)


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
        where.instance.name,
        where.replicas,
        where.accelerators,
        where.tensor_parallel,
        tuple(sorted(where.engine_args.items())),
    )


def _is_present(where: Configuration, workload: Workload) -> bool:
    if isinstance(workload.placement, Missing) or where.engine_args:
        return False
    return (
        where.instance.name == workload.placement.name
        and where.accelerators == workload.pod.accelerators
        and where.tensor_parallel == workload.settings.tensor_parallel
        and where.replicas == workload.replicas
    )


def same_place(one: Configuration, other: Configuration) -> bool:
    """Same class, accelerators and replicas: only the engine's own settings may differ."""
    return (one.instance.name, one.accelerators, one.replicas) == (
        other.instance.name,
        other.accelerators,
        other.replicas,
    )


def has_less_memory(one: Configuration, other: Configuration) -> bool:
    """Less memory on each accelerator."""
    return one.instance.accelerator_memory < other.instance.accelerator_memory


def is_smaller_or_slower(one: Configuration, other: Configuration) -> bool:
    """Fewer replicas, or less memory, bandwidth or arithmetic in a replica. An unknown figure counts as less."""
    return one.replicas < other.replicas or any(
        mine is None or theirs is None or mine < theirs for mine, theirs in _sizes(one, other)
    )


def is_stronger(one: Configuration, other: Configuration) -> bool:
    """At least as large and as fast in everything, and more in something."""
    return not is_smaller_or_slower(one, other) and (
        one.replicas > other.replicas
        or any(mine is not None and theirs is not None and mine > theirs for mine, theirs in _sizes(one, other))
    )


def is_slower(one: Configuration, other: Configuration) -> bool:
    """Less memory bandwidth over all replicas together; an unknown one counts as less."""
    mine, theirs = _sizes(one, other)[1]
    return mine is None or theirs is None or mine * one.replicas < theirs * other.replicas


def _sizes(one: Configuration, other: Configuration) -> tuple[_Pair, ...]:
    """Of one replica here and there: bytes of accelerator memory, bandwidth in GB/s, dense 16-bit TFLOPS.

    Two of the same accelerator differ by their number alone, whatever of it is unknown.
    """
    mine, theirs = one.instance.accelerator, other.instance.accelerator
    memory: _Pair = (one.instance.accelerator_memory, other.instance.accelerator_memory)
    speed: _Pair = (mine.bandwidth_gbps, theirs.bandwidth_gbps)
    arithmetic: _Pair = (mine.tflops_bf16, theirs.tflops_bf16)
    if mine.key == theirs.key and one.instance.mig_profile == other.instance.mig_profile:
        speed = arithmetic = (1.0, 1.0)
    return tuple(
        (_times(here, one.accelerators), _times(there, other.accelerators))
        for here, there in (memory, speed, arithmetic)
    )


def _times(figure: float | None, count: int) -> float | None:
    return None if figure is None else figure * count
