"""The generated files are up to date, and `--check` finds every way in which they could not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools import generate

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"crds/a.yaml": "a\n", "crds/b.yaml": "b\n"}
GENERATOR = generate.Generator("crds", ("crds",), lambda: FILES)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository in which everything was just generated."""
    assert generate.write(GENERATOR, tmp_path) == ["crds/a.yaml", "crds/b.yaml"]
    return tmp_path


@pytest.mark.parametrize("name", ["crds", "api-reference"])  # the chart's own tests look after the others
def test_the_generated_files_in_the_repository_are_up_to_date(name: str) -> None:
    (generator,) = (each for each in generate.GENERATORS if each.name == name)

    assert generate.stale(generator, generate.ROOT) == []


def test_what_was_just_generated_is_not_written_again(repository: Path) -> None:
    assert generate.stale(GENERATOR, repository) == []
    assert generate.write(GENERATOR, repository) == []


def test_a_changed_a_missing_and_an_extra_file_are_found_and_mended(repository: Path) -> None:
    (repository / "crds/a.yaml").write_text("edited by hand\n")
    (repository / "crds/b.yaml").unlink()
    (repository / "crds/old.yaml").write_text("a kind we no longer have\n")

    assert generate.stale(GENERATOR, repository) == [
        "crds/b.yaml: not generated yet",
        "crds/old.yaml: not made by any generator",
        "crds/a.yaml: out of date",
    ]
    generate.write(GENERATOR, repository)
    assert {path.name: path.read_text() for path in (repository / "crds").iterdir()} == {
        "a.yaml": "a\n",
        "b.yaml": "b\n",
    }


def test_check_exits_1_and_names_the_file_and_the_remedy(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "ROOT", repository)
    monkeypatch.setattr(generate, "GENERATORS", (GENERATOR,))
    assert generate.main(["--check"]) == 0

    (repository / "crds/a.yaml").write_text("edited by hand\n")

    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().err == "crds/a.yaml: out of date\nrun `make generate` and commit the result\n"
    assert (repository / "crds/a.yaml").read_text() == "edited by hand\n"
