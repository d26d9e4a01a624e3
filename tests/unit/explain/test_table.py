"""The table of a fleet."""

from __future__ import annotations

from dataclasses import replace

from gpu_rightsizer.explain.table import aligned, fleet_table, total
from tests.unit.explain.examples import grow, keep, named, park, resize, unknown

FLEET = [
    named(keep(), "right"),
    named(resize(), "large"),
    named(unknown(), "blind"),
    named(park(), "idle"),
    named(grow(), "small"),
]


def test_the_largest_saving_comes_first_and_unknown_saves_nothing() -> None:
    lines = fleet_table(FLEET).splitlines()

    assert [line.split()[1] for line in lines[1:6]] == ["idle", "large", "blind", "right", "small"]
    assert lines[0].split()[:4] == ["NAMESPACE", "NAME", "CURRENT", "RECOMMENDED"]
    assert "$40,179" in lines[1]
    assert lines[3].split()[5:7] == ["-", "-"]
    assert "-$771" in lines[5]


def test_the_sum_counts_only_what_is_known() -> None:
    assert total(FLEET) == "5 deployments cost $121,713 a month; $79,624 of it could be saved."


def test_a_price_that_is_not_known_is_said() -> None:
    blind = unknown()
    unpriced = replace(blind.decision.cost, current_hourly=None)

    assert "1 without a known price" in total([replace(blind, decision=replace(blind.decision, cost=unpriced))])


def test_columns_are_as_wide_as_their_widest_cell_without_trailing_spaces() -> None:
    assert aligned(("A", "LONG"), [("wide cell", "1"), ("x", "22")], frozenset({"LONG"})) == (
        "A          LONG\nwide cell     1\nx            22\n"
    )
