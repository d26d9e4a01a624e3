"""Accelerators and the instance classes that carry them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from decimal import Decimal

    from gpu_rightsizer.domain.models import Confidence
    from gpu_rightsizer.domain.units import Bytes, Millicores, UsdPerHour


class Vendor(StrEnum):
    """Who makes the accelerator; cross-vendor moves are never proposed by themselves."""

    NVIDIA = "nvidia"
    AWS = "aws"
    AMD = "amd"
    INTEL = "intel"
    GOOGLE = "google"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class MigProfile:
    """A slice of one accelerator, for example `1g.10gb` (at most `per_device` of them)."""

    name: str
    memory: Bytes
    compute_slices: int
    memory_slices: int
    per_device: int


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One accelerator. `memory` is the total the driver reports; FLOPS are dense, per second.

    `tflops_*` is None where the type has no such arithmetic (fp8 on Ampere). `link_gbps` is per direction between
    two accelerators of one instance, in gigabytes per second. `bandwidth_gbps` is None only for a product that the
    catalogue does not know and that was discovered on a node.
    """

    key: str
    product: str
    vendor: Vendor
    architecture: str
    compute_capability: tuple[int, int] | None
    memory: Bytes
    bandwidth_gbps: float | None
    tflops_bf16: float | None
    tflops_fp8: float | None
    tflops_int8: float | None
    tflops_fp4: float | None
    link: str
    link_gbps: float | None
    mig_profiles: tuple[MigProfile, ...] = ()
    dcgm_names: tuple[str, ...] = ()
    gfd_products: tuple[str, ...] = ()
    source: str = ""
    confidence: Confidence | None = None


@dataclass(frozen=True, slots=True)
class HostShape:
    """The machine around the accelerators, before the system's and DaemonSets' share."""

    cpu: Millicores
    memory: Bytes
    ephemeral_storage: Bytes | None
    architecture: str


class Commitment(StrEnum):
    """What kind of capacity a price buys (`placement.capacityTypes`)."""

    ON_DEMAND = "OnDemand"
    RESERVED = "Reserved"
    SPOT = "Spot"
    OWNED = "Owned"


@dataclass(frozen=True, slots=True)
class Price:
    """USD per hour of one instance. `overhead` is what invoices add, as a share (0.25 is 25 %)."""

    hourly: UsdPerHour
    commitment: Commitment
    as_of: date
    source: str
    overhead: Decimal | None = None


class Origin(StrEnum):
    """Where a class came from; a declared one wins over a discovered one, which wins over the catalogue."""

    DECLARED = "Declared"
    DISCOVERED = "Discovered"
    CATALOGUE = "Catalogue"


class Provisionable(StrEnum):
    """Whether the class can be had as GPU nodes here."""

    YES = "Yes"  # nodes of it exist
    NO = "No"  # known not to work: for example GPU count 0 under Karpenter
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class InstanceClass:
    """One kind of place a replica can run. `accelerator_memory` is per accelerator and overrides the catalogue's.

    `zones` are those its nodes stand in and `node_labels` the labels that all of them carry; both are empty where no
    node tells. `held` are the accelerators on its nodes that pods hold, whoever owns them.
    """

    name: str
    accelerator: Accelerator
    accelerators: int
    accelerator_memory: Bytes
    resource: str
    host: HostShape
    region: str
    price: Price | None
    origin: Origin
    provisionable: Provisionable
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, str], ...] = ()
    mig_profile: str = ""
    nodes: int = 0
    held: int = 0
    allocatable: HostShape | None = None
    zones: tuple[str, ...] = ()
    node_labels: Mapping[str, str] = field(default_factory=dict)
    caveat: str = ""
    confidence: Confidence | None = None
