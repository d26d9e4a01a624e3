"""A finding: a closed code with its figures. Words for it live in `explain` alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from decimal import Decimal

Fact: TypeAlias = "str | int | float | Decimal | datetime | timedelta"


class Code(StrEnum):
    """What was found. Each is documented at a stable anchor; renaming one is a breaking change."""

    # why nothing smaller may be proposed
    METRICS_MISSING = "MetricsMissing"
    METRICS_INCOMPLETE = "MetricsIncomplete"
    HISTORY_TOO_SHORT = "HistoryTooShort"
    DEMAND_CENSORED = "DemandCensored"
    DEVICE_SHARED = "DeviceShared"
    ENGINE_METRICS_NEEDED = "EngineMetricsNeeded"  # DCGM only, preallocating
    MODEL_UNKNOWN = "ModelUnknown"
    ENGINE_UNKNOWN = "EngineUnknown"
    CLASS_UNKNOWN = "ClassUnknown"
    TARGET_MISSING = "TargetMissing"
    TARGET_CLAIMED_TWICE = "TargetClaimedTwice"
    CONTAINER_UNKNOWN = "ContainerUnknown"  # `targetRef.container` names none of the pods', or has to choose
    RULES_ALLOW_NOTHING = "RulesAllowNothing"  # neither the present class nor another
    SETTINGS_UNREAD = "SettingsUnread"
    SOURCES_DISAGREE = "SourcesDisagree"
    RECENT_REVISION = "RecentRevision"
    # why a class was rejected
    MEMORY_TOO_SMALL = "MemoryTooSmall"
    CONTEXT_TOO_LONG = "ContextTooLong"
    MEMORY_RISK = "MemoryRisk"
    TPOT_TOO_SLOW = "TpotTooSlow"
    TTFT_TOO_SLOW = "TtftTooSlow"
    OVERLOADED = "Overloaded"
    TENSOR_PARALLEL_IMPOSSIBLE = "TensorParallelImpossible"
    PRECISION_UNSUPPORTED = "PrecisionUnsupported"
    HOST_CPU_TOO_SMALL = "HostCpuTooSmall"
    HOST_MEMORY_TOO_SMALL = "HostMemoryTooSmall"
    HOST_STORAGE_TOO_SMALL = "HostStorageTooSmall"
    HOST_RESOURCE_MISSING = "HostResourceMissing"
    HOST_ARCHITECTURE = "HostArchitecture"
    VOLUME_ZONE = "VolumeZone"
    NODE_CONSTRAINT = "NodeConstraint"
    NOT_PROVISIONABLE = "NotProvisionable"
    NOT_ALLOWED = "NotAllowed"  # by include/exclude, regions or capacity types
    OTHER_VENDOR = "OtherVendor"
    POOL_TAKEN = "PoolTaken"  # owned or reserved, and all of it is spoken for
    PRICE_UNKNOWN = "PriceUnknown"
    SMALLER_MEMORY_HELD = "SmallerMemoryHeld"  # the evidence forbids less memory
    SHRINK_HELD = "ShrinkHeld"
    FAILED_THERE_BEFORE = "FailedThereBefore"
    # reasons for the decision
    CHEAPER_CLASS_HOLDS = "CheaperClassHolds"
    NOTHING_CHEAPER = "NothingCheaper"
    RULES_ALLOW_NO_OTHER = "RulesAllowNoOther"  # the present class alone
    SAVING_TOO_SMALL = "SavingTooSmall"
    CHANGED_RECENTLY = "ChangedRecently"  # it moved to other accelerators
    HOLDS_BARELY = "HoldsBarely"  # by less than what measurements differ from day to day
    PAYBACK_TOO_LONG = "PaybackTooLong"  # than a load usually stays as it is
    UNDER_SIZED = "UnderSized"
    NOTHING_HOLDS = "NothingHolds"
    RISK_OUTWEIGHS_SAVING = "RiskOutweighsSaving"  # added OOM probability x its cost exceeds what is saved
    PROVEN_IDLE = "ProvenIdle"
    TUNE_REMOVES_RISK = "TuneRemovesRisk"
    # what was computed, for the explanation
    MEMORY_LEDGER = "MemoryLedger"
    DEMAND_PEAK = "DemandPeak"
    DEMAND_TAIL = "DemandTail"
    BINDING_RESOURCE = "BindingResource"
    PRECISION_SLOWER = "PrecisionSlower"
    ACCELERATOR_UNMEASURED = "AcceleratorUnmeasured"  # no measured point covers it: certainty falls
    RISK_MODEL_BASED = "RiskModelBased"  # the probability is not calibrated on outcomes: at most Medium
    RISK_EXTRAPOLATED = "RiskExtrapolated"  # calibrated, but not as far ahead as the horizon: at most Medium
    EVIDENCE_THIN = "EvidenceThin"  # the tier of the evidence lowers certainty
    CATALOGUE_RECALLED = "CatalogueRecalled"  # a catalogue entry not read in a source lowers certainty
    OBJECTIVE_UNCHECKED = "ObjectiveUnchecked"  # TTFT or TPOT could not be predicted
    OVERHEAD_ASSUMED = "OverheadAssumed"
    INCIDENT_WEIGHED = "IncidentWeighed"
    PAYS_BACK = "PaysBack"
    HOST_REQUEST_UNUSED = "HostRequestUnused"
    NODE_LEAVES = "NodeLeaves"
    NODE_STAYS = "NodeStays"
    AUTOSCALER_OWNS_REPLICAS = "AutoscalerOwnsReplicas"
    AUTOSCALER_NEEDED = "AutoscalerNeeded"
    ELASTIC_HOLDS = "ElasticHolds"
    ELASTIC_SETTING = "ElasticSetting"
    ELASTIC_UNKNOWN = "ElasticUnknown"  # what was seen does not tell that fewer replicas would do at times
    REPLICAS_OUT_OF_BOUNDS = "ReplicasOutOfBounds"
    QUEUE_STANDS = "QueueStands"  # symptom: requests wait
    PREEMPTING = "Preempting"  # symptom
    OBJECTIVE_MISSED = "ObjectiveMissed"  # symptom
    WAKER_NEEDED = "WakerNeeded"
    CAVEAT = "Caveat"
    # reasons of conditions that no evaluation finds
    METRICS_COMPLETE = "MetricsComplete"
    MODE_OFF = "ModeOff"
    EVALUATION_FAILED = "EvaluationFailed"  # a fault of ours: the others are evaluated all the same
    INVALID_SPEC = "InvalidSpec"  # the object is stored, but its spec cannot be worked with
    RULES_UNREAD = "RulesUnread"  # a policy that may hold cannot be read, or whether it holds cannot be told
    CLOCKS_DISAGREE = "ClocksDisagree"  # ours and the metrics store's: no sample's age is known
    ACCEPTED = "Accepted"  # of an InstanceClass or RightsizingPolicy


@dataclass(frozen=True, slots=True)
class Finding:
    """A code and its figures, in the units the code's documentation names."""

    code: Code
    facts: tuple[tuple[str, Fact], ...] = ()

    def __getitem__(self, name: str) -> Fact:
        """The fact of that name; KeyError when it is absent."""
        return dict(self.facts)[name]


def found(code: Code, **facts: Fact) -> Finding:
    """A finding with its facts, in the order given."""
    return Finding(code, tuple(facts.items()))
