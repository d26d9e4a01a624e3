"""From the wire to the core's nouns: the terms one deployment is judged by, its namespace's policies applied."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from gpu_rightsizer.api.narrowing import placement_rules
from gpu_rightsizer.api.units import parse_count, parse_duration, parse_percent, parse_usd
from gpu_rightsizer.domain.workload import Mode, Objective, Overrides, PlacementRules, ScaleToZeroRules, TargetRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gpu_rightsizer.api.inference_deployment import InferenceDeployment, InferenceDeploymentSpec
    from gpu_rightsizer.api.objective import Percentiles, Slo
    from gpu_rightsizer.api.policy import RightsizingPolicySpec

T = TypeVar("T", timedelta, Decimal)


@dataclass(frozen=True, slots=True)
class Figure(Generic[T]):
    """One figure of the objective: where it is written, which of two is the more cautious, and what holds by itself."""

    written: Callable[[Slo], str | None]
    parse: Callable[[str], T]
    cautious: Callable[[Iterable[T]], T]
    built_in: str

    def of(self, own: Slo | None, defaults: Sequence[Slo]) -> T:
        """From the deployment, else the most cautious default of its policies, else the built-in figure."""
        if own is not None and (text := self.written(own)) is not None:
            return self.parse(text)
        stated = [self.parse(text) for slo in defaults if (text := self.written(slo)) is not None]
        return self.cautious(stated) if stated else self.parse(self.built_in)


def _p95(limits: Percentiles | None) -> str | None:
    return limits.p95 if limits else None


# The descriptions of the fields name the same built-in figures. 2 s to the first token is the limit of MLPerf
# Inference's Llama-2-70B server scenario; 100 ms a token is ten a second, about twice as fast as people read.
TTFT: Final[Figure[timedelta]] = Figure(lambda slo: _p95(slo.ttft), parse_duration, min, "2s")
TPOT: Final[Figure[timedelta]] = Figure(lambda slo: _p95(slo.tpot), parse_duration, min, "100ms")
ATTAINMENT: Final[Figure[Decimal]] = Figure(lambda slo: slo.attainment, parse_percent, max, "99.9%")
MAX_OOM_RISK: Final[Figure[Decimal]] = Figure(lambda slo: slo.max_oom_risk, parse_percent, min, "1%")
HORIZON: Final[Figure[timedelta]] = Figure(lambda slo: slo.horizon, parse_duration, max, "30d")
OOM_COST: Final[Figure[Decimal]] = Figure(lambda slo: slo.oom_cost, parse_usd, max, "2000")


@dataclass(frozen=True, slots=True)
class Terms:
    """What one deployment is judged by, policies applied. `policies` names those that hold, sorted."""

    mode: Mode
    target: TargetRef
    objective: Objective
    rules: PlacementRules
    scale_to_zero: ScaleToZeroRules
    overrides: Overrides
    policies: tuple[str, ...] = ()


def terms(
    deployment: InferenceDeployment,
    policies: Iterable[tuple[str, RightsizingPolicySpec]] = (),
    class_names: Iterable[str] = (),
) -> Terms:
    """The deployment under the policies that select its namespace (name and spec); `class_names` are all classes known.

    Of several policies the most restrictive wins, and of several defaults the most cautious.
    """
    holding = sorted(policies, key=lambda policy: policy[0])
    specs = [spec for _, spec in holding]
    spec = deployment.spec
    mode = Mode.OFF if any(each.max_mode is Mode.OFF for each in specs) else spec.mode
    return Terms(
        mode=mode,
        target=_target(spec),
        objective=objective(spec.slo, [each.defaults.slo for each in specs if each.defaults and each.defaults.slo]),
        rules=replace(placement_rules(spec.placement, specs, class_names), policies=_placing(holding)),
        scale_to_zero=_scale_to_zero(spec, mode),
        overrides=_overrides(spec),
        policies=tuple(name for name, _ in holding),
    )


def _placing(holding: Iterable[tuple[str, RightsizingPolicySpec]]) -> tuple[str, ...]:
    """The policies that have a say in the placement."""
    return tuple(
        name
        for name, each in holding
        if each.instance_classes or each.regions or (each.defaults and each.defaults.placement)
    )


def objective(own: Slo | None, defaults: Sequence[Slo] = ()) -> Objective:
    """The objective in seconds and shares."""
    return Objective(
        ttft_p95=TTFT.of(own, defaults).total_seconds(),
        tpot_p95=TPOT.of(own, defaults).total_seconds(),
        attainment=float(ATTAINMENT.of(own, defaults)),
        max_oom_risk=float(MAX_OOM_RISK.of(own, defaults)),
        horizon=HORIZON.of(own, defaults),
        oom_cost_usd=OOM_COST.of(own, defaults),
        stated=_stated([*([own] if own else []), *defaults]),
    )


def _stated(slos: Sequence[Slo]) -> frozenset[str]:
    limits = {"TTFT": TTFT, "TPOT": TPOT}
    return frozenset(name for name, limit in limits.items() if any(limit.written(slo) is not None for slo in slos))


def _target(spec: InferenceDeploymentSpec) -> TargetRef:
    ref = spec.target_ref
    return TargetRef(ref.api_version, ref.kind, ref.name, ref.container or "")


def _scale_to_zero(spec: InferenceDeploymentSpec, mode: Mode) -> ScaleToZeroRules:
    """Never above the mode of the whole."""
    return ScaleToZeroRules(
        enabled=mode is not Mode.OFF and spec.scale_to_zero.mode is not Mode.OFF,
        idle_after=parse_duration(spec.scale_to_zero.idle_after),
        cold_start=parse_duration(spec.scale_to_zero.cold_start),
    )


def _overrides(spec: InferenceDeploymentSpec) -> Overrides:
    engine = spec.engine.type if spec.engine else None
    if spec.model is None:
        return Overrides(engine=engine)
    return Overrides(
        engine=engine,
        model_name=spec.model.name,
        parameters=parse_count(spec.model.parameters) if spec.model.parameters else None,
        weight_dtype=spec.model.weight_dtype,
        max_context_length=spec.model.max_context_length,
    )
