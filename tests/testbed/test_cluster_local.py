"""The local control plane is a real one: it refuses what a cluster refuses, and it leaves nothing behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from testbed.cluster import KubectlError, Taint, local
from testbed.cluster.local import LocalCluster
from testbed.processes import free_ports, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("local-cluster")]

GPU_NODE = {"nvidia.com/gpu": "8", "cpu": "192", "memory": "1900Gi", "ephemeral-storage": "2Ti", "pods": "110"}


def pod(name: str, *, privileged: bool = False, gpus: int = 0, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod that the restricted Pod Security level admits, unless privileged."""
    security = {
        "allowPrivilegeEscalation": privileged,
        "privileged": privileged,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    resources = {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {}
    container = {"name": "main", "image": "vllm", "securityContext": security, "resources": resources}
    metadata = {"name": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


def apply_in(cluster: LocalCluster, namespace: str, thing: dict[str, Any]) -> str:
    thing["metadata"]["namespace"] = namespace
    return cluster.apply(thing)


def test_two_clusters_run_side_by_side_and_know_nothing_of_each_other(local_cluster: LocalCluster) -> None:
    local_cluster.create_namespace("only-in-the-first")
    with LocalCluster() as other:
        assert other.server != local_cluster.server
        assert "only-in-the-first" not in other.kubectl("get", "namespaces")
        mixed = other.scratch / "mixed"
        stranger = other.admin_kubeconfig.read_text().replace(other.server, local_cluster.server)
        mixed.write_text(stranger)
        with pytest.raises(KubectlError, match="certificate signed by unknown authority"):
            local_cluster.kubectl("get", "namespaces", as_user=mixed)
        processes = [process.pid for process in other.processes.started]
        folder = other.logs.parent
    assert not any(alive(pid) for pid in processes)
    assert not folder.exists()


def test_pod_security_refuses_a_privileged_pod(local_cluster: LocalCluster) -> None:
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = local_cluster.create_namespace("restricted", restricted)

    with pytest.raises(KubectlError, match='violates PodSecurity "restricted:latest": privileged'):
        apply_in(local_cluster, namespace, pod("privileged", privileged=True))

    apply_in(local_cluster, namespace, pod("modest"))


def test_rbac_binds_a_service_account_token_and_the_audit_log_shows_it(local_cluster: LocalCluster) -> None:
    namespace = local_cluster.create_namespace("rbac")
    local_cluster.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    local_cluster.kubectl("create", "role", "reader", "--verb=list", "--resource=configmaps", "-n", namespace)
    local_cluster.kubectl(
        "create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:reader", "-n", namespace
    )
    reader = local_cluster.kubeconfig_for(namespace, "reader")

    assert "kube-root-ca.crt" in local_cluster.kubectl("get", "configmaps", "-n", namespace, as_user=reader)
    with pytest.raises(KubectlError, match="cannot create resource"):
        local_cluster.kubectl("create", "configmap", "new", "-n", namespace, as_user=reader)

    requests = local_cluster.requests(service_account=(namespace, "reader"))
    seen = [(r.verb, r.resource, r.denied, r.writes) for r in requests if r.resource]
    assert seen == [("list", "configmaps", False, False), ("create", "configmaps", True, True)]


def test_a_client_certificate_carries_user_and_groups(local_cluster: LocalCluster) -> None:
    someone = local_cluster.kubeconfig_for_user("someone", ["team-a", "team-b"])

    answer = json.loads(local_cluster.kubectl("auth", "whoami", "-o", "json", as_user=someone))

    assert answer["status"]["userInfo"]["username"] == "someone"
    assert {"team-a", "team-b"} <= set(answer["status"]["userInfo"]["groups"])


def test_an_admission_policy_refuses(local_cluster: LocalCluster) -> None:
    namespace = local_cluster.create_namespace("policy")
    local_cluster.apply(POLICY)

    def refused() -> bool:
        answer = local_cluster.kubectl("run", "late", "--image=x", "--dry-run=server", "-n", namespace, check=False)
        return "every pod here names its owner" in answer

    local_cluster.eventually(refused, what="the policy refuses")
    apply_in(local_cluster, namespace, pod("owned", labels={"owner": "me"}))


def test_a_mutating_admission_policy_changes_what_is_applied(local_cluster: LocalCluster) -> None:
    namespace = local_cluster.create_namespace("mutating")
    local_cluster.apply(MUTATION)

    def mutated() -> bool:
        dry_run = ("--dry-run=server", "-o", "jsonpath={.metadata.labels.touched}")
        return local_cluster.kubectl("create", "configmap", "x", "-n", namespace, *dry_run) == "yes"

    local_cluster.eventually(mutated, what="the policy mutates")


def test_a_gpu_pod_is_scheduled_on_a_kwok_node_and_gets_ready(local_cluster: LocalCluster) -> None:
    namespace = local_cluster.create_namespace("gpus")
    class_label = {"node.kubernetes.io/instance-type": "p5.48xlarge"}
    local_cluster.add_node("h100-1", GPU_NODE, labels=class_label, taints=[Taint("nvidia.com/gpu")])
    tolerant = pod("serving", gpus=4)
    tolerant["spec"]["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists"}]

    apply_in(local_cluster, namespace, tolerant)
    local_cluster.wait("condition=Ready", "pod/serving", namespace=namespace)

    assert local_cluster.get("pod", "serving", namespace=namespace)["spec"]["nodeName"] == "h100-1"
    node = local_cluster.get("node", "h100-1")
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == "p5.48xlarge"


def test_a_gpu_pod_without_room_stays_pending(local_cluster: LocalCluster) -> None:
    namespace = local_cluster.create_namespace("no-room")
    apply_in(local_cluster, namespace, pod("greedy", gpus=1000))

    local_cluster.wait("jsonpath={.status.conditions[0].reason}=Unschedulable", "pod/greedy", namespace=namespace)


def test_a_port_taken_in_between_costs_another_attempt_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        good = free_ports(5)
        chosen = iter([[taken, *good[:2]], good[2:]])
        monkeypatch.setattr(local, "free_ports", lambda *_: next(chosen))

        with LocalCluster() as cluster:
            assert cluster.server.endswith(f":{good[4]}")
            assert "default" in cluster.kubectl("get", "namespaces")


# -- nothing is left behind -----------------------------------------------------------------------------------------

STARTER = """
import json, signal, sys, time
from testbed.cluster.local import LocalCluster
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have had it ignored
with LocalCluster() as cluster:
    print(json.dumps([str(cluster.logs.parent), *(p.pid for p in cluster.processes.started)]), flush=True)
    if sys.argv[1] == "raise":
        raise RuntimeError("as asked")
    time.sleep(120)
"""


@contextlib.contextmanager
def somebody_with_a_cluster(what: str) -> Iterator[tuple[subprocess.Popen[str], Path, list[int]]]:
    """A Python process of its own that starts a cluster and then waits, or raises."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", STARTER, what]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=root, start_new_session=True
    ) as starter:
        assert starter.stdout is not None
        folder, *pids = json.loads(starter.stdout.readline())
        yield starter, Path(folder), pids


def how_it_ends(how: str) -> None:
    what = "raise" if how == "exception" else "wait"
    with somebody_with_a_cluster(what) as (starter, folder, pids):
        assert len(pids) == 5
        if how != "exception":
            assert all(alive(pid) for pid in pids)
            os.kill(starter.pid, signal.Signals[how])
        starter.wait(30)
        until(lambda: not any(alive(pid) for pid in pids), what=f"all gone after {how}", seconds=30)
        until(lambda: not folder.exists(), what=f"{folder} gone after {how}", seconds=10)


def test_nothing_is_left_after_an_exception_ctrl_c_sigterm_and_sigkill() -> None:
    ways = ["exception", "SIGINT", "SIGTERM", "SIGKILL"]
    with ThreadPoolExecutor(2) as pool:  # two at a time: a cluster takes half a gigabyte
        for outcome in [pool.submit(how_it_ends, how) for how in ways]:
            outcome.result()


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: pods-name-their-owner}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  validations:
    - expression: "has(object.metadata.labels) && 'owner' in object.metadata.labels"
      message: every pod here names its owner
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: pods-name-their-owner}
spec:
  policyName: pods-name-their-owner
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: policy}}}
"""

MUTATION = """
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: touch}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules:
      - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}
  mutations:
    - patchType: ApplyConfiguration
      applyConfiguration:
        expression: "Object{metadata: Object.metadata{labels: {'touched': 'yes'}}}"
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: touch}
spec:
  policyName: touch
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: mutating}}}
"""
