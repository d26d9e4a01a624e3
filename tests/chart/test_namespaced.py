"""An installation for some namespaces really works with the rights it is given."""

import pytest

from testbed.cluster.local import LocalCluster
from testbed.operator_process import OperatorProcess, wait_for_advice
from testbed.prometheus import PrometheusServer
from tests.chart.helm import NAMESPACE, RELEASE, Helm

pytestmark = pytest.mark.e2e


def test_the_operator_of_one_namespace_judges_what_is_there(clean: LocalCluster, releases: Helm) -> None:
    clean.create_namespace("chat")
    releases.install("--set=watchNamespaces={chat}", "--wait", "--timeout=60s")
    clean.wait("condition=Established", "crd/inferencedeployments.gpu-rightsizer.dev")
    described = {
        "apiVersion": "gpu-rightsizer.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": "llm", "namespace": "chat"},
        "spec": {"targetRef": {"name": "llm"}},
    }
    clean.apply(described)

    with (
        PrometheusServer() as prometheus,
        OperatorProcess(
            clean, prometheus.url, namespace=NAMESPACE, service_account=RELEASE, options=("--namespace", "chat")
        ) as operator,
    ):
        wait_for_advice(clean, 1, 60)
        log = operator.log.read_text()

    status = clean.get("inferencedeployment", "llm", namespace="chat")["status"]
    assert {each["type"]: each["reason"] for each in status["conditions"]}["Ready"] == "TargetMissing"
    assert "403" not in log
