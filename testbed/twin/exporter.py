"""Serves the live part of runs over HTTP, many targets in one process, in real time; standard library only.

A recording can be written to a file and served elsewhere by `python -m testbed.twin.exporter FILE`, for example as
the double of a vLLM server in a container that has Python and nothing else.
"""

import argparse
import json
import struct
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self, TypedDict

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NO_ANSWER, EMPTY, FULL = range(3)
_HEADER = struct.Struct("<Q")


class TargetGroup(TypedDict):
    """An entry of Prometheus' file_sd_config."""

    targets: list[str]
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """One target's metrics over the live samples: a line and a column of values each; `state` says what is served."""

    target_labels: dict[str, str]
    lines: list[str]
    families: list[tuple[str, str]]
    columns: list["array[float]"]
    state: "array[int]"

    def joined(self, other: "Page") -> "Page":
        """Both pages' metrics (deployments that share a node's DCGM exporter)."""
        return Page(
            self.target_labels,
            self.lines + other.lines,
            self.families + other.families,
            self.columns + other.columns,
            self.state,
        )

    def text(self, sample: int) -> str:
        """The exposition format at one sample, each family under its TYPE line."""
        out: list[str] = []
        latest = ""
        for line, column, (family, kind) in sorted(
            zip(self.lines, self.columns, self.families, strict=True), key=lambda row: row[2]
        ):
            if family != latest:
                out.append(f"# TYPE {family} {kind}")
                latest = family
            out.append(f"{line} {_number(column[sample])}")
        return "\n".join(out) + "\n"


@dataclass(frozen=True, slots=True)
class Recording:
    """Pages by path. Sample 0 is that of `started_at` (Unix seconds), the others follow every `step_s`."""

    started_at: float
    step_s: float
    pages: dict[str, Page]

    def sample_at(self, unix_s: float) -> int:
        """The latest sample at that time; negative before the first."""
        return int((unix_s - self.started_at) // self.step_s)

    def answer(self, path: str, unix_s: float) -> tuple[HTTPStatus, str]:
        """What the exporter answers. 503 while the target is down and once the recording has ended."""
        page = self.pages.get(path)
        if page is None:
            return HTTPStatus.NOT_FOUND, "no such target\n"
        sample = max(0, self.sample_at(unix_s))
        if sample >= len(page.state):
            return HTTPStatus.SERVICE_UNAVAILABLE, "the twin's recording has ended\n"
        if page.state[sample] == NO_ANSWER:
            return HTTPStatus.SERVICE_UNAVAILABLE, "the engine is down or loading\n"
        return HTTPStatus.OK, page.text(sample) if page.state[sample] == FULL else ""

    def save(self, path: Path) -> None:
        """Writes a JSON head and the raw columns."""
        head = {
            "started_at": self.started_at,
            "step_s": self.step_s,
            "pages": {
                name: {
                    "target_labels": page.target_labels,
                    "lines": page.lines,
                    "families": page.families,
                    "state": page.state.tolist(),
                }
                for name, page in self.pages.items()
            },
        }
        encoded = json.dumps(head).encode()
        with path.open("wb") as file:
            file.write(_HEADER.pack(len(encoded)) + encoded)
            for page in self.pages.values():
                for column in page.columns:
                    column.tofile(file)


def load(path: Path) -> Recording:
    """A recording that `Recording.save` wrote."""
    with path.open("rb") as file:
        (length,) = _HEADER.unpack(file.read(_HEADER.size))
        head = json.loads(file.read(length))
        pages: dict[str, Page] = {}
        for name, page in head["pages"].items():
            columns = [array("d") for _ in page["lines"]]
            for column in columns:
                column.fromfile(file, len(page["state"]))
            families = [(family, kind) for family, kind in page["families"]]
            pages[name] = Page(page["target_labels"], page["lines"], families, columns, array("b", page["state"]))
    return Recording(head["started_at"], head["step_s"], pages)


@dataclass(slots=True)
class Exporter:
    """An HTTP server over a recording; `with Exporter(recording) as exporter:` serves until the block ends."""

    recording: Recording
    host: str = "127.0.0.1"
    port: int = 0
    clock: Callable[[], float] = time.time
    default_path: str | None = None
    _server: ThreadingHTTPServer | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer((self.host, self.port), self._handler())
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="twin-exporter", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def target_groups(self) -> list[TargetGroup]:
        """For file_sd_config: one entry a target, with `job`, `instance` and the path set as labels."""
        return [
            {"targets": [f"{self.host}:{self.port}"], "labels": {**page.target_labels, "__metrics_path__": path}}
            for path, page in self.recording.pages.items()
        ]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = exporter.default_path if self.path == "/metrics" and exporter.default_path else self.path
                status, text = exporter.recording.answer(path, exporter.clock())
                if self.path in ("/health", "/healthz"):
                    status, text = HTTPStatus.OK, ""
                body = text.encode()
                self.send_response_only(status)  # without a line in the log
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler


def _number(value: float) -> str:
    if value != value:  # noqa: PLR0124 - NaN is the one value that differs from itself
        return "NaN"
    return repr(value) if value != int(value) or abs(value) > 1e15 else f"{int(value)}.0"


def main() -> None:
    """Serves a saved recording until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - a container's port
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--page", help="the page that /metrics serves; the first one when absent")
    parser.add_argument("--from-now", action="store_true", help="sample 0 is now, whatever the recording says")
    chosen = parser.parse_args()
    recording = load(chosen.recording)
    if chosen.from_now:
        recording = Recording(time.time(), recording.step_s, recording.pages)
    page = chosen.page or next(iter(recording.pages))
    with Exporter(recording, chosen.host, chosen.port, default_path=page) as exporter:
        print(f"serving {len(recording.pages)} targets on {chosen.host}:{exporter.port}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
