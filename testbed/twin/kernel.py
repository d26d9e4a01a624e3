"""Compiles and calls kernel.c, the event-to-event simulation of one engine.

`reference.py` computes the same in plain Python, one iteration at a time; tests/twin compare the two.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.twin.histograms import INTER_TOKEN_EDGES
from testbed.twin.physics import Engine

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Bytes = NDArray[np.int8]

COLUMNS = (
    "running",
    "waiting",
    "kv",
    "kv_peak",
    "up",
    "prompt_tokens",
    "generation_tokens",
    "preemptions",
    "busy_s",
    "bytes_read",
    "flops",
    "boots",
)
UNFINISHED, FINISHED, LOST, REFUSED, REJECTED = range(5)
MAX_OOM = 64
_SOURCE = Path(__file__).with_name("kernel.c")


class CompilerMissing(RuntimeError):
    """The twin's kernel needs a C compiler (`cc` or `gcc`) and there is none."""


@dataclass(frozen=True, slots=True)
class Raw:
    """What the simulation returns: arrays a request, arrays a sample (`samples` has one column a COLUMNS entry)."""

    admitted: Floats
    first: Floats
    finished: Floats
    preempted: Ints
    status: Bytes
    samples: Floats
    itl_counts: Floats
    itl_sum: Floats
    oom_times: Floats


class _Engine(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_double)
            for name in (
                "weight_s",
                "compute_s",
                "kv_s",
                "attention_s",
                "fixed_s",
                "sequence_s",
                "exchange_s",
                "loading_s",
                "weight_bytes",
                "kv_bytes",
                "flops",
                "attention_flops",
            )
        ),
        *(
            (name, ctypes.c_int64)
            for name in (
                "pool",
                "max_seqs",
                "max_batched",
                "oom_prompt",
                "pool_is_hard",
                "max_oom",
                "single_step",
            )
        ),
    ]


def cache_directory() -> Path:
    """Where compiled code and runs are kept: `.cache/twin` of the repository, or the user's temporary folder."""
    preferred = Path(__file__).resolve().parents[2] / ".cache" / "twin"
    try:
        preferred.mkdir(parents=True, exist_ok=True)
    except OSError:
        preferred = Path(tempfile.gettempdir()) / f"gpu-rightsizer-twin-{os.getuid()}"
        preferred.mkdir(parents=True, exist_ok=True)
    return preferred


@cache
def _library() -> ctypes.CDLL:
    source = _SOURCE.read_bytes()
    target = cache_directory() / f"kernel-{hashlib.sha256(source).hexdigest()[:16]}.so"
    if not target.exists():
        _compile(target)
    library = ctypes.CDLL(str(target))
    library.twin_run.restype = ctypes.c_int64
    return library


def _compile(target: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise CompilerMissing("the twin needs a C compiler: apt-get install gcc (or set up `cc`)")
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        built = Path(scratch) / "kernel.so"
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(built), str(_SOURCE), "-lm"]
        subprocess.run(command, check=True, capture_output=True)
        built.replace(target)


def _parameters(engine: Engine, max_oom: int, single_step: bool) -> _Engine:
    return _Engine(
        engine.weight_read_s,
        engine.compute_s_per_token,
        engine.kv_read_s_per_token,
        engine.attention_s_per_token2,
        engine.fixed_s,
        engine.sequence_s,
        engine.exchange_s_per_token,
        engine.loading_s,
        engine.weight_bytes,
        engine.kv_bytes_per_token,
        engine.flops_per_token,
        engine.attention_flops_per_token2,
        engine.pool_tokens,
        engine.max_num_seqs,
        engine.max_num_batched_tokens,
        engine.oom_prompt_tokens,
        int(engine.pool_is_hard),
        max_oom,
        int(single_step),
    )


def _pointer(array: Floats | Ints | Bytes) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def run(
    engine: Engine,
    requests: tuple[Floats, Ints, Ints],
    sample_times: Floats,
    events: tuple[Floats, Floats],
    end_s: float,
    *,
    max_oom: int = MAX_OOM,
    single_step: bool = False,
) -> Raw:
    """One replica from 0 to `end_s`. `requests`: arrival s, prompt and output tokens, in order of arrival.

    `events`: times and downtimes in seconds; a negative downtime is a rollout, which keeps the requests and starts
    new counters. Stops at the `max_oom`-th out-of-memory. `single_step` advances by one iteration at a time.
    """
    arrival, prompt, output = requests
    raw = _blank(len(arrival), len(sample_times))
    parameters = _parameters(engine, max_oom, single_step)
    edges = _doubles(np.asarray(INTER_TOKEN_EDGES))
    columns = (_doubles(arrival), np.ascontiguousarray(prompt, np.int32), np.ascontiguousarray(output, np.int32))
    times, event_t, event_down = _doubles(sample_times), _doubles(events[0]), _doubles(events[1])
    ooms = _library().twin_run(
        ctypes.byref(parameters),
        *_sized(*columns),
        *_sized(times),
        *_sized(event_t, event_down),
        *_sized(edges),
        ctypes.c_double(end_s),
        *(_pointer(column) for column in (raw.admitted, raw.first, raw.finished, raw.preempted, raw.status)),
        *(_pointer(column) for column in (raw.samples, raw.itl_counts, raw.itl_sum, raw.oom_times)),
    )
    return replace(raw, oom_times=raw.oom_times[: min(int(ooms), MAX_OOM)])


def _blank(requests: int, samples: int) -> Raw:
    return Raw(
        admitted=np.full(requests, np.nan),
        first=np.full(requests, np.nan),
        finished=np.full(requests, np.nan),
        preempted=np.zeros(requests, dtype=np.int32),
        status=np.zeros(requests, dtype=np.int8),
        samples=np.zeros((samples, len(COLUMNS))),
        itl_counts=np.zeros((samples, len(INTER_TOKEN_EDGES) + 1)),
        itl_sum=np.zeros(samples),
        oom_times=np.zeros(MAX_OOM),
    )


def _doubles(values: Floats) -> Floats:
    return np.ascontiguousarray(values, dtype=np.float64)


def _sized(*arrays: Floats | Ints) -> tuple[ctypes.c_int64 | ctypes.c_void_p, ...]:
    """How many entries the arrays have, then the arrays, as kernel.c takes them. The caller keeps them alive."""
    return (ctypes.c_int64(len(arrays[0])), *(_pointer(array) for array in arrays))
