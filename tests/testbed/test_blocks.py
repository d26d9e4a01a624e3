"""Blocks that were laid down are read by a real Prometheus: every copy under its own labels, across blocks."""

from pathlib import Path

import numpy as np
import pytest

from testbed import blocks
from testbed.blocks import Copy
from testbed.prometheus import PrometheusServer
from testbed.remote_write import STALE, Series

pytestmark = pytest.mark.e2e

BEGAN_S = 1_790_000_000 // 60 * 60
SAMPLES = 40 * 60  # over a block's end, which lies every 18 hours


def test_each_copy_is_a_series_of_its_own_with_all_its_samples(tmp_path: Path) -> None:
    times = (BEGAN_S + 60 * np.arange(SAMPLES)) * 1000
    values = np.random.default_rng(1).uniform(0, 1, SAMPLES)
    values[-1] = STALE
    template = [
        Series({"__name__": "used", "pod": "model", "node": "a"}, times, values),
        Series({"__name__": "up", "node": "a"}, times, np.ones(SAMPLES)),
    ]
    other = [Series({"__name__": "used", "pod": "other", "node": "b"}, times, np.append(2 * values[:-1], STALE))]
    copies = [Copy(0, {"model": "llm-0", "a": "n1"}), Copy(0, {"model": "llm-1", "a": "n1"}), Copy(1, {"b": "n2"})]

    blocks.write(tmp_path / "data", [template, other], copies)
    with PrometheusServer(data=tmp_path / "data", flags=blocks.FLAGS) as prometheus:
        end = BEGAN_S + 60.0 * (SAMPLES - 1)
        found = prometheus.raw_samples("used", seconds=60 * SAMPLES, at_seconds=end)
        (up,) = prometheus.raw_samples("up", seconds=60 * SAMPLES, at_seconds=end)
        present = prometheus.query("used", at_seconds=end)

    by_pod = {series[0].labels["pod"]: series for series in found}
    assert {pod: series[0].labels["node"] for pod, series in by_pod.items()} == {
        "llm-0": "n1",
        "llm-1": "n1",
        "other": "n2",
    }
    for pod, factor in (("llm-0", 1), ("llm-1", 1), ("other", 2)):
        np.testing.assert_array_equal([each.value for each in by_pod[pod]], factor * values[:-1])
    assert len(up) == SAMPLES  # the node's exporter, which both copies share, once
    assert present == []  # the stale marker ends them
