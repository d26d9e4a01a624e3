"""What a pod template says: engine, settings, model and what one replica asks of its node."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpu_rightsizer.domain.engines import EngineSettings, EngineType
from gpu_rightsizer.domain.models import Confidence, ModelArchitecture, WeightDtype
from gpu_rightsizer.domain.readings import Missing, MissingReason, Signal
from gpu_rightsizer.domain.workload import Overrides, PodShape
from gpu_rightsizer.observe import manifests, placement
from gpu_rightsizer.observe.command_line import read_command_line
from gpu_rightsizer.observe.engine_detection import detect_engine, image_version
from gpu_rightsizer.observe.pod_requests import container_accelerators, pod_requests, shared_memory
from gpu_rightsizer.observe.vllm_args import EngineReading, read_settings, settings_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_rightsizer.catalogue import Catalogue
    from gpu_rightsizer.observe.manifests import Raw


NOTHING_STATED = Overrides()


@dataclass(frozen=True, slots=True)
class Configuration:
    """One pod template read. `container` is the serving container's name, else the one wanted (empty: none)."""

    container: str
    engine: EngineType | Missing
    settings: EngineSettings
    settings_hash: str
    model: ModelArchitecture | Missing
    pod: PodShape


_SIXTEEN_BIT = frozenset({WeightDtype.BFLOAT16, WeightDtype.FLOAT16})
_DEFAULT_ARCHITECTURE = "amd64"


def read_configuration(
    spec: Raw,
    catalogue: Catalogue,
    *,
    container: str = "",
    overrides: Overrides = NOTHING_STATED,
    zones: Sequence[str] = (),
) -> Configuration:
    """Read a pod spec; what the user declared wins.

    `container` is the user's choice (empty: none), `zones` those its volumes allow.
    """
    chosen = choose_container(spec, container)
    shape = pod_shape(spec, zones)
    if isinstance(chosen, Missing):
        nothing = Missing(Signal.MODEL, chosen.why, chosen.detail)
        unread = EngineSettings()
        return Configuration(container, chosen, unread, settings_hash(chosen, unread), nothing, shape)
    image = manifests.text(chosen, "image")
    command = read_command_line(chosen)
    engine = overrides.engine or detect_engine(image, command)
    reading = read_settings(engine, command, image_version(image))
    model, settings = _model_and_settings(reading, catalogue, overrides)
    told = settings_hash(engine, settings)
    return Configuration(manifests.text(chosen, "name"), engine, _with_context(settings, model), told, model, shape)


def choose_container(spec: Raw, wanted: str = "") -> Raw | Missing:
    """The container that serves: the named one, else the only one with accelerators, else the first."""
    containers = manifests.items(spec, "containers")
    if wanted:
        named = [each for each in containers if manifests.text(each, "name") == wanted]
        existing = ", ".join(manifests.text(each, "name") for each in containers)
        return named[0] if named else Missing(Signal.CONTAINER, MissingReason.NOT_FOUND, existing)
    accelerated = [each for each in containers if container_accelerators(each)]
    if len(accelerated) > 1:
        names = ", ".join(sorted(manifests.text(each, "name") for each in accelerated))
        return Missing(Signal.CONTAINER, MissingReason.CONTRADICTORY, names)
    candidates = accelerated or containers
    return candidates[0] if candidates else Missing(Signal.ENGINE, MissingReason.NOT_FOUND, "containers")


def pod_shape(spec: Raw, zones: Sequence[str] = ()) -> PodShape:
    """What one replica asks. Accelerators of several resources: the first is the shape's, the rest stand in `other`."""
    asked = pod_requests(spec)
    (resource, count), *rest = sorted(asked.accelerators.items()) or [("", 0)]
    return PodShape(
        cpu=asked.cpu,
        memory=asked.memory,
        ephemeral_storage=asked.ephemeral_storage,
        shared_memory=shared_memory(spec),
        accelerators=count,
        resource=resource,
        architecture=placement.architecture(spec) or _DEFAULT_ARCHITECTURE,
        zones=tuple(zones),
        other={**asked.other, **dict(rest)},
        host_constraints=placement.host_constraints(spec),
    )


def _model_and_settings(
    reading: EngineReading, catalogue: Catalogue, overrides: Overrides
) -> tuple[ModelArchitecture | Missing, EngineSettings]:
    settings = (
        reading.settings if overrides.model_name is None else replace(reading.settings, model_name=overrides.model_name)
    )
    model = _model((overrides.model_name,) if overrides.model_name else reading.names, catalogue)
    if overrides.weight_dtype is not None:
        settings = _told(settings, weight_dtype=overrides.weight_dtype)
    elif isinstance(model, ModelArchitecture):
        settings = _weights(settings, reading, model)
    if overrides.max_context_length is not None:
        settings = _told(settings, max_model_len=overrides.max_context_length)
    if isinstance(model, ModelArchitecture):
        model = _declared(model, overrides)
    return model, settings


def _model(names: Sequence[str], catalogue: Catalogue) -> ModelArchitecture | Missing:
    """The first name that the catalogue knows; the first name is what is missing when it knows none."""
    found = [catalogue.model(name) for name in names]
    known = [model for model in found if isinstance(model, ModelArchitecture)]
    if known:
        return known[0]
    return found[0] if found else Missing(Signal.MODEL, MissingReason.NOT_FOUND)


def _weights(settings: EngineSettings, reading: EngineReading, model: ModelArchitecture) -> EngineSettings:
    """Stored types that only model and arguments together tell."""
    sixteen_bit = model.default_dtype in _SIXTEEN_BIT
    if reading.quantisation and sixteen_bit:
        if reading.quantisation.startswith("gptq"):
            return _told(settings, weight_dtype=WeightDtype.INT4)
        return replace(settings, unread=(*settings.unread, f"--quantization={reading.quantisation}"))
    # --dtype is the type of computation; it is also that of the weights unless these are quantised.
    if settings.weight_dtype is None and sixteen_bit and reading.activation_dtype is not None:
        return _told(settings, weight_dtype=reading.activation_dtype)
    return settings


def _declared(model: ModelArchitecture, overrides: Overrides) -> ModelArchitecture:
    if overrides.parameters is None:
        return model
    scale = overrides.parameters / model.parameters
    return replace(
        model,
        parameters=overrides.parameters,
        active_parameters=model.active_parameters * scale,
        checkpoint_bytes=None,
        confidence=Confidence.DECLARED,
    )


def _with_context(settings: EngineSettings, model: ModelArchitecture | Missing) -> EngineSettings:
    """An engine that is told no context length takes the model's."""
    if settings.max_model_len is not None or isinstance(model, Missing):
        return settings
    return replace(settings, max_model_len=model.max_context)


def _told(settings: EngineSettings, **values: WeightDtype | int) -> EngineSettings:
    told = replace(settings, **values)  # type: ignore[arg-type] # the callers above name fields of these types
    return replace(told, explicit=settings.explicit | frozenset(values))
