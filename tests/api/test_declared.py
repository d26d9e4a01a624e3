"""Declared classes: what users say wins, what they leave out is filled in, what cannot be filled in is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from gpu_rightsizer.api import incidents
from gpu_rightsizer.api.declared import UNDATED, declared_class
from gpu_rightsizer.api.read import Problem, read_instance_class
from gpu_rightsizer.domain.hardware import (
    Accelerator,
    Commitment,
    HostShape,
    InstanceClass,
    MigProfile,
    Origin,
    Price,
    Provisionable,
    Vendor,
)
from gpu_rightsizer.domain.models import Confidence
from gpu_rightsizer.domain.units import Millicores, UsdPerHour, gib, mib
from gpu_rightsizer.domain.workload import Incident, OomKind
from tests.api.documents import REMOVED, document

L40S = Accelerator(
    key="l40s",
    product="NVIDIA-L40S",
    vendor=Vendor.NVIDIA,
    architecture="ada",
    compute_capability=(8, 9),
    memory=mib(46068),
    bandwidth_gbps=864,
    tflops_bf16=362,
    tflops_fp8=733,
    tflops_int8=733,
    tflops_fp4=None,
    link="PCIe",
    link_gbps=32,
    mig_profiles=(MigProfile("1g.10gb", gib(10), 1, 1, 7),),
)
KNOWN = InstanceClass(
    name="g6e.xlarge",
    accelerator=L40S,
    accelerators=1,
    accelerator_memory=mib(46068),
    resource="nvidia.com/gpu",
    host=HostShape(Millicores(4000), gib(32), gib(250), "amd64"),
    region="us-east-1",
    price=Price(UsdPerHour(Decimal("1.861")), Commitment.ON_DEMAND, date(2026, 7, 20), "list price"),
    origin=Origin.CATALOGUE,
    provisionable=Provisionable.YES,
    nodes=3,
    caveat="seen on nodes",
)


def declared(changes: dict[str, Any], known: InstanceClass | None = KNOWN) -> InstanceClass | Problem:
    thing = document("InstanceClass", changes, name="g6e.xlarge")
    products = {"NVIDIA-L40S": L40S}
    return declared_class(read_instance_class(thing).object, products.get, known)


def test_everything_a_class_can_say() -> None:
    assert declared({}, known=None) == InstanceClass(
        name="g6e.xlarge",
        accelerator=L40S,
        accelerators=1,
        accelerator_memory=mib(46068),
        resource="nvidia.com/gpu",
        host=HostShape(Millicores(4000), gib(32), gib(250), "amd64"),
        region="us-east-1",
        price=Price(
            UsdPerHour(Decimal("1.303")),
            Commitment.RESERVED,
            date(2026, 7, 20),
            "three-year agreement, contract 4711",
            Decimal("0.25"),
        ),
        origin=Origin.DECLARED,
        provisionable=Provisionable.UNKNOWN,
        node_selector={"node.kubernetes.io/instance-type": "g6e.xlarge"},
        tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
        confidence=Confidence.DECLARED,
    )


def test_gaps_are_filled_from_what_is_known_and_nothing_said_is_overridden() -> None:
    sparse = declared({"host": REMOVED, "region": REMOVED, "price": {"hourlyUSD": "1.5"}})

    assert isinstance(sparse, InstanceClass)
    assert (sparse.host, sparse.region) == (KNOWN.host, KNOWN.region)
    assert sparse.price == Price(UsdPerHour(Decimal("1.5")), Commitment.ON_DEMAND, UNDATED, "", Decimal(0))
    assert (sparse.origin, sparse.provisionable, sparse.nodes) == (Origin.DECLARED, Provisionable.YES, 3)
    assert sparse.caveat == "seen on nodes"


def test_the_price_of_the_catalogue_holds_when_none_is_declared() -> None:
    unpriced = declared({"price": REMOVED})

    assert isinstance(unpriced, InstanceClass)
    assert unpriced.price == KNOWN.price


def test_memory_is_the_declared_else_the_slices_else_the_products() -> None:
    sliced = {"accelerator.resource": "nvidia.com/mig-1g.10gb", "accelerator.migProfile": "1g.10gb"}

    def memory(changes: dict[str, Any]) -> int:
        found = declared(changes)
        assert isinstance(found, InstanceClass)
        return found.accelerator_memory

    assert memory({"accelerator.memory": "40Gi"}) == gib(40)
    assert memory({"accelerator.memory": REMOVED}) == mib(46068)
    assert memory(sliced | {"accelerator.memory": REMOVED}) == gib(10)


def test_what_cannot_be_filled_in_is_named() -> None:
    unknown = {"accelerator.product": "NVIDIA-X1"}
    sliced = {"accelerator.migProfile": "9g.90gb"}

    assert declared(unknown) == Problem("spec.accelerator.product", "must be a product that the catalogue knows")
    assert declared(sliced) == Problem("spec.accelerator.migProfile", "must be a MIG profile of NVIDIA-L40S")
    assert declared({"host": REMOVED}, known=None) == Problem(
        "spec.host", "must be given: neither a node nor the catalogue tells it"
    )


def test_an_incident_survives_the_status() -> None:
    incident = Incident(
        time=datetime(2026, 7, 1, 10, tzinfo=UTC),
        kind=OomKind.CUDA_SERVING,
        instance_class="g5.xlarge",
        pod="llama-7d9f",
        container="vllm",
        demand_tokens=51200.0,
        model="llama",
        settings_hash="abc",
        message="CUDA out of memory",
    )
    bare = replace(incident, instance_class="", pod="", container="", demand_tokens=None, model="", settings_hash="")

    for each in (incident, bare, replace(bare, message="")):
        assert incidents.to_domain(incidents.to_wire(each)) == each


def test_a_long_last_word_is_cut_to_what_the_schema_holds() -> None:
    talkative = Incident(datetime(2026, 7, 1, tzinfo=UTC), OomKind.HOST, "", "", "", None, "", "", "x" * 9000)

    assert len(incidents.to_wire(talkative).message or "") == 512
