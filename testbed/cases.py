"""The demo's fleet: ten workloads, each a case that people really have."""

from dataclasses import dataclass

from testbed.manifests import Asked, Host
from testbed.stage import Actor
from testbed.twin.arrivals import DAY_S, Diurnal, Family, Lengths, Spiky, Steady
from testbed.twin.deployment import TwinSpec
from testbed.twin.judge import Objective
from testbed.twin.knobs import Knobs
from testbed.twin.physics import EngineArgs

LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_70B = "meta-llama/Llama-3.3-70B-Instruct"
QWEN_7B, QWEN_14B = "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-14B-Instruct"
MISTRAL_7B = "mistralai/Mistral-7B-Instruct-v0.3"
DIFFUSION = "stabilityai/stable-diffusion-xl-base-1.0"
CHAT = Objective(ttft_p95_s=1.0, tpot_p95_s=0.075, attainment=0.999)
RELAXED = Objective(ttft_p95_s=2.0, tpot_p95_s=0.1, attainment=0.999)
LOST_AFTER_S = 13.2 * DAY_S
IDLE_AFTER_S = 1.5 * DAY_S


KEEP, RESIZE, UNKNOWN = frozenset({"Keep"}), frozenset({"Resize"}), frozenset({"Unknown"})
RESIZE_OR_KEEP, BLIND = RESIZE | KEEP, KEEP | UNKNOWN | RESIZE  # a blind one may move, but not to less memory
ZERO = frozenset({"ScaleToZero"})


@dataclass(frozen=True, slots=True)
class Case:
    """An actor, in words what the reader should look for, and the actions that would be right."""

    actor: Actor
    shows: str
    expects: frozenset[str]  # the actions that are right


def demo_fleet() -> list[Case]:
    """The cases in the order they are shown."""
    return [
        _small_on_large(),
        _tensor_parallel(),
        _right(),
        _diurnal(),
        _idle(),
        _spiky(),
        _under(),
        *_unreadable(),
        _eager(),
    ]


def _small_on_large() -> Case:
    twin = TwinSpec(
        "llama-8b", "chat", LLAMA_8B, "p5.48xlarge", args=EngineArgs(max_model_len=16384), seed=11, objective=CHAT,
        family=Family(Diurnal(0.25), Lengths(700, 0.8, 180, 0.7)),
    )  # fmt: skip
    return Case(Actor(twin), "a small model on p5.48xlarge: a smaller class", RESIZE)


def _tensor_parallel() -> Case:
    twin = TwinSpec(
        "llama-70b", "chat", LLAMA_70B, "p5.48xlarge", tp=8, args=EngineArgs(max_model_len=16384), seed=12,
        objective=CHAT, family=Family(Diurnal(0.3), Lengths(900, 0.7, 250, 0.6)),
    )  # fmt: skip
    return Case(
        Actor(twin, Asked(host=Host("16", "200Gi", "16Gi"))),
        "70B under tensor parallelism: fewer or cheaper GPUs",
        RESIZE_OR_KEEP,
    )


def _right() -> Case:
    twin = TwinSpec(
        "qwen-7b", "search", QWEN_7B, "g6e.xlarge", args=EngineArgs(max_model_len=8192), seed=13,
        objective=Objective(1.0, 0.05, 0.999), family=Family(Diurnal(0.9), Lengths(900, 0.6, 220, 0.5)),
    )  # fmt: skip
    return Case(Actor(twin), "rightly sized: Keep", KEEP)


def _diurnal() -> Case:
    twin = TwinSpec(
        "mistral-7b", "assist", MISTRAL_7B, "p4de.24xlarge", args=EngineArgs(max_model_len=16384), seed=14,
        objective=RELAXED,
        family=Family(Diurnal(0.5, trough_over_peak=0.05, weekend=0.3), Lengths(1200, 0.7, 200, 0.6)),
    )  # fmt: skip
    return Case(Actor(twin), "quiet nights, busy noons: sized for its peak", RESIZE)


def _idle() -> Case:
    twin = TwinSpec(
        "qwen-14b", "lab", QWEN_14B, "g6e.12xlarge", tp=4, args=EngineArgs(max_model_len=8192), seed=15,
        objective=RELAXED, family=Family(Steady(0.05), idle_after_s=IDLE_AFTER_S),
    )  # fmt: skip
    return Case(
        Actor(twin, Asked(host=Host("16", "96Gi", "8Gi"))), "nobody asks it anything: scale to zero, priced", ZERO
    )


def _spiky() -> Case:
    twin = TwinSpec(
        "llama-8b-rag", "rag", LLAMA_8B, "p4de.24xlarge", args=EngineArgs(max_model_len=32768), seed=16,
        objective=RELAXED, family=Family(Spiky(0.08, 5.0, 3.0, 12.0), Lengths(3000, 0.8, 200, 0.6)),
    )  # fmt: skip
    return Case(Actor(twin, oom_days_ago=9.0), "bursts and one out-of-memory nine days ago: its ledger", RESIZE_OR_KEEP)


def _under() -> Case:
    twin = TwinSpec(
        "qwen-14b-support", "support", QWEN_14B, "g6e.xlarge", args=EngineArgs(max_model_len=8192), seed=17,
        objective=CHAT, family=Family(Diurnal(1.05), Lengths(1100, 0.6, 300, 0.5)),
    )  # fmt: skip
    return Case(Actor(twin), "under-sized: a larger class, with why", RESIZE)


def _unreadable() -> list[Case]:
    blind = TwinSpec(
        "llama-8b-blind", "legacy", LLAMA_8B, "p5.48xlarge", args=EngineArgs(max_model_len=16384), seed=18,
        objective=RELAXED, family=Family(Diurnal(0.2)), knobs=Knobs(engine_metrics=False),
    )  # fmt: skip
    vanished = TwinSpec(
        "mistral-7b-lost", "legacy", MISTRAL_7B, "p4d.24xlarge", args=EngineArgs(max_model_len=16384), seed=19,
        objective=RELAXED, family=Family(Diurnal(0.2)),
        knobs=Knobs(engine_loss=((LOST_AFTER_S, float("inf")),), dcgm_loss=((LOST_AFTER_S, float("inf")),)),
    )  # fmt: skip
    return [
        Case(Actor(blind), "DCGM only: no smaller memory, and what to switch on", BLIND),
        Case(Actor(vanished), "its metrics vanished: Unknown", UNKNOWN),
    ]


def _eager() -> Case:
    twin = TwinSpec(
        "sdxl", "images", DIFFUSION, "g6e.4xlarge", seed=20, objective=Objective(60.0, 10.0, 0.99),
        family=Family(Diurnal(0.01), Lengths(4096, 0.2, 30, 0.2, 8192)),
        knobs=Knobs(engine_metrics=False),
    )  # fmt: skip
    return Case(Actor(twin), "an engine that does not preallocate: judged by FB_USED", RESIZE_OR_KEEP)
