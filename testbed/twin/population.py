"""Deployments drawn at random: `random_twin` for the campaign, `random_life` with a past for those followed on.

Demand is drawn first; the class is then chosen against the truth. Of 20 seeds in a row 13 are over-provisioned, 4
right, 3 under-sized. Under-sized ones run, and miss their objective in the history by a clear margin (twice the allowed
share of windows and 1 % more), so that they can be noticed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from testbed.twin.arrivals import DAY_S, Batch, Diurnal, Family, Growing, Lengths, OnOff, Rate, Spiky, Steady
from testbed.twin.deployment import TwinSpec, arrivals_of, workload_of
from testbed.twin.fleet import Sizing, remembered
from testbed.twin.hardware import GIB, ascending_price
from testbed.twin.judge import Objective, Placement, Trials, Workload, engine_on, holds, placements
from testbed.twin.knobs import DcgmLabels, Knobs, MetricNames
from testbed.twin.physics import EngineArgs, StartFailure

_MODELS = (
    ("meta-llama/Llama-3.1-8B-Instruct", "bfloat16", 0.24),
    ("Qwen/Qwen2.5-7B-Instruct", "bfloat16", 0.14),
    ("mistralai/Mistral-7B-Instruct-v0.3", "bfloat16", 0.10),
    ("Qwen/Qwen3-8B", "bfloat16", 0.12),
    ("Qwen/Qwen2.5-14B-Instruct", "bfloat16", 0.14),
    ("Qwen/Qwen2.5-32B-Instruct", "bfloat16", 0.06),
    ("Qwen/Qwen3-32B", "fp8", 0.08),
    ("meta-llama/Llama-3.3-70B-Instruct", "fp8", 0.06),
    ("meta-llama/Llama-3.3-70B-Instruct", "bfloat16", 0.06),
)
_SIZING_OF_TWENTY = (*(Sizing.OVER,) * 13, *(Sizing.RIGHT,) * 4, *(Sizing.UNDER,) * 3)
_LONGEST_QUEUE_S = 120.0  # users give up: nobody keeps a server whose queue is hours long
_ATTEMPTS = 40
_OUT_OF_MEMORY_A_SPAN = 2.0  # expected in the history of a deployment whose long prompts take too much


def random_twin(seed: int) -> TwinSpec:
    """A realistic deployment, sized by its history and the week after it."""
    return _drawn("draw", seed, _random_demand, with_future=True)


def sizing_of(seed: int) -> Sizing:
    """As what the seed is drawn."""
    return _SIZING_OF_TWENTY[seed % len(_SIZING_OF_TWENTY)]


# ---- with a past ----


@dataclass(frozen=True, slots=True)
class Incident:
    """An out-of-memory that is remembered: days before now, where, and whether the engine never started there."""

    days_ago: float
    node_class: str
    at_start: bool


@dataclass(frozen=True, slots=True)
class Life:
    """A deployment, what is remembered of its past, and whether its cause was at work in the history itself."""

    spec: TwinSpec
    incidents: tuple[Incident, ...] = ()
    has_spikes: bool = False


def random_life(seed: int) -> Life:
    """A deployment as its team sized it, by the history alone, with the past that teams have.

    15 % once ran out of memory on a cheaper class and moved up (where the model starts there, the cause is gone); 7 %
    did on their present class, and the cause is gone; in 3 % long prompts take memory that was not profiled, which
    ends the engine about twice a fortnight. The rest never did. Engine arguments vary more than `random_twin`'s.
    """
    spec = _drawn("life", seed, _varied_demand, with_future=False)
    rng = np.random.default_rng([seed, 0x9A57])
    kind = rng.random()
    if kind < 0.15:
        return Life(spec, _moved_up(spec, rng))
    if kind < 0.22:
        days_ago = float(rng.uniform(1, 60))
        there = (Incident(days_ago, spec.node_class, at_start=False),)
        at = spec.span_s - days_ago * DAY_S
        restarts = (*spec.knobs.restarts_s, *((at,) if at > 0 else ()))
        return Life(replace(spec, knobs=replace(spec.knobs, restarts_s=restarts)), there)
    return _with_spikes(spec) if kind < 0.25 else Life(spec)


def _moved_up(spec: TwinSpec, rng: np.random.Generator) -> tuple[Incident, ...]:
    smaller = [
        node
        for node in ascending_price()
        if node.hourly_usd < spec.node.hourly_usd and node.accelerator.fb_total_mib < spec.node.accelerator.fb_total_mib
    ]
    if not smaller:
        return ()
    node = smaller[int(rng.integers(len(smaller)))]
    workload = workload_of(replace(spec, span_s=0.0), with_future=False)
    starts = any(
        not isinstance(engine_on(workload, place), StartFailure) for place in placements((node,), spec.replicas)
    )
    return (Incident(float(rng.uniform(20, 400)), node.name, at_start=not starts),)


def _with_spikes(spec: TwinSpec) -> Life:
    """So much memory a prompt token that the two longest prompts of the history do not fit beside the pool."""
    prompts = np.sort(arrivals_of(spec, spec.span_s).prompt_tokens)
    if len(prompts) < 100:
        return Life(spec)
    total = spec.node.accelerator.cuda_total_bytes
    slack = total * (1.0 - spec.args.gpu_memory_utilization) - 0.1 * GIB
    spiking = spec.hidden.with_spikes(slack / float(prompts[-1 - int(_OUT_OF_MEMORY_A_SPAN)]))
    return Life(replace(spec, truth=spiking), has_spikes=True)


def _varied_demand(seed: int, attempt: int) -> TwinSpec:
    spec = _random_demand(seed, attempt)
    rng = np.random.default_rng([seed, attempt, 0xA465])
    sequences = (None, 64, 128, 256)[int(rng.choice(4, p=[0.6, 0.15, 0.15, 0.1]))]
    batched = (None, 2048, 4096, 8192)[int(rng.choice(4, p=[0.7, 0.1, 0.1, 0.1]))]
    kv = "fp8" if rng.random() < 0.12 else "auto"
    args = replace(spec.args, max_num_seqs=sequences, max_num_batched_tokens=batched, kv_cache_dtype=kv)
    return replace(spec, args=args, knobs=replace(spec.knobs, idle_devices=False), future_s=0.0)


# ---- drawing ----


def _drawn(kind: str, seed: int, demand: Callable[[int, int], TwinSpec], *, with_future: bool) -> TwinSpec:
    """Looks on disk first: drawing tries many placements."""
    attempt, node_class, tp = remembered(kind, repr(seed), lambda: _search(seed, demand, with_future))
    return demand(seed, attempt).on(node_class, tp)


def _search(seed: int, demand: Callable[[int, int], TwinSpec], with_future: bool) -> tuple[int, str, int]:
    for attempt in range(_ATTEMPTS):
        spec = demand(seed, attempt)
        place = _random_class(
            spec,
            sizing_of(seed),
            Trials(workload_of(spec, with_future=with_future)),
            np.random.default_rng([seed, attempt, 0xC1A55]),
        )
        if place is not None:
            return attempt, place.node.name, place.tp
    raise RuntimeError(f"no deployment found for seed {seed}")


def _random_demand(seed: int, attempt: int) -> TwinSpec:
    rng = np.random.default_rng([seed, attempt, 0xDE3A])
    model, dtype, _ = _MODELS[int(rng.choice(len(_MODELS), p=[share for *_, share in _MODELS]))]
    length = int(rng.choice([4096, 8192, 16384]))
    args = EngineArgs(
        gpu_memory_utilization=float(rng.choice([0.85, 0.9, 0.92])), max_model_len=length, weight_dtype=dtype
    )
    objective = Objective(
        ttft_p95_s=float(rng.choice([0.75, 1.0, 2.5])),
        tpot_p95_s=float(rng.choice([0.05, 0.075, 0.1])),
        attainment=float(rng.choice([0.99, 0.995, 0.999])),
    )
    return TwinSpec(
        name=f"twin-{seed:03d}",
        namespace="campaign",
        model=model,
        node_class="p5.48xlarge",
        replicas=int(rng.choice([1, 2, 3], p=[0.8, 0.15, 0.05])),
        args=args,
        family=_random_family(rng, length),
        objective=objective,
        knobs=_random_knobs(rng),
        seed=seed * 1000 + attempt,
    )


def _random_knobs(rng: np.random.Generator) -> Knobs:
    """How the cluster shows it: any name generation and label scheme; a rollout, a restart, a gap of some minutes."""
    names = (MetricNames.NEW, MetricNames.BOTH, MetricNames.OLD)
    gap = float(rng.uniform(1, 13)) * DAY_S
    return Knobs(
        metric_names=names[int(rng.choice(3, p=[0.7, 0.15, 0.15]))],
        dcgm_labels=DcgmLabels.EXPORTED if rng.random() < 0.8 else DcgmLabels.DIRECT,
        dcgm_reserved=bool(rng.random() < 0.7),
        hostname_label="Hostname" if rng.random() < 0.7 else "hostname",
        rollouts_s=(float(rng.uniform(1, 13)) * DAY_S,) if rng.random() < 0.25 else (),
        restarts_s=(float(rng.uniform(1, 13)) * DAY_S,) if rng.random() < 0.15 else (),
        scrape_gaps=((gap, gap + float(rng.uniform(120, 1200))),) if rng.random() < 0.2 else (),
    )


def _random_family(rng: np.random.Generator, max_model_len: int) -> Family:
    peak = float(np.clip(rng.lognormal(np.log(0.5), 0.9), 0.05, 3.0))
    prompt = float(np.clip(rng.lognormal(np.log(700), 0.6), 150, max_model_len / 4))
    output = float(np.clip(rng.lognormal(np.log(200), 0.5), 50, 600))
    output_max = min(int(output * 6), max_model_len // 4)
    prompt_max = min(int(prompt * 6), max_model_len - output_max)
    lengths = Lengths(
        prompt, float(rng.uniform(0.5, 1.1)), output, float(rng.uniform(0.5, 1.0)), prompt_max, output_max
    )
    return Family(_random_rate(rng, peak), lengths, cv=float(rng.choice([1.0, 1.0, 1.5])))


def _random_rate(rng: np.random.Generator, peak: float) -> Rate:
    kinds: tuple[Rate, ...] = (
        Steady(peak * 0.7),
        Diurnal(peak * 0.5, float(rng.uniform(0.05, 0.4)), float(rng.uniform(0, 24)), float(rng.uniform(0.3, 1.0))),
        Spiky(peak / 6, float(rng.uniform(3, 8)), float(rng.uniform(2, 8)), float(rng.uniform(8, 30))),
        OnOff(peak, float(rng.uniform(20, 90)), float(rng.uniform(60, 400))),
        Growing(peak * 0.5, float(rng.uniform(1.03, 1.15))),
        Batch(peak, int(rng.integers(1, 4)), float(rng.uniform(30, 180)), float(rng.uniform(0, 8))),
    )
    return kinds[int(rng.choice(len(kinds), p=[0.12, 0.40, 0.15, 0.13, 0.10, 0.10]))]


def _random_class(spec: TwinSpec, sizing: Sizing, trials: Trials, rng: np.random.Generator) -> Placement | None:
    """A placement of the wanted sizing, None when this demand has none."""
    every = list(placements(ascending_price(), spec.replicas))
    best = next((place for place in every if trials.hold(place)), None)
    if best is None or sizing is Sizing.RIGHT:
        return best
    if sizing is Sizing.OVER:
        dearer = [place for place in every if _is_dearer(place, best)]
        return next((place for place in _shuffled(dearer, rng) if trials.hold(place)), None)
    cheaper = [place for place in every if place.node.hourly_usd < best.node.hourly_usd]
    workload = workload_of(spec, with_future=False)
    return next((place for place in _shuffled(cheaper, rng) if _is_clearly_small(workload, place)), None)


def _shuffled(places: list[Placement], rng: np.random.Generator) -> Iterator[Placement]:
    return (places[int(index)] for index in rng.permutation(len(places)))


def _is_dearer(place: Placement, best: Placement) -> bool:
    """At least 30 % dearer, and no more ranks than four times what is needed: nobody runs 8B on eight GPUs."""
    return place.node.hourly_usd >= best.node.hourly_usd * Decimal("1.3") and place.tp <= 4 * best.tp


def _is_clearly_small(workload: Workload, place: Placement) -> bool:
    if isinstance(engine_on(workload, place), StartFailure):
        return False
    verdict = holds(workload, place)
    allowed = 1.0 - workload.objective.attainment
    is_endless = any(window.ttft_p95_s > _LONGEST_QUEUE_S for window in verdict.worst)
    return not verdict.oom and not is_endless and verdict.violation_share >= 2 * allowed + 0.01
