"""Which classes may be proposed at all: vendor, the workload's own rules, and whether the class can be had."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.hardware import Commitment, InstanceClass, Provisionable, Vendor
from gpu_rightsizer.domain.readings import Missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu_rightsizer.domain.workload import PlacementRules, Workload

_VENDOR_OF_RESOURCE = {"nvidia.com": Vendor.NVIDIA, "amd.com": Vendor.AMD, "aws.amazon.com": Vendor.AWS,
                       "habana.ai": Vendor.INTEL,
                       "gpu.intel.com": Vendor.INTEL, "google.com": Vendor.GOOGLE}  # fmt: skip
_USUAL_CAPACITY = (Commitment.ON_DEMAND, Commitment.RESERVED, Commitment.OWNED)  # Spot only when listed


def rule_failures(workload: Workload, instance: InstanceClass) -> tuple[Finding, ...]:
    """Everything that forbids the class before any physics."""
    return (
        *_vendor(workload, instance),
        *_names(workload.rules, instance),
        *_region(workload, instance),
        *_capacity(workload.rules, instance),
        *_provisionable(instance),
    )


def vendor(workload: Workload) -> Vendor | None:
    """The vendor of the present class, else of the resource the pod asks for."""
    if not isinstance(workload.placement, Missing):
        return workload.placement.accelerator.vendor
    return _VENDOR_OF_RESOURCE.get(workload.pod.resource.partition("/")[0])


def _vendor(workload: Workload, instance: InstanceClass) -> Iterator[Finding]:
    ours = vendor(workload)
    if ours is not None and instance.accelerator.vendor is not ours:
        yield found(Code.OTHER_VENDOR, vendor=instance.accelerator.vendor.value)


def _names(rules: PlacementRules, instance: InstanceClass) -> Iterator[Finding]:
    if rules.conflict:
        yield found(Code.NOT_ALLOWED, rule=rules.conflict)
    elif not any(fnmatchcase(instance.name, glob) for glob in rules.include):
        yield found(Code.NOT_ALLOWED, rule=f"instanceClasses.include: {', '.join(rules.include)}")
    for glob in rules.exclude:
        if fnmatchcase(instance.name, glob):
            yield found(Code.NOT_ALLOWED, rule=f"instanceClasses.exclude: {glob}")
            return


def _region(workload: Workload, instance: InstanceClass) -> Iterator[Finding]:
    """Within the regions listed, whatever is known of the present one; with none listed, where it runs now."""
    allowed = workload.rules.regions
    if not allowed and not isinstance(workload.placement, Missing) and workload.placement.region:
        allowed = (workload.placement.region,)
    if not instance.region and not workload.rules.regions:
        return  # where it is, is not known; with regions listed that is no place to go
    if allowed and instance.region not in allowed:
        yield found(Code.NOT_ALLOWED, rule=f"regions: {', '.join(allowed)}")


def _capacity(rules: PlacementRules, instance: InstanceClass) -> Iterator[Finding]:
    if instance.price is None:
        return
    allowed = rules.capacity_types or _USUAL_CAPACITY
    if instance.price.commitment not in allowed:
        yield found(Code.NOT_ALLOWED, rule=f"capacityTypes: {', '.join(c.value for c in allowed)}")


def _provisionable(instance: InstanceClass) -> Iterator[Finding]:
    if instance.provisionable is Provisionable.NO:
        yield found(Code.NOT_PROVISIONABLE, caveat=instance.caveat)
