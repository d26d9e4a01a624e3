"""`make test`: every check in order, each with its time; the last lines say what did not run and why."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PY = sys.executable
BIN = Path(PY).parent
sys.path[:0] = [str(ROOT), str(ROOT / "operator")]

LINT = (
    ("ruff", [BIN / "ruff", "check", "."]),
    ("ruff format", [BIN / "ruff", "format", "--check", "."]),
    ("mypy --strict", [BIN / "mypy"]),
    ("import contracts", [BIN / "lint-imports"]),
    ("generated files", [PY, "tools/generate.py", "--check"]),
)
FMT = (
    ("ruff fix", [BIN / "ruff", "check", "--fix", "."]),
    ("ruff format", [BIN / "ruff", "format", "."]),
)
UNIT = (("unit, property and contract tests", [PY, "-m", "pytest", "-q", "-n", "2", "-m", "not e2e and not kind"]),)
E2E = (
    ("tools of the test cluster", [PY, "-m", "testbed.tools"]),
    ("end-to-end tests on the local control plane", [PY, "-m", "pytest", "-q", "-m", "e2e and not kind"]),
)
KIND = (("end-to-end tests on kind", [PY, "-m", "pytest", "-q", "-m", "kind"]),)


def run(steps: tuple[tuple[str, list[object]], ...], cluster: str = "local") -> list[str]:
    """Run each step; the names of those that failed."""
    failed = []
    env = {**os.environ, "CLUSTER": cluster, "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}"}
    for name, command in steps:
        started = time.monotonic()
        print(f"== {name}", flush=True)
        code = subprocess.run([str(part) for part in command], cwd=ROOT, env=env, check=False).returncode
        print(f"== {name}: {'ok' if code == 0 else 'FAILED'} ({time.monotonic() - started:.0f} s)", flush=True)
        if code:
            failed.append(name)
    return failed


def kind_part() -> tuple[list[str], str]:
    """Run the kind part where it can run: the failures, and why it did not run (empty when it did)."""
    from testbed.cluster.choose import why_not_kind

    if os.environ.get("CLUSTER") == "local":
        return [], "CLUSTER=local"
    reason = why_not_kind()
    return ([], reason) if reason else (run(KIND, cluster="kind"), "")


def main() -> int:
    """Run what the argument names (all without one); 0 when nothing failed."""
    what = sys.argv[1] if len(sys.argv) > 1 else "all"
    skipped = ""
    failed: list[str] = []
    if what in ("lint", "all"):
        failed += run(LINT)
    if what == "fmt":
        failed += run(FMT)
    if what in ("unit", "all"):
        failed += run(UNIT)
    if what in ("e2e", "all"):
        failed += run(E2E)
    if what in ("kind", "all"):
        more, skipped = kind_part()
        failed += more
    for name in failed:
        print(f"FAILED: {name}")
    if skipped:
        print(f"NOT RUN: the kind part: {skipped}")
    return 1 if failed or (what == "kind" and skipped) else 0


if __name__ == "__main__":
    sys.exit(main())
