"""Writes every generated file of the repository, or with --check says which of them are stale.

A generator names the paths it owns (a folder, or one file) and renders their whole content; a file in an owned folder
that it did not render is extra, and --check fails on it. Others join by adding to GENERATORS.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "operator")]

from gpu_rightsizer.api.crd import crd_files  # noqa: E402 - the source roots have to be on the path first
from tools import chart_readme, crd_reference, reference_pages, render_manifests  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

Files = dict[str, str]  # path from the root of the repository -> content


@dataclass(frozen=True, slots=True)
class Generator:
    """One family of generated files. `owns` are folders or files, from the root; `render` gives all their content."""

    name: str
    owns: tuple[str, ...]
    render: Callable[[], Files]


CRD_FOLDERS = ("crds", "helm/gpu-rightsizer/files/crds")


def crds() -> Files:
    """The published CRDs, and the chart's copy of them."""
    return {f"{folder}/{name}": text for folder in CRD_FOLDERS for name, text in crd_files().items()}


GENERATORS: tuple[Generator, ...] = (
    Generator("crds", CRD_FOLDERS, crds),
    Generator("api-reference", (crd_reference.PAGE,), crd_reference.rendered),
    Generator("queries-reference", (reference_pages.QUERIES_PAGE,), reference_pages.queries),
    Generator("cli-reference", (reference_pages.CLI_PAGE,), reference_pages.command_line),
    Generator("metrics-reference", (reference_pages.METRICS_PAGE,), reference_pages.metrics),
    Generator("chart-readme", ("helm/gpu-rightsizer/README.md",), chart_readme.rendered),
    Generator("manifests", ("manifests/install.yaml", "manifests/monitoring"), render_manifests.rendered),
)


def present(generator: Generator, root: Path) -> set[str]:
    """The files that stand now where the generator owns, committed or not."""
    found = set[str]()
    for owned in generator.owns:
        path = root / owned
        files = path.rglob("*") if path.is_dir() else [path]
        found |= {str(file.relative_to(root)) for file in files if file.is_file()}
    return found


def stale(generator: Generator, root: Path) -> list[str]:
    """One line for each file that differs from what the generator renders, is absent, or should not be there."""
    wanted = generator.render()
    here = present(generator, root)
    lines = [f"{path}: not generated yet" for path in sorted(wanted.keys() - here)]
    lines += [f"{path}: not made by any generator" for path in sorted(here - wanted.keys())]
    differing = (path for path in wanted.keys() & here if (root / path).read_text(encoding="utf-8") != wanted[path])
    return lines + [f"{path}: out of date" for path in sorted(differing)]


def write(generator: Generator, root: Path) -> list[str]:
    """Brings the owned files up to date; returns what was written or removed."""
    wanted = generator.render()
    changed = [line.split(":", 1)[0] for line in stale(generator, root)]
    for path in changed:
        if path in wanted:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(wanted[path], encoding="utf-8")
        else:
            (root / path).unlink()
    return changed


def main(arguments: list[str] | None = None) -> int:
    """0 when everything is up to date (or has just been made so), 1 when --check finds something stale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when something is stale")
    parser.add_argument("--only", choices=[each.name for each in GENERATORS], help="one family of files")
    chosen = parser.parse_args(arguments)
    generators = [each for each in GENERATORS if chosen.only in (None, each.name)]
    if not chosen.check:
        for generator in generators:
            for path in write(generator, ROOT):
                print(path)
        return 0
    lines = [line for generator in generators for line in stale(generator, ROOT)]
    for line in lines:
        print(line, file=sys.stderr)
    if lines:
        print("run `make generate` and commit the result", file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
