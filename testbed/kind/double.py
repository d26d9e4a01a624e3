"""The process in a double's pod: it shows the metrics of a recording that is handed in while it runs.

As the double of a vLLM server it stands behind the same pod specification: the arguments after the image are the
server's, and it ignores them. Like a server that loads its weights, it refuses connections until the recording is
there. Standard library only.
"""

import json
import os
import signal
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from testbed.twin.exporter import CONTENT_TYPE, Recording, load

RECORDING = Path("/dev/shm/recording")  # noqa: S108 - where a vLLM pod has a volume, which outlives its container
PORT_VARIABLE, PORT = "DOUBLE_PORT", 8000
LOOK_EVERY_SECONDS = 0.2


def receive_command() -> list[str]:
    """A command for `kubectl exec -i` that takes the recording, in base64, and shows it all at once."""
    part = RECORDING.with_suffix(".part")
    return ["sh", "-c", f"base64 -d >{part} && mv {part} {RECORDING}"]


def answer(recording: Recording, path: str, host: str, unix_s: float) -> tuple[HTTPStatus, str, str]:
    """Status, type and body. /metrics is the first page; /targets lists all of them for Prometheus' http_sd_config."""
    if path == "/health":
        return HTTPStatus.OK, CONTENT_TYPE, ""
    if path == "/targets":
        groups = [
            {"targets": [host], "labels": {**page.target_labels, "__metrics_path__": name}}
            for name, page in recording.pages.items()
        ]
        return HTTPStatus.OK, "application/json", json.dumps(groups)
    page = next(iter(recording.pages), "") if path == "/metrics" else path
    status, text = recording.answer(page, unix_s)
    return status, CONTENT_TYPE, text


def handler(recording: Recording) -> type[BaseHTTPRequestHandler]:
    """Requests answered from the recording, in real time."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content_type, text = answer(recording, self.path, self.headers.get("Host", ""), time.time())
            body = text.encode()
            self.send_response_only(status)  # without a line in the log
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def main() -> int:
    """Serve until SIGTERM, which the first process of a container has to handle itself."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    while not RECORDING.exists():
        if told.wait(LOOK_EVERY_SECONDS):
            return 0
    port = int(os.environ.get(PORT_VARIABLE, PORT))
    server = ThreadingHTTPServer(("", port), handler(load(RECORDING)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"serving on port {port}", flush=True)
    told.wait()
    server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
