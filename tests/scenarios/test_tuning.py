"""Limits of the engine instead of a larger class: from observation to words, with the changed settings' physics."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.readings import Measured
from gpu_rightsizer.domain.workload import PlacementRules
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.explain.annotations import summary
from gpu_rightsizer.explain.status import status
from tests.builders import (
    BY_NAME,
    L40S,
    LADDER,
    NOW,
    flat,
    incident,
    observation,
    pool_tokens,
    series,
    settings,
    world,
)

if TYPE_CHECKING:
    from gpu_rightsizer.domain.world import Evaluation, World

ON = BY_NAME["g6e.xlarge"]
BIG_DEVICE = settings(
    max_num_seqs=1024, max_num_batched_tokens=8192, by_device=frozenset({"max_num_seqs", "max_num_batched_tokens"})
)


def bursts_of_long_requests(at_once: int = 19, **about: Any) -> World:
    """Now and then some twenty requests near `--max-model-len` come at once: 140k tokens of the 186k that it holds."""
    seen = observation(tpot_seconds=0.022, pool=pool_tokens(ON), device_bytes=L40S.memory * 0.98)
    demand, running = (np.array(getattr(seen, name).values) for name in ("kv_demand", "running"))
    when = np.linspace(20, len(demand) - 20, 12).astype(int)
    demand[when], running[when] = 7400.0 * at_once, at_once
    changed = {"kv_demand": series(demand), "running": series(running)} | about.pop("seen", {})
    return world(replace(seen, **changed), on="g6e.xlarge", **about)


def evaluated(of: World) -> Evaluation:
    (evaluation,) = evaluate([of], LADDER, NOW)
    return evaluation


def arguments(of: World) -> dict[str, str]:
    target = evaluated(of).decision.target
    return dict(target.configuration.engine_args) if target else {}


def test_a_full_batch_of_the_longest_requests_fits_so_that_no_burst_is_too_large() -> None:
    told = status(evaluated(bursts_of_long_requests()), NOW)
    advice = told["recommendation"]

    assert isinstance(advice, dict)
    assert (advice["action"], advice["target"]["instanceClass"]) == ("Tune", "g6e.xlarge")
    assert advice["reasons"][0] == (
        "Engine limits are enough, on the same class: --max-num-seqs=22; out-of-memory risk 97% -> 6.6%, p95 to the "
        "first token at most 260ms at the peak; p4de.24xlarge instead costs $25.59/h more."
    )
    assert summary(told) == ("g6e.xlarge x1: tune --max-num-seqs=22, OOM risk 6.6% in 30d (now 97%, model-based)")


def test_the_users_own_argument_is_named() -> None:
    own = settings(max_num_seqs=200, explicit=frozenset({"max_num_seqs"}))
    told = status(evaluated(bursts_of_long_requests(engine_settings=own)), NOW)["recommendation"]

    assert isinstance(told, dict)
    assert "--max-num-seqs=22, instead of your --max-num-seqs=200;" in told["reasons"][0]


def test_a_batch_below_what_came_at_once_would_make_requests_wait() -> None:
    assert evaluated(bursts_of_long_requests(at_once=24)).decision.action is Action.KEEP


def test_with_a_context_that_long_no_batch_is_small_enough() -> None:
    long = settings(max_model_len=131072, explicit=frozenset({"max_model_len"}))

    assert evaluated(bursts_of_long_requests(engine_settings=long)).decision.action is Action.KEEP


def test_an_event_outside_the_cache_asks_for_smaller_steps() -> None:
    past = incident(on="p5.4xlarge", days_ago=20)
    of = world(
        observation(requests_per_second=6, pool=4e5),
        on="p5.4xlarge",
        engine_settings=BIG_DEVICE,
        incidents=(past,),
        rules=PlacementRules(include=("p5.4xlarge",)),
    )

    decision = evaluated(of).decision

    assert (decision.action, arguments(of)) == (Action.TUNE, {"--max-num-batched-tokens": "2048"})
    assert decision.target is not None
    assert decision.current is not None
    after, before = decision.target.prediction.oom_probability, decision.current.prediction.oom_probability
    assert before is not None
    assert after == pytest.approx(0.116, abs=0.01)  # 1 - (1 + 30 / exposure)^-(0.2 + 0.2 x 0.93)
    assert before > 2.5 * after


def followed(of: World) -> World:
    """As it runs once the shares of memory proposed are set, while nothing else happened."""
    target = evaluated(of).decision.target
    assert target is not None
    share = float(target.configuration.engine_args["--gpu-memory-utilization"])
    told = replace(
        of.workload.settings,
        gpu_memory_utilization=share,
        explicit=of.workload.settings.explicit | {"gpu_memory_utilization"},
    )
    pool = target.prediction.kv_capacity_tokens
    assert pool is not None
    return replace(
        of,
        workload=replace(of.workload, settings=told, settings_hash="followed"),
        observation=replace(of.observation, kv_pool=Measured(pool)),
    )


@pytest.mark.parametrize("hashed", ["settings", ""])
def test_limits_that_were_set_are_not_cut_again_for_what_happened_before(hashed: str) -> None:
    past = incident(on="p5.4xlarge", days_ago=1, settings_hash=hashed)
    of = world(
        observation(requests_per_second=6, pool=4e5),
        on="p5.4xlarge",
        incidents=(past,),
        rules=PlacementRules(include=("p5.4xlarge",)),
    )

    if hashed:
        assert arguments(of) == {"--gpu-memory-utilization": "0.85"}
        of = followed(of)

    assert evaluated(of).decision.action is Action.KEEP  # without a hash nobody could tell that it was followed


def test_bursts_and_an_event_ask_for_both() -> None:
    past = tuple(incident(on="g6e.xlarge", days_ago=days) for days in (5, 20, 30))
    of = bursts_of_long_requests(at_once=12, incidents=past)

    assert arguments(of) == {"--max-num-seqs": "18", "--gpu-memory-utilization": "0.85"}


def test_preemptions_alone_ask_for_a_batch_that_the_cache_holds() -> None:
    of = evaluated(bursts_of_long_requests(seen={"preemptions": flat(3.0)})).decision

    assert of.action is Action.TUNE
    assert [each.code.value for each in of.reasons[:3]] == ["UnderSized", "TuneRemovesRisk", "Preempting"]


def test_preemptions_ask_for_no_batch_below_what_came_at_once() -> None:
    of = evaluated(bursts_of_long_requests(at_once=24, seen={"preemptions": flat(3.0)})).decision

    assert of.action is not Action.TUNE  # 22 of the longest fit


def test_room_for_a_larger_share_leaves_no_batch_below_what_came_at_once() -> None:
    past = tuple(incident(on="g6e.xlarge", days_ago=days) for days in (5, 20, 30))

    assert evaluated(bursts_of_long_requests(at_once=19, incidents=past)).decision.action is Action.KEEP  # 18


def long_prompts(prompt: float, demand_tokens: float) -> World:
    """Few, and gone before the gauge of the cache is read: it never showed more than 2,000 tokens."""
    seen = observation(requests_per_second=0.05, prompt=prompt, output=5, pool=140_000.0)
    demand = np.array(seen.kv_demand.values)
    past = incident(days_ago=20, on="p5.4xlarge", demand_tokens=demand_tokens)
    return world(
        replace(seen, kv_demand=series(demand / demand.max() * 2_000.0)),
        on="p5.4xlarge",
        engine_settings=settings(max_model_len=131072, max_num_seqs=256),
        incidents=(past, past),
        rules=PlacementRules(include=("p5.4xlarge",)),
    )


def test_a_shorter_context_leaves_twice_what_was_in_use_when_memory_ran_out() -> None:
    assert arguments(long_prompts(6_000, 30_000.0)) == {"--max-model-len": "60416", "--max-num-seqs": "2"}


@pytest.mark.parametrize(("prompt", "demand_tokens"), [(300, 139_000.0), (20_000, 30_000.0)])
def test_no_context_is_cut_below_the_requests_that_are_known(prompt: int, demand_tokens: float) -> None:
    """Four mean requests, and twice the demand of a remembered failure, would leave a batch of none or one."""
    assert evaluated(long_prompts(prompt, demand_tokens)).decision.action is Action.KEEP


def test_where_a_cheaper_class_holds_it_comes_first() -> None:
    of = world(incidents=(incident(on="p5.48xlarge", days_ago=20),), engine_settings=BIG_DEVICE)

    assert evaluated(of).decision.action is Action.RESIZE
