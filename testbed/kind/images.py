"""The images that run on kind: the operator from our Dockerfile, the double of a vLLM server, and Prometheus.

Where the machine's Docker can pull, the Dockerfile's own base is used. Else the base is the Debian of our node image,
with Python from Debian packages and site-packages installed outside.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from testbed import tools
from testbed.cluster.kind import Docker

DEBIAN_BASE = "local/debian:12"
PYTHON_DEBS = (
    *("python3.11-minimal", "libpython3.11-minimal", "python3.11", "libpython3.11-stdlib", "media-types", "libexpat1"),
    *("libffi8", "libssl3", "libsqlite3-0", "libreadline8", "readline-common", "libncursesw6", "libtirpc3"),
    *("libtirpc-common", "libnsl2", "libkrb5-3", "libgssapi-krb5-2", "libk5crypto3", "libkrb5support0", "libkeyutils1"),
    *("libcom-err2", "ca-certificates", "openssl"),
)
OPERATOR_FILES = ("Dockerfile", ".dockerignore", "LICENSE", "pyproject.toml", "requirements.lock")
DOUBLE = """\
ARG OPERATOR
FROM ${OPERATOR}
COPY testbed /opt/double/testbed
ENV PYTHONPATH=/opt/gpu-rightsizer:/opt/double
ENTRYPOINT ["python3", "-m", "testbed.twin.exporter"]
"""
PROMETHEUS = """\
ARG BASE
FROM ${BASE}
COPY prometheus /usr/local/bin/prometheus
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/prometheus"]
"""


def operator_image(docker: Docker) -> str:
    """Build the operator's image from the working tree; its tag. 60 s the first time, then a few."""
    inputs = {} if docker.folder is None else {"site": _site(), "debs": _debs()}
    arguments = {} if docker.folder is None else {"BASE_IMAGE": _debian_base(docker)}
    with tempfile.TemporaryDirectory(prefix="gpu-rightsizer-image-") as folder:
        context = Path(folder)
        for name in OPERATOR_FILES:
            shutil.copy(tools.ROOT / name, context / name)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(tools.ROOT / "operator", context / "operator", ignore=ignored)
        for name, source in inputs.items():
            shutil.copytree(source, context / "dist" / "image" / name)
        return _build(docker, "gpu-rightsizer", context, arguments)


def double_image(docker: Docker, operator: str) -> str:
    """Build the image of the inference double: the twin's exporter on the operator's Python; its tag."""
    with tempfile.TemporaryDirectory(prefix="gpu-rightsizer-double-") as folder:
        context = Path(folder)
        (context / "Dockerfile").write_text(DOUBLE)
        ignored = shutil.ignore_patterns("__pycache__", "go", "kind", "*.sh")
        shutil.copytree(tools.ROOT / "testbed", context / "testbed", ignore=ignored)
        return _build(docker, "inference-double", context, {"OPERATOR": operator})


def prometheus_image(docker: Docker) -> str:
    """Build a Prometheus image from the binary the other tests use; its tag."""
    base = "debian:12-slim" if docker.folder is None else _debian_base(docker)
    with tempfile.TemporaryDirectory(prefix="gpu-rightsizer-prometheus-") as folder:
        context = Path(folder)
        (context / "Dockerfile").write_text(PROMETHEUS)
        shutil.copy(tools.program("prometheus"), context / "prometheus")
        return _build(docker, "prometheus-for-tests", context, {"BASE": base})


def _build(docker: Docker, name: str, context: Path, arguments: Mapping[str, str]) -> str:
    tag = f"{name}:{_digest(context)}"
    options = [part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")]
    docker.run("docker", "build", "-q", "-t", tag, *options, ".", cwd=context, seconds=900)
    return tag


def _digest(context: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(context.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(context)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _debian_base(docker: Docker) -> str:
    if DEBIAN_BASE not in docker.run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}"):
        assert docker.folder is not None
        docker.run("docker", "import", docker.folder / "out" / "base.tar", DEBIAN_BASE)
    return DEBIAN_BASE


def _site() -> Path:
    """Site-packages of the runtime lock, installed once per lock."""
    lock = tools.ROOT / "requirements.lock"
    folder = tools.cache() / "image" / f"site-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--require-hashes", "--only-binary=:all:"]
        subprocess.run([*pip, "-r", lock, "--target", partial], check=True)
        partial.rename(folder)
    return folder


def _debs() -> Path:
    """Debian's Python packages, fetched once."""
    folder = tools.cache() / "image" / "debs"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        subprocess.run(["apt-get", "download", *PYTHON_DEBS], cwd=partial, check=True, capture_output=True)
        partial.rename(folder)
    return folder
