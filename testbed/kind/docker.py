"""Which Docker kind can use here: the machine's, where it has or can pull a node image, else one of our own."""

import functools
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from testbed import tools

KIND_VERSION = "v0.33.0"
NODE_IMAGE = "kindest/node:v1.36.3"
SOURCE = Path(__file__).resolve().parent / "node"
RUN_SECONDS = 300.0
QUICK_SECONDS = 15.0
REGISTRY_SECONDS = 20.0  # until a registry names the image; without a network it would be minutes
PULL_SECONDS = 600.0
BUILD_HINT = "`make kind-node` makes one (as root, on Debian, with Go; about 6 minutes once)"
OWN_FOLDER = "KINDNODE"  # the environment variable by which the node's scripts know their folder


class DockerFailed(RuntimeError):
    """A program that speaks to Docker exited with an error or took too long; the message has its last words."""


@dataclass(frozen=True, slots=True)
class Docker:
    """A Docker daemon to use: the environment of its clients, and the folder of our own one (None: the machine's)."""

    environment: Mapping[str, str]
    folder: Path | None

    @classmethod
    def from_environment(cls) -> Self:
        """The one that this process was told to use, by `environment`."""
        folder = os.environ.get(OWN_FOLDER)
        return cls(dict(os.environ), Path(folder) if folder else None)

    @property
    def claims(self) -> Path:
        """Folder of the locks by which the users of this daemon know of each other."""
        return (self.folder or tools.cache() / "docker") / "clusters"

    def run(self, *args: str | Path, check: bool = True, seconds: float = RUN_SECONDS, cwd: Path | None = None) -> str:
        """Run a program in this daemon's environment; its output. Raises DockerFailed."""
        command = " ".join(map(str, args))
        try:
            done = subprocess.run(
                [str(arg) for arg in args],
                env=dict(self.environment),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise DockerFailed(f"{command}: not done within {seconds:g} s") from None
        if check and done.returncode:
            raise DockerFailed(f"{command}: exit {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")
        return done.stdout

    def has(self, image: str) -> bool:
        """Whether the daemon holds the image."""
        try:
            self.run("docker", "image", "inspect", image, seconds=QUICK_SECONDS)
        except DockerFailed:
            return False
        return True


def build_folder() -> Path:
    """Where our own node image and daemon are."""
    return tools.cache() / "kind"


def usable() -> Docker | None:
    """The machine's Docker or our own, which may still have to be started; None where kind cannot be used."""
    return machine_docker() or own_docker()


def lack() -> str | None:
    """None where kind can be used, else what is missing."""
    if usable() is None:
        return f"{_lack_of_docker()}; {_how_to_get_one()}"
    if not _kind_package().there() and not _built_kind().exists() and shutil.which("go") is None:
        return f"there is no Go to build kind {KIND_VERSION} with"
    return None


def _lack_of_docker() -> str:
    if shutil.which("docker") is None:
        return "there is no Docker here"
    return f"Docker does not run or cannot get the node image {NODE_IMAGE}"


def _how_to_get_one() -> str:
    logs = build_folder() / "logs"
    if logs.exists() and not _is_built():
        return f"building one failed, see {logs}"
    return BUILD_HINT


@functools.cache
def machine_docker() -> Docker | None:
    """The machine's own Docker, when it answers and has or can pull the node image."""
    if shutil.which("docker") is None:
        return None
    docker = Docker(dict(os.environ), None)
    try:
        docker.run("docker", "info", seconds=QUICK_SECONDS)
    except DockerFailed:
        return None
    return docker if docker.has(NODE_IMAGE) or _pulls(NODE_IMAGE) else None


def _pulls(image: str) -> bool:
    """Pull the image; gives up soon when no registry answers."""
    print(f"kind: looking for {image} (about 400 MB once)", file=sys.stderr, flush=True)
    with subprocess.Popen(["docker", "pull", image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as pull:
        try:
            return _named_by_registry(pull) and _ends_well(pull)
        finally:
            pull.kill()


def _named_by_registry(pull: "subprocess.Popen[bytes]") -> bool:
    """The first line comes once the registry has answered."""
    assert pull.stdout is not None
    ready, _, _ = select.select([pull.stdout], [], [], REGISTRY_SECONDS)
    return bool(ready)


def _ends_well(pull: "subprocess.Popen[bytes]") -> bool:
    assert pull.stdout is not None
    deadline = time.monotonic() + PULL_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([pull.stdout], [], [], left)
        if ready and not os.read(pull.stdout.fileno(), 65536):
            return pull.wait() == 0
    return False


def own_docker() -> Docker | None:
    """Our own daemon, run by the custodian of the first cluster; None where no node image was built."""
    folder = build_folder()
    if os.geteuid() != 0 or not _is_built():
        return None
    environment = {
        **os.environ,
        OWN_FOLDER: str(folder),
        "DOCKER_HOST": f"unix://{folder}/dockerd/docker.sock",
        "DOCKER_BUILDKIT": "0",
    }
    return Docker(environment, folder)


def _is_built() -> bool:
    return (build_folder() / "out" / "built").exists()


def kind() -> Path:
    """The kind program: that of our own node image, else built from its module. Raises ToolMissing."""
    built = _built_kind()
    return built if built.exists() else tools.ensure(_kind_package()) / "kind"


def _built_kind() -> Path:
    return build_folder() / "out" / "bin" / "kind"


def _kind_package() -> tools.Package:
    return tools.Package("kind", KIND_VERSION, ("kind",), "half a minute", _build_kind)


def _build_kind(folder: Path, log: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise tools.ToolMissing("Go is missing (1.26 or newer, as `go` on PATH): https://go.dev/dl/")
    environment = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0", "GOWORK": "off"}
    install = [go, "install", "-trimpath", f"sigs.k8s.io/kind@{KIND_VERSION}"]
    with log.open("a") as output:
        done = subprocess.run(install, cwd=folder, env=environment, stdout=output, stderr=output, check=False)
    if done.returncode:
        raise tools.ToolMissing(f"kind {KIND_VERSION} could not be built: see {log}")
