"""Writes `manifests/install.yaml` and `manifests/monitoring/` from the chart, for those who install without Helm.

`python tools/render_manifests.py` writes, `--check` fails where a file is stale and says which.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm" / "gpu-rightsizer"
sys.path[:0] = [str(ROOT)]

NAMESPACE = "gpu-rightsizer"
PROMETHEUS = "http://prometheus-operated.monitoring.svc:9090"
MONITORING_KINDS = ("monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/PrometheusRule")

GENERATED = "# Generated from helm/gpu-rightsizer by tools/render_manifests.py; edits are lost.\n"
INSTALL_HEAD = f"""{GENERATED}#
# GPU Rightsizer in Recommend mode, for the whole cluster. Before you apply it:
# 1. Let `--prometheus-url` name your Prometheus, and the NetworkPolicy's last rule its namespace (`monitoring` here).
# 2. Let `image` name the registry you pushed the operator's image to.
#
#     kubectl apply --server-side -f manifests/install.yaml
---
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""
HELMS_OWN_LABELS = re.compile(r"^ +(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", re.MULTILINE)
SEPARATOR = re.compile(r"\n+---\n# Source: [^\n]*\n")


def rendered() -> dict[str, str]:
    """What every generated file should contain, by its path from the root of the repository."""
    monitoring = ["--set=podMonitor.enabled=true", "--set=prometheusRule.enabled=true"]
    monitoring += [f"--api-versions={kind}" for kind in MONITORING_KINDS]
    operator_kinds = _template(*monitoring, "--show-only=templates/monitoring.yaml")
    alerts = (CHART / "files" / "alerts" / "gpu-rightsizer.yaml").read_text()
    return {
        "manifests/install.yaml": INSTALL_HEAD + _template(),
        "manifests/monitoring/prometheus-operator.yaml": GENERATED + operator_kinds,
        "manifests/monitoring/alerts.yaml": GENERATED + alerts,
    }


def _template(*options: str) -> str:
    """The chart's output without the traces of Helm, which will not own these objects."""
    from testbed import tools  # builds Helm where it is missing; only rendering needs it

    with tempfile.TemporaryDirectory() as home:
        environment = {"HOME": home, "PATH": "", "KUBECONFIG": str(Path(home) / "none")}
        command = [str(tools.program("helm")), "template", NAMESPACE, str(CHART), "--namespace", NAMESPACE]
        command += ["--skip-tests", f"--set=prometheus.url={PROMETHEUS}", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"helm template failed: {done.stderr}")
    documents = SEPARATOR.split("\n" + done.stdout.strip("\n"))
    return "".join(f"---\n{HELMS_OWN_LABELS.sub('', each).strip()}\n" for each in documents if each.strip())


def stale() -> list[str]:
    """The files that differ from what the chart gives."""
    wanted = rendered().items()
    return [path for path, text in wanted if not (ROOT / path).exists() or (ROOT / path).read_text() != text]


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with `--check` tell which are stale."""
    if "--check" in arguments:
        for path in (out_of_date := stale()):
            print(f"{path} is stale: run `python tools/render_manifests.py`")
        return 1 if out_of_date else 0
    for path, text in rendered().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
