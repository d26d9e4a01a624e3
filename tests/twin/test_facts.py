"""The twin against measured engines. Rows and sources: tests/twin/data."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from testbed.twin import kernel
from testbed.twin.hardware import GPUS
from testbed.twin.kernel import Floats
from testbed.twin.models import MODELS
from testbed.twin.physics import Attempt, Engine, EngineArgs, StartFailure, start
from testbed.twin.truth import PUBLISHED

DATA = Path(__file__).parent / "data"


def _rows(name: str) -> list[dict[str, str]]:
    lines = (DATA / name).read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def _closed_loop(row: dict[str, str]) -> tuple[float, float]:
    """TPOT and first-token time in ms with as many clients as the row has, each asking again when answered."""
    clients, prompt, output = (int(row[name]) for name in ("concurrency", "prompt_tokens", "output_tokens"))
    args = EngineArgs(weight_dtype=row["weight_dtype"], max_model_len=prompt + output + 64, max_num_seqs=clients)
    started = start(Attempt(MODELS[row["model"]], args, GPUS[row["gpu"]], int(row["tp"]), PUBLISHED))
    assert isinstance(started, Engine), (row, started)
    count = clients * 6
    demand = (np.zeros(count), np.full(count, prompt, dtype=np.int32), np.full(count, output, dtype=np.int32))
    raw = kernel.run(started, demand, np.zeros(0), (np.zeros(0), np.zeros(0)), 1e7)
    settled = slice(clients, count - clients) if clients > 1 else slice(None)
    tpot = (raw.finished - raw.first)[settled] / (output - 1)
    ttft = (raw.first - raw.admitted)[settled] + started.request_overhead_s
    return float(np.mean(tpot) * 1e3), float(np.mean(ttft) * 1e3)


def _errors(rows: list[dict[str, str]]) -> Floats:
    return np.array([_closed_loop(row)[0] / float(row["tpot_ms"]) - 1.0 for row in rows])


def _measured(*, most_clients: int) -> list[dict[str, str]]:
    return [row for row in _rows("measured_points.csv") if int(row["concurrency"]) <= most_clients]


def test_time_per_token_of_dense_models_with_up_to_16_clients(capsys: pytest.CaptureFixture[str]) -> None:
    rows = _measured(most_clients=16)

    errors = _errors(rows)

    median, p90 = np.quantile(np.abs(errors), (0.5, 0.9))
    with capsys.disabled():
        print(f"\n{len(rows)} points: |error| median {median:.1%}, p90 {p90:.1%}, bias {np.median(errors):+.1%}")  # noqa: T201 - asked for
    assert len(rows) > 100
    # seen: median 4.9 %, p90 10.4 %; the published fit of the same rows has 4 to 7 % and 8 to 17 %
    assert median < 0.06
    assert p90 < 0.13
    assert abs(np.median(errors)) < 0.04


def test_no_gpu_and_parallelism_is_far_off() -> None:
    rows = _measured(most_clients=16)
    groups = sorted({(row["gpu"], row["tp"]) for row in rows})

    off = {
        group: float(np.median(_errors([row for row in rows if (row["gpu"], row["tp"]) == group]))) for group in groups
    }

    assert len(off) == 12
    assert {group: error for group, error in off.items() if abs(error) > 0.10} == {}


def test_first_token_of_a_single_client() -> None:
    """Rows with one client only: with more the start of the clients decides how prompts queue behind each other."""
    rows = [row for row in _rows("measured_points.csv") if row["concurrency"] == "1"]

    ratios = [_closed_loop(row)[1] / float(row["ttft_ms"]) for row in rows]

    assert rows
    assert ratios == pytest.approx([1.0] * len(rows), abs=0.2)


def test_prefill_rates_published_for_single_prompts() -> None:
    """LLaMA-7B, 2048 tokens: 133 ms on A100 fp16, 36 ms on H100 fp8, 73 ms on L40S fp8 (TensorRT-LLM pages)."""
    shape = MODELS["mistralai/Mistral-7B-Instruct-v0.3"]
    published = {("a100-80", "float16"): 133.0, ("h100", "fp8"): 36.0, ("l40s", "fp8"): 73.0}
    for (gpu, dtype), expected_ms in published.items():
        started = start(Attempt(shape, EngineArgs(weight_dtype=dtype, max_model_len=8192), GPUS[gpu], 1, PUBLISHED))
        assert isinstance(started, Engine)
        flops_s = 2048 * started.compute_s_per_token + 2048**2 / 2 * started.attention_s_per_token2
        assert flops_s * 1e3 * 6.74 / 7.25 == pytest.approx(expected_ms, rel=0.35)


def test_contexts_that_start_and_that_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    """As vLLM 0.5.4 profiles a whole prompt of the longest length, so does this; powers of two were tried."""
    rows = _rows("memory_fit_points.csv")

    wrong = [row for row in rows if not _agrees(row)]

    with capsys.disabled():
        print(f"\n{len(rows) - len(wrong)} of {len(rows)} contexts agree; not: {wrong}")  # noqa: T201 - asked for
    assert len(rows) > 40
    assert len(wrong) <= 2


def _agrees(row: dict[str, str]) -> bool:
    longest, limit = int(row["max_context"]), MODELS[row["model"]].max_context
    starts = longest == 0 or _starts(row, longest)
    stops = longest == limit or not _starts(row, max(2 * longest, 2048))
    return starts and stops


def _starts(row: dict[str, str], length: int) -> bool:
    args = EngineArgs(
        gpu_memory_utilization=0.9,
        max_model_len=length,
        max_num_seqs=256,
        max_num_batched_tokens=length,
        weight_dtype=row["weight_dtype"],
    )
    # 0.5.4 left the graphs outside the budget
    truth = replace(PUBLISHED, graph_bytes=0.0)
    started = start(Attempt(MODELS[row["model"]], args, GPUS[row["gpu"]], int(row["tp"]), truth))
    return not isinstance(started, StartFailure)
