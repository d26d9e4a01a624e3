"""What stands below the table is harmless to a terminal."""

from __future__ import annotations

from gpu_rightsizer.backtest.advice import Advice


def test_a_name_from_a_trace_cannot_change_the_terminal_nor_the_lines() -> None:
    told = Advice("chat\n\x1b[31m\u202eevil", "1/8", 1, 3, 0.7, 15)

    assert str(told).startswith("chat [31m evil: 1 to 3 x 1/8")
    assert told.as_json()["deployment"] == "chat\n\x1b[31m\u202eevil"
