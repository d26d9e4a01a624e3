"""The id of a recommendation: it changes exactly when what would be done changes, and never with the evidence."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.readings import Missing

if TYPE_CHECKING:
    from gpu_rightsizer.domain.decision import Configuration, Decision
    from gpu_rightsizer.domain.workload import Workload

LENGTH: Final = 26  # base32 characters: 130 bits


def recommendation_id(workload: Workload, decision: Decision, *, policy_generation: int = 0, issue: int = 0) -> str:
    """26 lower-case base32 characters of SHA-256 over who, from what, to what, under which policy.

    `issue` counts how often the same proposal was spent: an approval of the last time does not fit this time. The
    parts are written as JSON with sorted keys, so that no two different proposals read the same.
    """
    content = {
        "target": [workload.key.uid, workload.target.kind, workload.target.name],
        "template": template_hash(workload),
        "action": decision.action.value,
        "from": _present(workload),
        "to": _place(decision.target.configuration) if decision.target else None,
        **({"bounds": _bounds(decision)} if workload.replicas_owner else {}),
        "policy": policy_generation,
        "issue": issue,
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return base64.b32encode(hashlib.sha256(canonical.encode()).digest()).decode().lower()[:LENGTH]


def template_hash(workload: Workload) -> str:
    """Of the pods that started last; empty while none has started."""
    started = [pod for pod in workload.pods if pod.started is not None and pod.template_hash]
    if not started:
        return ""
    return max(started, key=lambda pod: (pod.started, pod.template_hash)).template_hash


def _present(workload: Workload) -> dict[str, object]:
    placement = workload.placement
    return {
        "class": None if isinstance(placement, Missing) else placement.name,
        "accelerators": workload.pod.accelerators,
        "replicas": workload.replicas_owner or workload.replicas,
        "args": {"settings": workload.settings_hash},
    }


def _bounds(decision: Decision) -> list[object]:
    """What is asked of an autoscaler; where one owns the replicas, the number of now is nobody's proposal."""
    asked = decision.elastic
    return [list(asked.least), asked.most, asked.kv_usage] if asked else []


def _place(where: Configuration) -> dict[str, object]:
    return {
        "class": where.instance.name,
        "accelerators": where.accelerators,
        "replicas": where.replicas,
        "tensorParallel": where.tensor_parallel,
        "args": dict(where.engine_args),
    }
