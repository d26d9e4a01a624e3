"""History pushed into Prometheus and samples scraped from a live target are one series to whoever queries."""

import http.server
import math
import os
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from typing_extensions import override

from testbed.prometheus import Job, PrometheusServer, QueryFailed, Targets
from testbed.remote_write import STALE, PushRefused, Series

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("prometheus")]

STEP_MS = 60_000
DAY_MS = 86_400_000


class Exporter(http.server.BaseHTTPRequestHandler):
    """A target whose counter grows by one a second, counted from 1970."""

    def do_GET(self) -> None:
        """Answers every path with the one counter."""
        body = f'# TYPE live_total counter\nlive_total{{instance="own"}} {time.time()}\n'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def exporter() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def minutes_until(end_ms: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """`count` times a minute apart, the last at `end_ms`."""
    return end_ms - STEP_MS * np.arange(count - 1, -1, -1, dtype=np.int64)


def now_ms() -> int:
    return int(time.time() * 1000)


def test_history_and_scrapes_join_without_a_gap(prometheus: PrometheusServer, exporter: str) -> None:
    times = minutes_until(now_ms(), 14 * 24 * 60)
    labels = {"__name__": "live_total", "job": "live", "instance": "own", "node": "n1"}
    assert prometheus.push([Series(labels, times, times / 1000)]) == 14 * 24 * 60

    job = Job("live", honor_labels=True, scrape_interval_seconds=1)
    job.groups.append(Targets([exporter], {"node": "n1"}))
    prometheus.add_job(job)
    deadline = time.monotonic() + 20
    while not prometheus.query('count_over_time(live_total{job="live"}[20s]) > 3'):
        assert time.monotonic() < deadline, prometheus.targets()
        time.sleep(0.2)

    (series,) = prometheus.raw_samples('live_total{job="live"}', seconds=3600)
    gaps = np.diff([sample.time for sample in series])
    assert gaps.max() <= 60.001
    assert gaps.min() < 2
    (increase,) = prometheus.query('increase(live_total{job="live"}[1h])')
    assert increase.value == pytest.approx(3600, rel=0.001)
    (fortnight,) = prometheus.query('count_over_time(live_total{job="live"}[14d])')
    assert fortnight.value >= 14 * 24 * 60 - 1


def test_nan_is_a_value_and_stale_is_an_end(prometheus: PrometheusServer) -> None:
    times = minutes_until(now_ms(), 60)
    values = np.ones(60)
    values[30] = math.nan
    ended = np.ones(60)
    ended[-1] = STALE
    prometheus.push([Series({"__name__": "with_nan"}, times, values), Series({"__name__": "ended"}, times, ended)])

    (nan,) = prometheus.query("with_nan", at_seconds=float(times[30]) / 1000)
    assert math.isnan(nan.value)
    assert prometheus.query("count_over_time(with_nan[2h])")[0].value == 60
    assert prometheus.query("ended", at_seconds=float(times[-2]) / 1000)[0].value == 1
    assert prometheus.query("ended") == []


def test_series_of_different_spans_are_pushed_together(prometheus: PrometheusServer) -> None:
    now = now_ms()
    old, new = minutes_until(now - 10 * DAY_MS, 100), minutes_until(now, 1000)
    series = [
        Series({"__name__": "span", "which": "old"}, old, np.arange(100.0)),
        Series({"__name__": "span", "which": "new"}, new, np.arange(1000.0)),
        Series({"__name__": "span", "which": "none"}, old[:0], np.zeros(0)),
    ]

    assert prometheus.push(series) == 1100

    counts = {s.labels["which"]: s.value for s in prometheus.query("count_over_time(span[15d])")}
    assert counts == {"old": 100, "new": 1000}


def test_what_is_too_old_is_refused_by_name(prometheus: PrometheusServer) -> None:
    recent, ancient = minutes_until(now_ms(), 2), minutes_until(now_ms() - 40 * DAY_MS, 2)
    prometheus.push([Series({"__name__": "age"}, recent, np.ones(2))])

    with pytest.raises(PushRefused, match=r"out of bounds|too old"):
        prometheus.push([Series({"__name__": "age", "which": "ancient"}, ancient, np.ones(2))])


def test_a_wrong_query_raises_with_prometheus_own_words(prometheus: PrometheusServer) -> None:
    with pytest.raises(QueryFailed, match="parse error"):
        prometheus.query("rate(")


def test_targets_come_and_go_without_a_reload(prometheus: PrometheusServer, exporter: str) -> None:
    prometheus.add_job(Job("coming", honor_labels=True))
    prometheus.add_targets("coming", exporter, labels={"pod": "p1"})

    def known() -> list[str]:
        return [t["labels"]["pod"] for t in prometheus.targets() if t["labels"]["job"] == "coming"]

    deadline = time.monotonic() + 20
    while known() != ["p1"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    prometheus.remove_targets("coming", exporter)
    while known():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_nothing_is_left_after_close() -> None:
    with PrometheusServer() as server:
        folder = server.config.parent
        (process,) = server.processes.started
        assert server.query("vector(1)")[0].value == 1

    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_a_series_needs_a_name_and_as_many_values_as_times() -> None:
    times = minutes_until(now_ms(), 2)
    with pytest.raises(ValueError, match="without __name__"):
        Series({"job": "x"}, times, np.ones(2))
    with pytest.raises(ValueError, match="2 times for 3 values"):
        Series({"__name__": "x"}, times, np.ones(3))
    with pytest.raises(ValueError, match="not milliseconds"):
        Series({"__name__": "x"}, times // 1000, np.ones(2))
