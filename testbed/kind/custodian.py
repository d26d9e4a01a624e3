"""Deletes a kind cluster when its time has come, however that came, and ends our own Docker daemon with the last one.

Runs under the supervisor of testbed/processes.py, which sends it SIGTERM once whoever asked for the cluster has closed
it or is gone. The deleting is done by a process of its own that nobody kills. A cluster whose custodian was killed is
deleted by the next one. Users of a daemon know of each other by locks, which the kernel drops when their holder dies.
"""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from testbed.kind.docker import Docker, DockerFailed, kind

WATCHING = "watching"
START_SECONDS = 120.0
DELETE_SECONDS = 120.0


def command(name: str) -> list[str]:
    """The custodian of that cluster as a process; it says WATCHING once the cluster may be made."""
    return [sys.executable, "-m", "testbed.kind.custodian", "--watch", name]


def watch(docker: Docker, name: str) -> None:
    """Until SIGTERM: keep the daemon running; then have the cluster deleted."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    docker.claims.mkdir(parents=True, exist_ok=True)
    daemon, own = _open(_daemon_lock(docker)), _open(_cluster_lock(docker, name))
    fcntl.flock(daemon, fcntl.LOCK_SH)  # waits while another one ends the daemon
    fcntl.flock(own, fcntl.LOCK_EX)
    try:
        _start_daemon(docker)
        _sweep(docker)
        print(WATCHING, flush=True)
        told.wait()
    finally:
        held = (daemon, own)
        ending = [sys.executable, "-m", "testbed.kind.custodian", "--end", name, "--daemon-lock", str(daemon)]
        subprocess.run(ending, pass_fds=held, start_new_session=True, check=False)


def end(docker: Docker, name: str, daemon: int) -> None:
    """Delete the cluster, and end our own daemon where nobody else uses it; `daemon` is the open lock on it."""
    _delete(docker, name)
    if docker.folder is not None and _is_last(daemon):
        _quietly(docker, "docker", "network", "rm", "kind")
        _quietly(docker, "bash", docker.folder / "dockerd.sh", "stop")
    _cluster_lock(docker, name).unlink(missing_ok=True)


def wait_gone(docker: Docker, name: str, seconds: float = DELETE_SECONDS) -> bool:
    """Waits until the custodian of a cluster has done all its work; whether that came to pass."""
    deadline = time.monotonic() + seconds
    while _cluster_lock(docker, name).exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _is_last(daemon: int) -> bool:
    """Turns our share of the lock into the whole of it, where nobody else has a share."""
    try:
        fcntl.flock(daemon, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _start_daemon(docker: Docker) -> None:
    if docker.folder is None:
        return
    with _locked(docker.claims / "start.lock"):
        docker.run("bash", docker.folder / "dockerd.sh", "start", seconds=START_SECONDS)


def _sweep(docker: Docker) -> None:
    """Deletes clusters that have no custodian: it was killed, or the machine lost its power."""
    for path in docker.claims.glob("*.cluster"):
        try:
            lock = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _delete(docker, path.stem)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # it has one
        finally:
            os.close(lock)


def _delete(docker: Docker, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="gpu-rightsizer-kind-") as scratch:
        not_the_users = Path(scratch) / "config"  # kind takes the cluster out of a kubeconfig
        _quietly(docker, kind(), "delete", "cluster", "--name", name, "--kubeconfig", not_the_users)


def _quietly(docker: Docker, *args: str | Path) -> None:
    """Run it; a failure is for the log, the rest has to be cleared away all the same."""
    try:
        docker.run(*args, seconds=DELETE_SECONDS)
    except DockerFailed as error:
        print(error, file=sys.stderr, flush=True)


def _daemon_lock(docker: Docker) -> Path:
    return docker.claims / "daemon.lock"


def _cluster_lock(docker: Docker, name: str) -> Path:
    return docker.claims / f"{name}.cluster"


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = _open(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def main(argv: Sequence[str] | None = None) -> int:
    """What it does is told by testbed/cluster/kind.py; not for the command line."""
    parser = argparse.ArgumentParser(prog="python -m testbed.kind.custodian", description=main.__doc__)
    parser.add_argument("--watch", metavar="NAME")
    parser.add_argument("--end", metavar="NAME")
    parser.add_argument("--daemon-lock", type=int)
    options = parser.parse_args(argv)
    docker = Docker.from_environment()
    if options.watch:
        try:
            watch(docker, options.watch)
        except DockerFailed as error:
            print(error, file=sys.stderr, flush=True)
            return 1
    if options.end:
        end(docker, options.end, options.daemon_lock)
    return 0


if __name__ == "__main__":
    sys.exit(main())
