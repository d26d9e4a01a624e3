"""Processes end in order, by force if need be, and never outlive those who asked for them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed.processes import ProcessDied, Processes, SupervisorGone, free_ports, until

ROOT = Path(__file__).resolve().parents[2]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def script(text: str) -> list[str]:
    return [sys.executable, "-S", "-c", text]


NOTES_ITS_END = """
import signal, sys, time
def end(*_):
    with open(sys.argv[1], "a") as f: f.write(sys.argv[2] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""
IGNORES_SIGTERM = (
    'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print("ready", flush=True); time.sleep(60)'
)
HAS_A_CHILD = """
import subprocess, time
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
time.sleep(60)
"""


def said(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def test_the_last_started_is_the_first_stopped(tmp_path: Path) -> None:
    order = tmp_path / "order"
    with Processes() as group:
        for name in ("first", "second", "third"):
            log = tmp_path / f"{name}.log"
            group.start(name, [*script(NOTES_ITS_END), str(order), name], log=log)
            until(lambda: "ready" in said(tmp_path / f"{name}.log"), what="ready", seconds=10)  # noqa: B023  called at once

    assert order.read_text().split() == ["third", "second", "first"]


def test_one_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    with Processes() as group:
        log = tmp_path / "deaf.log"
        process = group.start("deaf", script(IGNORES_SIGTERM), log=log)
        group.ready(process, lambda: "ready" in said(log), seconds=10)

        assert group.stop(process, grace_seconds=0.2) == -signal.SIGKILL
        assert not alive(process.pid)


def test_grandchildren_go_too_even_when_their_parent_has_died(tmp_path: Path) -> None:
    log = tmp_path / "parent.log"
    with Processes() as group:
        process = group.start("parent", script(HAS_A_CHILD), log=log)
        group.ready(process, lambda: said(log).endswith("\n"), seconds=10)
        grandchild = int(said(log))
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: group.code(process) is not None, what="parent gone", seconds=10)
        until(lambda: not alive(grandchild), what="grandchild gone", seconds=10)


def test_one_that_ends_early_is_reported_with_its_log(tmp_path: Path) -> None:
    with Processes() as group:
        process = group.start("short", script('import sys; sys.exit("address already in use")'), log=tmp_path / "log")

        with pytest.raises(ProcessDied, match=r"short exited with 1.*\naddress already in use") as died:
            group.ready(process, lambda: False, seconds=10)
    assert died.value.port_was_taken


def test_one_that_never_gets_ready_is_reported_with_its_log(tmp_path: Path) -> None:
    with Processes() as group:
        process = group.start(
            "slow", script('print("thinking", flush=True); import time; time.sleep(60)'), log=tmp_path / "l"
        )

        with pytest.raises(TimeoutError, match=r"not within 0\.5 s: slow ready"):
            group.ready(process, lambda: False, seconds=0.5)


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with Processes() as group, pytest.raises(OSError, match="no-such-program"):
        group.start("none", ["no-such-program"], log=tmp_path / "log")


def test_when_the_supervisor_is_killed_the_kernel_ends_its_children(tmp_path: Path) -> None:
    group = Processes()
    process = group.start("orphan", script(IGNORES_SIGTERM), log=tmp_path / "log")
    group._supervisor.kill()

    until(lambda: not alive(process.pid), what="child gone", seconds=10)
    with pytest.raises(SupervisorGone):
        group.code(process)
    group.close()


OWNER = """
import sys, time
from pathlib import Path
from testbed.processes import Processes
folder = Path(sys.argv[1])
group = Processes(remove=[folder / "gone"])
process = group.start("child", ["sleep", "60"], log=folder / "gone" / "log")
supervisor = group.detach() if sys.argv[2] == "detached" else 0
print(process.pid, supervisor, flush=True)
time.sleep(60)
"""


def owner(folder: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder), how], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def test_children_and_folders_go_when_the_owner_is_killed(tmp_path: Path) -> None:
    with owner(tmp_path, "attached") as asking:
        assert asking.stdout is not None
        child = int(asking.stdout.readline().split()[0])
        assert alive(child)
        asking.kill()

    until(lambda: not alive(child), what="child gone", seconds=10)
    until(lambda: not (tmp_path / "gone").exists(), what="folder gone", seconds=10)


def test_a_detached_group_lives_on_until_its_supervisor_is_told_to_end(tmp_path: Path) -> None:
    with owner(tmp_path, "detached") as asking:
        assert asking.stdout is not None
        child, supervisor = map(int, asking.stdout.readline().split())
        asking.kill()
    time.sleep(1.2)  # two looks of the supervisor
    assert alive(child)

    os.kill(supervisor, signal.SIGTERM)

    until(lambda: not alive(child), what="child gone", seconds=10)
    until(lambda: not (tmp_path / "gone").exists(), what="folder gone", seconds=10)


def test_free_ports_are_distinct() -> None:
    ports = free_ports(20)

    assert len(set(ports)) == 20
