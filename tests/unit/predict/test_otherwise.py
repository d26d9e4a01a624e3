"""What would be if one thing were otherwise: the physics again, and nothing else moves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gpu_rightsizer.domain.finding import Code
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.domain.options import Change
from gpu_rightsizer.estimate import estimate
from gpu_rightsizer.predict import predict
from tests.builders import LADDER, LLAMA_70B, NOW, flat, no_engine, observation, settings, world

if TYPE_CHECKING:
    from gpu_rightsizer.domain.decision import Candidate
    from gpu_rightsizer.domain.engines import EngineSettings
    from gpu_rightsizer.domain.need import Need
    from gpu_rightsizer.domain.options import Options
    from gpu_rightsizer.domain.world import World


def predicted(of: World) -> tuple[Need, Options]:
    needs = estimate([of], NOW)
    return needs[0], predict([of], needs, LADDER)[0]


def on(name: str, options: Options) -> Candidate:
    return next(each for each in options if each.configuration.instance.name == name)


def with_settings(of: World, name: str, told: EngineSettings) -> Candidate:
    need, options = predicted(of)
    (changed,) = options.otherwise([Change(replace(of.workload, settings=told), need, on(name, options).configuration)])
    assert changed is not None
    return changed


@pytest.mark.parametrize(
    "of",
    [
        world(),
        world(on="g6.xlarge"),
        world(no_engine()),
        world(observation(pool=1e6), model=LLAMA_70B, tensor_parallel=8),
        world(observation(tpot=flat(0.03))),
        world(replicas=3),
    ],
    ids=["large", "small", "device alone", "70B", "slower than the model", "three replicas"],
)
def test_where_nothing_changes_nothing_is_otherwise(of: World) -> None:
    need, options = predicted(of)
    here = options[0].configuration
    others = [  # the device it runs on is judged by what it does, not by physics
        each
        for each in options
        if (each.configuration.instance.accelerator, each.configuration.tensor_parallel)
        != (here.instance.accelerator, here.tensor_parallel)
    ]

    again = options.otherwise([Change(of.workload, need, each.configuration) for each in others])

    assert others
    assert [repr(each) for each in again] == [repr(each) for each in others]


def test_smaller_steps_leave_more_for_the_cache_where_it_runs() -> None:
    of = world(engine_settings=settings(max_num_batched_tokens=8192))

    after = with_settings(of, "p5.48xlarge", settings(max_num_batched_tokens=2048)).prediction.kv_capacity_tokens
    before = predicted(of)[1][0].prediction.kv_capacity_tokens

    assert before is not None
    assert after is not None
    saved = 2 * 6144 * 4096 * 10  # bytes of activations
    assert (after - before) * 131072 == pytest.approx(saved * (1 - 0.35))


def test_a_full_batch_of_the_longest_requests_that_fits_cannot_run_out() -> None:
    few = settings(max_num_seqs=16)  # 16 x 8192 tokens, less than an L40S holds

    held = with_settings(world(), "g6e.xlarge", few).prediction
    free = on("g6e.xlarge", predicted(world())[1]).prediction

    assert held.oom_probability is not None
    assert free.oom_probability is not None
    assert held.oom_probability < free.oom_probability  # what is left is of configuration alone


def test_a_batch_too_small_for_the_load_is_overloaded() -> None:
    one = with_settings(world(observation(requests_per_second=4)), "g6e.xlarge", settings(max_num_seqs=1))

    assert Code.OVERLOADED in {each.code for each in one.failures}


def test_eight_bit_weights_are_half_as_many_bytes() -> None:
    eight = settings(weight_dtype=WeightDtype.FP8)

    need = with_settings(world(), "g6e.xlarge", eight).prediction.memory_need
    sixteen = on("g6e.xlarge", predicted(world())[1]).prediction.memory_need

    assert need is not None
    assert sixteen is not None
    assert 7e9 < sixteen - need < 8.1e9


def test_speed_is_still_what_was_measured_as_it_runs() -> None:
    slow = world(observation(tpot=flat(0.03)))
    need, options = predicted(slow)
    fewer = replace(slow.workload, settings=settings(max_num_seqs=8))

    (after,) = options.otherwise([Change(fewer, need, on("g6e.xlarge", options).configuration)])

    assert after is not None
    assert after.prediction.tpot == pytest.approx(on("g6e.xlarge", options).prediction.tpot, rel=0.2)
    assert on("g6e.xlarge", options).prediction.tpot > 1.5 * (
        on("g6e.xlarge", predicted(world())[1]).prediction.tpot or 0
    )
