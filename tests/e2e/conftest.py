"""The demo's fleet, put up once, with the chart installed and the operator running."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed.cases import Case, demo_fleet
from testbed.cluster.local import LocalCluster
from testbed.ground import install
from testbed.manifests import inference_deployment
from testbed.operator_process import OperatorProcess, wait_for_advice
from testbed.prometheus import PrometheusServer
from testbed.stage import Stage


@dataclass(frozen=True, slots=True)
class Live:
    """A fleet with its operator."""

    cluster: LocalCluster
    prometheus: PrometheusServer
    operator: OperatorProcess
    cases: list[Case]


@pytest.fixture(scope="session")
def live() -> Iterator[Live]:
    cases = demo_fleet()
    with LocalCluster() as cluster, PrometheusServer() as prometheus, Stage(cluster, prometheus) as stage:
        stage.put_up([case.actor for case in cases])
        install(cluster, prometheus.url)
        cluster.apply([inference_deployment(case.actor.twin, case.actor.asked) for case in cases])
        with OperatorProcess(cluster, prometheus.url) as operator:
            operator.wait_ready(120)
            wait_for_advice(cluster, len(cases))
            yield Live(cluster, prometheus, operator, cases)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One fleet lives through the tests of a file in the order they are written: the last ones end it."""
    here = [item for item in items if item.path.parent == Path(__file__).parent]
    ordered = iter(sorted(here, key=lambda item: (str(item.path), item.reportinfo()[1] or 0)))
    items[:] = [next(ordered) if item in here else item for item in items]
