"""The campaigns whose figures stand in `benchmarks/results`: `python -m benchmarks [name...]`."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one core, as in the image; read when numpy is first imported

_SOURCES = str(Path(__file__).resolve().parent.parent / "operator")
if _SOURCES not in sys.path:  # a checkout is not an installation
    sys.path.insert(0, _SOURCES)
