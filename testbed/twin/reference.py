"""The engine one iteration at a time in plain Python: slow, and what kernel.c is tested against.

Written from the description of the scheduler, not from kernel.c: requests are objects, every iteration looks at
every running request, nothing is summed ahead. Restart and rollout events are left to kernel.c.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from testbed.twin.kernel import Floats, Ints
from testbed.twin.physics import Engine

FRAGMENT_TOKENS = 8


@dataclass(slots=True)
class Request:
    """One request on its way; times in seconds, `nan` until they happen."""

    arrival: float
    prompt: int
    output: int
    generated: int = 0
    computed: int = 0
    to_compute: int = 0
    admitted: float = float("nan")
    first: float = float("nan")
    finished: float = float("nan")
    preempted: int = 0

    @property
    def in_prefill(self) -> bool:
        """Its prompt (after a preemption: prompt and what was generated) is not all computed."""
        return self.computed < self.to_compute

    @property
    def held_tokens(self) -> int:
        """KV tokens taken, with the room for the next token during prefill and the waste of the last block."""
        return self.prompt + self.generated + FRAGMENT_TOKENS + (1 if self.in_prefill else 0)


@dataclass(slots=True)
class Reference:
    """One replica; `step` is one iteration."""

    engine: Engine
    waiting: deque[Request]
    running: list[Request] = field(default_factory=list)
    requeued: list[Request] = field(default_factory=list)
    now: float = 0.0
    out_of_memory: bool = False

    def run(self, end_s: float) -> None:
        """Until `end_s`, the last request or an out-of-memory."""
        while self.now < end_s and not self.out_of_memory and (self.waiting or self.running or self.requeued):
            if not self.running and not self.requeued and self.waiting[0].arrival > self.now:
                self.now = self.waiting[0].arrival
            self.step()

    def step(self) -> None:
        """Decides who runs, takes the time it takes, and hands out the tokens."""
        preempted = self._make_room()
        decoding = [request for request in self.running if not request.in_prefill]
        chunks = self._chunks(self.engine.max_num_batched_tokens - len(decoding), admit=not preempted)
        if self.out_of_memory:
            return
        attention = sum(chunk * (request.computed + chunk / 2) for request, chunk in chunks)
        tokens = sum(chunk for _, chunk in chunks)
        self.now += self._duration(decoding, tokens, attention)
        for request, chunk in chunks:
            request.computed += chunk
        for request in decoding:
            self._emit(request)
        for request, _ in chunks:
            if not request.in_prefill:
                self._emit(request)

    def _held(self) -> int:
        return sum(request.held_tokens for request in self.running)

    def _make_room(self) -> bool:
        preempted = False
        decoding = sum(not request.in_prefill for request in self.running)
        while len(self.running) > 1 and self._held() + decoding > self.engine.pool_tokens:
            victim = self.running.pop()
            decoding -= not victim.in_prefill
            victim.computed = victim.to_compute = 0
            victim.preempted += 1
            self.requeued.append(victim)
            preempted = True
        return preempted

    def _chunks(self, budget: int, *, admit: bool) -> list[tuple[Request, int]]:
        chunks: list[tuple[Request, int]] = []
        for request in self.running:
            if request.in_prefill and budget > 0:
                chunk = min(budget, request.to_compute - request.computed)
                chunks.append((request, chunk))
                budget -= chunk
        decoding = sum(not request.in_prefill for request in self.running)
        while admit and budget > 0 and (admitted := self._admitted(decoding)) is not None:
            chunk = min(budget, admitted.to_compute)
            chunks.append((admitted, chunk))
            budget -= chunk
        return chunks

    def _admitted(self, decoding: int) -> Request | None:
        arrived = self.waiting and self.waiting[0].arrival <= self.now
        if len(self.running) >= self.engine.max_num_seqs or not (self.requeued or arrived):
            return None
        request = self.requeued[-1] if self.requeued else self.waiting[0]
        need = request.prompt + request.generated + 1 + FRAGMENT_TOKENS
        fits = self._held() + need + decoding <= self.engine.pool_tokens
        if (not fits and self.engine.pool_is_hard) or (
            (fits or not self.running) and request.prompt > self.engine.oom_prompt_tokens
        ):
            self.out_of_memory = True
            return None
        if not fits and self.running:
            return None
        if self.requeued:
            self.requeued.pop()
        else:
            self.waiting.popleft()
        request.to_compute = request.prompt + request.generated
        request.admitted = self.now if np.isnan(request.admitted) else request.admitted
        self.running.append(request)
        return request

    def _duration(self, decoding: list[Request], tokens: int, attention: float) -> float:
        engine, count = self.engine, len(decoding)
        kv_read = sum(request.prompt + request.generated for request in decoding)
        matrices = max(engine.weight_read_s, engine.compute_s_per_token * (count + tokens))
        per_token = engine.exchange_s_per_token * (count + tokens) + engine.attention_s_per_token2 * attention
        return matrices + engine.kv_read_s_per_token * kv_read + engine.fixed_s + engine.sequence_s * count + per_token

    def _emit(self, request: Request) -> None:
        request.generated += 1
        request.first = self.now if np.isnan(request.first) else request.first
        if request.generated >= request.output:
            request.finished = self.now
            self.running.remove(request)


def run_reference(engine: Engine, requests: tuple[Floats, Ints, Ints], end_s: float) -> list[Request]:
    """All requests with their times, in order of arrival."""
    arrival, prompt, output = requests
    everyone = [
        Request(float(at), int(size), int(length)) for at, size, length in zip(arrival, prompt, output, strict=True)
    ]
    Reference(engine, deque(everyone)).run(end_s)
    return everyone
