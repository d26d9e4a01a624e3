"""Fixtures that folders of tests share: clusters and Prometheus, once a session, their logs kept after a failure."""

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from testbed.cluster.base import Cluster
from testbed.cluster.choose import chosen_kind, start_cluster
from testbed.cluster.local import LocalCluster
from testbed.prometheus import PrometheusServer

FAILED = pytest.StashKey[bool]()
KEPT = pytest.StashKey[list[str]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remembers that a test failed, so that the fixtures below keep their logs."""
    report = yield
    if report.failed:
        item.session.config.stash[FAILED] = True
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says where the kept logs are."""
    for folder in config.stash.get(KEPT, []):
        terminalreporter.write_line(f"logs kept: {folder}")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # a worker of pytest-xdist, which ships no types
    """Takes over from a worker of pytest-xdist which logs it kept."""
    output: dict[str, list[str]] = getattr(node, "workeroutput", {})
    node.config.stash.setdefault(KEPT, []).extend(output.get("kept_logs", []))


def _keep_logs_after_failure(config: pytest.Config, server: Cluster | PrometheusServer) -> None:
    if config.stash.get(FAILED, False):
        kept = config.stash.setdefault(KEPT, [])
        kept.append(str(server.keep_logs()))
        if hasattr(config, "workeroutput"):
            config.workeroutput["kept_logs"] = kept


@pytest.fixture(scope="session")
def local_cluster(pytestconfig: pytest.Config) -> Iterator[LocalCluster]:
    """A control plane of local processes, shared by the session: work in a namespace of your own."""
    with LocalCluster() as cluster:
        yield cluster
        _keep_logs_after_failure(pytestconfig, cluster)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """The cluster chosen by CLUSTER (kind or local), shared by the session."""
    kind = chosen_kind()
    if kind == "local":
        yield request.getfixturevalue("local_cluster")
        return
    with start_cluster(kind) as started:
        yield started
        _keep_logs_after_failure(pytestconfig, started)


@pytest.fixture(scope="session")
def prometheus(pytestconfig: pytest.Config) -> Iterator[PrometheusServer]:
    """A Prometheus without targets, shared by the session: use metric names or labels of your own."""
    with PrometheusServer(scrape_interval_seconds=1) as server:
        yield server
        _keep_logs_after_failure(pytestconfig, server)
