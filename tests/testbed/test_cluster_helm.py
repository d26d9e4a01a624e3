"""Helm works against the test cluster, and its errors reach the test."""

import json
from pathlib import Path

import pytest

from testbed.cluster.local import LocalCluster
from testbed.helm import Helm, HelmError

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("local-cluster")]

CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}"}
data: {color: "{{ required "say a color" .Values.color }}"}
"""
TEST_JOB = """
apiVersion: batch/v1
kind: Job
metadata:
  name: "{{ .Release.Name }}-test"
  annotations: {helm.sh/hook: test}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: x}]}}}
"""


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: small, version: 0.1.0, icon: 'https://example.com/x'}")
    (tmp_path / "values.yaml").write_text("color: blue\n")
    (tmp_path / "values.schema.json").write_text(json.dumps({"properties": {"color": {"enum": ["blue", "red", ""]}}}))
    (tmp_path / "templates/config.yaml").write_text(CONFIG_MAP)
    (tmp_path / "templates/test.yaml").write_text(TEST_JOB)
    return tmp_path


def test_lint_and_template_need_no_cluster(chart: Path) -> None:
    helm = Helm()

    assert "0 chart(s) failed" in helm.lint(chart)
    assert 'data: {color: "red"}' in helm.template("r", chart, values={"color": "red"})
    with pytest.raises(HelmError, match="at '/color': value must be one of 'blue', 'red'"):
        helm.template("r", chart, values={"color": "green"})


def test_a_release_is_installed_tested_upgraded_and_uninstalled(chart: Path, local_cluster: LocalCluster) -> None:
    helm, namespace = Helm(local_cluster), local_cluster.create_namespace("helm")
    local_cluster.add_node("helm-node", {"cpu": "4", "memory": "8Gi", "pods": "10"})

    def color() -> str:
        return local_cluster.get("configmap", "r", namespace=namespace)["data"]["color"]  # type: ignore[no-any-return]

    assert "STATUS: deployed" in helm.install("r", chart, namespace=namespace)
    assert color() == "blue"
    assert "Succeeded" in helm.test("r", namespace=namespace)
    helm.upgrade("r", chart, namespace=namespace, values={"color": "red"})
    assert color() == "red"
    with pytest.raises(HelmError, match="say a color"):
        helm.upgrade("r", chart, namespace=namespace, values={"color": ""})
    helm.uninstall("r", namespace=namespace)
    with pytest.raises(HelmError, match="not found"):
        helm.uninstall("r", namespace=namespace)


def test_a_user_without_rights_is_refused(chart: Path, local_cluster: LocalCluster) -> None:
    namespace = local_cluster.create_namespace("helm-denied")
    nobody = Helm(local_cluster, as_user=local_cluster.kubeconfig_for_user("nobody"))

    with pytest.raises(HelmError, match="forbidden"):
        nobody.install("r", chart, namespace=namespace)
