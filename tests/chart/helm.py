"""The chart under test: rendering to parsed objects, and releases of it on a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from testbed import helm

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "gpu-rightsizer"
RELEASE = NAMESPACE = "gpu-rightsizer"
URL = "prometheus.url=http://prometheus-operated.monitoring.svc:9090"
MONITORING = ("monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/PrometheusRule")

Object = dict[str, Any]  # a Kubernetes object: its shape is the API server's


@dataclass(frozen=True, slots=True)
class Helm:
    """Helm with the chart, our namespace and an address of Prometheus at hand."""

    helm: helm.Helm

    def __call__(self, *arguments: str) -> str:
        """Any Helm command; raises HelmError."""
        return self.helm.run(*arguments)

    def template(self, *options: str, release: str = RELEASE) -> list[Object]:
        """The objects the chart gives with these options."""
        text = self.helm.template(release, CHART, *options, namespace=NAMESPACE)
        return [each for each in yaml.safe_load_all(text) if each]

    def install(self, *options: str, release: str = RELEASE, chart: Path = CHART) -> str:
        """Install it into NAMESPACE; the notes."""
        return self.helm.install(release, chart, *sets(URL), *options, namespace=NAMESPACE)

    def upgrade(self, *options: str, release: str = RELEASE, chart: Path = CHART) -> str:
        """Upgrade the release; the notes."""
        return self.helm.upgrade(release, chart, *sets(URL), *options, namespace=NAMESPACE)

    def uninstall(self, release: str = RELEASE) -> str:
        """Uninstall the release."""
        return self.helm.uninstall(release, namespace=NAMESPACE)


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
