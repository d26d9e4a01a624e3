"""Tools are got once, whole or not at all, and what is missing is named."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from testbed import tools
from testbed.tools import Package, ToolMissing


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPU_RIGHTSIZER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_callers_at_the_same_time_get_one_build() -> None:
    builds: list[Path] = []
    go_on = threading.Event()

    def build(folder: Path, log: Path) -> None:
        builds.append(log)
        go_on.wait(5)
        (folder / "thing").write_text("whole")

    package = Package("thing", "v1", ("thing",), "a moment", build)
    found: list[str] = []
    callers = [
        threading.Thread(target=lambda: found.append((tools.ensure(package) / "thing").read_text())) for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    go_on.set()
    for caller in callers:
        caller.join()

    assert found == ["whole"] * 4
    assert len(builds) == 1


def test_a_failed_build_leaves_nothing_and_is_tried_again(empty_cache: Path) -> None:
    outcomes = iter([ToolMissing("as asked"), None])

    def build(folder: Path, _: Path) -> None:
        (folder / "half").write_text("half")
        if (error := next(outcomes)) is not None:
            raise error

    package = Package("thing", "v1", ("half",), "a moment", build)

    of_a_killed_build = empty_cache / "bin" / ".building-thing-killed"
    of_a_killed_build.mkdir(parents=True)

    with pytest.raises(ToolMissing, match="as asked"):
        tools.ensure(package)
    assert not package.there()
    assert not list((empty_cache / "bin").glob(".building-*"))
    tools.ensure(package)
    assert package.there()


def test_missing_go_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(ToolMissing, match=r"Go is missing.*https://go\.dev/dl"):
        tools.program("helm")
    assert "missing  helm v4.3.1" in tools.check()
    assert any(line.startswith("missing  go 1.26") for line in tools.check())


def test_a_missing_network_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "GOPROXY": "http://127.0.0.1:9",
        "GOMODCACHE": str(tmp_path / "modules"),
        "GONOSUMDB": "*",
        "GOFLAGS": "",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ToolMissing, match="The network is missing: Go modules come through GOPROXY"):
        tools.program("kwok")


def test_an_unknown_tool_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ToolMissing, match="no tool is called kubeadm; there are etcd, kube-apiserver"):
        tools.program("kubeadm")


def test_the_command_line_fails_plainly(empty_cache: Path) -> None:
    environment = {**os.environ, "PATH": "/nowhere", "GPU_RIGHTSIZER_CACHE": str(empty_cache)}
    command = [sys.executable, "-m", "testbed.tools", "kwok"]

    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=tools.ROOT, timeout=30
    )

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: Go is missing")
