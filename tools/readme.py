"""Places the output of a real demo run in README.md, a run of its own or the one recorded in the folder it is given.

A folder is what `python -m testbed.demo --record FOLDER` wrote. What stands in the README between `<!-- demo:NAME -->`
and `<!-- /demo:NAME -->` becomes the content of NAME.txt, and is followed by how many answers agree with the truth.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RECORDED = ROOT / ".cache" / "demo"
BLOCKS: Final = ("get", "truth", "describe", "summary")
AGREE: Final = "agree"  # a sentence made from truth.txt
TOOK: Final = "took"  # a sentence, not a block; absent where somebody else recorded the run
UNIDENTIFIED: Final = re.compile(r"^ +(?:UID|Resource Version): .*\n", re.MULTILINE)  # of no use to a reader


def record(folder: Path) -> int:
    """Run the demo and write what it printed into `folder`; the demo's exit code."""
    for old in folder.glob("*.txt"):
        old.unlink()
    began = time.monotonic()
    code = subprocess.run([sys.executable, "-m", "testbed.demo", "--record", folder], cwd=ROOT, check=False).returncode
    took = time.monotonic() - began
    (folder / f"{TOOK}.txt").write_text(
        f"The run recorded above took {took:.0f} s on {os.cpu_count()} cores (load average {os.getloadavg()[1]:.0f}), "
        f"with everything built before.\n"
    )
    return code


def filled(readme: str, folder: Path) -> str:
    """The README with every block of the recorded run in its place. Raises ValueError where a place was lost."""
    for name in BLOCKS:
        text = UNIDENTIFIED.sub("", (folder / f"{name}.txt").read_text()).rstrip()
        readme = _placed(readme, name, f"```{'console' if text.startswith('$') else 'text'}\n{text}\n```\n")
    readme = _placed(readme, AGREE, agreement((folder / "truth.txt").read_text()))
    took = folder / f"{TOOK}.txt"
    return _placed(readme, TOOK, took.read_text()) if took.exists() else readme


def agreement(truth: str) -> str:
    """How many of the answers agree."""
    verdicts = re.findall(r" (ok|DISAGREES)$", truth, re.MULTILINE)
    return f"In the run recorded here, {verdicts.count('ok')} of {len(verdicts)} answers agree with it.\n"


def _placed(readme: str, name: str, text: str) -> str:
    begin, end = f"<!-- demo:{name} -->\n", f"<!-- /demo:{name} -->"
    before, found, rest = readme.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"README.md has no place `{name}`: {begin.strip()} ... {end}")
    return f"{before}{begin}{text}{end}{after}"


def main(arguments: list[str]) -> int:
    """0 when README.md holds the run; 1 when the demo failed or disagreed, or nothing was recorded."""
    folder = Path(arguments[0]) if arguments else RECORDED
    folder.mkdir(parents=True, exist_ok=True)
    if not arguments and record(folder):
        print(f"README.md is left as it is: the demo failed. To place its run: {sys.argv[0]} {folder}", file=sys.stderr)
        return 1
    try:
        README.write_text(filled(README.read_text(), folder))
    except (OSError, ValueError) as error:
        print(f"README.md is left as it is: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
