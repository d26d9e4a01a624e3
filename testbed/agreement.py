"""Whether what the operator says agrees with what the twin would have lived through."""

from dataclasses import dataclass
from typing import Self

from testbed.cases import Case
from testbed.cluster.base import Object
from testbed.twin.fleet import GroundTruth, Sizing, ground_truth, holds_on
from testbed.twin.hardware import CLASSES

REFUSALS = frozenset({"Unknown", "Keep"})


@dataclass(frozen=True, slots=True)
class Advice:
    """What stands in the status: the action, and where to (None: nowhere else)."""

    action: str
    instance_class: str | None
    tensor_parallel: int
    summary: str
    current_class: str

    @classmethod
    def read(cls, raw: Object) -> Self:
        """From an InferenceDeployment."""
        status = raw.get("status", {})
        advice = status.get("recommendation", {})
        target = advice.get("target", {})
        return cls(
            action=advice.get("action", "none"),
            instance_class=target.get("instanceClass"),
            tensor_parallel=target.get("tensorParallel", 1),
            summary=raw["metadata"].get("annotations", {}).get("gpu-rightsizer.dev/summary", ""),
            current_class=status.get("current", {}).get("instanceClass", ""),
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """One case: what was said, what is true, and whether they agree."""

    name: str
    shows: str
    says: str
    truth: str
    agrees: bool


def judge(case: Case, advice: Advice) -> Judgement:
    """By the twin alone: a proposed class must hold there, and an under-sized one must be told so."""
    twin = case.actor.twin
    truth = ground_truth(twin)
    agrees = _allowed(case, advice) and _holds_there(case, advice, truth)
    says = advice.action + (f" {advice.instance_class}" if advice.instance_class else "")
    return Judgement(f"{twin.namespace}/{twin.name}", case.shows, says, _in_words(truth), agrees)


def _allowed(case: Case, advice: Advice) -> bool:
    """The action is one of those that are right; without engine metrics no device may have less memory."""
    if advice.action not in case.expects:
        return False
    if case.actor.twin.knobs.engine_metrics or case.actor.twin.architecture.is_eager or not advice.instance_class:
        return True
    there, here = same_hardware(advice.instance_class), case.actor.twin.node
    return there is not None and CLASSES[there].accelerator.fb_total_mib >= here.accelerator.fb_total_mib


def _holds_there(case: Case, advice: Advice, truth: GroundTruth) -> bool:
    """Where it should move, the twin lives on; where it should stay, it lives on now or nothing is known of it."""
    if advice.action == "Keep":
        return truth.current_holds
    if advice.action != "Resize":
        return True
    name = same_hardware(advice.instance_class or "")
    return name is not None and holds_on(case.actor.twin, name, advice.tensor_parallel).ok


def same_hardware(name: str) -> str | None:
    """The twin's class with the accelerators of a class by that name; sizes of one family differ in their host only."""
    if name in CLASSES:
        return name
    family, _, size = name.partition(".")
    single = {"xlarge", "2xlarge", "4xlarge", "8xlarge", "16xlarge"}
    return next((known for known in CLASSES if known.startswith(f"{family}.") and size in single), None)


def _in_words(truth: GroundTruth) -> str:
    if truth.sizing is Sizing.NONE_HOLDS or truth.cheapest_class is None:
        return "no class holds"
    held = "" if truth.current_holds else "does not hold now; "
    return f"{held}cheapest that holds: {truth.cheapest_class} tp{truth.cheapest_tp}"
