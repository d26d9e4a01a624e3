"""Writes a result twice, as JSON for programs and as Markdown for people, with what it was measured on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from testbed import tools

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESULTS = Path(__file__).resolve().parent / "results"
GIB = 1024**3
PACKAGES = ("kopf", "kubernetes", "numpy", "pydantic", "prometheus-api-client")

Figure: TypeAlias = "str | int | float | bool | None"


@dataclass(frozen=True, slots=True)
class Goal:
    """What was aimed at, what came out, and whether that is met."""

    what: str
    aim: str
    found: str
    met: bool


@dataclass(frozen=True, slots=True)
class Result:
    """One campaign's outcome: `body` is Markdown below the goals, `figures` the same as data."""

    name: str
    title: str
    command: str
    goals: Sequence[Goal]
    body: str
    figures: Mapping[str, object]
    cluster: bool = False  # whether the control plane and Prometheus took part

    def write(self, folder: Path | None = None) -> int:
        """Writes both files and prints the Markdown; 0 when every goal is met, else 1."""
        where = folder or RESULTS
        where.mkdir(parents=True, exist_ok=True)
        stamp = {"command": self.command, "date": _now(), "machine": machine(), "versions": versions(self.cluster)}
        goals = [{"what": g.what, "aim": g.aim, "found": g.found, "met": g.met} for g in self.goals]
        content = {"name": self.name, **stamp, "goals": goals, **self.figures}
        (where / f"{self.name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        text = self._markdown(stamp)
        (where / f"{self.name}.md").write_text(text, encoding="utf-8")
        print(text, flush=True)
        return 0 if all(goal.met for goal in self.goals) else 1

    def _markdown(self, stamp: Mapping[str, object]) -> str:
        rows = [(g.what, g.aim, g.found, "met" if g.met else "**missed**") for g in self.goals]
        head = f"# {self.title}\n\nCommand: `{self.command}`\n\n{_where(stamp)}\n"
        goals = f"\n{table(('goal', 'aim', 'found', ''), rows)}\n" if rows else ""
        return f"{head}{goals}\n{self.body.strip()}\n"


def _where(stamp: Mapping[str, object]) -> str:
    found, have = machine(), stamp["versions"]
    assert isinstance(have, dict)  # noqa: S101 - written above
    listed = ", ".join(f"{name} {number}" for name, number in have.items())
    return f"{stamp['date']}, {found['cores']} cores of {found['cpu']}, {found['memory_gib']} GiB of memory; {listed}."


def table(head: Sequence[str], rows: Sequence[Sequence[Figure]]) -> str:
    """A Markdown table; None is shown as a dash."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Figure) -> str:
    return "–" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def machine() -> dict[str, Figure]:
    """Cores this process may use, memory and processor; nothing that names the machine."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text(encoding="utf-8").splitlines() if cpus.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / GIB, 1),
        "cpu": model or platform.machine(),
    }


def versions(cluster: bool) -> dict[str, str]:
    """Of Python, of what the product is built on, and of the programs that took part."""
    found = {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    return found | ({"Kubernetes": tools.KUBERNETES, "Prometheus": _prometheus()} if cluster else {})


def _prometheus() -> str:
    command = [str(tools.program("prometheus")), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).split()[2]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
