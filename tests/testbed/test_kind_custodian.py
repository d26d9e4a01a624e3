"""The custodian deletes its cluster however its owner ended; the daemon goes with the last one. No Docker here."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import tools
from testbed.kind import custodian, docker
from testbed.kind.docker import OWN_FOLDER, Docker
from testbed.processes import Processes, until

SCRIPT = "#!/bin/sh\n{}\n"


def script(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SCRIPT.format(body))
    path.chmod(0o755)


class Fake:
    """Our own Docker and kind as scripts that write down what they were asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls_file = folder / "calls"
        script(folder / "kind" / "out" / "bin" / "kind", f'echo "kind $1 $4" >>{self.calls_file}; sleep ${{SLOW:-0}}')
        daemon = f'[ $1 = start ] || sleep ${{SLOW:-0}}; echo "dockerd $1" >>{self.calls_file}; exit ${{FAILS:-0}}'
        script(folder / "kind" / "dockerd.sh", daemon)
        script(folder / "bin" / "docker", "exit 0")
        environment = {
            **os.environ,
            OWN_FOLDER: str(folder / "kind"),
            "GPU_RIGHTSIZER_CACHE": str(folder),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(tools.ROOT),
        }
        self.docker = Docker(environment, folder / "kind")

    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []

    def watch(self, processes: Processes, name: str, **more: str) -> Path:
        """Starts a custodian and waits until it watches."""
        log = self.folder / f"{name}.log"
        environment = {**self.docker.environment, **more}
        process = processes.start(name, custodian.command(name), log=log, env=environment)
        processes.ready(process, lambda: custodian.WATCHING in log.read_text(), seconds=20)
        return log


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


@pytest.fixture
def processes() -> Iterator[Processes]:
    with Processes() as group:
        yield group


def test_the_cluster_and_the_daemon_end_with_the_owner(fake: Fake, processes: Processes) -> None:
    fake.watch(processes, "one")
    processes.close()

    assert custodian.wait_gone(fake.docker, "one", seconds=20)
    assert fake.calls() == ["dockerd start", "kind delete one", "dockerd stop"]


def test_the_daemon_stays_until_the_last_cluster_is_gone(fake: Fake, processes: Processes) -> None:
    with Processes() as other:
        fake.watch(processes, "one")
        fake.watch(other, "two")
        processes.close()
        assert custodian.wait_gone(fake.docker, "one", seconds=20)
        assert fake.calls() == ["dockerd start", "dockerd start", "kind delete one"]

    assert custodian.wait_gone(fake.docker, "two", seconds=20)
    assert fake.calls()[3:] == ["kind delete two", "dockerd stop"]


def test_deleting_goes_on_when_the_custodian_is_killed_over_it(fake: Fake, processes: Processes) -> None:
    fake.watch(processes, "one", SLOW="1")
    (process,) = processes.started
    processes.signal(process, signal.SIGTERM)
    until(lambda: "kind delete one" in fake.calls(), what="the deletion", seconds=20)
    processes.signal(process, signal.SIGKILL)

    assert custodian.wait_gone(fake.docker, "one", seconds=20)
    assert fake.calls()[-1] == "dockerd stop"


def test_the_next_custodian_deletes_what_a_killed_one_left(fake: Fake, processes: Processes) -> None:
    fake.watch(processes, "one")
    (process,) = processes.started
    processes.signal(process, signal.SIGKILL)
    until(lambda: processes.code(process) is not None, what="its end", seconds=20)
    assert "kind delete one" not in fake.calls()

    fake.watch(processes, "two")

    assert "kind delete one" in fake.calls()
    assert "kind delete two" not in fake.calls()


def test_an_owner_that_is_killed_takes_the_cluster_with_it(fake: Fake) -> None:
    body = f"""
import time
from pathlib import Path
from testbed.kind import custodian
from testbed.processes import Processes
group, log = Processes(), Path({str(fake.folder / "owned.log")!r})
process = group.start("custodian", custodian.command("owned"), log=log)
group.ready(process, lambda: custodian.WATCHING in log.read_text(), seconds=20)
print("ready", flush=True)
time.sleep(60)
"""
    environment = dict(fake.docker.environment)
    with subprocess.Popen([sys.executable, "-c", body], stdout=subprocess.PIPE, env=environment, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        owner.kill()

    until(lambda: "dockerd stop" in fake.calls(), what="the daemon's end", seconds=20)
    assert "kind delete owned" in fake.calls()


def test_a_daemon_that_does_not_start_leaves_nothing_behind(fake: Fake, processes: Processes) -> None:
    log = fake.folder / "one.log"
    environment = {**fake.docker.environment, "FAILS": "1"}
    process = processes.start("one", custodian.command("one"), log=log, env=environment)
    until(lambda: processes.code(process) is not None, what="its end", seconds=20)

    assert processes.code(process) == 1
    assert "dockerd.sh start: exit 1" in log.read_text()
    assert fake.calls()[-1] == "dockerd stop"
    assert custodian.wait_gone(fake.docker, "one", seconds=0)


# -- what can be had ----------------------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine whose PATH is an empty folder, and an empty cache."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("GPU_RIGHTSIZER_CACHE", str(tmp_path / "cache"))
    docker.machine_docker.cache_clear()
    yield tmp_path
    docker.machine_docker.cache_clear()


@pytest.mark.usefixtures("bare")
def test_without_docker_the_way_to_get_a_node_image_is_named() -> None:
    lack = docker.lack()

    assert lack is not None
    assert lack.startswith("there is no Docker here; `make kind-node`")


def test_a_build_that_failed_is_named(bare: Path) -> None:
    (bare / "cache" / "kind" / "logs").mkdir(parents=True)

    assert "building one failed, see" in (docker.lack() or "")


def test_a_docker_that_does_not_answer_is_no_docker(bare: Path) -> None:
    script(bare / "bin" / "docker", "exit 1")

    assert "Docker does not run" in (docker.lack() or "")


def test_a_registry_that_does_not_answer_is_not_waited_for(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(bare / "bin" / "docker", 'case "$1" in info) exit 0;; pull) exec /bin/sleep 60;; esac; exit 1')
    monkeypatch.setattr(docker, "REGISTRY_SECONDS", 0.2)
    began = time.monotonic()

    assert docker.machine_docker() is None
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("ends", "had"), [("exit 0", True), ("echo denied; exit 1", False)])
def test_an_image_that_can_be_pulled_can_be_had(bare: Path, ends: str, had: bool) -> None:
    script(bare / "bin" / "docker", f'case "$1" in info) exit 0;; pull) echo pulling; {ends};; esac; exit 1')

    assert (docker.machine_docker() is not None) is had


def test_a_docker_with_the_node_image_is_used_as_it_is(bare: Path) -> None:
    script(bare / "bin" / "docker", "exit 0")

    found = docker.usable()

    assert found is not None
    assert found.folder is None
