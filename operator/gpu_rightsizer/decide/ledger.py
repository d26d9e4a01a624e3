"""The arithmetic of a placement: where the memory of one accelerator goes, and what runs out first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.need import PreallocatedMemory
from gpu_rightsizer.domain.readings import Missing

if TYPE_CHECKING:
    from gpu_rightsizer.decide.situation import Situation
    from gpu_rightsizer.domain.decision import Candidate


def arithmetic(there: Candidate, situation: Situation) -> tuple[Finding, ...]:
    """The ledger and the binding resource, as far as they are known."""
    binding = there.prediction.binding
    first = (found(Code.BINDING_RESOURCE, resource=binding.value),) if binding else ()
    return (*_ledger(there, situation), *first)


def _ledger(there: Candidate, situation: Situation) -> tuple[Finding, ...]:
    """Bytes per accelerator; the overhead is what remains of the predicted need after weights and KV cache."""
    memory, model, what = situation.need.memory, situation.workload.model, there.prediction
    if not isinstance(memory, PreallocatedMemory) or isinstance(model, Missing):
        return ()
    if what.memory_need is None or what.memory_available is None or what.kv_demand_tokens is None:
        return ()
    ranks = there.configuration.tensor_parallel
    weights = memory.weights / ranks
    kv = what.kv_demand_tokens * model.kv_bytes_per_token_and_rank(ranks, situation.workload.settings.kv_bytes)
    overhead = what.memory_need - weights - kv
    if overhead < 0:
        return ()
    sums = {"weights": weights, "kv": kv, "overhead": overhead, "need": float(what.memory_need)}
    return (found(Code.MEMORY_LEDGER, **sums, available=float(what.memory_available)),)
