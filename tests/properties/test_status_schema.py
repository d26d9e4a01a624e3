"""Whatever an evaluation comes to, the API server takes its status, which stays small: a refused write says nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_rightsizer.domain.decision import Prediction
from gpu_rightsizer.domain.readings import BlockSeries, Measured
from gpu_rightsizer.evaluate import evaluate
from gpu_rightsizer.explain.annotations import MOST_BYTES, annotations_of
from gpu_rightsizer.explain.events import MOST_BYTES as LONGEST_NOTE
from gpu_rightsizer.explain.events import announcements
from gpu_rightsizer.explain.fitting import MOST_BYTES as MOST_STATUS_BYTES
from gpu_rightsizer.explain.status import status
from tests import builders as make
from tests.schemas import STATUS_SCHEMA
from tests.strategies import HISTORIES, READINGS, classes, incidents, worlds

if TYPE_CHECKING:
    from gpu_rightsizer.domain.decision import Candidate
    from gpu_rightsizer.domain.workload import Incident
    from gpu_rightsizer.domain.world import Evaluation, World

TAKES = jsonschema.Draft202012Validator(STATUS_SCHEMA, format_checker=jsonschema.FormatChecker())

# From next to nothing to more than any machine: what a broken exporter or a typing error can put in a figure.
FIGURES = st.sampled_from((0.0, 5e-324, 1e-30, 1e-9, 1e-7, 0.5, 1.0, 0.999999999, 1e9, 1e15, 1e18, 1e27, 1e40, 1e300))
INFINITE = st.sampled_from((float("inf"), float("nan")))
SEEN = FIGURES.filter(lambda figure: figure <= 1e15)  # reading takes nothing above
WHOLE = st.sampled_from((0, 1, 1001, 10**6, 10**9, 2**31 - 1))  # replicas are 32 bits wide, and so do we count
NAMES = st.sampled_from(("m", "x" * 253, "\u20ac" * 253, "meta-llama/Llama-3.1-8B-Instruct")) | st.text(max_size=300)
TIMES = st.sampled_from(
    (make.NOW, datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), make.NOW + timedelta(1))
)


@st.composite
def extreme_incidents(draw: st.DrawFn) -> Incident:
    return replace(
        draw(incidents()), time=draw(TIMES), pod=draw(NAMES), model=draw(NAMES), message=draw(NAMES),
        instance_class=draw(NAMES), demand_tokens=draw(st.none() | FIGURES),
    )  # fmt: skip


@st.composite
def extreme_worlds(draw: st.DrawFn) -> World:
    """Worlds in which some figures are beyond what can be."""
    world = draw(worlds())
    seen: dict[str, Any] = {}
    for name in draw(st.sets(st.sampled_from(HISTORIES), max_size=4)):
        history = getattr(world.observation, name)
        if isinstance(history, BlockSeries):
            seen[name] = replace(history, values=np.full_like(history.values, draw(SEEN)))
    seen |= {name: Measured(draw(SEEN)) for name in draw(st.sets(st.sampled_from(READINGS), max_size=4))}
    seen["coverage"] = draw(st.sampled_from((0.0, 1e-9, 0.999999, 1.0)))
    seen["newest"] = draw(st.sampled_from((None, make.NOW, datetime(1970, 1, 1, tzinfo=UTC), make.NOW + timedelta(1))))
    had = world.workload
    settings_ = replace(
        had.settings,
        max_model_len=draw(st.none() | WHOLE.filter(bool)),
        max_num_seqs=draw(st.none() | WHOLE.filter(bool)),
    )
    workload = replace(
        had,
        settings=settings_,
        replicas=draw(WHOLE | st.just(had.replicas)),
        incidents=tuple(draw(st.lists(extreme_incidents(), max_size=40))),
        key=replace(had.key, name=draw(NAMES.filter(bool))),
    )
    return replace(world, workload=workload, observation=replace(world.observation, **seen))


@st.composite
def extreme_evaluations(draw: st.DrawFn) -> Evaluation:
    """What the core makes of an ordinary world, with figures that it should never come to."""
    (found,) = evaluate([draw(worlds())], make.LADDER, make.NOW)

    def spoilt(candidate: Candidate | None) -> Candidate | None:
        if candidate is None:
            return None
        figures = {
            name: draw(st.none() | FIGURES | INFINITE) for name in Prediction.__dataclass_fields__ if name in _FLOATS
        }
        sizes = {
            name: draw(st.none() | st.sampled_from((0, 1, 10**12, 10**18, 10**40)))
            for name in ("memory_available", "memory_need")
        }
        chances = {name: draw(st.none() | FIGURES.filter(lambda x: x <= 1)) for name in _CHANCES}
        place = replace(candidate.configuration, replicas=draw(WHOLE), accelerators=draw(WHOLE))
        hourly = draw(st.sampled_from((None, Decimal("1e-9"), Decimal("1e20"), Decimal("1e30"))))
        prediction = replace(candidate.prediction, **figures, **sizes, **chances)
        return replace(candidate, prediction=prediction, configuration=place, hourly=hourly)

    had = found.decision
    money = st.sampled_from((None, Decimal(0), Decimal("1e-9"), Decimal("-1e20"), Decimal("1e30")))
    cost = replace(had.cost, current_hourly=draw(money), target_hourly=draw(money), saved_hourly=draw(money))
    decision = replace(had, current=spoilt(had.current), target=spoilt(had.target), cost=cost)
    return replace(found, decision=decision)


_FLOATS = ("kv_capacity_tokens", "kv_demand_tokens", "tpot", "tpot_bound", "ttft", "ttft_bound")
_CHANCES = ("oom_probability", "overload_probability", "slo_miss_probability")


def assert_taken(told: Any) -> None:
    TAKES.validate(told)
    short = annotations_of(told)
    assert sum(len(key.encode()) + len(text.encode()) for key, text in short.items()) <= MOST_BYTES
    assert all(len(each.note.encode()) <= LONGEST_NOTE for each in announcements("uid", told, {}))


@settings(deadline=None, max_examples=60)
@given(worlds(), st.lists(classes(), max_size=3))
def test_every_evaluation_is_taken_by_the_api_server(world: World, more: list[Any]) -> None:
    (found,) = evaluate([world], [*make.LADDER, *more], make.NOW)

    assert_taken(status(found, make.NOW))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflows on the way: what is judged here is what is told
@settings(deadline=None, max_examples=60)
@given(extreme_worlds())
def test_figures_beyond_reason_do_not_lose_the_answer(world: World) -> None:
    (found,) = evaluate([world], make.LADDER, make.NOW)

    assert_taken(status(found, make.NOW))


@settings(deadline=None, max_examples=60)
@given(extreme_evaluations())
def test_predictions_beyond_reason_do_not_lose_the_answer(found: Evaluation) -> None:
    assert_taken(status(found, make.NOW))


@settings(deadline=None, max_examples=40)
@given(worlds(), st.lists(incidents(), min_size=16, max_size=40))
def test_a_status_is_small_whatever_was_remembered(world: World, past: list[Incident]) -> None:
    loud = tuple(
        replace(each, message="torch.OutOfMemoryError: CUDA out of memory. " * 9, settings_hash="0123456789abcdef")
        for each in past
    )
    (found,) = evaluate([replace(world, workload=replace(world.workload, incidents=loud))], make.LADDER, make.NOW)

    told = status(found, make.NOW)

    assert len(json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()) <= MOST_STATUS_BYTES
    assert len(told["incidents"]) == 16  # type: ignore[arg-type] # JSON: a list
