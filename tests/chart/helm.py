"""Helm for the chart tests: rendering to parsed objects, and releases on a cluster."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from testbed import tools

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "gpu-rightsizer"
RELEASE = NAMESPACE = "gpu-rightsizer"
URL = "prometheus.url=http://prometheus-operated.monitoring.svc:9090"
MONITORING = ("monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/PrometheusRule")

Object = dict[str, Any]  # a Kubernetes object: its shape is the API server's


class HelmError(RuntimeError):
    """Helm exited with an error; the text is what it printed."""


@dataclass(frozen=True, slots=True)
class Helm:
    """One cluster, or none, as Helm sees it."""

    home: Path
    environment: Mapping[str, str]

    def __call__(self, *arguments: str, seconds: float = 120) -> str:
        """Run Helm and return what it printed, both streams together; raises HelmError."""
        done = subprocess.run(
            [str(tools.program("helm")), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            env={**self.environment, "HOME": str(self.home), "HELM_CACHE_HOME": str(self.home / "cache")},
        )
        if done.returncode != 0:
            raise HelmError(done.stderr + done.stdout)
        return done.stdout + done.stderr

    def template(self, *options: str, release: str = RELEASE, chart: Path | None = None) -> list[Object]:
        """The objects the chart gives with these options."""
        text = self("template", release, str(chart or CHART), "--namespace", NAMESPACE, *options)
        return [each for each in yaml.safe_load_all(text) if each]

    def install(self, *options: str, release: str = RELEASE, chart: Path | None = None) -> str:
        """Install the chart into NAMESPACE."""
        return self("install", release, str(chart or CHART), "--namespace", NAMESPACE, "--set", URL, *options)

    def upgrade(self, *options: str, release: str = RELEASE, chart: Path | None = None) -> str:
        """Upgrade the release."""
        return self("upgrade", release, str(chart or CHART), "--namespace", NAMESPACE, "--set", URL, *options)

    def uninstall(self, release: str = RELEASE) -> str:
        """Uninstall the release."""
        return self("uninstall", release, "--namespace", NAMESPACE)


def sets(*values: str) -> Sequence[str]:
    """`--set` for each value."""
    return [word for value in values for word in ("--set", value)]


def of_kind(objects: Sequence[Object], kind: str) -> list[Object]:
    """Those of one kind, in order."""
    return [each for each in objects if each["kind"] == kind]


def the(objects: Sequence[Object], kind: str, name: str = RELEASE) -> Object:
    """The one object of that kind and name."""
    (found,) = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == name]
    return found


def crd_files() -> list[Path]:
    """The CRDs as the chart carries them."""
    return sorted((CHART / "files" / "crds").glob("*.yaml"))
