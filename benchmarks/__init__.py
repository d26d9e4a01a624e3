"""The campaigns whose figures stand in `benchmarks/results`: `python -m benchmarks [name...]`."""

import sys
from pathlib import Path

_SOURCES = str(Path(__file__).resolve().parent.parent / "operator")
if _SOURCES not in sys.path:  # a checkout is not an installation
    sys.path.insert(0, _SOURCES)
