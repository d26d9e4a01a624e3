"""Alerts pass promtool, and what is generated from the chart is fresh."""

import re
import subprocess
from pathlib import Path

import yaml

from gpu_rightsizer.explain.samples import HELP, PREFIX
from testbed import tools
from tests.chart.helm import CHART, MONITORING, ROOT, URL, Helm, of_kind, sets, the
from tools import render_manifests

ALERTS = CHART / "files" / "alerts" / "gpu-rightsizer.yaml"


def promtool(*arguments: str) -> str:
    command = [str(tools.program("promtool")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_rules() -> None:
    assert "SUCCESS: 4 rules found" in promtool("check", "rules", str(ALERTS))


def test_the_rules_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", str(Path(__file__).with_name("alerts_test.yaml")))


def test_the_prometheus_rule_holds_the_file_as_it_is(helm: Helm) -> None:
    known = [f"--api-versions={kind}" for kind in MONITORING]
    objects = helm.template(*sets(URL, "prometheusRule.enabled=true"), *known)

    assert the(objects, "PrometheusRule")["spec"] == yaml.safe_load(ALERTS.read_text())


def test_alerts_speak_of_metrics_that_exist() -> None:
    known = {PREFIX + name for name in HELP}

    assert set(re.findall(r"gpu_rightsizer_[a-z_]+", ALERTS.read_text())) <= known


def test_every_alert_says_what_it_means() -> None:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]

    for rule in group["rules"]:
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_the_manifests_are_fresh() -> None:
    assert render_manifests.stale() == []


def test_the_manifest_is_the_chart_without_helm() -> None:
    text = (ROOT / "manifests" / "install.yaml").read_text()
    objects = [each for each in yaml.safe_load_all(text) if each]

    assert "helm.sh/chart" not in text
    assert "app.kubernetes.io/managed-by" not in text
    assert objects[0]["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    assert not of_kind(objects, "Job")
    assert the(objects, "Deployment")
    assert len(of_kind(objects, "CustomResourceDefinition")) == len(list((ROOT / "crds").glob("*.yaml")))
