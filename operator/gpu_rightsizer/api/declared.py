"""InstanceClasses that users declare, as the core's nouns: what they say wins, what they leave out is filled in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Final, TypeAlias

from gpu_rightsizer.api.read import Problem
from gpu_rightsizer.api.units import parse_bytes, parse_millicores, parse_percent, parse_usd
from gpu_rightsizer.domain.hardware import (
    Accelerator,
    HostShape,
    InstanceClass,
    MigProfile,
    Origin,
    Price,
    Provisionable,
)
from gpu_rightsizer.domain.models import Confidence
from gpu_rightsizer.domain.units import Bytes, UsdPerHour

if TYPE_CHECKING:
    from gpu_rightsizer.api.instance_class import HostSpec, InstanceClassSpec, PriceSpec, Toleration
    from gpu_rightsizer.api.instance_class import InstanceClass as Declared

AcceleratorOf: TypeAlias = Callable[[str], Accelerator | None]  # by product name, from the catalogue

UNDATED: Final = date.min  # a declared price without `asOf`


def declared_class(
    declared: Declared, accelerator_of: AcceleratorOf, known: InstanceClass | None
) -> InstanceClass | Problem:
    """The class as declared, gaps filled from `known` (same name, on nodes or in the catalogue); or why not."""
    spec = declared.spec
    accelerator = accelerator_of(spec.accelerator.product)
    if accelerator is None:
        return Problem("spec.accelerator.product", "must be a product that the catalogue knows")
    profile = _profile(accelerator, spec.accelerator.mig_profile)
    if spec.accelerator.mig_profile and profile is None:
        return Problem("spec.accelerator.migProfile", f"must be a MIG profile of {accelerator.product}")
    host = _host(spec.host) if spec.host else known.host if known else None
    if host is None:
        return Problem("spec.host", "must be given: neither a node nor the catalogue tells it")
    return InstanceClass(
        name=declared.metadata.name,
        accelerator=accelerator,
        accelerators=spec.accelerator.count,
        accelerator_memory=_memory(spec, accelerator, profile),
        resource=spec.accelerator.resource,
        host=host,
        region=spec.region or (known.region if known else ""),
        price=_price(spec.price) if spec.price else known.price if known else None,
        origin=Origin.DECLARED,
        provisionable=known.provisionable if known else Provisionable.UNKNOWN,
        node_selector=dict(spec.node_selector),
        tolerations=tuple(_toleration(each) for each in spec.tolerations),
        mig_profile=spec.accelerator.mig_profile,
        nodes=known.nodes if known else 0,
        allocatable=known.allocatable if known else None,
        caveat=known.caveat if known else "",
        confidence=Confidence.DECLARED,
    )


def _profile(accelerator: Accelerator, name: str) -> MigProfile | None:
    return next((profile for profile in accelerator.mig_profiles if profile.name == name), None)


def _memory(spec: InstanceClassSpec, accelerator: Accelerator, profile: MigProfile | None) -> Bytes:
    if spec.accelerator.memory is not None:
        return parse_bytes(spec.accelerator.memory)
    return profile.memory if profile else accelerator.memory


def _host(spec: HostSpec) -> HostShape:
    return HostShape(
        cpu=parse_millicores(spec.cpu),
        memory=parse_bytes(spec.memory),
        ephemeral_storage=parse_bytes(spec.ephemeral_storage) if spec.ephemeral_storage else None,
        architecture=spec.architecture,
    )


def _price(spec: PriceSpec) -> Price:
    return Price(
        hourly=UsdPerHour(parse_usd(spec.hourly_usd)),
        commitment=spec.commitment,
        as_of=date.fromisoformat(spec.as_of) if spec.as_of else UNDATED,
        source=spec.source or "",
        overhead=parse_percent(spec.overhead),
    )


def _toleration(toleration: Toleration) -> dict[str, str]:
    return {key: str(value) for key, value in toleration.to_wire().items() if value}
