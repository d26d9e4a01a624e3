"""Runs a started engine on arrivals: one replica's life, with its requests, samples, restarts and memory."""

from dataclasses import dataclass

import numpy as np

from testbed.twin import kernel
from testbed.twin.arrivals import Arrivals, Floats, Ints
from testbed.twin.kernel import COLUMNS, FINISHED, REJECTED, Bytes
from testbed.twin.physics import Engine


@dataclass(frozen=True, slots=True)
class Interruption:
    """At `at_s` the engine goes: down for `down_s` (requests lost, then loading), or replaced by a rollout (`None`)."""

    at_s: float
    down_s: float | None


@dataclass(frozen=True, slots=True, eq=False)
class ReplicaRun:
    """What happened on one replica. Request arrays run with `arrivals`; sample arrays with `sample_times`."""

    engine: Engine
    arrivals: Arrivals
    output_tokens: Ints
    admitted_s: Floats
    first_token_s: Floats
    finished_s: Floats
    preemptions: Ints
    status: Bytes
    sample_times: Floats
    samples: Floats
    itl_counts: Floats
    itl_sum: Floats
    oom_times: Floats

    def column(self, name: str) -> Floats:
        """One sampled quantity by its name in kernel.COLUMNS."""
        return np.asarray(self.samples[:, COLUMNS.index(name)], dtype=np.float64)

    @property
    def ttft_s(self) -> Floats:
        """Arrival to first token, with the time that the HTTP server and tokeniser take; nan where there was none."""
        return self.first_token_s - self.arrivals.time_s + self.engine.request_overhead_s

    @property
    def latency_s(self) -> Floats:
        """Arrival to last token."""
        return self.finished_s - self.arrivals.time_s + self.engine.request_overhead_s

    @property
    def tpot_s(self) -> Floats:
        """Mean time per output token after the first, 0 for requests of one token, nan for unfinished ones."""
        gaps = np.maximum(self.output_tokens - 1, 1)
        return (self.finished_s - self.first_token_s) / gaps

    @property
    def is_finished(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which requests were answered in full."""
        return np.asarray(self.status == FINISHED)


def run_replica(
    engine: Engine,
    arrivals: Arrivals,
    sample_times: Floats,
    end_s: float,
    interruptions: tuple[Interruption, ...] = (),
    *,
    max_oom: int = kernel.MAX_OOM,
) -> ReplicaRun:
    """The life of one replica over [0, end). Prompts beyond `max_model_len` are refused, outputs cut to it."""
    room = engine.max_model_len - arrivals.prompt_tokens
    accepted = room > 0
    output = np.minimum(arrivals.output_tokens, np.maximum(room, 1)).astype(np.int32)
    taken = arrivals.where(accepted)
    events = sorted(interruptions, key=lambda event: event.at_s)
    raw = kernel.run(
        engine,
        (taken.time_s, taken.prompt_tokens, output[accepted]),
        sample_times,
        (
            np.array([event.at_s for event in events], dtype=np.float64),
            np.array([-1.0 if event.down_s is None else event.down_s for event in events], dtype=np.float64),
        ),
        end_s,
        max_oom=max_oom,
    )
    status = np.full(len(arrivals), REJECTED, dtype=np.int8)
    status[accepted] = raw.status
    return ReplicaRun(
        engine,
        arrivals,
        output,
        _spread(raw.admitted, accepted),
        _spread(raw.first, accepted),
        _spread(raw.finished, accepted),
        np.asarray(_spread(raw.preempted.astype(np.float64), accepted, 0.0), dtype=np.int32),
        status,
        sample_times,
        raw.samples,
        raw.itl_counts,
        raw.itl_sum,
        raw.oom_times,
    )


def _spread(values: Floats, where: np.ndarray[tuple[int], np.dtype[np.bool_]], other: float = np.nan) -> Floats:
    full = np.full(len(where), other)
    full[where] = values
    return full
