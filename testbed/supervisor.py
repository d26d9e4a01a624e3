"""Parent of the testbed's processes: ends them in order as soon as whoever asked for them is gone, however it went.

`testbed.processes` starts it with `python -I -S` and speaks to it in JSON lines, one answer to each request. The pipe
closes when the asking process ends, killed by SIGKILL included; then everything started here is stopped, last started
first. Should the supervisor itself be killed, the kernel kills its children (PR_SET_PDEATHSIG). Only the standard
library is used, so that it starts in 50 ms.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]  # a line of JSON; the keys depend on what is asked

PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>
LOOK_EVERY_SECONDS = 0.5
GRACE_SECONDS = 10.0


class Child:
    """A process in a session of its own; its group dies with it."""

    def __init__(self, name: str, argv: list[str], log: str, env: dict[str, str], cwd: str | None) -> None:
        self.name = name
        me, prctl = os.getpid(), ctypes.CDLL(None).prctl

        def die_with_me() -> None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != me:  # killed between fork and prctl
                os._exit(1)

        with Path(log).open("ab") as output:
            self.popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
                cwd=cwd,
                start_new_session=True,
                preexec_fn=die_with_me,  # noqa: PLW1509  this program has one thread
            )

    def code(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        if self.popen.returncode is not None:
            return self.popen.returncode
        # Not reaped yet, so that the group's number cannot go to a stranger before the group is swept.
        if os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        self.signal(signal.SIGKILL)
        return self.popen.wait()

    def signal(self, number: int) -> None:
        """Sends a signal to the whole group."""
        try:
            os.killpg(self.popen.pid, number)
        except ProcessLookupError:
            return

    def stop(self, grace_seconds: float) -> int:
        """SIGTERM, then SIGKILL after the grace; returns the exit code."""
        if (code := self.code()) is not None:
            return code
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline:
            if (code := self.code()) is not None:
                return code
            time.sleep(0.01)
        self.signal(signal.SIGKILL)
        while (code := self.code()) is None:
            time.sleep(0.01)
        return code


class Supervisor:
    """Carries out requests until told to close, or until nobody is left to ask."""

    def __init__(self, remove: list[str]) -> None:
        self.children: dict[str, Child] = {}
        self.remove = remove
        self.owner = os.getppid()
        self.detached = False
        self.listening = True
        self.terminated = False
        signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, *_: object) -> None:
        self.terminated = True

    def answer(self, request: Message) -> Message:
        """Does what one request asks; failures of the system call come back as text."""
        try:
            return REQUESTS[request["do"]](self, request)
        except (OSError, subprocess.SubprocessError) as error:
            return {"error": str(error)}

    def start(self, request: Message) -> Message:
        """Starts a process; a running one of that name is stopped first."""
        name = request["name"]
        if name in self.children:
            self.children.pop(name).stop(GRACE_SECONDS)
        child = Child(name, request["argv"], request["log"], request["env"], request["cwd"])
        self.children[name] = child
        return {"pid": child.popen.pid}

    def code(self, request: Message) -> Message:
        """The exit code, or null."""
        return {"code": self.children[request["name"]].code()}

    def signal(self, request: Message) -> Message:
        """Sends a signal to a process group."""
        self.children[request["name"]].signal(request["signal"])
        return {}

    def stop(self, request: Message) -> Message:
        """Stops one process."""
        return {"code": self.children[request["name"]].stop(request["grace_seconds"])}

    def close(self, _: Message) -> Message:
        """Stops all; the folders stay."""
        self.stop_all()
        self.remove = []  # whoever can still ask decides what becomes of the files
        return {}

    def detach(self, _: Message) -> Message:
        """From now on the end of the owner means nothing; SIGTERM does."""
        self.detached = True
        return {"pid": os.getpid()}

    def stop_all(self) -> None:
        """Last started, first stopped: an API server that has lost its etcd no longer ends on SIGTERM."""
        for child in reversed(self.children.values()):
            child.stop(GRACE_SECONDS)
        self.children.clear()

    def abandoned(self) -> bool:
        """Whether the owner is gone, or somebody sent SIGTERM."""
        return self.terminated or (not self.detached and os.getppid() != self.owner)

    def serve(self) -> None:
        """Reads requests until the other end closes or the owner is gone, then leaves nothing behind."""
        pending = b""
        while not self.abandoned():
            ready, _, _ = select.select([0] if self.listening else [], [], [], LOOK_EVERY_SECONDS)
            if not ready:
                continue
            data = os.read(0, 65536)
            self.listening = bool(data)
            if not data and not self.detached:
                break
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                try:
                    os.write(1, json.dumps(self.answer(json.loads(line))).encode() + b"\n")
                except BrokenPipeError:
                    break
        self.stop_all()
        for path in self.remove:
            shutil.rmtree(path, ignore_errors=True)


REQUESTS: dict[str, Callable[[Supervisor, Message], Message]] = {
    "start": Supervisor.start,
    "code": Supervisor.code,
    "signal": Supervisor.signal,
    "stop": Supervisor.stop,
    "close": Supervisor.close,
    "detach": Supervisor.detach,
}


def main() -> None:
    """Arguments: the folders to remove when all is over."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    Supervisor(sys.argv[1:]).serve()


if __name__ == "__main__":
    main()
