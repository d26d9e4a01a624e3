"""What a container's end says of memory, and which ends are remembered."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gpu_rightsizer.domain.workload import Incident, OomKind
from gpu_rightsizer.observe.incidents import Termination, classify, merged, summary
from tests.unit.observe.manifest_builders import NOW

TRACEBACK = """Traceback (most recent call last):
  File "/vllm/v1/worker/gpu_worker.py", line 180, in {where}
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 22.03 GiB
EXIT
"""


def end(message: str = "", *, reason: str = "Error", code: int = 1, ran: timedelta = timedelta(hours=3)) -> Termination:
    return Termination(reason, code, message, NOW - ran, NOW)


@pytest.mark.parametrize(
    ("termination", "kind"),
    [
        (end(reason="OOMKilled", code=137), OomKind.HOST),
        (end("CUDA out of memory", reason="OOMKilled", code=137), OomKind.HOST),
        (end(code=137), None),  # a liveness kill
        (end("CUDA out of memory", code=137), None),
        (end(code=143), None),
        (end(code=0, reason="Completed"), None),
        (end(), OomKind.UNCLASSIFIED),
        (end("EngineDeadError"), OomKind.UNCLASSIFIED),
        (end(code=139), None),
        (end(reason="ContainerCannotRun"), None),
        (end(TRACEBACK.format(where="execute_model")), OomKind.CUDA_SERVING),
        (end(TRACEBACK.format(where="execute_model"), ran=timedelta(minutes=1)), OomKind.CUDA_SERVING),
        (end(TRACEBACK.format(where="load_model")), OomKind.CUDA_STARTUP),
        (end(TRACEBACK.format(where="determine_available_memory")), OomKind.CUDA_STARTUP),
        (end("CUDA out of memory", ran=timedelta(minutes=4)), OomKind.CUDA_STARTUP),
        (end("CUDA out of memory", ran=timedelta(minutes=6)), OomKind.CUDA_SERVING),
        (end("CUDA error: out of memory", code=134), OomKind.CUDA_SERVING),
        (end("ValueError: No available memory for the cache blocks. Try increasing"), OomKind.CUDA_STARTUP),
        (
            end("(16.00 GiB KV cache is needed, which is larger than the available KV cache memory (4.10 GiB)"),
            OomKind.CUDA_STARTUP,
        ),
        (end("is larger than the maximum number of tokens that can be stored in KV cache (9)"), OomKind.CUDA_STARTUP),
        (end("Not enough memory. Please try to increase --mem-fraction-static."), OomKind.CUDA_STARTUP),
        (end("Not enough memory to handle 4096 prefill tokens"), OomKind.CUDA_STARTUP),
        (end("ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB failed"), OomKind.CUDA_STARTUP),
        (end("Free memory on device (3.1/22.0 GiB) on startup is less than desired GPU memory utilization"), None),
        (end("Error in memory profiling. Initial free memory 10 GiB"), None),
    ],
)  # fmt: skip
def test_what_ran_out(termination: Termination, kind: OomKind | None) -> None:
    assert classify(termination) is kind


def test_the_telling_line_is_kept() -> None:
    line = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 22.03 GiB"
    assert summary(TRACEBACK.format(where="x")) == line
    assert summary("one\ntwo\n") == "two"
    assert summary("") == ""
    assert len(summary("x" * 5000)) == 256


def incident(
    kind: OomKind = OomKind.CUDA_SERVING,
    *,
    days_ago: float = 0,
    pod: str = "p",
    settings: str = "now",
    where: str = "g5.xlarge",
) -> Incident:
    return Incident(NOW - timedelta(days=days_ago), kind, where, pod, "vllm", None, "m", settings)


def test_the_same_end_is_one_incident_and_memory_wins() -> None:
    remembered = replace(incident(), demand_tokens=123.0)
    assert merged([remembered], [incident()], "now") == (remembered,)


def test_age_alone_forgets_nothing() -> None:
    old = incident(days_ago=900)
    assert old in merged([old], [incident(pod=f"q{n}", days_ago=n) for n in range(10)], "now")


@pytest.mark.parametrize(
    ("once", "again"), [(OomKind.CUDA_SERVING, OomKind.HOST), (OomKind.UNCLASSIFIED, OomKind.CUDA_SERVING)]
)
def test_a_crash_loop_does_not_drive_out_another_failure(once: OomKind, again: OomKind) -> None:
    other = incident(once, days_ago=400, settings="before")
    loop = [incident(again, pod=f"p{n}", days_ago=n / 100) for n in range(100)]
    kept = merged([other], loop, "now")
    assert len(kept) == 16
    assert other in kept
    assert loop[0] in kept
    assert loop[99] not in kept


def test_what_says_most_about_size_is_kept() -> None:
    unclassified = [incident(OomKind.UNCLASSIFIED, where=f"c{n}", pod=f"u{n}") for n in range(16)]
    serving = [incident(OomKind.CUDA_SERVING, where=f"c{n}", pod=f"s{n}", days_ago=300) for n in range(16)]
    assert {each.kind for each in merged(unclassified, serving, "now")} == {OomKind.CUDA_SERVING}


def test_the_order_is_by_time_and_merging_again_changes_nothing() -> None:
    some = [incident(pod=f"p{n}", days_ago=n % 7) for n in range(40)]
    kept = merged(some[:20], some[20:], "now")
    assert list(kept) == sorted(kept, key=lambda each: (each.time, each.pod))
    assert merged(kept, some, "now") == kept
    assert merged(kept, [], "now") == kept
