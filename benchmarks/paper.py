"""The short path from a twin to its recommendation, without a cluster or a Prometheus.

What a cluster would list is written down, and the test suite's store in memory, which a contract test holds against a
real Prometheus, answers the operator's queries from the twin's samples. From there on all is the operator's own code.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from benchmarks.fleet import kept, spare_node
from benchmarks.verdicts import Said
from gpu_rightsizer.controller.sight import Sight
from gpu_rightsizer.explain.status import status
from gpu_rightsizer.observe.queries import Scope
from testbed import listed
from testbed.manifests import Asked, Host
from testbed.twin.hardware import CLASSES
from testbed.twin.series import history
from tests.e2e.on_paper import Onlooker
from tests.fakes.metrics import FakeMetrics, Scraped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_rightsizer.domain.world import Evaluation
    from testbed.cluster.base import Object
    from testbed.twin.deployment import TwinRun
    from testbed.twin.population import Life

STEP_S = 60.0  # between two samples of the history
LOOK_AFTER_S = 20.0  # the last scrape
SMALL_HOST = Host(cpu="1", memory="4Gi", shared_memory="1Gi")  # the twin judges no host, so none may be in the way


@dataclass(frozen=True, slots=True, eq=False)
class Paper:
    """A life on paper as it stands at `end`, the time of the last scrape."""

    life: Life
    run: TwinRun
    end: datetime

    def objects(self) -> dict[str, list[Object]]:
        """What a cluster lists of it."""
        ends = self._ends()
        began = min([self.end - timedelta(seconds=self.run.spec.span_s), *(at - timedelta(days=3) for at in ends)])
        lists = listed.objects(self.run.spec, asked(), began)
        (wanted,) = lists["inference_deployments"]
        wanted["status"] = {"incidents": self._remembered()}
        if ends:
            last = {"terminated": listed.out_of_memory(max(ends))}
            lists["pods"][0]["status"]["containerStatuses"] = [{"name": "vllm", "restartCount": 1, "lastState": last}]
        return lists

    def _ends(self) -> list[datetime]:
        """Out-of-memories on the present class, which the kubelet tells."""
        began = self.end - timedelta(seconds=self.run.spec.span_s)
        here = [each for each in self.life.incidents if each.node_class == self.run.spec.node_class]
        lived = [began + timedelta(seconds=at) for at in self.run.oom_times_s]
        return [*lived, *(self.end - timedelta(days=each.days_ago) for each in here)]

    def _remembered(self) -> list[Object]:
        return [
            {
                "occurredAt": listed.stamp(self.end - timedelta(days=each.days_ago)),
                "cause": "CudaStartup" if each.at_start else "CudaServing",
                "instanceClass": each.node_class,
                "model": self.run.spec.model,
            }
            for each in self.life.incidents
            if each.node_class != self.run.spec.node_class
        ]

    def scraped(self) -> list[Scraped]:
        """What the store holds of it."""
        series = history(self.run, self.end.timestamp(), listed.pods(self.run.spec), step_s=STEP_S)
        return [Scraped(each.labels, each.times_ms / 1000.0, each.values) for each in kept(series)]


class Spares:
    """An empty node of every class: each can be had."""

    def objects(self) -> dict[str, list[Object]]:
        """As a cluster lists them."""
        return {"nodes": [spare_node(name).manifest() for name in CLASSES]}


def asked() -> Asked:
    """Exactly the classes that the twin knows."""
    return Asked(host=SMALL_HOST, spec={"placement": {"instanceClasses": {"include": sorted(CLASSES)}}})


def told(papers: Sequence[Paper]) -> list[Evaluation]:
    """What the operator makes of each, seen together at the end of the first (a fleet tells more of bursts)."""
    scraped = [each for paper in papers for each in paper.scraped()]
    scope = Scope((), tuple(sorted({each.run.spec.namespace for each in papers})))
    onlooker = Onlooker(Sight(FakeMetrics(scraped, (scope,))))
    return onlooker.evaluations([Spares(), *papers], papers[0].end + timedelta(seconds=LOOK_AFTER_S))


def read(paper: Paper, evaluation: Evaluation) -> Said:
    """As it stands in the status."""
    return Said.read(status(evaluation, paper.end + timedelta(seconds=LOOK_AFTER_S)))
