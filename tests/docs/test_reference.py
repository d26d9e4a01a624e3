"""The reference pages: every command, option, metric and query is there, with the labels that samples really have."""

from __future__ import annotations

import pytest

from gpu_rightsizer.cli.main import cli
from gpu_rightsizer.explain.samples import HELP, PREFIX, Cycle, cycle_samples, deployment_samples, reliability_samples
from gpu_rightsizer.observe.queries import QUERIES, How
from tests.docs.pages import ROOT
from tests.unit.explain.examples import TOLD, keep, resize, unknown
from tools import generate, reference_pages

CLI_PAGE = (ROOT / reference_pages.CLI_PAGE).read_text()
METRICS_PAGE = (ROOT / reference_pages.METRICS_PAGE).read_text()
QUERIES_PAGE = (ROOT / reference_pages.QUERIES_PAGE).read_text()


@pytest.mark.parametrize("family", ["queries-reference", "cli-reference", "metrics-reference"])
def test_the_generated_pages_are_up_to_date(family: str) -> None:
    (generator,) = (each for each in generate.GENERATORS if each.name == family)

    assert generate.stale(generator, generate.ROOT) == []


def test_every_command_and_option_is_on_the_page() -> None:
    for command in cli.commands.values():
        assert f"## gpu-rightsizer {command.name}\n" in CLI_PAGE
        for parameter in command.params:
            assert any(f"{option} " in CLI_PAGE or f"{option}\n" in CLI_PAGE for option in parameter.opts)


@pytest.mark.parametrize("metric", HELP)
def test_a_metric_is_on_the_page_with_its_meaning(metric: str) -> None:
    (row,) = (line for line in METRICS_PAGE.splitlines() if line.startswith(f"| `{PREFIX}{metric}` |"))

    assert HELP[metric] in row


def test_the_labels_on_the_page_are_those_of_the_samples() -> None:
    cycle = Cycle(cycles=1, seconds=1.0, queries=10, samples=100, errors={"Unavailable": 1})
    samples = [*deployment_samples([resize(), keep(), unknown()]), *reliability_samples(TOLD), *cycle_samples(cycle, 3)]

    told = {each.name.removeprefix(PREFIX): tuple(each.labels) for each in samples}

    assert told.keys() == HELP.keys()
    assert {metric: labels for metric, labels in told.items() if labels} == reference_pages.LABELS


@pytest.mark.parametrize("query", QUERIES, ids=[query.name for query in QUERIES])
def test_a_query_is_on_the_page_with_all_its_metrics(query: object) -> None:
    assert query in QUERIES
    (found,) = (each for each in QUERIES if each is query)
    section = QUERIES_PAGE.partition(f"## {found.name}\n")[2].partition("\n## ")[0]

    for part in found.parts:
        for metric in part.metrics:
            assert f"`{metric}`" in section


def test_every_way_of_reading_a_metric_is_explained() -> None:
    assert reference_pages.HOW.keys() == set(How)
