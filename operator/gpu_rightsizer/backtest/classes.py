"""Instance classes of the catalogue as replica sizes for a model: KV tokens by the product's own memory model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_rightsizer.backtest.ladder import class_ladder
from gpu_rightsizer.catalogue.loading import load
from gpu_rightsizer.domain.engines import EngineSettings
from gpu_rightsizer.domain.hardware import Vendor
from gpu_rightsizer.domain.readings import Missing
from gpu_rightsizer.predict.case import Case, kv_room

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_rightsizer.backtest.ladder import Ladder
    from gpu_rightsizer.domain.hardware import InstanceClass
    from gpu_rightsizer.domain.models import ModelArchitecture


class UnknownName(ValueError):
    """A model or class that the catalogue does not hold, or that cannot serve; the message says which and why."""


def known_model(name: str) -> ModelArchitecture:
    """Raises UnknownName."""
    found = load().model(name)
    if isinstance(found, Missing):
        raise UnknownName(f"the catalogue has no model {name!r}; without --model, sizes are relative to the peak")
    return found


def tokens_of(model: ModelArchitecture, place: InstanceClass, split: int | None = None) -> float:
    """KV tokens of one replica over `split` accelerators of the class (all of them); 0 where it cannot serve."""
    ranks = place.accelerators if split is None else split
    if ranks < 1 or not model.allows_tensor_parallel(ranks):
        return 0.0
    settings = EngineSettings(tensor_parallel=ranks)
    return max(kv_room(Case(model, place.accelerator, settings=settings)).sure, 0.0)


def priced_class(name: str) -> tuple[InstanceClass, float]:
    """A class and its USD an hour; raises UnknownName where the catalogue has none or no price."""
    found = load().instance(name)
    if found is None or found.price is None:
        raise UnknownName(f"the catalogue has no priced instance class {name!r}")
    return found, float(found.price.hourly)


def replica_on(model: ModelArchitecture, name: str) -> tuple[float, float]:
    """KV tokens and USD an hour of one replica on the class; raises UnknownName where it does not fit."""
    found, hourly = priced_class(name)
    tokens = tokens_of(model, found)
    if tokens < 1:
        raise UnknownName(f"{model.name} does not fit on {name} (tensor parallel {found.accelerators})")
    return tokens, hourly


def ladder_of(model: ModelArchitecture, names: Sequence[str], deployments: int) -> Ladder:
    """The classes named, or every priced one of the catalogue that holds the model; raises UnknownName."""
    sizes = [(name, *replica_on(model, name)) for name in names] or _all_that_hold(model)
    if not sizes:
        raise UnknownName(f"no class of the catalogue holds {model.name}")
    best = _undominated(sizes)
    return class_ladder([b[0] for b in best], [b[1] for b in best], [b[2] for b in best], deployments)


def _all_that_hold(model: ModelArchitecture) -> list[tuple[str, float, float]]:
    places = [c for c in load().instances.values() if c.price and c.accelerator.vendor is Vendor.NVIDIA]
    held = [(place, tokens_of(model, place)) for place in places]
    return [(p.name, tokens, float(p.price.hourly)) for p, tokens in held if tokens >= 1 and p.price is not None]


def _undominated(sizes: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Without those for which another holds as much and costs no more."""
    kept: list[tuple[str, float, float]] = []
    for name, tokens, price in sorted(sizes, key=lambda s: (s[2], -s[1])):
        if not kept or tokens > kept[-1][1]:
            kept.append((name, tokens, price))
    return kept
