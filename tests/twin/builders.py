"""Terse values for the twin's tests."""

import numpy as np

from testbed.twin.arrivals import Arrivals, Family, Lengths, Steady
from testbed.twin.deployment import TwinSpec
from testbed.twin.hardware import GPUS
from testbed.twin.kernel import Floats, Ints
from testbed.twin.models import MODELS
from testbed.twin.physics import Attempt, Engine, EngineArgs, StartFailure, start
from testbed.twin.truth import PUBLISHED, Truth

LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_70B = "meta-llama/Llama-3.3-70B-Instruct"
DIFFUSION = "stabilityai/stable-diffusion-xl-base-1.0"
HOUR_S = 3600.0
ARGS = EngineArgs(max_model_len=8192)


def engine(gpu: str, model: str = LLAMA_8B, args: EngineArgs = ARGS, tp: int = 1, truth: Truth = PUBLISHED) -> Engine:
    """An engine that starts."""
    started = attempt(gpu, model, args, tp, truth)
    assert not isinstance(started, StartFailure), started
    return started


def attempt(
    gpu: str, model: str = LLAMA_8B, args: EngineArgs = ARGS, tp: int = 1, truth: Truth = PUBLISHED
) -> Engine | StartFailure:
    """An engine or why it does not start."""
    return start(Attempt(MODELS[model], args, GPUS[gpu], tp, truth))


def load(rate: float, span_s: float, seed: int = 0, lengths: Lengths | None = None) -> Arrivals:
    """Poisson arrivals."""
    return Family(Steady(rate), lengths or Lengths(), wander=0.0).draw(span_s, seed)


def columns(arrivals: Arrivals) -> tuple[Floats, Ints, Ints]:
    """As the kernel takes them."""
    return arrivals.time_s, arrivals.prompt_tokens, arrivals.output_tokens


def grid(span_s: float, step_s: float = 60.0) -> Floats:
    """Sample times."""
    return np.arange(0.0, span_s + step_s / 2, step_s)


def small_spec(**changes: object) -> TwinSpec:
    """Half a day of an 8B model on an L40S."""
    values: dict[str, object] = {
        "name": "llama-8b",
        "namespace": "chat",
        "model": LLAMA_8B,
        "node_class": "g6e.xlarge",
        "args": ARGS,
        "family": Family(Steady(0.5)),
        "span_s": 12 * HOUR_S,
        "future_s": 0.0,
        "seed": 3,
    }
    return TwinSpec(**{**values, **changes})  # type: ignore[arg-type]  # a test names what it changes
