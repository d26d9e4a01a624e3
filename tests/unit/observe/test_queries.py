"""The queries as text: nothing that invents figures, every selector narrowed, and few of them."""

from __future__ import annotations

import re

import pytest

from gpu_rightsizer.observe.queries import BLOCK_SECONDS, QUERIES, WINDOW_SECONDS, Query, Scope, Slot, quoted

SCOPE = Scope((("cluster", 'a"b'),), ("chat", "code"))
EACH = pytest.mark.parametrize("query", QUERIES, ids=[query.name for query in QUERIES])


@EACH
@pytest.mark.parametrize("banned", [r"\bor\s+vector\b", r"\babsent", r"\blimit", r"\bdefault\b", r"\bbool\b", r"\bavg"])
def test_nothing_puts_a_figure_where_there_is_none(query: Query, banned: str) -> None:
    assert not re.search(banned, query.promql(SCOPE))


@EACH
def test_every_selector_is_narrowed_to_the_cluster(query: Query) -> None:
    text = query.promql(SCOPE)
    names = {metric for part in query.parts for metric in part.metrics}

    for name in names:
        selectors = re.findall(rf"(?<![|\w:\"]){re.escape(name)}(?![\w\"])(\{{[^}}]*\}})?", text)
        assert selectors
        assert all('cluster="a\\"b"' in selector for selector in selectors), name


@EACH
def test_without_a_scope_no_selector_is_empty(query: Query) -> None:
    assert "{}" not in query.promql(Scope())


def test_what_every_pod_has_is_asked_of_the_fleets_namespaces_alone() -> None:
    host = next(query for query in QUERIES if query.name == "host")

    assert host.promql(SCOPE).count('namespace=~"chat|code"') == 2
    assert "namespace=~" not in host.promql(Scope())


def test_there_are_few_queries_and_each_slot_is_asked_for_once() -> None:
    assert len(QUERIES) <= 13
    slots = [part.slot for query in QUERIES for part in query.parts]
    assert sorted(slots) == sorted(Slot)


def test_names_are_unique() -> None:
    assert len({query.name for query in QUERIES}) == len(QUERIES)


def test_the_window_is_whole_blocks() -> None:
    assert WINDOW_SECONDS % BLOCK_SECONDS == 0


@pytest.mark.parametrize(
    ("value", "literal"), [("a", '"a"'), ('a"b', '"a\\"b"'), ("a\\b", '"a\\\\b"'), ("a\nb", '"a\\nb"')]
)
def test_text_is_quoted(value: str, literal: str) -> None:
    assert quoted(value) == literal
