import subprocess
import sys
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from testbed.twin.deployment import TwinRun, simulate
from testbed.twin.exporter import CONTENT_TYPE, Exporter, Recording, load
from testbed.twin.knobs import Knobs
from testbed.twin.series import history, recording
from tests.twin.builders import HOUR_S, small_spec

END = 1_764_000_000.0
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run() -> TwinRun:
    return simulate(small_spec(span_s=HOUR_S))


@pytest.fixture(scope="module")
def pages(run: TwinRun) -> Recording:
    return recording([(run, None)], END)


def _scrape(url: str) -> dict[tuple[tuple[str, str], ...], float]:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own server
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        tuple(sorted({"__name__": sample.name, **sample.labels}.items())): sample.value
        for family in families
        for sample in family.samples
    }


def _as_prometheus_stores(scraped: dict[str, str], target: dict[str, str]) -> tuple[tuple[str, str], ...]:
    stored = {(f"exported_{name}" if name in target else name): value for name, value in scraped.items()}
    return tuple(sorted((stored | target).items()))


def test_live_begins_where_history_ends(run: TwinRun, pages: Recording) -> None:
    last = {tuple(sorted(series.labels.items())): series.values[-1] for series in history(run, END)}
    seen: dict[tuple[tuple[str, str], ...], float] = {}

    with Exporter(pages, clock=lambda: END + 1.0) as exporter:
        for group in exporter.target_groups():
            target = {name: value for name, value in group["labels"].items() if not name.startswith("__")}
            for labels, value in _scrape(f"http://{group['targets'][0]}{group['labels']['__metrics_path__']}").items():
                seen[_as_prometheus_stores(dict(labels), target)] = value

    assert seen == {labels: value for labels, value in last.items() if ("__name__", "up") not in labels}


def test_counters_go_on_as_time_passes(pages: Recording) -> None:
    path = next(path for path in pages.pages if path.startswith("/pods/"))
    totals = []
    for later in (0.0, 600.0, 3600.0):
        with Exporter(pages, clock=partial(float, END + later), default_path=path) as exporter:
            scraped = _scrape(f"http://127.0.0.1:{exporter.port}/metrics")
        totals += [value for labels, value in scraped.items() if ("__name__", "vllm:generation_tokens_total") in labels]

    assert totals[0] < totals[1] < totals[2]


@pytest.mark.parametrize(("later", "path", "status"), [(0, "/nothing", 404), (10 * HOUR_S, None, 503)])
def test_what_is_not_there_is_not_answered(pages: Recording, later: float, path: str | None, status: int) -> None:
    asked = path or next(iter(pages.pages))
    with Exporter(pages, clock=lambda: END + later) as exporter, pytest.raises(urllib.error.HTTPError) as answer:
        _scrape(f"http://127.0.0.1:{exporter.port}{asked}")

    answer.value.close()
    assert answer.value.code == status


def test_a_lost_target_answers_503_and_a_lost_exporter_nothing() -> None:
    lost = recording([(simulate(small_spec(span_s=HOUR_S, knobs=Knobs(target_loss=((0, 1e9),)))), None)], END)
    silent = recording([(simulate(small_spec(span_s=HOUR_S, knobs=Knobs(dcgm_loss=((0, 1e9),)))), None)], END)

    assert [lost.answer(path, END)[0] for path in lost.pages] == [503, 200]
    assert [len(silent.answer(path, END)[1]) > 0 for path in silent.pages] == [True, False]


def test_a_saved_recording_is_the_same(pages: Recording, tmp_path: Path) -> None:
    pages.save(tmp_path / "recording")

    again = load(tmp_path / "recording")

    assert list(again.pages) == list(pages.pages)
    assert all(again.answer(path, END + 100) == pages.answer(path, END + 100) for path in pages.pages)


def test_the_exporter_needs_the_standard_library_only() -> None:
    script = "import sys; sys.modules['numpy'] = None; import testbed.twin.exporter"

    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)
