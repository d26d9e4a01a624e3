"""Writes the values table of the chart's README from the `# --` comments in its values.yaml.

`python tools/chart_readme.py` writes, `--check` fails when the table is stale.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parent.parent / "helm" / "gpu-rightsizer"
README = CHART / "README.md"
BEGIN = "<!-- values: written by tools/chart_readme.py -->"
END = "<!-- end of values -->"
MARK = "# -- "


@dataclass(frozen=True, slots=True)
class Value:
    """One documented value of the chart."""

    path: str
    default: str
    """As JSON."""
    comment: str
    """Empty where values.yaml says nothing about it."""


def values() -> Sequence[Value]:
    """All values in the order of values.yaml: those with a comment, and the leaves without one."""
    text = (CHART / "values.yaml").read_text()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101  a values file is a mapping
    return list(_walk(root, "", text.splitlines()))


def _walk(node: yaml.MappingNode, prefix: str, lines: Sequence[str]) -> Iterator[Value]:
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        above = lines[key.start_mark.line - 1].strip() if key.start_mark.line else ""
        comment = above.removeprefix(MARK) if above.startswith(MARK) else ""
        if not comment and isinstance(value, yaml.MappingNode) and value.value:
            yield from _walk(value, f"{path}.", lines)
        else:
            yield Value(path, json.dumps(yaml.safe_load(yaml.serialize(value))), comment)


def table() -> str:
    """The Markdown table."""
    rows = [f"| `{each.path}` | `{each.default}` | {each.comment} |" for each in values()]
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows]).replace("<", "&lt;")


def updated(readme: str) -> str:
    """The README with a fresh table."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main(arguments: Sequence[str]) -> int:
    """Write the table, or with `--check` tell whether it is stale."""
    now = README.read_text()
    if "--check" in arguments:
        if now == updated(now):
            return 0
        print("helm/gpu-rightsizer/README.md is stale: run `python tools/chart_readme.py`")
        return 1
    README.write_text(updated(now))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
