"""Bad samples never shrink anything: what is proposed with them is no cheaper than without them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_rightsizer.domain.action import Action
from gpu_rightsizer.domain.world import Evaluation, World
from gpu_rightsizer.evaluate import evaluate
from testbed.remote_write import STALE
from tests.builders import LADDER
from tests.fakes.metrics import FakeMetrics, Scraped
from tests.unit.observe import scrapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Figures: TypeAlias = NDArray[np.float64]

EVERY = 120.0
SPAN = scrapes.Span(since=8 * 24, every=EVERY)
PEAKS_AT = 86_400 / 4  # seconds of each day at which the load is highest
BAD = (float("nan"), float(np.float64(STALE)), float("inf"), float("-inf"), -1.0, -1e300, 1e300, 9.223372036854775e18)
SPOILT = (
    "vllm:kv_cache_usage_perc", "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:cache_config_info",
    "vllm:prompt_tokens_total", "vllm:generation_tokens_total", "DCGM_FI_DEV_FB_USED", "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
)  # fmt: skip


def daily(low: float, high: float) -> scrapes.Curve:
    return lambda times: low + (high - low) * (0.5 + 0.5 * np.sin(2 * np.pi * times / 86_400))


def clean() -> list[Scraped]:
    engine = scrapes.Engine(kv=daily(0.05, 0.12), running=daily(1, 6), blocks="20000", span=SPAN)
    up = (scrapes.up("vllm", SPAN), scrapes.up("dcgm", SPAN))
    return [*engine.series(), *speed(), *scrapes.Device(span=SPAN).series(), *up]


def speed() -> list[Scraped]:
    """Every request takes between 5 and 10 ms a token."""
    labels = {"namespace": scrapes.NAMESPACE, "pod": scrapes.FIRST, "job": "vllm", "model_name": "m", "engine": "0"}
    name = "vllm:request_time_per_output_token_seconds_bucket"
    rates = {"0.005": 0.0, "0.01": 0.1, "+Inf": 0.1}
    return [scrapes.counter(name, {**labels, "le": bound}, rate, SPAN) for bound, rate in rates.items()]


def judged(stored: list[Scraped]) -> Evaluation:
    workload = scrapes.workload()
    with np.errstate(all="ignore"):  # the store's arithmetic, which knows infinities
        seen = scrapes.seen(FakeMetrics(stored, (scrapes.SCOPE,)), workload)
    (found,) = evaluate([World(workload, seen)], LADDER, scrapes.NOW)
    return found


def price(found: Evaluation) -> Decimal:
    """USD per hour of what is recommended; of the present placement where nothing is to change."""
    there = found.decision.target or found.decision.current
    assert there is not None
    assert there.hourly is not None
    return there.hourly


def spoilt(series: Scraped, share: float, bad: list[float], seed: int, *, twice: bool) -> Scraped:
    """Some samples replaced, none of the hours around a day's peak; `twice` adds them beside the good ones."""
    dice = np.random.default_rng(seed)
    quiet = np.abs((series.times % 86_400) - PEAKS_AT) > 3 * 3600
    chosen = quiet & (dice.random(len(series.times)) < share)
    wrong = dice.choice(np.array(bad), len(series.times))
    if not twice:
        return replace(series, values=np.where(chosen, wrong, series.values))
    times = np.concatenate([series.times, series.times[chosen] + 1])
    order = np.argsort(times, kind="stable")
    return replace(series, times=times[order], values=np.concatenate([series.values, wrong[chosen]])[order])


CLEAN = judged(clean())


def test_the_clean_workload_would_shrink() -> None:
    """The law below can fail: there is something to lose."""
    assert CLEAN.decision.action is Action.RESIZE
    assert price(CLEAN) < price(replace(CLEAN, decision=replace(CLEAN.decision, target=None)))


@settings(deadline=None, max_examples=15)
@given(
    st.sets(st.sampled_from(SPOILT), min_size=1), st.sampled_from((0.0005, 0.02, 0.3, 1.0)),
    st.lists(st.sampled_from(BAD), min_size=1, max_size=3), st.integers(0, 2**16), st.booleans(),
)  # fmt: skip
def test_bad_samples_never_shrink_anything(
    names: set[str], share: float, bad: list[float], seed: int, twice: bool
) -> None:
    stored = [
        spoilt(each, share, bad, seed, twice=twice) if each.labels["__name__"] in names else each for each in clean()
    ]

    assert price(judged(stored)) >= price(CLEAN)
