"""Reading the packaged YAML into frozen domain objects, once, with errors that name the entry and the field."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, TypeVar

import yaml

from gpu_rightsizer.catalogue.lookup import Catalogue
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
from gpu_rightsizer.domain.models import Confidence, ModelArchitecture, WeightDtype
from gpu_rightsizer.domain.units import Millicores, UsdPerHour, gib, mib

if TYPE_CHECKING:
    from collections.abc import Mapping

_Choice = TypeVar("_Choice", bound=StrEnum)
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times faster where it is built in
_INSTANCE_LABEL: Final = "node.kubernetes.io/instance-type"


class InvalidCatalogue(ValueError):
    """The packaged data break their own form; the message names the file, the entry and the field."""


@cache
def load() -> Catalogue:
    """The catalogue as packaged; parsed on first use, then kept."""
    return build(**{name: packaged(name) for name in ("accelerators", "instances", "models", "models_alike")})


def packaged(name: str) -> str:
    """The text of one packaged file."""
    return files("gpu_rightsizer.catalogue").joinpath("data", f"{name}.yaml").read_text(encoding="utf-8")


def build(*, accelerators: str, instances: str, models: str, models_alike: str = "models: []") -> Catalogue:
    """The catalogue of these four YAML texts; raises InvalidCatalogue."""
    cards = _Document("accelerators", accelerators)
    known = {entry.text("key"): _accelerator(entry) for entry in cards.entries("accelerators")}
    shapes = _Document("instances", instances)
    return Catalogue(
        accelerators=known,
        instances={entry.text("name"): _instance(entry, shapes.head, known) for entry in shapes.entries("instances")},
        models=_models(_Document("models", models), _Document("models_alike", models_alike)),
        aliases={
            alias: entry.text("key") for entry in cards.entries("accelerators") for alias in entry.names("aliases")
        },
        factors=_factors(shapes.head),
        factors_source=shapes.head.text("factors_source", ""),
    )


class _Entry:
    """One mapping of a file, read field by field."""

    def __init__(self, where: str, raw: object) -> None:
        if not isinstance(raw, dict):
            raise InvalidCatalogue(f"{where}: expected a mapping, found {type(raw).__name__}")
        self.where, self.raw = where, raw

    def wrong(self, field: str, expected: str) -> InvalidCatalogue:
        found = repr(self.raw[field]) if field in self.raw else "nothing"
        return InvalidCatalogue(f"{self.where}: `{field}` must be {expected}, found {found}")

    def text(self, field: str, default: str | None = None) -> str:
        value = self.raw.get(field, default)
        if not isinstance(value, str):
            raise self.wrong(field, "a text")
        return value

    def whole(self, field: str, default: int | None = None) -> int:
        value = self.raw.get(field, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(field, "a whole number of 0 or more")
        return value

    def number(self, field: str) -> float:
        value = self.maybe(field)
        if value is None:
            raise self.wrong(field, "a number above 0")
        return value

    def maybe(self, field: str) -> float | None:
        value = self.raw.get(field)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
            raise self.wrong(field, "a number above 0")
        return float(value)

    def flag(self, field: str, *, default: bool = False) -> bool:
        value = self.raw.get(field, default)
        if not isinstance(value, bool):
            raise self.wrong(field, "true or false")
        return value

    def names(self, field: str) -> tuple[str, ...]:
        value = self.raw.get(field, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.wrong(field, "a list of texts")
        return tuple(value)

    def choice(self, field: str, closed: type[_Choice], default: _Choice | None = None) -> _Choice:
        value = self.raw.get(field, default)
        for each in closed:
            if value == each:
                return each
        raise self.wrong(field, "one of " + ", ".join(closed))

    def amount(self, field: str) -> Decimal | None:
        value = self.raw.get(field)
        if value is None:
            return None
        try:
            amount = Decimal(value) if isinstance(value, str) else None
        except InvalidOperation:
            amount = None
        if amount is None or not amount > 0:
            raise self.wrong(field, "a quoted decimal above 0")
        return amount

    def day(self, field: str) -> date:
        try:
            return date.fromisoformat(self.text(field))
        except ValueError:
            raise self.wrong(field, "a quoted date such as '2026-07-20'") from None


class _Document:
    """One file: its head and its lists of entries."""

    def __init__(self, name: str, text: str) -> None:
        try:
            raw = yaml.load(text, Loader=_LOADER)  # noqa: S506 a safe loader, in C where there is one
        except yaml.YAMLError as error:
            raise InvalidCatalogue(f"{name}.yaml is not YAML: {error}") from error
        self.name, self.head = name, _Entry(f"{name}.yaml", raw)

    def entries(self, field: str) -> list[_Entry]:
        raw = self.head.raw.get(field)
        if not isinstance(raw, list):
            raise self.head.wrong(field, "a list")
        return [_Entry(self._where(each), each) for each in raw]

    def _where(self, raw: object) -> str:
        name = (raw.get("name") or raw.get("key")) if isinstance(raw, dict) else None
        return f"{self.name}.yaml, {name or 'an entry without a name'}"


def _accelerator(entry: _Entry) -> Accelerator:
    memory = mib(entry.whole("memory_mib"))
    return Accelerator(
        key=entry.text("key"),
        product=entry.text("product"),
        vendor=entry.choice("vendor", Vendor),
        architecture=entry.text("architecture"),
        compute_capability=_capability(entry),
        memory=memory,
        bandwidth_gbps=entry.number("bandwidth_gbps"),
        tflops_bf16=entry.maybe("tflops_bf16"),
        tflops_fp8=entry.maybe("tflops_fp8"),
        tflops_int8=entry.maybe("tflops_int8"),
        tflops_fp4=entry.maybe("tflops_fp4"),
        link=entry.text("link"),
        link_gbps=entry.maybe("link_gbps"),
        mig_profiles=_profiles(entry),
        dcgm_names=entry.names("dcgm_names"),
        gfd_products=entry.names("gfd_products"),
        source=entry.text("source"),
        confidence=entry.choice("confidence", Confidence),
    )


def _capability(entry: _Entry) -> tuple[int, int] | None:
    if "compute_capability" not in entry.raw:
        return None
    major, dot, minor = entry.text("compute_capability").partition(".")
    if not (dot and major.isdigit() and minor.isdigit()):
        raise entry.wrong("compute_capability", "a quoted version such as '8.9'")
    return int(major), int(minor)


def _profiles(entry: _Entry) -> tuple[MigProfile, ...]:
    raw = entry.raw.get("mig", [])
    if not isinstance(raw, list):
        raise entry.wrong("mig", "a list")
    slices = [_Entry(f"{entry.where}, mig", each) for each in raw]
    return tuple(
        MigProfile(
            name=each.text("name"),
            memory=mib(each.whole("memory_mib")),
            compute_slices=each.whole("compute_slices"),
            memory_slices=each.whole("memory_slices"),
            per_device=each.whole("per_device"),
        )
        for each in slices
    )


def _instance(entry: _Entry, head: _Entry, accelerators: Mapping[str, Accelerator]) -> InstanceClass:
    accelerator = accelerators.get(entry.text("accelerator"))
    if accelerator is None:
        raise entry.wrong("accelerator", "the key of an accelerator in accelerators.yaml")
    name, hourly = entry.text("name"), entry.amount("hourly_usd")
    price = None
    if hourly is not None:
        price = Price(UsdPerHour(hourly), Commitment.ON_DEMAND, head.day("as_of"), head.text("source"))
    return InstanceClass(
        name=name,
        accelerator=accelerator,
        accelerators=entry.whole("accelerators"),
        accelerator_memory=accelerator.memory,
        resource=entry.text("resource"),
        host=HostShape(
            cpu=Millicores(entry.whole("cpu") * 1000),
            memory=gib(entry.number("memory_gib")),
            ephemeral_storage=None,  # the root volume's size is the node group's choice
            architecture=entry.text("architecture"),
        ),
        region=head.text("region"),
        price=price,
        origin=Origin.CATALOGUE,
        provisionable=entry.choice("provisionable", Provisionable, Provisionable.UNKNOWN),
        node_selector={_INSTANCE_LABEL: name},
        caveat=entry.text("caveat", ""),
        confidence=entry.choice("confidence", Confidence),
    )


def _models(document: _Document, alike: _Document) -> dict[str, ModelArchitecture]:
    known = {entry.text("name"): _model(entry) for entry in document.entries("models")}
    for entry in alike.entries("models"):
        base = known.get(entry.text("like"))
        if base is None:
            raise entry.wrong("like", "the name of an entry in models.yaml")
        known[entry.text("name")] = _alike(entry, base)
    return known


def _model(entry: _Entry) -> ModelArchitecture:
    parameters = float(round(entry.number("parameters_b") * 1e9))
    checkpoint = entry.maybe("checkpoint_gb")
    return ModelArchitecture(
        name=entry.text("name"),
        parameters=parameters,
        active_parameters=float(round((entry.maybe("active_parameters_b") or 0.0) * 1e9)) or parameters,
        layers=entry.whole("layers"),
        hidden=entry.whole("hidden"),
        heads=entry.whole("heads"),
        kv_heads=entry.whole("kv_heads"),
        head_dim=entry.whole("head_dim"),
        vocabulary=entry.whole("vocabulary"),
        default_dtype=entry.choice("dtype", WeightDtype),
        max_context=entry.whole("max_context"),
        kv_bytes_per_token=entry.whole("kv_bytes_per_token"),
        kv_replicated=entry.flag("kv_replicated"),
        experts=entry.whole("experts", 0),
        experts_per_token=entry.whole("experts_per_token", 0),
        sliding_window=entry.whole("sliding_window", 0),
        windowed_layers=entry.whole("windowed_layers", 0),
        generative=entry.flag("generative", default=True),
        checkpoint_bytes=None if checkpoint is None else round(checkpoint * 1e9),
        source=entry.text("source"),
        confidence=entry.choice("confidence", Confidence),
    )


def _alike(entry: _Entry, base: ModelArchitecture) -> ModelArchitecture:
    parameters = entry.maybe("parameters_b")
    return replace(
        base,
        name=entry.text("name"),
        parameters=base.parameters if parameters is None else parameters * 1e9,
        active_parameters=base.active_parameters if parameters is None else parameters * 1e9,
        max_context=entry.whole("max_context", base.max_context),
        sliding_window=entry.whole("sliding_window", base.sliding_window),
        windowed_layers=entry.whole("windowed_layers", base.windowed_layers),
        source=entry.text("source", f"the architecture of {base.name}"),
        confidence=entry.choice("confidence", Confidence, Confidence.RECALLED),
    )


def _factors(head: _Entry) -> dict[str, dict[str, Decimal]]:
    raw = head.raw.get("factors", {})
    if not isinstance(raw, dict):
        raise head.wrong("factors", "a mapping of regions")
    regions = {region: _Entry(f"{head.where}, factors of {region}", families) for region, families in raw.items()}
    return {
        region: {family: amount for family in families.raw if (amount := families.amount(family)) is not None}
        for region, families in regions.items()
    }
