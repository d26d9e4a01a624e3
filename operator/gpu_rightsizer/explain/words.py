"""What each code says: one short sentence with its figures, and where a person can act, what to do next.

`{fact:format}` and `[optional part]` are explained in `template`. The facts of each code, with their units, are
documented in `docs/reference/reasons.md`; a test compares the two.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.domain.finding import Code, Finding
from gpu_rightsizer.domain.readings import Missing, Signal
from gpu_rightsizer.explain.template import Sentence, mismatches, sentence
from gpu_rightsizer.explain.terms import WHY
from gpu_rightsizer.explain.text import safe, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST: Final = 900  # characters of one sentence

_EVIDENCE: Final = {
    Code.METRICS_MISSING: (
        "No usable metrics[ for {signal:name}][ ({why:why})][: {detail:name}]. Check that the pods are scraped "
        "and that their series carry `namespace` and `pod`."
    ),
    Code.METRICS_INCOMPLETE: (
        "Metrics are not whole[ for {signal:name}][: {coverage:share} seen][, {needed:share} needed]. Look for "
        "scrape failures of these pods."
    ),
    Code.HISTORY_TOO_SHORT: (
        "Not enough history yet[: {span:span} seen][, {needed:span} needed, with two business days and a weekend "
        "day]. Nothing smaller is proposed until then."
    ),
    Code.DEMAND_CENSORED: (
        "Demand was cut off[ in {share:share} of the time][ ({blocks:count} blocks)], so its real size is not "
        "known. Export the engine's queue metrics, or give it more room for some days."
    ),
    Code.DEVICE_SHARED: (
        "The accelerator is shared with other pods, so its figures are not this workload's alone. Use MIG, or "
        "one pod an accelerator, to make it measurable."
    ),
    Code.ENGINE_METRICS_NEEDED: (
        "The engine[ {engine:name}] takes its memory in advance, so device metrics cannot tell how much it "
        "needs: no smaller memory is proposed. Scrape the engine's own `/metrics`."
    ),
    Code.MODEL_UNKNOWN: (
        "The model is not known[: {model:name}]. Set `spec.model.name` to the model of the catalogue that it is or was "
        "tuned from."
    ),
    Code.ENGINE_UNKNOWN: "The inference engine is not known[: {image:name}]. Set `spec.engine.type`.",
    Code.CLASS_UNKNOWN: (
        "The instance class it runs on is not known[: {instance_class:name}]. Create an InstanceClass whose "
        "`nodeSelector` matches its nodes, or run all replicas on one class."
    ),
    Code.TARGET_MISSING: (
        "The workload does not exist in this namespace[: {kind:name} {name:name}]. Check `spec.targetRef`."
    ),
    Code.TARGET_CLAIMED_TWICE: (
        "More than one InferenceDeployment names this workload[, also {others:name}]: none is followed. Delete all "
        "but one."
    ),
    Code.CONTAINER_UNKNOWN: (
        "The container that serves is not known[: the pods have no {container:name}][; one of {containers:name}]. Set "
        "`spec.targetRef.container` to it."
    ),
    Code.RULES_ALLOW_NOTHING: (
        "The rules allow no class, not even the present one[: none passes {rule:text}]. Change that "
        "field in `spec.placement`[ or in the RightsizingPolicy {policies:name}]."
    ),
    Code.SETTINGS_UNREAD: (
        "Engine arguments that change memory or speed could not be read[: {arguments:name}]. Give them as plain "
        "`--flag=value`, outside a shell string."
    ),
    Code.SOURCES_DISAGREE: (
        "Two sources disagree[ about {signal:name}][: {detail:name}]. Remove the wrong one, or state the fact in "
        "`spec`."
    ),
    Code.RECENT_REVISION: (
        "The running revision is new[, since {since:day}]: what was measured before tells less[. It is judged "
        "after {needed:span}]."
    ),
}

_REJECTION: Final = {
    Code.MEMORY_TOO_SMALL: "Memory is too small[: {need:gib} needed per accelerator][, {available:gib} available].",
    Code.CONTEXT_TOO_LONG: (
        "The longest request does not fit[: {context:tokens} tokens][, room for {capacity:tokens}]. A smaller "
        "`--max-model-len` would."
    ),
    Code.MEMORY_RISK: (
        "Too likely to run out of memory[: {probability:probability}][, {added:probability} more than now][; at "
        "most {limit:probability} more is allowed]."
    ),
    Code.TPOT_TOO_SLOW: (
        "Too slow per output token[: {tpot:seconds} with the model's error][, {limit:seconds} allowed]."
    ),
    Code.TTFT_TOO_SLOW: (
        "Too slow to the first token[: {ttft:seconds} with the model's error][, {limit:seconds} allowed]."
    ),
    Code.OVERLOADED: (
        "It would be overloaded at the peak[: {demand:figure} against a capacity of {capacity:figure}][, "
        "probability {probability:probability}]."
    ),
    Code.TENSOR_PARALLEL_IMPOSSIBLE: (
        "The model cannot be split over[ {ranks:count}] accelerators there[: {heads:count} heads, "
        "{kv_heads:count} KV heads]."
    ),
    Code.PRECISION_UNSUPPORTED: (
        "The accelerator[ {accelerator:name}] has no arithmetic for this number format[: {dtype:name}]."
    ),
    Code.HOST_CPU_TOO_SMALL: (
        "The host has too little CPU[: {need:cores} requested][, {available:cores} allocatable][. At most "
        "{used:cores} was used: a request of {fits:cores} would fit]."
    ),
    Code.HOST_MEMORY_TOO_SMALL: (
        "The host has too little memory[: {need:gib} requested][, {available:gib} allocatable][. At most "
        "{used:gib} was used: a request of {fits:gib} would fit]."
    ),
    Code.HOST_STORAGE_TOO_SMALL: (
        "The host has too little ephemeral storage[: {need:gib} requested][, {available:gib} allocatable]."
    ),
    Code.HOST_RESOURCE_MISSING: "The host lacks a resource that the pod asks for[: {resource:name}].",
    Code.HOST_ARCHITECTURE: "The CPU architecture differs[: {available:name} there][, the image runs on {need:name}].",
    Code.VOLUME_ZONE: "A bound volume ties the pod to[ {zones:name},] zones where this class is not known to exist.",
    Code.NODE_CONSTRAINT: "The pod template ties it to other nodes[: {key:name}][ in {values:name}].",
    Code.NOT_PROVISIONABLE: "This class cannot be had as GPU nodes here[: {caveat:text}].",
    Code.NOT_ALLOWED: "The rules do not allow it[: {rule:name}].",
    Code.OTHER_VENDOR: (
        "It is another vendor's accelerator[ ({vendor:name})]; such a move needs another build of the engine."
    ),
    Code.POOL_TAKEN: (
        "What there is of the class is taken[: {instance_class:name}][, {taken:count} of {accelerators:count} "
        "accelerators][, by {by:text}][. The fleet's choice is within {gap:share} of the cheapest]."
    ),
    Code.PRICE_UNKNOWN: "Its price is not known[: {instance_class:name}]. Set `spec.price` of the InstanceClass.",
    Code.SMALLER_MEMORY_HELD: "The evidence allows no smaller memory per accelerator[ ({because:name})].",
    Code.SHRINK_HELD: "The evidence allows nothing smaller or slower[ ({because:name})].",
    Code.FAILED_THERE_BEFORE: "It failed there before[, on {time:day}][ ({kind:kind})].",
    Code.RISK_OUTWEIGHS_SAVING: (
        "The risk costs more than is saved[: {added:probability} more out-of-memory risk in {horizon:duration} "
        "at {oom_cost:usd} each][ against {saved:usd} saved]."
    ),
}

_DECISION: Final = {
    Code.CHEAPER_CLASS_HOLDS: (
        "A cheaper class holds the peak[: {target:name}][ at {target_hourly:usd}/h instead of {current_hourly:usd}/h]."
    ),
    Code.NOTHING_CHEAPER: "No cheaper class holds[ (configurations considered: {considered:count})].",
    Code.RULES_ALLOW_NO_OTHER: (
        "The rules allow no class but the present one[: no other passes {rule:text}]. To be shown others, widen that "
        "field in `spec.placement`[ or in the RightsizingPolicy {policies:name}]."
    ),
    Code.SAVING_TOO_SMALL: (
        "The best saving is too small to move for[: {saved:usd}/h][ ({share:share})][; {least:share} is the least]."
    ),
    Code.CHANGED_RECENTLY: (
        "It moved to other accelerators[ on {since:day}]: nothing cheaper is proposed[ for {needed:duration} after "
        "that]."
    ),
    Code.HOLDS_BARELY: (
        "A cheaper class holds, but too closely to change the recommendation for[: {target:name}]. It is proposed once "
        "there is room to spare."
    ),
    Code.PAYBACK_TOO_LONG: (
        "The saving would not pay for the change[: about {change:dollars} once][ (surge, review, the chance of going "
        "back)][, back after {after:length}][. A load stays as it is for {lasts:length} on average, which is worth "
        "{worth:dollars}]."
    ),
    Code.UNDER_SIZED: "It is too small for its load[ on {instance_class:name}].",
    Code.NOTHING_HOLDS: (
        "No known class holds this load[ (configurations considered: {considered:count})]. Allow more classes or "
        "more replicas in `spec.placement`, or limit the engine's concurrency."
    ),
    Code.PROVEN_IDLE: (
        "No request arrives[, for at least {idle_for:at_least} now][; none in {idle_share:share} of the window]. "
        "Scaling to zero pays[ after {threshold:duration}]."
    ),
    Code.TUNE_REMOVES_RISK: (
        "Engine limits are enough, on the same class[: {arguments:text}][, instead of your {own:text}][; out-of-memory "
        "risk {before:probability} -> {after:probability}][, p95 to the first token at most {ttft:seconds} at the peak]"
        "[; {hardware:name} instead costs {more:usd}/h more]."
    ),
}

_COMPUTED: Final = {
    Code.MEMORY_LEDGER: (
        "Memory per accelerator[: {weights:gib} weights][ + {kv:gib} KV cache at the peak][ + {overhead:gib} "
        "overhead][ = {need:gib}][ of {available:gib}]."
    ),
    Code.DEMAND_PEAK: (
        "Peak demand of the busiest replica[: {tokens:tokens} tokens of KV cache][: {bytes:gib} of device "
        "memory][, on {time:day}]."
    ),
    Code.DEMAND_TAIL: (
        "Demand has a tail[: above {tokens:tokens} tokens][: above {bytes:gib}][ with probability "
        "{probability:probability}][ in {horizon:duration}]."
    ),
    Code.BINDING_RESOURCE: "First to run out there[: {resource:name}].",
    Code.PRECISION_SLOWER: "The weights are unpacked there, which is slower[: {dtype:name}][ on {accelerator:name}].",
    Code.ACCELERATOR_UNMEASURED: (
        "No published measurement covers the accelerator[ {accelerator:name}], so the speed there is less sure."
    ),
    Code.RISK_MODEL_BASED: "The probabilities come from a model and are not yet compared with what happened here.",
    Code.RISK_EXTRAPOLATED: (
        "The probabilities were compared with what happened on this fleet[ up to {compared:duration} ahead]; further "
        "ahead they come from a model."
    ),
    Code.EVIDENCE_THIN: "The evidence is thin[ (tier {tier:name})].",
    Code.CATALOGUE_RECALLED: "A figure of the catalogue is not verified[: {entry:name}].",
    Code.OBJECTIVE_UNCHECKED: (
        "The latency there could not be predicted[: {metric:name}]. Scrape the engine's own `/metrics` to make it "
        "known."
    ),
    Code.OVERHEAD_ASSUMED: (
        "Memory beyond weights and KV cache is assumed, not measured[: {overhead:gib}][ +- {error:gib}]."
    ),
    Code.INCIDENT_WEIGHED: (
        "Out of memory[ {times:count} times, most telling][ on {time:day}][ on {instance_class:name}][ ({kind:kind})]"
        "[ at a demand of {demand:tokens} tokens][. The cause {cause:cause}][ (weight {weight:share})][. Chance of "
        "another in {horizon:duration}:][ {first_chance:probability} on {first:name}][ ({first_without:probability} "
        "if that had never been)][, {second_chance:probability} on {second:name}][ ({second_without:probability})]"
        "[, {third_chance:probability} on {third:name}][ ({third_without:probability})][, {fourth_chance:probability} "
        "on {fourth:name}][ ({fourth_without:probability})][. Staying costs {staying:usd} more a month][ than "
        "{instead:name}][: in {horizon:duration} as much as {pays_for:figure} out-of-memories at {oom_cost:usd}][: at "
        "{oom_cost:usd} each, moving pays up to {break_even:probability} more risk][, and moving adds "
        "{added:probability}][. Host memory ran out too, on {host_time:day}, no matter of the accelerator]."
    ),
    Code.PAYS_BACK: "The change pays for itself[ within {after:length}][: it costs about {change:dollars} once].",
    Code.HOST_REQUEST_UNUSED: (
        "The pod asks for host resources that it never used[: {resource:name}][, {resource_requested:name} "
        "asked][, {resource_used:name} used][. A request of {resource_fits:name} would let smaller classes fit]."
    ),
    Code.NODE_LEAVES: (
        "Nothing else uses accelerators on its nodes[ ({nodes:count})]: the saving is real once they are removed."
    ),
    Code.NODE_STAYS: (
        "Nothing is saved yet: other pods hold[ {others:count}] accelerators on its nodes[. Once they leave too, "
        "it is {potential:usd}/h]."
    ),
    Code.AUTOSCALER_OWNS_REPLICAS: "An autoscaler owns the replicas[: {owner:name}]. Set its bounds instead.",
    Code.AUTOSCALER_NEEDED: (
        "Something has to set the number of replicas: a HorizontalPodAutoscaler or KEDA, by the share of the KV cache "
        "in use."
    ),
    Code.ELASTIC_HOLDS: (
        "As many replicas as demand asks would hold[: {least:count} to {most:count}][ on {instance_class:name}][, "
        "{hourly:usd}/h on average][ instead of {instead:usd}/h][. Too few for at most {minutes:count} minutes a week, "
        "by a replay of its peaks][ with {lead:duration} until a new one serves]."
    ),
    Code.ELASTIC_SETTING: (
        "The autoscaler should aim at[ {usage:share} of] the KV cache in use, and let replicas go slowly[: none within "
        "{hold:duration} after it was wanted][, then at most one in {step:duration}][. Its least number, for each six "
        "hours from 00:00 UTC, set {lead:duration} ahead: {windows:name}]."
    ),
    Code.ELASTIC_UNKNOWN: (
        "Whether fewer replicas would do at times is not known[: the peaks of {block:duration} do not tell][. "
        "{replicas:count} hold the peak][ on {instance_class:name}]."
    ),
    Code.REPLICAS_OUT_OF_BOUNDS: (
        "The replicas that run are outside the rules[: {replicas:count}][, more than {most:count}, which is "
        "`replicas.max`][, fewer than {least:count}, which is `replicas.min`]. Only numbers within the bounds are "
        "proposed; change them in `spec.placement`."
    ),
    Code.QUEUE_STANDS: "Requests wait in the engine[ in {share:share} of the time][, {waiting:figure} at the peak].",
    Code.PREEMPTING: (
        "The engine pushes running requests out of its KV cache[ in {share:share} of the time][, {count:figure} times]."
    ),
    Code.OBJECTIVE_MISSED: (
        "The objective is missed now[: {metric:name} p95 {observed:seconds}][, {limit:seconds} allowed][, in "
        "{share:share} of the windows]."
    ),
    Code.WAKER_NEEDED: (
        "Something has to hold the first request and set[ {owner:name}] replicas back[ to {replicas:count}][; "
        "the first caller waits {cold_start:duration}]. KEDA's HTTP add-on or Knative can."
    ),
    Code.CAVEAT: "A caveat applies[: {text:text}].",
}

_CONDITION: Final = {
    Code.METRICS_COMPLETE: "Metrics are fresh and complete.",
    Code.MODE_OFF: "The mode is `Off`, by `spec.mode` or by a RightsizingPolicy: the workload is not looked at.",
    Code.INVALID_SPEC: "The spec cannot be used[: {problems:problems}].",
    Code.RULES_UNREAD: ("Which rules hold here is not known, so nothing is recommended[: {problems:problems}]."),
    Code.CLOCKS_DISAGREE: (
        "The operator's clock and the metrics store's differ, so the age of samples is not known[: "
        "{problems:problems}]. Keep both in time, for example by NTP."
    ),
    Code.ACCEPTED: "It is in use[, for {deployments:count} InferenceDeployments].",
    Code.EVALUATION_FAILED: "The evaluation failed[: {problems:problems}]. Please report it with the operator's log.",
}

TEMPLATES: Final[Mapping[Code, str]] = MappingProxyType(_EVIDENCE | _REJECTION | _DECISION | _COMPUTED | _CONDITION)
_SENTENCES: Final[Mapping[Code, Sentence]] = MappingProxyType(
    {code: sentence(text) for code, text in TEMPLATES.items()}
)

_SUPPLY: Final[Mapping[Signal, str]] = MappingProxyType(
    {
        Signal.CONTAINER: "Change `spec.targetRef.container`.",
        Signal.ENGINE: "Set `spec.engine.type`.",
        Signal.MODEL: "Set `spec.model.name`.",
        Signal.INSTANCE_CLASS: "Create an InstanceClass that matches its nodes.",
        Signal.TARGET: "Check `spec.targetRef`.",
        Signal.HISTORY: "It fills with time.",
        Signal.HOST_MEMORY: "Scrape the kubelet's cAdvisor metrics.",
        Signal.HOST_CPU: "Scrape the kubelet's cAdvisor metrics.",
    }
    | dict.fromkeys(
        (Signal.FB_USED, Signal.FB_TOTAL, Signal.GPU_ACTIVITY, Signal.DRAM_ACTIVITY), "Scrape the DCGM exporter."
    )
)
_SCRAPE_ENGINE: Final = "Scrape the engine's `/metrics`."


def say(finding: Finding) -> str:
    """The sentence of a finding, its figures formatted once, at most 900 characters."""
    return shortened(_SENTENCES[finding.code].said(dict(finding.facts)), LONGEST)


def facts_of(code: Code) -> tuple[str, ...]:
    """The names of the facts its sentence can show."""
    return _SENTENCES[code].facts


def unsaid(finding: Finding) -> tuple[str, ...]:
    """Facts of a finding that its sentence cannot show: of another kind than it takes, or not in it at all."""
    return mismatches(_SENTENCES[finding.code], dict(finding.facts))


def say_missing(missing: Missing) -> str:
    """What is unknown, why, and how to supply it."""
    detail = f" ({safe(missing.detail, 80)})" if missing.detail else ""
    return f"{missing.what}: {WHY[missing.why]}{detail}. {_SUPPLY.get(missing.what, _SCRAPE_ENGINE)}"
