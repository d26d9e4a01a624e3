import math
from dataclasses import replace

import numpy as np
import pytest

from testbed.remote_write import Series
from testbed.twin.arrivals import Family, Lengths, Steady
from testbed.twin.dcgm_series import SENTINEL
from testbed.twin.deployment import Cause, TwinRun, simulate, terminations
from testbed.twin.hardware import GPUS, MIB
from testbed.twin.identity import Pod
from testbed.twin.knobs import DcgmLabels, Knobs, MetricNames
from testbed.twin.metric import Floats, Mask
from testbed.twin.physics import EngineArgs
from testbed.twin.series import history
from testbed.twin.truth import PUBLISHED
from tests.twin.builders import DIFFUSION, HOUR_S, LLAMA_70B, small_spec

END = 1_764_000_000.0
STALE_BITS = 0x7FF0_0000_0000_0002


def _stale(values: Floats) -> Mask:
    return np.asarray(values.view(np.uint64) == STALE_BITS)


def _all(laid: list[Series], name: str, **labels: str) -> list[Series]:
    wanted = {"__name__": name, **labels}
    return [series for series in laid if wanted.items() <= series.labels.items()]


def _one(laid: list[Series], name: str, **labels: str) -> Series:
    found = _all(laid, name, **labels)
    assert len(found) == 1, [series.labels for series in found]
    return found[0]


@pytest.fixture(scope="module")
def plain() -> tuple[TwinRun, list[Series]]:
    run = simulate(small_spec())
    return run, history(run, END)


def test_no_two_series_are_the_same(plain: tuple[TwinRun, list[Series]]) -> None:
    keys = [tuple(sorted(series.labels.items())) for series in plain[1]]

    assert len(keys) == len(set(keys))


def test_history_ends_now_and_steps_by_a_minute(plain: tuple[TwinRun, list[Series]]) -> None:
    running = _one(plain[1], "vllm:num_requests_running")

    assert running.times_ms[-1] == END * 1000
    assert set(np.diff(running.times_ms).tolist()) == {60_000}
    assert len(running.values) == 12 * 60 + 1


def test_a_coarser_history_holds_the_same_values(plain: tuple[TwinRun, list[Series]]) -> None:
    run, fine = plain
    coarse = _one(history(run, END, step_s=300.0), "vllm:generation_tokens_total")
    every = dict(
        zip(*(column.tolist() for column in _times_and_values(fine, "vllm:generation_tokens_total")), strict=True)
    )

    assert coarse.times_ms[-1] == END * 1000
    assert [every[at] for at in coarse.times_ms.tolist()] == coarse.values.tolist()


def _times_and_values(laid: list[Series], name: str) -> tuple[np.ndarray, np.ndarray]:
    series = _one(laid, name)
    return series.times_ms, series.values


def test_counters_and_buckets_never_fall_without_a_restart(plain: tuple[TwinRun, list[Series]]) -> None:
    for series in plain[1]:
        if series.labels["__name__"].endswith(("_total", "_bucket", "_count", "_sum")):
            assert (np.diff(series.values) >= -1e-9).all(), series.labels


def test_buckets_are_cumulative_and_inf_is_the_count(plain: tuple[TwinRun, list[Series]]) -> None:
    _, laid = plain
    for name in ("time_to_first_token_seconds", "inter_token_latency_seconds", "request_prompt_tokens"):
        buckets = _all(laid, f"vllm:{name}_bucket")
        buckets.sort(key=lambda series: float(series.labels["le"].replace("+Inf", "inf")))
        counts = np.array([series.values for series in buckets])
        assert (np.diff(counts, axis=0) >= 0).all()
        assert np.array_equal(counts[-1], _one(laid, f"vllm:{name}_count").values)


def test_histograms_count_the_finished_requests(plain: tuple[TwinRun, list[Series]]) -> None:
    run, laid = plain
    replica = run.replicas[0]
    finished = (replica.finished_s <= run.spec.span_s).sum()

    for name in ("e2e_request_latency_seconds", "request_time_per_output_token_seconds", "request_generation_tokens"):
        assert _one(laid, f"vllm:{name}_count").values[-1] == finished
    assert sum(series.values[-1] for series in _all(laid, "vllm:request_success_total")) == finished
    assert (
        _one(laid, "vllm:request_prompt_tokens_sum").values[-1]
        == replica.arrivals.prompt_tokens[replica.finished_s <= run.spec.span_s].sum()
    )


def test_the_sum_of_gaps_is_generation_time(plain: tuple[TwinRun, list[Series]]) -> None:
    run, _ = plain
    replica = run.replicas[0]
    decode_s = (replica.finished_s - replica.first_token_s)[replica.is_finished].sum()

    assert replica.itl_sum[-1] == pytest.approx(decode_s, rel=1e-3)


def test_the_pool_can_be_read_from_the_cache_config(plain: tuple[TwinRun, list[Series]]) -> None:
    run, laid = plain
    labels = _one(laid, "vllm:cache_config_info").labels

    assert int(labels["num_gpu_blocks"]) * int(labels["block_size"]) == run.engine.pool_tokens
    assert labels["gpu_memory_utilization"] == "0.9"


def test_a_preallocating_engine_shows_flat_memory_at_its_share(plain: tuple[TwinRun, list[Series]]) -> None:
    _, laid = plain
    used = _one(laid, "DCGM_FI_DEV_FB_USED").values
    free = _one(laid, "DCGM_FI_DEV_FB_FREE").values
    total = GPUS["l40s"].cuda_total_bytes / MIB

    assert used / total == pytest.approx(np.full(len(used), 0.9), abs=0.01)
    assert used.std() / used.mean() < 0.01
    assert set((used + free).tolist()) == {total}


def test_utilisation_says_busy_with_a_single_request_while_the_profile_follows_the_load(
    plain: tuple[TwinRun, list[Series]],
) -> None:
    _, laid = plain
    running = _one(laid, "vllm:num_requests_running").values
    seen = _one(laid, "DCGM_FI_DEV_GPU_UTIL").values
    dram = _one(laid, "DCGM_FI_PROF_DRAM_ACTIVE").values

    assert seen[running == 1].min() >= 94
    assert set(seen[running == 0].tolist()) == {0.0}
    assert 0.2 < dram[1:].mean() < 0.9
    assert dram.max() <= 1.0


def test_an_engine_that_does_not_preallocate_shows_memory_with_the_demand() -> None:
    spec = small_spec(
        model=DIFFUSION, args=EngineArgs(weight_dtype="float16", max_num_seqs=4), knobs=Knobs(engine_metrics=False)
    )
    lengths = Lengths(prompt_mean=2048.0, prompt_max=4096, output_mean=25.0, output_max=40)
    run = simulate(replace(spec, family=Family(Steady(0.02), lengths)))
    laid = history(run, END)

    used = _one(laid, "DCGM_FI_DEV_FB_USED").values
    assert used.max() > 1.3 * used.min()
    assert not [series for series in laid if series.labels["__name__"].startswith("vllm:")]


def test_a_restart_starts_counters_anew_and_is_seen_by_up() -> None:
    run = simulate(small_spec(knobs=Knobs(restarts_s=(6 * HOUR_S + 30,))))
    laid = history(run, END)

    up = _one(laid, "up", job="vllm").values
    generated = _one(laid, "vllm:generation_tokens_total")
    finished = _one(laid, "vllm:e2e_request_latency_seconds_count").values
    live = generated.values[~_stale(generated.values)]
    assert (up == 0).sum() >= 1
    assert (np.diff(live) < 0).sum() == 1
    assert (np.diff(finished[~_stale(finished)]) < 0).sum() == 1
    assert _stale(generated.values).sum() == 1
    started = _one(laid, "process_start_time_seconds").values
    assert started[-1] - started[0] == pytest.approx(6 * HOUR_S + 30)


def test_what_kubernetes_records_of_each_end() -> None:
    spec = small_spec(
        node_class="g6.xlarge",
        family=Family(Steady(0.02)),
        truth=PUBLISHED.with_spikes(400e3),
        knobs=Knobs(restarts_s=(HOUR_S,), host_ooms_s=(2 * HOUR_S,)),
    )
    run = simulate(spec)

    ends = [(end.cause, end.reason, end.exit_code) for end in terminations(run)]
    assert ends.count((Cause.CRASH, "Error", 1)) == 1
    assert ends.count((Cause.HOST_OOM, "OOMKilled", 137)) == 1
    assert ends.count((Cause.CUDA_OOM, "Error", 1)) == len(run.oom_times_s) > 0


def test_a_rollout_replaces_the_pod_and_loses_no_request() -> None:
    today = Pod("llama-8b-abc-xyz12", "chat", "vllm", "node-7", "10.42.0.9")
    spec = small_spec(knobs=Knobs(rollouts_s=(4 * HOUR_S,)))
    run = simulate(spec)
    laid = history(run, END, [today])

    pods = {series.labels["pod"]: series for series in _all(laid, "vllm:num_requests_running")}
    assert len(pods) == 2
    assert len(pods[today.name].values) == 8 * 60 + 1
    old = next(series for name, series in pods.items() if name != today.name)
    assert _stale(old.values).tolist() == [False] * 240 + [True]
    assert (run.replicas[0].status == 2).sum() == 0
    generated = {series.labels["pod"]: series.values for series in _all(laid, "vllm:generation_tokens_total")}
    assert generated[today.name][0] < 100 < generated[old.labels["pod"]][-2]
    assert (np.diff(generated[today.name]) >= 0).all()
    assert {series.labels["exported_pod"] for series in _all(laid, "DCGM_FI_DEV_FB_USED")} == set(pods)


@pytest.mark.parametrize(
    ("names", "shown", "hidden"),
    [
        (MetricNames.NEW, ["kv_cache_usage_perc", "inter_token_latency_seconds_sum"], ["gpu_cache_usage_perc"]),
        (MetricNames.OLD, ["gpu_cache_usage_perc", "time_per_output_token_seconds_sum"], ["kv_cache_usage_perc"]),
        (MetricNames.BOTH, ["gpu_cache_usage_perc", "kv_cache_usage_perc", "time_per_output_token_seconds_sum"], []),
    ],
)
def test_metric_names_of_each_generation(names: MetricNames, shown: list[str], hidden: list[str]) -> None:
    laid = history(simulate(small_spec(knobs=Knobs(metric_names=names), span_s=HOUR_S)), END)

    found = {series.labels["__name__"] for series in laid}
    assert {f"vllm:{name}" for name in shown} <= found
    assert not {f"vllm:{name}" for name in hidden} & found


def test_label_schemes_of_dcgm() -> None:
    def labels(scheme: DcgmLabels) -> dict[str, str]:
        laid = history(simulate(small_spec(knobs=Knobs(dcgm_labels=scheme), span_s=HOUR_S)), END)
        return dict(_one(laid, "DCGM_FI_DEV_GPU_UTIL").labels)

    exported, direct, none = (labels(scheme) for scheme in DcgmLabels)
    assert exported["exported_namespace"] == "chat"
    assert exported["namespace"] == "gpu-operator"
    assert direct["namespace"] == "chat"
    assert direct["pod"] == exported["exported_pod"]
    assert "exported_pod" not in none


def test_a_tensor_parallel_pod_has_several_devices_and_the_rest_of_the_node_is_idle() -> None:
    spec = small_spec(model=LLAMA_70B, node_class="p5.48xlarge", tp=4, args=EngineArgs(max_model_len=8192))
    laid = history(simulate(replace(spec, span_s=HOUR_S)), END)

    used = _all(laid, "DCGM_FI_DEV_FB_USED")
    taken = [series for series in used if "exported_pod" in series.labels]
    assert len(used) == 8
    assert sorted(series.labels["gpu"] for series in taken) == ["0", "1", "2", "3"]
    assert all(series.values.max() < 10 for series in used if "exported_pod" not in series.labels)


def test_replicas_share_the_demand() -> None:
    run = simulate(small_spec(replicas=2, span_s=HOUR_S))
    laid = history(run, END)

    finished = [series.values[-1] for series in _all(laid, "vllm:e2e_request_latency_seconds_count")]
    assert len(finished) == 2
    assert min(finished) > 0.8 * max(finished)


SPAN = ((6 * HOUR_S, 7 * HOUR_S),)


def _missing(laid: list[Series], name: str) -> int:
    series = _one(laid, name)
    return 12 * 60 + 1 - int((~_stale(series.values)).sum())


@pytest.mark.parametrize(
    ("knobs", "metric", "up"),
    [
        (Knobs(engine_loss=SPAN), "vllm:num_requests_running", "all ones"),
        (Knobs(dcgm_loss=SPAN), "DCGM_FI_DEV_FB_USED", "all ones"),
        (Knobs(target_loss=SPAN), "vllm:num_requests_running", "zero"),
        (Knobs(scrape_gaps=SPAN), "vllm:num_requests_running", "absent"),
    ],
)
def test_what_goes_missing_and_what_up_says(knobs: Knobs, metric: str, up: str) -> None:
    laid = history(simulate(small_spec(knobs=knobs)), END)
    job = "vllm" if metric.startswith("vllm") else "nvidia-dcgm-exporter"
    seen = _one(laid, "up", job=job).values

    assert _missing(laid, metric) == 60
    seen_and_down = {"all ones": (721, 0), "zero": (721, 60), "absent": (661, 0)}
    assert (len(seen), int((seen == 0).sum())) == seen_and_down[up]


def test_what_never_comes_back_stays_away() -> None:
    laid = history(simulate(small_spec(knobs=Knobs(engine_loss=((6 * HOUR_S, math.inf),)))), END)

    assert _one(laid, "vllm:num_requests_running").times_ms[-1] == (END - 6 * HOUR_S) * 1000


def test_nan_and_the_not_supported_value_appear_in_their_share() -> None:
    laid = history(simulate(small_spec(knobs=Knobs(nan_share=0.1, sentinel_share=0.05))), END)

    assert np.isnan(_one(laid, "vllm:kv_cache_usage_perc").values).mean() == pytest.approx(0.1, abs=0.04)
    assert (_one(laid, "DCGM_FI_DEV_FB_USED").values == SENTINEL).mean() == pytest.approx(0.05, abs=0.03)
    assert not np.isnan(_one(laid, "vllm:generation_tokens_total").values).any()
