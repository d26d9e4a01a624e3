"""The operator as it is shipped: its image in a real pod, probes, recommendation, restart, upgrade and uninstall.

NetworkPolicies are only looked at here: kind's network does not enforce them (tests/chart evaluates their rules).
"""

from __future__ import annotations

import itertools
import json
import time
from datetime import datetime

import pytest

from testbed.cluster.base import KubectlError, Object
from testbed.cluster.kind import KindCluster
from testbed.helm import Helm
from testbed.kind.manifests import PROMETHEUS_URL
from testbed.kind.stage import OPERATOR, install_operator
from tests.kind.conftest import REAL, SIMULATED, Live

pytestmark = pytest.mark.kind

IN_OPERATOR = ("-n", OPERATOR)
EXIT_SECONDS = 10.0
CRDS = tuple(
    f"{name}.gpu-rightsizer.dev" for name in ("inferencedeployments", "instanceclasses", "rightsizingpolicies")
)


def container(pod: Object) -> Object:
    (only,) = pod["status"]["containerStatuses"]
    found: Object = only
    return found


def crd_versions(cluster: KindCluster) -> dict[str, str]:
    """Equal means that nobody wrote to them."""
    return {name: cluster.get("crd", name)["metadata"]["resourceVersion"] for name in CRDS}


def writes(live: Live) -> list[tuple[str, str, str]]:
    """Which of our field managers own fields of which object and subresource."""
    found: list[tuple[str, str, str]] = []
    for namespace, name in (REAL, SIMULATED):
        fields = live.cluster.kubectl("get", "infd", name, "-n", namespace, "-o", "json", "--show-managed-fields")
        found += [
            (name, entry["manager"], entry.get("subresource", ""))
            for entry in json.loads(fields)["metadata"]["managedFields"]
            if entry["manager"].startswith("gpu-rightsizer")
        ]
    return sorted(found)


def test_the_pod_is_ready_from_the_image_just_built(live: Live) -> None:
    pod = live.wait_ready()

    assert pod["spec"]["containers"][0]["image"] == live.images.operator
    assert container(pod)["image"].removeprefix("docker.io/library/") == live.images.operator
    assert pod["spec"]["nodeName"] == live.node
    namespace = live.cluster.get("namespace", OPERATOR)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_kubelet_gets_its_probes_answered(live: Live) -> None:
    """After the liveness probe's delay and period it has been asked; a failure would be an Unhealthy event."""
    pod = live.pod()
    live.cluster.eventually(lambda: age(pod) > 22, what="an older pod", seconds=30)
    failed = live.cluster.kubectl("get", "events", *IN_OPERATOR, "--field-selector=reason=Unhealthy", "-o", "json")
    messages = [event["message"] for event in json.loads(failed)["items"]]

    assert [each for each in messages if "Liveness" in each] == []
    assert container(live.pod())["restartCount"] == 0
    assert container(live.pod())["ready"]


def age(pod: Object) -> float:
    """Seconds since the container runs."""
    began = container(pod)["state"]["running"]["startedAt"]
    return time.time() - datetime.fromisoformat(began).timestamp()


def test_the_root_filesystem_is_read_only_and_the_user_not_root(live: Live) -> None:
    name = live.pod()["metadata"]["name"]
    script = "import os; print(os.getuid()); open('/tmp/x', 'w').close(); open('/x', 'w')"

    said = live.cluster.kubectl("exec", name, *IN_OPERATOR, "--", "python3", "-c", script, check=False)

    assert "65532" in said
    assert "Read-only file system: '/x'" in said


def test_prometheus_scraped_processes_and_their_history_joins_without_a_gap(live: Live) -> None:
    (pod,) = live.cluster.objects("pods", namespace=REAL[0], selector=f"app={REAL[1]}")
    which = f'namespace="{REAL[0]}",pod="{pod["metadata"]["name"]}"'

    (up,) = live.prometheus.query(f'up{{job="vllm",{which}}}')
    assert (up.value, up.labels["instance"]) == (1.0, f"{pod['status']['podIP']}:8000")
    series = f'vllm:num_requests_running{{job="vllm",{which}}}'
    ((*samples,),) = live.prometheus.raw_samples(series, seconds=14 * 86_400)
    gaps = [later.time - earlier.time for earlier, later in itertools.pairwise(samples)]
    assert len(samples) > 20_000
    assert max(gaps) <= 90

    used = live.prometheus.query(f'DCGM_FI_DEV_FB_USED{{exported_pod="{pod["metadata"]["name"]}"}}')
    assert [each.labels["pod"].startswith("nvidia-dcgm-exporter-") for each in used] == [True]


def test_the_recommendation_agrees_with_the_twin(live: Live) -> None:
    arguments = live.pod()["spec"]["containers"][0]["args"]
    assert f"--prometheus-url={PROMETHEUS_URL}" in arguments

    for key in (REAL, SIMULATED):
        agrees, said = live.judged(key)
        assert agrees, said
    assert live.advice(REAL)["action"] == "Resize"


def test_the_charts_own_test_passes(live: Live) -> None:
    assert "Succeeded" in Helm(live.cluster).test(OPERATOR, namespace=OPERATOR)


def test_a_killed_process_is_restarted_in_place(live: Live) -> None:
    before, id_before = live.wait_ready(), live.advice(REAL)["id"]
    name = before["metadata"]["name"]

    live.cluster.kubectl("exec", name, *IN_OPERATOR, "--", "sh", "-c", "kill 1", check=False)

    restarted = f"jsonpath={{.status.containerStatuses[0].restartCount}}={container(before)['restartCount'] + 1}"
    live.cluster.wait(restarted, f"pod/{name}", namespace=OPERATOR, seconds=60)
    ended = container(live.cluster.get("pod", name, namespace=OPERATOR))["lastState"]["terminated"]
    assert ended["exitCode"] == 0
    live.wait_ready()
    assert live.holder() == name
    assert live.advice(REAL)["id"] == id_before


def test_a_deleted_pod_ends_in_time_and_the_next_one_takes_over(live: Live) -> None:
    before = live.wait_ready()
    id_before, writers = live.advice(REAL)["id"], writes(live)
    began = time.monotonic()

    live.cluster.kubectl("delete", "pod", before["metadata"]["name"], *IN_OPERATOR, "--wait", "--timeout=40s")
    took = time.monotonic() - began

    assert took < EXIT_SECONDS
    after = live.wait_ready()
    assert after["metadata"]["name"] != before["metadata"]["name"]
    live.cluster.eventually(
        lambda: live.holder() == after["metadata"]["name"], what="the Lease with the new pod", seconds=30
    )
    assert live.advice(REAL)["id"] == id_before
    assert writes(live) == writers


def test_an_upgrade_rolls_the_pod_and_leaves_the_crds(live: Live) -> None:
    before, versions = live.wait_ready(), crd_versions(live.cluster)

    install_operator(live.cluster, live.images, "--set", "logLevel=debug", interval="20s")

    after = live.wait_ready()
    assert after["metadata"]["name"] != before["metadata"]["name"]
    assert "--interval=20s" in after["spec"]["containers"][0]["args"]
    assert crd_versions(live.cluster) == versions
    live.cluster.wait("delete", f"pod/{before['metadata']['name']}", namespace=OPERATOR, seconds=EXIT_SECONDS)
    live.cluster.eventually(
        lambda: live.holder() == after["metadata"]["name"], what="the Lease with the new pod", seconds=30
    )
    assert live.advice(REAL)["action"] == "Resize"


def test_a_network_policy_is_in_place(live: Live) -> None:
    policy = live.cluster.get("networkpolicy", OPERATOR, namespace=OPERATOR)

    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_uninstalling_leaves_crds_and_objects_and_deleting_never_hangs(live: Live) -> None:
    Helm(live.cluster).uninstall(OPERATOR, "--wait", "--timeout=60s", namespace=OPERATOR)

    assert set(crd_versions(live.cluster)) == set(CRDS)
    assert live.advice(REAL)["action"] == "Resize"
    gone = ("--wait", "--timeout=30s")
    live.cluster.kubectl("delete", "infd", REAL[1], "-n", REAL[0], *gone)
    live.cluster.kubectl("delete", "namespace", OPERATOR, *gone)
    live.cluster.kubectl("delete", "crd", *CRDS, *gone)
    with pytest.raises(KubectlError, match="NotFound"):
        live.cluster.get("namespace", OPERATOR)
