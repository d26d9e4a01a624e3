"""Writes the values table of the chart's README from the `# --` comments in its values.yaml.

`python tools/chart_readme.py` writes, `--check` fails when the table is stale.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm" / "gpu-rightsizer"
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
    if not isinstance(root, yaml.MappingNode):
        raise SystemExit("values.yaml is not a mapping")
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


def rendered() -> dict[str, str]:
    """The README with a fresh table, by its path from the root of the repository."""
    before, rest = README.read_text().split(BEGIN)
    _, after = rest.split(END)
    return {str(README.relative_to(ROOT)): f"{before}{BEGIN}\n{table()}\n{END}{after}"}


def main(arguments: Sequence[str]) -> int:
    """Write the table, or with `--check` tell whether it is stale."""
    ((path, text),) = rendered().items()
    if "--check" not in arguments:
        README.write_text(text)
        return 0
    if README.read_text() == text:
        return 0
    print(f"{path} is stale: run `python tools/chart_readme.py`")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
