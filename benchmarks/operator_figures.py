"""What the operator's own metrics say about its cycles, while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.processes import until

if TYPE_CHECKING:
    from testbed.operator_process import OperatorProcess

PREFIX = "gpu_rightsizer_"
CYCLES = f"{PREFIX}cycle_duration_seconds_count"
SECONDS = f"{PREFIX}cycle_duration_seconds_sum"
QUERIES = f"{PREFIX}cycle_promql_queries"
SAMPLES = f"{PREFIX}cycle_samples"
ERRORS = f"{PREFIX}errors_total"


def figures(operator: OperatorProcess) -> dict[str, float]:
    """Those without labels; errors of all kinds together."""
    found = {CYCLES: 0.0, ERRORS: 0.0}
    for line in operator.metrics().splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith(ERRORS):
            found[ERRORS] += float(value)
        elif name.startswith(PREFIX) and "{" not in name:
            found[name] = float(value)
    return found


def wait_for_cycle(operator: OperatorProcess, number: int, seconds: float) -> dict[str, float]:
    """The figures at the end of that cycle. RuntimeError when a later one had ended before we looked."""
    found: dict[str, float] = {}

    def ended() -> bool:
        found.update(figures(operator))
        return found[CYCLES] >= number

    until(ended, what=f"{number} cycles", seconds=seconds)
    if found[CYCLES] > number:
        raise RuntimeError(f"missed the end of cycle {number}")
    return found


def wait_for_whole_cycle(operator: OperatorProcess, seconds: float) -> int:
    """Until a cycle has ended in which nothing failed; how much failed before it."""
    last = {CYCLES: 0.0, ERRORS: 0.0}

    def whole() -> bool:
        nonlocal last
        now = figures(operator)
        ended, clean = now[CYCLES] > last[CYCLES], now[ERRORS] == last[ERRORS]
        if ended:
            last = now
        return ended and clean

    operator.wait_ready(seconds)
    until(whole, what="a cycle in which nothing failed", seconds=seconds)
    return int(last[ERRORS])
