"""Make `.venv` from the hashed lock with nothing but Python's standard library, and say plainly what is missing."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements-dev.lock"
READY = VENV / ".ready"


def help_targets(makefile: Path) -> None:
    """Print every target with the words after its `##`."""
    for target, words in re.findall(r"^([a-z0-9-]+):[^#\n]*## (.+)$", makefile.read_text(), re.MULTILINE):
        print(f"  make {target:10} {words}")


def missing() -> list[str]:
    """What this machine lacks, each with the way to get it."""
    lacks = []
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs this may have an older one
        lacks.append(
            f"Python 3.11 or newer (this is {sys.version.split()[0]}): install it and run make PYTHON=python3.11"
        )
    try:
        __import__("ensurepip")
    except ImportError:
        lacks.append("Python's venv module: apt-get install python3-venv")
    return lacks


def make_venv() -> None:
    """Create the environment and install exactly what the lock names, by hash."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if READY.exists() and READY.read_text() == digest:
        READY.touch()
        return
    print("installing the Python packages of requirements-dev.lock into .venv (about a minute) ...", flush=True)
    if not (VENV / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    pip = [VENV / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes"]
    subprocess.run([*pip, "-r", LOCK], check=True)
    READY.write_text(digest)


def main() -> int:
    """Run; 0 done, 1 something is missing."""
    if "--help-targets" in sys.argv:
        help_targets(ROOT / sys.argv[sys.argv.index("--help-targets") + 1])
        return 0
    if "--clean" in sys.argv:
        for folder in (VENV, ROOT / ".cache"):
            shutil.rmtree(folder, ignore_errors=True)
        return 0
    lacks = missing()
    for item in lacks:
        print(f"missing: {item}", file=sys.stderr)
    if lacks:
        return 1
    make_venv()
    return 0


if __name__ == "__main__":
    sys.exit(main())
