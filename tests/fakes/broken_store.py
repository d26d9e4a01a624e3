"""A metrics store that misbehaves on purpose: an HTTP server whose answers a test writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

from typing_extensions import override


@dataclass(slots=True)
class Request:
    """What came in."""

    path: str
    headers: dict[str, str]
    form: dict[str, list[str]]


Behaviour = Callable[[BaseHTTPRequestHandler], None]


@dataclass(slots=True)
class BrokenStore:
    """Use as a context manager; behaves as `behaviours` say, one a request, the last for ever."""

    behaviours: list[Behaviour]
    requests: list[Request] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # the name that http.server calls
                store.handle(self)

            @override
            def log_message(self, *args: object) -> None:
                """Quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            @override
            def handle_error(self, *args: object) -> None:
                """Clients that hang up are what we test."""

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Note the request and behave."""
        length = int(handler.headers.get("Content-Length") or 0)
        form = parse_qs(handler.rfile.read(length).decode())
        self.requests.append(Request(handler.path, dict(handler.headers.items()), form))
        behaviour = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        behaviour(handler)


def says(body: bytes, code: int = 200, **headers: str) -> Behaviour:
    """Answers with a body; `Content_Type` becomes Content-Type."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def hangs(store: list[BrokenStore]) -> Behaviour:
    """Accepts and never answers."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        store[0].released.wait(30)

    return behave


def drips(body: bytes, every_s: float, store: list[BrokenStore]) -> Behaviour:
    """Sends a byte now and then, each in time for a socket's time-out."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        for byte in body:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            if store[0].released.wait(every_s):
                return

    return behave


def breaks_off(body: bytes) -> Behaviour:
    """Promises twice as much as it sends."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Content-Length", str(2 * len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave
