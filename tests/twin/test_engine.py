import dataclasses
import time

import numpy as np
import pytest

from testbed.twin import kernel
from testbed.twin.arrivals import Arrivals, Lengths
from testbed.twin.engine import Interruption, run_replica
from testbed.twin.kernel import FINISHED, LOST, REFUSED, REJECTED, UNFINISHED
from testbed.twin.physics import Engine, EngineArgs, StartFailure
from testbed.twin.reference import run_reference
from testbed.twin.truth import PUBLISHED
from tests.twin.builders import ARGS, DIFFUSION, HOUR_S, LLAMA_70B, attempt, columns, engine, grid, load

NO_EVENTS = (np.zeros(0), np.zeros(0))


def _cases() -> list[tuple[str, Engine, float, Lengths]]:
    few = EngineArgs(max_model_len=8192, max_num_seqs=6)
    small_chunks = EngineArgs(max_model_len=8192, max_num_batched_tokens=512)
    long = Lengths(prompt_mean=1500, output_mean=700, output_max=2000)
    cramped = dataclasses.replace(engine("l4"), pool_tokens=9000)
    return [
        ("calm", engine("l40s"), 0.5, Lengths()),
        ("short of memory", engine("l4"), 1.5, Lengths()),
        ("preempting all the time", cramped, 1.0, long),
        ("short of sequences", engine("a10g", args=few), 1.0, Lengths()),
        ("chunked prefill", engine("a10g", args=small_chunks), 1.5, long),
        ("compute bound", engine("h100"), 30.0, Lengths()),
        ("tensor parallel over PCIe", engine("l40s", LLAMA_70B, ARGS, 4), 1.0, long),
        ("one token answers", engine("l4"), 3.0, Lengths(output_mean=1.0, output_cv=0.1, output_max=1)),
    ]


@pytest.mark.parametrize("case", _cases(), ids=lambda case: case[0])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_kernel_agrees_with_the_iteration_by_iteration_reference(
    case: tuple[str, Engine, float, Lengths], seed: int
) -> None:
    _, started, rate, lengths = case
    demand = columns(load(rate, 240.0, seed, lengths))

    fast = kernel.run(started, demand, grid(240.0), NO_EVENTS, 1e6)
    exact = run_reference(started, demand, 1e6)

    assert np.allclose(fast.first, [request.first for request in exact], rtol=0, atol=1e-6)
    assert np.allclose(fast.finished, [request.finished for request in exact], rtol=0, atol=1e-6)
    assert fast.preempted.tolist() == [request.preempted for request in exact]


def test_the_cases_above_cover_preemption_and_waiting() -> None:
    preempted = kernel.run(_cases()[2][1], columns(load(1.0, 240.0, 1, _cases()[2][3])), grid(240.0), NO_EVENTS, 1e6)
    waited = kernel.run(_cases()[3][1], columns(load(1.0, 240.0, 1)), grid(240.0), NO_EVENTS, 1e6)

    assert preempted.preempted.sum() > 20
    assert np.quantile(waited.admitted - load(1.0, 240.0, 1).time_s, 0.9) > 1.0


def test_stepping_through_every_iteration_changes_nothing_that_is_sampled() -> None:
    demand = columns(load(1.5, 1800.0, 5))

    jumps = kernel.run(engine("l4"), demand, grid(1800.0), NO_EVENTS, 1801.0)
    steps = kernel.run(engine("l4"), demand, grid(1800.0), NO_EVENTS, 1801.0, single_step=True)

    assert np.allclose(jumps.samples, steps.samples, rtol=1e-9, atol=1e-3)
    assert np.allclose(jumps.itl_counts, steps.itl_counts)
    assert np.allclose(jumps.itl_sum, steps.itl_sum)


@pytest.mark.parametrize("gpu", ["l4", "h100"])
def test_every_request_ends_in_exactly_one_way(gpu: str) -> None:
    demand = load(1.2, 4 * HOUR_S, 7)
    crash = Interruption(HOUR_S, 120.0)

    run = run_replica(engine(gpu), demand, grid(4 * HOUR_S), 4 * HOUR_S + 1, (crash,))

    ends = {kind: int((run.status == kind).sum()) for kind in (UNFINISHED, FINISHED, LOST, REFUSED, REJECTED)}
    assert sum(ends.values()) == len(demand)
    assert ends[LOST] > 0
    assert 100 < ends[REFUSED] < 190  # 1.2 a second for two minutes
    assert np.isfinite(run.finished_s[run.is_finished]).all()
    assert (run.finished_s >= run.first_token_s)[run.is_finished].all()
    assert (run.first_token_s >= run.arrivals.time_s)[run.is_finished].all()


def test_tokens_are_conserved() -> None:
    demand = load(0.5, HOUR_S, 9)

    run = run_replica(engine("l40s"), demand, grid(2 * HOUR_S), 2 * HOUR_S + 1)

    assert run.is_finished.all()
    assert run.column("generation_tokens")[-1] == demand.output_tokens.sum()
    assert run.column("prompt_tokens")[-1] == demand.prompt_tokens.sum()
    assert run.itl_counts[-1].sum() == (demand.output_tokens - 1).sum()
    assert run.column("kv")[-1] == 0


def test_more_bandwidth_is_never_slower() -> None:
    demand = load(0.8, HOUR_S, 11)
    medians = []
    for factor in (0.7, 0.85, 1.0):
        truth = dataclasses.replace(PUBLISHED, bandwidth_factor=factor)
        run = run_replica(engine("l40s", truth=truth), demand, grid(HOUR_S), 3 * HOUR_S)
        medians.append(float(np.median(run.tpot_s)))

    assert medians == sorted(medians, reverse=True)


def test_a_longer_output_than_the_context_allows_is_cut_and_a_longer_prompt_refused() -> None:
    demand = Arrivals(np.array([0.0, 1.0]), np.array([8000, 9000], dtype=np.int32), np.array([500, 10], dtype=np.int32))

    run = run_replica(engine("l40s"), demand, grid(600.0), 600.0)

    assert run.output_tokens[0] == 192
    assert run.status.tolist() == [FINISHED, REJECTED]


def test_a_prompt_whose_spike_exceeds_what_was_left_out_of_memory_kills_the_engine_and_it_loads_again() -> None:
    spiking = PUBLISHED.with_spikes(512e3)
    started = engine("l4", truth=spiking)
    demand = Arrivals(
        np.array([0.0, 10.0, 11.0, 500.0]),
        np.array([1000, 1000, 6000, 1000], dtype=np.int32),
        np.array([50, 2000, 50, 50], dtype=np.int32),
    )

    run = run_replica(started, demand, grid(600.0, 1.0), 700.0)

    assert started.oom_prompt_tokens < 6000
    assert len(run.oom_times) == 1
    assert run.oom_times[0] == pytest.approx(11.0, abs=0.2)
    assert run.status.tolist() == [FINISHED, LOST, LOST, FINISHED]
    down = run.sample_times[run.column("up") == 0]
    assert down[-1] - down[0] == pytest.approx(started.loading_s, abs=2.0)
    assert run.column("generation_tokens")[-1] == 50  # counters start anew


def test_the_same_spike_is_harmless_where_more_memory_is_left() -> None:
    assert engine("h100", truth=PUBLISHED.with_spikes(512e3)).oom_prompt_tokens > 8192


def test_an_engine_that_does_not_preallocate_dies_when_too_much_is_in_flight() -> None:
    args = EngineArgs(weight_dtype="float16", max_num_seqs=16)
    started = engine("a10g", DIFFUSION, args)
    count = 12
    at_once = Arrivals(np.zeros(count), np.full(count, 4096, dtype=np.int32), np.full(count, 30, dtype=np.int32))

    crowded = run_replica(started, at_once, grid(600.0), 600.0, max_oom=1)
    queued = run_replica(dataclasses.replace(started, max_num_seqs=2), at_once, grid(600.0), 600.0)

    assert len(crowded.oom_times) == 1
    assert queued.is_finished.all()


@pytest.mark.parametrize(
    ("gpu", "model", "args", "tp", "failure"),
    [
        ("l4", LLAMA_70B, ARGS, 1, StartFailure.WEIGHTS),
        ("l4", "meta-llama/Llama-3.1-8B-Instruct", EngineArgs(max_model_len=131072), 1, StartFailure.KV_TOO_SMALL),
        ("t4", "meta-llama/Llama-3.1-8B-Instruct", ARGS, 1, StartFailure.DTYPE),
        ("a10g", "Qwen/Qwen2.5-7B-Instruct", ARGS, 8, StartFailure.PARALLELISM),
        ("t4", "Qwen/Qwen2.5-7B-Instruct", EngineArgs(weight_dtype="float16"), 1, StartFailure.WEIGHTS),
    ],
)
def test_an_engine_that_cannot_start_says_why(
    gpu: str, model: str, args: EngineArgs, tp: int, failure: StartFailure
) -> None:
    assert attempt(gpu, model, args, tp) is failure


def test_a_smaller_share_of_memory_gives_a_smaller_pool() -> None:
    pools = [
        engine("l40s", args=dataclasses.replace(ARGS, gpu_memory_utilization=share)).pool_tokens
        for share in (0.5, 0.7, 0.9)
    ]

    assert pools == sorted(pools)


def test_two_weeks_of_one_request_a_second_take_under_ten_seconds() -> None:
    demand = columns(load(1.0, 14 * 24 * HOUR_S, 13))

    begun = time.process_time()
    raw = kernel.run(engine("l40s"), demand, grid(14 * 24 * HOUR_S), NO_EVENTS, 14 * 24 * HOUR_S)

    assert time.process_time() - begun < 10.0  # seen: 0.2 s
    assert (raw.status == FINISHED).mean() > 0.999
