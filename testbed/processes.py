"""Child processes that leave nothing behind: own sessions, logs in files, ordered stop, a supervisor beside us."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed import supervisor

GRACE_SECONDS = supervisor.GRACE_SECONDS
FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.2
CLOSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Process:
    """A started process; `pid` is also its process group."""

    name: str
    pid: int
    log: Path


class ProcessDied(RuntimeError):
    """A process ended before it was ready; the message ends with the tail of its log."""

    def __init__(self, process: Process, code: int) -> None:
        self.name, self.code, self.log = process.name, code, process.log
        super().__init__(f"{process.name} exited with {code}; its log {process.log} ends:\n{tail(process.log)}")

    @property
    def port_was_taken(self) -> bool:
        """Whether somebody else took the port between its choice and its use."""
        return "address already in use" in self.log.read_text(errors="replace").lower()


class Processes:
    """A group of processes that ends together, in reverse order of start.

    The group ends with `close`, with the `with` block, or with this Python process: after a normal exit, an
    exception, Ctrl-C, SIGTERM and SIGKILL alike. Safe to use from several threads.
    """

    def __init__(self, *, remove: Sequence[Path] = ()) -> None:
        """`remove` names folders the supervisor deletes if this process dies without having called `close`."""
        self._lock = threading.Lock()
        self._started: list[Process] = []
        command = [sys.executable, "-I", "-S", supervisor.__file__, *map(str, remove)]
        self._supervisor = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        """Starts a process with its output appended to `log`; a running one of the same name is stopped first."""
        log.parent.mkdir(parents=True, exist_ok=True)
        answer = self._ask(
            do="start",
            name=name,
            argv=[str(part) for part in argv],
            log=str(log),
            env=dict(os.environ if env is None else env),
            cwd=None if cwd is None else str(cwd),
        )
        process = Process(name, answer["pid"], log)
        self._started = [p for p in self._started if p.name != name] + [process]
        return process

    @property
    def started(self) -> tuple[Process, ...]:
        """The processes in order of start."""
        return tuple(self._started)

    def code(self, process: Process) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        code: int | None = self._ask(do="code", name=process.name)["code"]
        return code

    def signal(self, process: Process, number: int) -> None:
        """Sends a signal to the process and its children."""
        self._ask(do="signal", name=process.name, signal=number)

    def stop(self, process: Process, *, grace_seconds: float = GRACE_SECONDS) -> int:
        """SIGTERM, SIGKILL after the grace; returns the exit code."""
        code: int = self._ask(do="stop", name=process.name, grace_seconds=grace_seconds)["code"]
        return code

    def ready(self, process: Process, is_ready: Callable[[], bool], *, seconds: float) -> None:
        """Waits until `is_ready`; raises ProcessDied when the process ends first, TimeoutError at the deadline."""

        def looked() -> bool:
            if (code := self.code(process)) is not None:
                raise ProcessDied(process, code)
            return is_ready()

        try:
            until(looked, what=f"{process.name} ready", seconds=seconds)
        except TimeoutError as error:
            message = f"{error}; its log {process.log} ends:\n{tail(process.log)}"
            raise TimeoutError(message) from None

    def detach(self) -> int:
        """Lets the group live on after this process; SIGTERM to the pid returned ends it and removes its folders."""
        pid: int = self._ask(do="detach")["pid"]
        return pid

    def close(self) -> None:
        """Stops all, last started first, and waits for it. Does nothing the second time."""
        if self._supervisor.stdin is None or self._supervisor.stdin.closed:
            return
        with contextlib.suppress(SupervisorGone):
            self._ask(do="close")
        self._let_go()

    def leave(self) -> None:
        """After `detach`: drops the connection without stopping anything."""
        self._let_go(wait=False)

    def _let_go(self, *, wait: bool = True) -> None:
        for pipe in (self._supervisor.stdin, self._supervisor.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        if wait:
            self._supervisor.wait(CLOSE_SECONDS)
        else:
            self._supervisor.returncode = 0  # it lives on by intent; keeps Popen from warning about it

    def _ask(self, **request: object) -> dict[str, Any]:  # the supervisor's answer, a line of JSON
        channel = self._supervisor
        if channel.stdin is None or channel.stdout is None or channel.stdin.closed:
            raise SupervisorGone
        with self._lock:
            try:
                channel.stdin.write(json.dumps(request).encode() + b"\n")
                channel.stdin.flush()
                line = channel.stdout.readline()
            except (BrokenPipeError, ValueError) as error:
                raise SupervisorGone from error
        if not line:
            raise SupervisorGone
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            message = f"{request['do']} {request.get('name', '')}: {answer['error']}"
            raise OSError(message)
        return answer


class SupervisorGone(RuntimeError):
    """The supervisor has ended, and with it all its processes."""

    def __init__(self) -> None:
        super().__init__("the supervisor of these processes has ended, and they with it")


def until(is_true: Callable[[], object], *, what: str, seconds: float) -> None:
    """Polls with growing pauses (20 to 200 ms); raises TimeoutError naming `what`."""
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while not is_true():
        if time.monotonic() > deadline:
            message = f"not within {seconds:g} s: {what}"
            raise TimeoutError(message)
        time.sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE_SECONDS)


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Distinct TCP ports the system says are free now; whoever binds them must cope with one being taken since."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, or a word on why there are none."""
    if not log.exists():
        return f"(no log at {log})"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def remove_tree(path: Path) -> None:
    """Removes a folder if it is there; files that vanish meanwhile are no error."""
    shutil.rmtree(path, ignore_errors=True)
