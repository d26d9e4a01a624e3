"""How sure a decision is, and why not surer."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.decision import Certainty
from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.models import Confidence
from gpu_rightsizer.domain.need import (
    OverheadSource,
    PreallocatedMemory,
    RiskState,
    Tier,
)
from gpu_rightsizer.domain.readings import Missing

if TYPE_CHECKING:
    from gpu_rightsizer.decide.situation import Situation
    from gpu_rightsizer.domain.decision import Candidate
    from gpu_rightsizer.domain.need import Need

_LEVELS: Final = (Certainty.LOW, Certainty.MEDIUM, Certainty.HIGH)
_THIN: Final = frozenset({Tier.T0, Tier.T1, Tier.T2, Tier.T3})


def risk_state(need: Need, horizon: timedelta) -> RiskState:
    """What the stated probabilities rest on: the fleet's past only as far ahead as it was compared."""
    compared = compared_up_to(need)
    return RiskState.CALIBRATED if compared is not None and horizon <= compared else RiskState.MODEL_BASED


def compared_up_to(need: Need) -> timedelta | None:
    """The longest horizon for which the demand's tail was compared with what happened; None without."""
    memory = need.memory
    if isinstance(memory, Missing) or isinstance(memory.demand, Missing) or memory.demand.recalibration is None:
        return None
    return timedelta(hours=memory.demand.recalibration.hours)


def certainty(situation: Situation, target: Candidate | None) -> tuple[Certainty, tuple[Finding, ...]]:
    """High, less one level for each thing that lowers it, and at most Medium where a figure is modelled or assumed."""
    capping = _capping(situation)
    lowering = (*_thin_evidence(situation), *(_unsure_place(target, situation) if target else ()))
    highest = 1 if capping else 2
    return _LEVELS[max(0, highest - len(lowering))], (*capping, *lowering)


def idle_certainty(situation: Situation) -> tuple[Certainty, tuple[Finding, ...]]:
    """Idleness is counted, not modelled: only thin evidence lowers it."""
    lowering = tuple(one for one in _thin_evidence(situation) if one.code is Code.EVIDENCE_THIN)
    return (Certainty.MEDIUM if lowering else Certainty.HIGH), lowering


def _capping(situation: Situation) -> tuple[Finding, ...]:
    findings, need = [], situation.need
    if risk_state(need, situation.workload.objective.horizon) is RiskState.MODEL_BASED:
        compared = compared_up_to(need)
        modelled = (
            found(Code.RISK_MODEL_BASED) if compared is None else found(Code.RISK_EXTRAPOLATED, compared=compared)
        )
        findings.append(modelled)
    if isinstance(need.memory, PreallocatedMemory) and need.memory.overhead_source is OverheadSource.ASSUMED:
        memory = need.memory
        findings.append(found(Code.OVERHEAD_ASSUMED, overhead=memory.overhead, error=memory.overhead_error))
    return tuple(findings)


def _thin_evidence(situation: Situation) -> tuple[Finding, ...]:
    findings = []
    model = situation.workload.model
    if situation.need.tier in _THIN:
        findings.append(found(Code.EVIDENCE_THIN, tier=situation.need.tier.value))
    if not isinstance(model, Missing) and model.confidence is Confidence.RECALLED:
        findings.append(found(Code.CATALOGUE_RECALLED, entry=model.name))
    return tuple(findings)


def _unsure_place(target: Candidate, situation: Situation) -> tuple[Finding, ...]:
    findings = []
    instance, prediction = target.configuration.instance, target.prediction
    here = situation.current.configuration.instance if situation.current else None
    moves = here is None or instance.accelerator.key != here.accelerator.key
    if moves and not prediction.measured_accelerator:
        findings.append(found(Code.ACCELERATOR_UNMEASURED, accelerator=instance.accelerator.product))
    if Confidence.RECALLED in {instance.confidence, instance.accelerator.confidence}:
        findings.append(found(Code.CATALOGUE_RECALLED, entry=instance.name))
    if moves and (prediction.tpot is None or prediction.ttft is None):
        missing = [name for name, value in (("TPOT", prediction.tpot), ("TTFT", prediction.ttft)) if value is None]
        findings.append(found(Code.OBJECTIVE_UNCHECKED, metric=", ".join(missing)))
    return tuple(findings)
