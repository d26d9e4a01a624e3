"""The command line without a cluster."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest
from click.testing import CliRunner

from gpu_rightsizer.cli import main


def test_the_version_of_a_clone_that_is_not_installed_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(main, "version", absent)

    assert main._version() == "unknown (run from source, not installed)"


def test_the_version_is_told() -> None:
    answer = CliRunner().invoke(main.cli, ["--version"])

    assert (answer.exit_code, answer.output) == (0, f"gpu-rightsizer, version {main._version()}\n")


def test_a_header_that_could_split_the_request_is_wrong_usage() -> None:
    options = ["run", "--prometheus-url", "http://store", "--prometheus-header", "X-Key: a\r\nX-Admin: s3cret"]

    answer = CliRunner().invoke(main.cli, options)

    assert answer.exit_code == 2
    assert "X-Key: the value must be one line of printable ASCII" in answer.output
    assert "s3cret" not in answer.output
