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
from dataclasses import dataclass
from pathlib import Path

from testbed import tools
from testbed.kind.docker import Docker
from testbed.manifests import VLLM_IMAGE

DEBIAN_BASE = "local/debian:12"
BUILD_SECONDS = 900.0
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
ENV PYTHONPATH=/opt/double
ENTRYPOINT ["python3", "-m", "testbed.kind.double"]
"""
DOUBLE_FILES = (
    "__init__.py",
    "kind/__init__.py",
    "kind/discovery.py",
    "kind/double.py",
    "twin/__init__.py",
    "twin/exporter.py",
)
PROMETHEUS = """\
ARG BASE
FROM ${BASE}
COPY prometheus /usr/local/bin/prometheus
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/prometheus"]
"""


@dataclass(frozen=True, slots=True)
class Images:
    """Tags of what runs on kind."""

    operator: str
    double: str
    prometheus: str


def build_all(docker: Docker) -> Images:
    """Build what has changed since the last time; a minute at first, then seconds."""
    operator = operator_image(docker)
    return Images(operator, double_image(docker, operator), prometheus_image(docker))


def operator_image(docker: Docker) -> str:
    """Build the operator's image from the working tree; its tag."""
    files: dict[str, Path | str] = {name: tools.ROOT / name for name in OPERATOR_FILES}
    source = tools.ROOT / "operator"
    files |= {
        str(path.relative_to(tools.ROOT)): path
        for path in sorted(source.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    if docker.folder is None:
        return _build(docker, "gpu-rightsizer:", files, {})
    inputs = {"dist/image/site": _site(), "dist/image/debs": _debs()}
    return _build(docker, "gpu-rightsizer:", files, {"BASE_IMAGE": _debian_base(docker)}, inputs)


def double_image(docker: Docker, operator: str) -> str:
    """Build the image of the inference double on the operator's Python; a tag that tells of vLLM, as a real one would.

    Its name is what the operator sees in a pod; no registry has it.
    """
    files: dict[str, Path | str] = {f"testbed/{name}": tools.ROOT / "testbed" / name for name in DOUBLE_FILES}
    files["Dockerfile"] = DOUBLE
    return _build(docker, f"double.invalid/{VLLM_IMAGE}-", files, {"OPERATOR": operator})


def prometheus_image(docker: Docker) -> str:
    """Build a Prometheus image from the binary the other tests use; its tag."""
    base = "debian:12-slim" if docker.folder is None else _debian_base(docker)
    files: dict[str, Path | str] = {"Dockerfile": PROMETHEUS, "prometheus": tools.program("prometheus")}
    return _build(docker, "prometheus-for-tests:", files, {"BASE": base})


def _build(
    docker: Docker,
    name: str,
    files: Mapping[str, Path | str],
    arguments: Mapping[str, str],
    folders: Mapping[str, Path] | None = None,
) -> str:
    """The image of these files (a text is the content itself) and folders; the tag follows from all of them."""
    tag = f"{name}{_content_tag(files, arguments, folders or {})}"
    if docker.has(tag):
        return tag
    options = [part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")]
    with tempfile.TemporaryDirectory(prefix="gpu-rightsizer-image-") as made:
        context = Path(made)
        for where, source in files.items():
            (context / where).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, str):
                (context / where).write_text(source)
            else:
                shutil.copy(source, context / where)
        for where, folder in (folders or {}).items():
            shutil.copytree(folder, context / where)
        docker.run("docker", "build", "-q", "-t", tag, *options, ".", cwd=context, seconds=BUILD_SECONDS)
    return tag


def _content_tag(files: Mapping[str, Path | str], arguments: Mapping[str, str], folders: Mapping[str, Path]) -> str:
    """Digest of every file's content; a folder is known by its name, which tells of the lock it was made from.

    It opens with words: `helm --set image.tag=982176380291` (or 1234e5678901) would be a number to Helm.
    """
    digest = hashlib.sha256(
        repr((sorted(arguments.items()), sorted(folder.name for folder in folders.values()))).encode()
    )
    for where, source in sorted(files.items()):
        content = source.encode() if isinstance(source, str) else source.read_bytes()
        digest.update(where.encode() + hashlib.sha256(content).digest())
    return f"content-{digest.hexdigest()[:12]}"


def _debian_base(docker: Docker) -> str:
    if not docker.has(DEBIAN_BASE):
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
