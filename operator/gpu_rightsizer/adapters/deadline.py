"""A limit on a whole HTTP exchange: time-outs of sockets count from byte to byte, so that a dripping server beats them.

While a Deadline is entered, connections that its thread makes or uses are known to it; when it passes they are shut
down, and whatever waits on them fails at once.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

from typing_extensions import override
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    from types import TracebackType

_OF_THREAD = threading.local()


class Deadline:
    """`passed` tells whether it did."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.passed = False

    def __enter__(self) -> Self:
        _OF_THREAD.deadline = self
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        del _OF_THREAD.deadline

    def watch(self, connection: socket.socket) -> None:
        """Shut it down when the time is up, or now if it is."""
        with self._lock:
            self._sockets.append(connection)
            if self.passed:
                _shut(connection)

    def _pass(self) -> None:
        with self._lock:
            self.passed = True
            for each in self._sockets:
                _shut(each)


def watched_pools() -> dict[str, type[HTTPConnectionPool]]:
    """For a urllib3 PoolManager's `pool_classes_by_scheme`."""
    return {"http": _Pool, "https": _SecurePool}


class _Watched(HTTPConnection):
    """Has a second handle on its socket: TLS takes the first one away."""

    _handle: socket.socket | None = None

    @override
    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()
        self._handle = made.dup()
        self._be_watched()
        return made

    @override
    def request(self, *args: Any, **kwargs: Any) -> None:  # as urllib3 has it
        self._be_watched()
        super().request(*args, **kwargs)

    @override
    def close(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None
        super().close()

    def _be_watched(self) -> None:
        deadline: Deadline | None = getattr(_OF_THREAD, "deadline", None)
        if deadline is not None and self._handle is not None:
            deadline.watch(self._handle)


class _SecureWatched(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureWatched


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed meanwhile
        connection.shutdown(socket.SHUT_RDWR)
