"""Deployments drawn at random for the campaign, and the ground truth about each, kept on disk.

The truth is found by trying every class and tensor-parallel degree over the demand of the history and of the week
after it. It is keyed by the spec and by the twin's own source, so a change of either finds it anew.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

import numpy as np

from testbed.twin.arrivals import DAY_S, Batch, Diurnal, Family, Growing, Lengths, OnOff, Rate, Spiky, Steady
from testbed.twin.deployment import TwinSpec, workload_of
from testbed.twin.hardware import CLASSES, NodeClass, ascending_price
from testbed.twin.judge import Objective, Placement, Verdict, Workload, engine_on, holds, placements
from testbed.twin.kernel import cache_directory
from testbed.twin.knobs import DcgmLabels, Knobs, MetricNames
from testbed.twin.physics import EngineArgs, StartFailure


class Sizing(StrEnum):
    """How the deployment's class compares with the cheapest that holds."""

    OVER = "OverProvisioned"
    RIGHT = "RightSized"
    UNDER = "UnderSized"
    NONE_HOLDS = "NoClassHolds"


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The cheapest placement that holds (None: no class does), and how the present one does. USD per hour a node."""

    sizing: Sizing
    current_holds: bool
    current_why: str
    current_hourly_usd: Decimal
    cheapest_class: str | None
    cheapest_tp: int
    cheapest_hourly_usd: Decimal | None

    @property
    def possible_saving_usd(self) -> Decimal:
        """Per hour and replica, 0 where there is none."""
        if self.cheapest_hourly_usd is None or not self.current_holds:
            return Decimal(0)
        return max(Decimal(0), self.current_hourly_usd - self.cheapest_hourly_usd)


def ground_truth(spec: TwinSpec, classes: tuple[str, ...] | None = None) -> GroundTruth:
    """Looks on disk first. `classes`: names that may be chosen, all when absent."""
    path = _truth_path(spec, classes)
    if path.exists():
        return _read(path)
    workload = workload_of(spec)
    best = next(_holding(workload, ascending_price(classes), spec.replicas), None)
    truth = _compared(spec, holds(workload, Placement(spec.node, spec.tp, spec.replicas)), best)
    _write(path, asdict(truth))
    return truth


def holds_on(spec: TwinSpec, node_class: str, tp: int, replicas: int | None = None) -> Verdict:
    """Whether the deployment would hold there, over history and future: the judge of a recommendation."""
    return holds(workload_of(spec), Placement(CLASSES[node_class], tp, replicas or spec.replicas))


def _holding(workload: Workload, nodes: tuple[NodeClass, ...], replicas: int) -> Iterator[Placement]:
    return (place for place in placements(nodes, replicas) if holds(workload, place).ok)


def _compared(spec: TwinSpec, current: Verdict, best: Placement | None) -> GroundTruth:
    if best is None:
        sizing = Sizing.NONE_HOLDS
    elif not current.ok:
        sizing = Sizing.UNDER
    else:
        sizing = Sizing.OVER if best.node.hourly_usd < spec.node.hourly_usd else Sizing.RIGHT
    return GroundTruth(
        sizing=sizing,
        current_holds=current.ok,
        current_why=current.why,
        current_hourly_usd=spec.node.hourly_usd,
        cheapest_class=None if best is None else best.node.name,
        cheapest_tp=0 if best is None else best.tp,
        cheapest_hourly_usd=None if best is None else best.node.hourly_usd,
    )


def _source_hash() -> bytes:
    digest = hashlib.sha256()
    for name in (
        *("arrivals.py", "deployment.py", "engine.py", "hardware.py", "judge.py", "kernel.c", "kernel.py"),
        *("models.py", "physics.py", "traces.py", "truth.py", "fleet.py"),
    ):
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.digest()


def _truth_path(spec: TwinSpec, classes: tuple[str, ...] | None) -> Path:
    """Names and presentation do not change what is true."""
    return _cache_path("truth", repr((replace(spec, name="", namespace="", knobs=Knobs()), classes)))


def _cache_path(kind: str, key: str) -> Path:
    digest = hashlib.sha256(_source_hash() + key.encode()).hexdigest()[:24]
    return cache_directory() / f"{kind}-{digest}.json"


def _write(path: Path, content: object) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, suffix=".partial") as partial:
        partial.write(json.dumps(content, default=str))
    Path(partial.name).replace(path)


def _read(path: Path) -> GroundTruth:
    found = json.loads(path.read_text())
    cheapest = found["cheapest_hourly_usd"]
    return GroundTruth(
        sizing=Sizing(found["sizing"]),
        current_holds=found["current_holds"],
        current_why=found["current_why"],
        current_hourly_usd=Decimal(found["current_hourly_usd"]),
        cheapest_class=found["cheapest_class"],
        cheapest_tp=found["cheapest_tp"],
        cheapest_hourly_usd=None if cheapest is None else Decimal(cheapest),
    )


# ---- random deployments ----

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


def random_twin(seed: int) -> TwinSpec:
    """A realistic deployment: of 20 seeds in a row 13 over-provisioned, 4 right, 3 under-sized.

    Demand is drawn first; the class is then chosen against the truth. Under-sized ones run, and miss their objective
    in the history by a clear margin (twice the allowed share of windows and 1 % more), so that they can be noticed.
    """
    path = _cache_path("draw", repr(seed))
    if path.exists():
        attempt, node_class, tp = json.loads(path.read_text())
        return _random_demand(seed, attempt).on(node_class, tp)
    sizing = _SIZING_OF_TWENTY[seed % 20]
    for attempt in range(_ATTEMPTS):
        spec = _random_demand(seed, attempt)
        best = next(_holding(workload_of(spec), ascending_price(), spec.replicas), None)
        if best is None:
            continue
        place = _random_class(spec, sizing, best, np.random.default_rng([seed, attempt, 0xC1A55]))
        if place is not None:
            drawn = spec.on(place.node.name, place.tp)
            truth = _compared(drawn, holds(workload_of(drawn), place), best)
            _write(_truth_path(drawn, None), asdict(truth))
            _write(path, [attempt, place.node.name, place.tp])
            return drawn
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


def _random_class(spec: TwinSpec, sizing: Sizing, best: Placement, rng: np.random.Generator) -> Placement | None:
    """A placement of the wanted sizing, None when this demand has none."""
    if sizing is Sizing.RIGHT:
        return best
    workload = workload_of(spec)
    nodes = ascending_price()
    if sizing is Sizing.OVER:
        dearer = [place for place in placements(nodes, spec.replicas) if _is_dearer(place, best)]
        return next((place for place in _shuffled(dearer, rng) if holds(workload, place).ok), None)
    cheaper = [place for place in placements(nodes, spec.replicas) if place.node.hourly_usd < best.node.hourly_usd]
    return next((place for place in _shuffled(cheaper, rng) if _is_clearly_small(spec, place)), None)


def _shuffled(places: list[Placement], rng: np.random.Generator) -> Iterator[Placement]:
    return (places[int(index)] for index in rng.permutation(len(places)))


def _is_dearer(place: Placement, best: Placement) -> bool:
    """At least 30 % dearer, and no more ranks than four times what is needed: nobody runs 8B on eight GPUs."""
    return place.node.hourly_usd >= best.node.hourly_usd * Decimal("1.3") and place.tp <= 4 * best.tp


def _is_clearly_small(spec: TwinSpec, place: Placement) -> bool:
    workload = workload_of(spec, with_future=False)
    if isinstance(engine_on(workload, place), StartFailure):
        return False
    verdict = holds(workload, place)
    allowed = 1.0 - spec.objective.attainment
    is_endless = any(window.ttft_p95_s > _LONGEST_QUEUE_S for window in verdict.worst)
    return not verdict.oom and not is_endless and verdict.violation_share >= 2 * allowed + 0.01
