"""A twin that runs out of memory at long prompts lives with the limits that it is told to take, on the same class."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from benchmarks.verdicts import tuned
from gpu_rightsizer.adapters.prometheus import PrometheusMetrics
from gpu_rightsizer.adapters.prometheus_session import PrometheusSettings
from gpu_rightsizer.controller.sight import Sight
from gpu_rightsizer.domain.action import Action
from testbed import listed
from testbed.prometheus import PrometheusServer
from testbed.twin.arrivals import Family, Lengths, Steady
from testbed.twin.deployment import TwinSpec, simulate
from testbed.twin.fleet import holds_on
from testbed.twin.physics import EngineArgs
from testbed.twin.truth import Truth
from tests.e2e.on_paper import NOW, SMALL_HOST, SPAN, Onlooker, Situation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu_rightsizer.domain.world import Evaluation
    from testbed.cluster.base import Object

pytestmark = pytest.mark.e2e

CLASS = "g6e.xlarge"
SPEC = TwinSpec(
    name="llama",
    namespace="long-prompts",
    model="meta-llama/Llama-3.1-8B-Instruct",
    node_class=CLASS,
    args=EngineArgs(gpu_memory_utilization=0.98, max_model_len=16384),  # next to nothing left beside the cache
    family=Family(Steady(0.8), Lengths(prompt_cv=0.6, prompt_max=16000)),
    truth=Truth().with_spikes(107_000.0),  # bytes that each token of a prompt takes unprofiled
    span_s=SPAN,
    seed=3,
)


@dataclass(frozen=True, slots=True, eq=False)
class Failing(Situation):
    """May run on that class alone; its container ended so at the last out-of-memory of its history."""

    def objects(self) -> dict[str, list[Object]]:
        asked = replace(SMALL_HOST, spec={"placement": {"instanceClasses": {"include": [CLASS]}}})
        found = listed.objects(self.twin, asked, NOW - timedelta(days=30))
        last = {"terminated": listed.out_of_memory(NOW - timedelta(seconds=SPAN - LIVED.oom_times_s[-1]))}
        container = found["deployments"][0]["spec"]["template"]["spec"]["containers"][0]["name"]
        for pod in found["pods"]:
            pod["status"]["containerStatuses"] = [{"name": container, "lastState": last, "restartCount": 1}]
        return found


LIVED = simulate(SPEC, live_span_s=60.0)
SITUATION = Failing("long-prompts", SPEC)


@pytest.fixture(scope="module")
def told() -> Iterator[Evaluation]:
    with PrometheusServer() as server:
        server.push(SITUATION.series())
        metrics = PrometheusMetrics(PrometheusSettings(server.url, whole_s=120.0))
        with contextlib.closing(metrics):
            yield Onlooker(Sight(metrics)).look([SITUATION])[SITUATION.name]


def test_as_it_runs_the_twin_dies_now_and_then() -> None:
    assert LIVED.oom_times_s
    assert holds_on(SPEC, CLASS, 1).oom


def test_it_is_told_to_leave_more_beside_the_cache(told: Evaluation) -> None:
    target = told.decision.target

    assert told.decision.action is Action.TUNE
    assert target is not None
    assert target.configuration.instance.name == CLASS
    assert target.configuration.engine_args == {"--gpu-memory-utilization": "0.93"}


def test_with_those_limits_the_twin_lives(told: Evaluation) -> None:
    assert told.decision.target is not None
    args = tuned(SPEC.args, told.decision.target.configuration.engine_args)

    verdict = holds_on(replace(SPEC, args=args), CLASS, 1)

    assert (verdict.ok, verdict.why) == (True, "")
