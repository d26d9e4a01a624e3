"""The catalogue: finding an accelerator, an instance type or a model by the names the world uses for it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING

from gpu_rightsizer.catalogue import model_names
from gpu_rightsizer.domain.models import Confidence, ModelArchitecture
from gpu_rightsizer.domain.readings import Missing, MissingReason, Signal
from gpu_rightsizer.domain.units import UsdPerHour

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpu_rightsizer.domain.hardware import Accelerator, InstanceClass, Price
    from gpu_rightsizer.domain.models import WeightDtype

_SHARED = re.compile(r"-shared$")
_MIG = re.compile(r"-mig-(?P<profile>[\w.+]+)$")


@dataclass(frozen=True)
class Catalogue:
    """Accelerators by key, instance types by name (of the region they are priced in) and models by name.

    `aliases` are further names of accelerators (cloud labels) to keys; `factors` multiply the price of a family
    (`g6`) in another region than the one priced.
    """

    accelerators: Mapping[str, Accelerator]
    instances: Mapping[str, InstanceClass]
    models: Mapping[str, ModelArchitecture]
    aliases: Mapping[str, str] = field(default_factory=dict)
    factors: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)
    factors_source: str = ""

    def model(self, name: str) -> ModelArchitecture | Missing:
        """The architecture of a model by any spelling; a quantised derivative has its own `default_dtype`.

        Never guesses: an unknown fine-tune is Missing, even where its name contains a known one.
        """
        base = model_names.basename(name)
        if not base:
            return Missing(Signal.MODEL, MissingReason.NOT_FOUND, name)
        if exact := self._by_basename.get(base):
            return exact
        plain, hint = model_names.without_quantisation(base)
        found = self._by_basename.get(plain) or self._by_family.get(model_names.family(plain))
        if found is None:
            return Missing(Signal.MODEL, MissingReason.NOT_FOUND, name)
        return _derived(found, name, hint)

    def accelerator_by_product(self, product: str) -> Accelerator | None:
        """By key, product, DCGM model name, GFD label or cloud alias; `-SHARED` and `-MIG-…` are looked through."""
        alias = self.aliases.get(product.strip().casefold())  # whole: GKE's nvidia-tesla-a100 is one of two A100s
        if alias is not None:
            return self.accelerators[alias]
        return self._by_product.get(_MIG.sub("", _SHARED.sub("", _normal(product))))

    def instance(self, name: str, region: str = "") -> InstanceClass | None:
        """The instance type there; outside the priced region its price is scaled, or absent without a factor."""
        known = self.instances.get(name)
        if known is None or not region or region == known.region:
            return known
        return replace(known, region=region, price=self._price(known, region))

    def _price(self, known: InstanceClass, region: str) -> Price | None:
        factor = self.factors.get(region, {}).get(known.name.split(".")[0])
        if known.price is None or factor is None:
            return None
        scaled = (known.price.hourly * factor).quantize(Decimal("0.00001")).normalize()
        source = f"{known.price.source}; x {factor} for {region}: {self.factors_source}"
        return replace(known.price, hourly=UsdPerHour(scaled), source=source)

    @cached_property
    def _by_product(self) -> dict[str, Accelerator]:
        names: dict[str, Accelerator] = {}
        for accelerator in self.accelerators.values():
            own = (accelerator.key, accelerator.product, *accelerator.dcgm_names, *accelerator.gfd_products)
            names.update({_normal(name): accelerator for name in own})
        return names

    @cached_property
    def _by_basename(self) -> dict[str, ModelArchitecture]:
        return {model_names.basename(name): model for name, model in self.models.items()}

    @cached_property
    def _by_family(self) -> dict[str, ModelArchitecture]:
        return _unambiguous((model_names.family(name), model) for name, model in self._by_basename.items())


def mig_profile(product: str) -> str:
    """`1g.10gb` of `NVIDIA-H100-80GB-HBM3-MIG-1g.10gb`; empty when the product is a whole device."""
    found = _MIG.search(_SHARED.sub("", _normal(product)))
    return found.group("profile") if found else ""


def is_shared_product(product: str) -> bool:
    """Whether GPU feature discovery says that the device is time-sliced or shared by MPS."""
    return bool(_SHARED.search(_normal(product)))


def _normal(product: str) -> str:
    """Lower case with dashes, without the maker's name: drivers and labels differ in nothing else."""
    text = re.sub(r"[\s_]+", "-", product.strip().casefold())
    return text.removeprefix("nvidia-").removeprefix("tesla-").removeprefix("graphics-device-")


def _derived(found: ModelArchitecture, name: str, hint: WeightDtype | None) -> ModelArchitecture:
    worst = Confidence.COMPUTED if found.confidence is Confidence.VERIFIED else found.confidence
    if hint is None or hint is found.default_dtype:
        return replace(found, name=name, confidence=worst)
    return replace(found, name=name, confidence=worst, default_dtype=hint, checkpoint_bytes=None)


def _unambiguous(pairs: Iterable[tuple[str, ModelArchitecture]]) -> dict[str, ModelArchitecture]:
    """The first of each family, unless its members differ in what memory and speed depend on."""
    found: dict[str, ModelArchitecture] = {}
    clashing: set[str] = set()
    for name, model in pairs:
        known = found.setdefault(name, model)
        if _shape(known) != _shape(model):
            clashing.add(name)
    return {name: model for name, model in found.items() if name not in clashing}


def _shape(model: ModelArchitecture) -> tuple[object, ...]:
    return (model.layers, model.hidden, model.heads, model.kv_heads, model.experts, model.kv_bytes_per_token)
