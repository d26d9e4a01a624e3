"""Gets the programs the test cluster is made of: built from Go modules or taken from Debian, once, into a cache.

`python -m testbed.tools` gets all of them, `python -m testbed.tools helm kwok` some, `--check` tells what is there.
The cache is `.cache` at the repository root, or GPU_RIGHTSIZER_CACHE.
"""

import argparse
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.processes import Processes, remove_tree, tail

ROOT = Path(__file__).resolve().parent.parent
GO_SOURCES = Path(__file__).resolve().parent / "go"

KUBERNETES = "v1.36.3"
KWOK = "v0.8.0"
HELM = "v4.3.1"
PROMETHEUS_MODULE = "v0.315.0"  # Prometheus 3.x, where Debian's package cannot be had
PROMETHEUS_AT_LEAST = (2, 42)  # out-of-order window and remote-write receiver as used here
KUBERNETES_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
KWOK_STAGES = (  # within kwok's module
    "kustomize/stage/node/fast/node-initialize.yaml",
    "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "kustomize/stage/pod/fast/pod-ready.yaml",
    "kustomize/stage/pod/fast/pod-complete.yaml",
    "kustomize/stage/pod/fast/pod-delete.yaml",
)
SAY_EVERY_SECONDS = 20.0
NO_NETWORK = re.compile(
    r"dial tcp|no such host|i/o timeout|connection refused|proxyconnect|Could not resolve|Temporary failure"
)


class ToolMissing(RuntimeError):
    """A program could not be had; the message names what is missing and how to get it."""


@dataclass(frozen=True, slots=True)
class Package:
    """Programs that are got together, in a folder of the cache of their own."""

    name: str
    version: str
    programs: tuple[str, ...]
    effort: str
    """How long the first build takes, for the progress line."""
    build: Callable[[Path, Path], None]
    """Puts the programs into the folder it is given, logging into the second."""

    @property
    def folder(self) -> Path:
        """Where the programs lie in the cache."""
        return cache() / "bin" / f"{self.name}-{self.version}"

    def there(self) -> bool:
        """Whether it was built before; a folder appears in the cache only when complete."""
        return self.folder.is_dir()


def cache() -> Path:
    """The folder for everything that is built once and kept."""
    return Path(os.environ.get("GPU_RIGHTSIZER_CACHE") or ROOT / ".cache").resolve()


def program(name: str) -> Path:
    """Path of a program, built first if need be. Raises ToolMissing."""
    package = _package_of(name)
    if package.name == "prometheus" and (found := _installed_prometheus()):
        return found / name
    return ensure(package) / name


def kwok_stages() -> Path:
    """Stages of kwok's module: nodes get Ready and keep their lease, pods run, pods of Jobs complete, deleted go."""
    return program("kwok").with_name("stages.yaml")


def ensure(package: Package) -> Path:
    """The folder of the package, built under a lock if it is not there, and moved into place when complete."""
    if package.there():
        return package.folder
    package.folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(package):
        if not package.there():
            _build(package)
    return package.folder


def _build(package: Package) -> None:
    log = cache() / "logs" / f"build-{package.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    _say(f"getting {', '.join(package.programs)} ({package.version}), {package.effort}; log: {log}")
    began = time.monotonic()
    prefix = f".building-{package.name}-"
    for stale in package.folder.parent.glob(f"{prefix}*"):  # of a build that was killed: the lock is ours
        remove_tree(stale)
    with tempfile.TemporaryDirectory(dir=package.folder.parent, prefix=prefix) as folder:
        made = Path(folder) / package.name
        made.mkdir()
        package.build(made, log)
        made.rename(package.folder)
    _say(f"got {', '.join(package.programs)} in {time.monotonic() - began:.0f} s")


@contextlib.contextmanager
def _lock(package: Package) -> Iterator[None]:
    """Lets one process build while the others wait and say so; the kernel drops the lock of one that dies."""
    path = package.folder.parent / f".{package.name}.lock"
    with path.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"waiting for another process that is getting {package.name}")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


# -- Go ---------------------------------------------------------------------------------------------------------


def _build_control_plane(folder: Path, log: Path) -> None:
    version = "k8s.io/component-base/version"
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    numbers = f"-X {version}.gitVersion={KUBERNETES} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    binary = folder / "controlplane"
    flags = ("-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {numbers}")
    _go("build", *flags, "-o", str(binary), ".", log=log, cwd=GO_SOURCES / "controlplane")
    for name in KUBERNETES_PROGRAMS:
        (folder / name).symlink_to(binary.name)


def _build_kwok(folder: Path, log: Path) -> None:
    _go_install(f"sigs.k8s.io/kwok/cmd/kwok@{KWOK}", folder, log)
    module = Path(json.loads(_go_answer("mod", "download", "-json", f"sigs.k8s.io/kwok@{KWOK}"))["Dir"])
    stages = "\n---\n".join((module / stage).read_text() for stage in KWOK_STAGES)
    (folder / "stages.yaml").write_text(stages)


def _build_helm(folder: Path, log: Path) -> None:
    _go_install(f"helm.sh/helm/v4/cmd/helm@{HELM}", folder, log)


def _build_prometheus_module(folder: Path, log: Path) -> None:
    commands = [f"github.com/prometheus/prometheus/cmd/{name}" for name in ("prometheus", "promtool")]
    minor = PROMETHEUS_MODULE.removeprefix("v0.3").split(".")[0]  # module v0.315.0 is Prometheus 3.15.0
    version = f"-X github.com/prometheus/common/version.Version=3.{int(minor)}.0"
    flags = ("-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {version}")
    _go("build", *flags, "-o", f"{folder}/", *commands, log=log, cwd=GO_SOURCES / "prometheus")


def _build_blockwriter(folder: Path, log: Path) -> None:
    flags = ("-trimpath", "-buildvcs=false", "-ldflags", "-s -w")
    _go("build", *flags, "-o", str(folder / "blockwriter"), ".", log=log, cwd=GO_SOURCES / "blockwriter")


def _go_install(package: str, folder: Path, log: Path) -> None:
    _go("install", "-trimpath", "-ldflags", "-s -w", package, log=log, cwd=folder, GOBIN=str(folder))


def _go(command: str, *args: str, log: Path, cwd: Path, **env: str) -> None:
    """Runs `go command -v args`, telling now and then how far it is."""
    go = _go_program()
    settings = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", **env}
    _run([go, command, "-v", *args], log=log, cwd=cwd, env=settings)


def _go_answer(*args: str) -> str:
    done = subprocess.run(
        [_go_program(), *args], capture_output=True, text=True, check=False, cwd=tempfile.gettempdir()
    )
    if done.returncode != 0:
        message = f"go {' '.join(args)} failed: {done.stderr or done.stdout}{_network_hint(done.stderr)}"
        raise ToolMissing(message)
    return done.stdout


def _go_program() -> str:
    if (go := shutil.which("go")) is None:
        message = "Go is missing (1.26 or newer, as `go` on PATH): https://go.dev/dl/"
        raise ToolMissing(message)
    return go


# -- Prometheus -------------------------------------------------------------------------------------------------


def _build_prometheus(folder: Path, log: Path) -> None:
    """Debian's package unpacked, not installed; where that cannot be had or is too old, from the Go module."""
    if shutil.which("apt-get") and shutil.which("dpkg"):
        try:
            return _unpack_debian_prometheus(folder, log)
        except ToolMissing as error:
            _say(f"Debian's prometheus cannot be had ({error}); building it, about 5 minutes on 2 cores")
    return _build_prometheus_module(folder, log)


def _unpack_debian_prometheus(folder: Path, log: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="gpu-rightsizer-apt-") as name:
        scratch = Path(name)
        download = ["apt-get", "-o", "APT::Sandbox::User=root", "download", "prometheus"]
        try:
            _run(download, log=log, cwd=scratch)
        except ToolMissing:
            if os.geteuid() != 0:
                raise
            _run(["apt-get", "update"], log=log, cwd=scratch)  # package lists are absent on a fresh machine
            _run(download, log=log, cwd=scratch)
        (archive,) = scratch.glob("prometheus_*.deb")
        _run(["dpkg", "-x", str(archive), "unpacked"], log=log, cwd=scratch)
        for each in ("prometheus", "promtool"):
            shutil.copy2(scratch / "unpacked/usr/bin" / each, folder / each)
    if not _new_enough(folder):
        message = f"it is older than {'.'.join(map(str, PROMETHEUS_AT_LEAST))} or does not run here"
        raise ToolMissing(message)


@functools.cache
def _installed_prometheus() -> Path | None:
    """Folder of a prometheus on PATH with its promtool beside it, if it is new enough."""
    found = shutil.which("prometheus")
    folder = Path(found).parent if found else None
    if folder is None or not (folder / "promtool").exists() or not _new_enough(folder):
        return None
    return folder


def _new_enough(folder: Path) -> bool:
    try:
        done = subprocess.run([str(folder / "prometheus"), "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return False
    version = re.search(r"version (\d+)\.(\d+)", done.stdout + done.stderr)
    return version is not None and (int(version[1]), int(version[2])) >= PROMETHEUS_AT_LEAST


# -- running ----------------------------------------------------------------------------------------------------


def _run(command: Sequence[str], *, log: Path, cwd: Path, env: dict[str, str] | None = None) -> None:
    """Runs to the end with the output in the log; raises ToolMissing with the end of it. Leaves no process behind."""
    began = said = time.monotonic()
    with Processes() as group:
        process = group.start(Path(command[0]).name, command, log=log, cwd=cwd, env=env)
        while (code := group.code(process)) is None:
            time.sleep(0.1)
            if time.monotonic() - said > SAY_EVERY_SECONDS:
                said = time.monotonic()
                _say(f"  {said - began:.0f} s, {_progress(log)}")
    if code != 0:
        end = tail(log)
        message = f"`{' '.join(command[:2])}` failed, log {log} ends:\n{end}{_network_hint(end)}"
        raise ToolMissing(message)


def _progress(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    downloads = sum(line.startswith("go: downloading") for line in lines)
    return f"{downloads} modules downloaded, {len(lines) - downloads} packages compiled"


def _network_hint(text: str) -> str:
    if not NO_NETWORK.search(text):
        return ""
    return "\nThe network is missing: Go modules come through GOPROXY (`go env GOPROXY`), Debian packages through apt."


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- what there is ----------------------------------------------------------------------------------------------


def _digest(folder: str) -> str:
    """Eight digits that change with the sources, so that an edited main.go is not served from the cache."""
    sources = sorted(path for path in (GO_SOURCES / folder).iterdir() if path.suffix in {".go", ".mod", ".sum"})
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


@functools.cache
def packages() -> tuple[Package, ...]:
    """Everything the test cluster needs."""
    control_plane = f"{KUBERNETES}-{_digest('controlplane')}"
    slow = "about 4 minutes on 2 idle cores the first time"
    return (
        Package("controlplane", control_plane, KUBERNETES_PROGRAMS, slow, _build_control_plane),
        Package("kwok", KWOK, ("kwok",), "about a minute on 2 idle cores the first time", _build_kwok),
        Package("helm", HELM, ("helm",), "about 2 minutes on 2 idle cores the first time", _build_helm),
        Package("prometheus", "2.42-or-newer", ("prometheus", "promtool"), "a few seconds", _build_prometheus),
    )


BLOCKWRITER = Package(
    "blockwriter",
    f"{PROMETHEUS_MODULE}-{_digest('blockwriter')}",
    ("blockwriter",),
    "about a minute",
    _build_blockwriter,
)
"""What the benchmark of a large fleet lays its history down with; nothing else needs it."""


def _package_of(name: str) -> Package:
    for package in packages():
        if name == package.name or name in package.programs:
            return package
    known = ", ".join(known for package in packages() for known in package.programs)
    message = f"no tool is called {name}; there are {known}"
    raise ToolMissing(message)


def check() -> list[str]:
    """One line per package: where it is, or that it is missing; then what the builds would need and lack."""
    lines = []
    for package in packages():
        where = package.folder if package.there() else None
        if package.name == "prometheus":
            where = _installed_prometheus() or where
        lines.append(f"{'there  ' if where else 'missing'}  {package.name} {package.version}  {where or ''}".rstrip())
    if shutil.which("go") is None:
        lines.append("missing  go 1.26 or newer, to build with: https://go.dev/dl/")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: names to get (default all), or --check."""
    parser = argparse.ArgumentParser(prog="python -m testbed.tools", description=__doc__)
    parser.add_argument("names", nargs="*", help="programs or packages; all of them when none is named")
    parser.add_argument("--check", action="store_true", help="tell what is there and what is missing, build nothing")
    options = parser.parse_args(argv)
    if options.check:
        lines = check()
        print("\n".join(lines))
        return int(any(line.startswith("missing") for line in lines))
    try:
        for name in options.names or [program for package in packages() for program in package.programs]:
            print(program(name))
    except ToolMissing as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
