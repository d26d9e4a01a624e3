"""What people and the operator's own token can really do, asked of a real API server."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

import testbed.helm
from testbed.cluster.base import KubectlError
from testbed.cluster.local import LocalCluster
from tests.chart.conftest import RESTRICTED, _remove_everything
from tests.chart.helm import NAMESPACE, RELEASE, Helm, Object
from tests.chart.test_rights import CLUSTER, NAMESPACED, STATUSES

pytestmark = pytest.mark.e2e

OURS = "gpu-rightsizer.dev"
LEASES = {
    ("coordination.k8s.io", "leases", ("create",)),
    ("coordination.k8s.io", "leases/gpu-rightsizer", ("get", "update")),
}
FORBIDDEN = [
    ("create", "", "pods"),
    ("create", "", "pods/exec"),
    ("create", "", "pods/eviction"),
    ("create", "", "serviceaccounts/token"),
    ("delete", "", "pods"),
    ("patch", "", "pods"),
    ("get", "", "secrets"),
    ("list", "", "secrets"),
    ("get", "", "configmaps"),
    ("patch", "apps", "deployments"),
    ("update", "apps", "deployments"),
    ("patch", "apps", "deployments/scale"),
    ("patch", "apps", "statefulsets"),
    ("patch", "autoscaling", "horizontalpodautoscalers"),
    ("patch", "", "nodes"),
    ("create", OURS, "inferencedeployments"),
    ("delete", OURS, "inferencedeployments"),
    ("update", OURS, "inferencedeployments"),
    ("approve", OURS, "inferencedeployments"),
    ("patch", OURS, "instanceclasses"),
    ("patch", OURS, "rightsizingpolicies"),
    ("impersonate", "", "users"),
    ("escalate", "rbac.authorization.k8s.io", "clusterroles"),
    ("bind", "rbac.authorization.k8s.io", "clusterroles"),
    ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
    ("patch", "admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("patch", "apiextensions.k8s.io", "customresourcedefinitions"),
    ("delete", "coordination.k8s.io", "leases"),
]


@pytest.fixture(scope="module")
def cluster(own_cluster: LocalCluster) -> Iterator[LocalCluster]:
    """The chart installed, and a namespace `chat` with a workload; cluster state is only read or put back here."""
    _remove_everything(own_cluster)
    own_cluster.create_namespace(NAMESPACE, RESTRICTED)
    own_cluster.create_namespace("chat")
    Helm(testbed.helm.Helm(own_cluster)).install("--wait", "--timeout=60s")
    own_cluster.wait("condition=Established", "crd/inferencedeployments.gpu-rightsizer.dev")
    yield own_cluster
    _remove_everything(own_cluster)


@pytest.fixture(scope="module")
def operator(cluster: LocalCluster) -> Path:
    return cluster.kubeconfig_for(NAMESPACE, RELEASE)


@pytest.fixture
def described(cluster: LocalCluster) -> Iterator[Object]:
    """An InferenceDeployment, made by the administrator."""
    cluster.apply(infd())
    yield infd()
    cluster.kubectl("delete", "infd", "--all", "-n", "chat")


def infd(name: str = "llama-8b", **spec: object) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {
        "apiVersion": f"{OURS}/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": name, "namespace": "chat"},
        "spec": {"targetRef": target, **spec},
    }


def somebody(cluster: LocalCluster, name: str, role: str, namespace: str = "chat") -> Path:
    """A user who holds one of the cluster's roles in one namespace."""
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
    }
    cluster.apply(binding)
    return cluster.kubeconfig_for_user(name)


def role(cluster: LocalCluster, name: str, rules: Sequence[Mapping[str, Sequence[str]]]) -> str:
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}}
    cluster.apply(rbac | {"rules": list(rules)})
    return name


def create(cluster: LocalCluster, user: Path, body: Object) -> str:
    return cluster.kubectl("create", "-f", "-", input=json.dumps(body), as_user=user)


def patch(cluster: LocalCluster, user: Path, body: Object, *options: str) -> str:
    what = "patch", "infd", "llama-8b", "-n", "chat", "--type=merge", "-p", json.dumps(body)
    return cluster.kubectl(*what, *options, as_user=user)


def rights(cluster: LocalCluster, user: Path, namespace: str) -> set[tuple[str, str, tuple[str, ...]]]:
    """Every rule that holds for the user in a namespace, as the API server sums them up, but for those of everybody."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    ask = "create", "--validate=false", "-f", "-", "-o", "json"  # to validate, kubectl would list CRDs
    answer = cluster.kubectl(*ask, input=json.dumps(review), as_user=user)
    found = {
        (group, resource + "".join(f"/{name}" for name in rule.get("resourceNames", [])), tuple(rule["verbs"]))
        for rule in json.loads(answer)["status"]["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    return {rule for rule in found if rule[0] not in {"authorization.k8s.io", "authentication.k8s.io"}}


def test_the_operators_rights_in_any_namespace_are_exactly_the_charts(cluster: LocalCluster, operator: Path) -> None:
    assert rights(cluster, operator, "chat") == NAMESPACED | CLUSTER | STATUSES


def test_in_its_own_namespace_the_lease_comes_on_top(cluster: LocalCluster, operator: Path) -> None:
    assert rights(cluster, operator, NAMESPACE) == NAMESPACED | CLUSTER | STATUSES | LEASES


def test_the_operator_is_refused_all_that_could_do_harm(cluster: LocalCluster, operator: Path) -> None:
    reviews = [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {
                "resourceAttributes": {
                    "verb": verb,
                    "group": group,
                    "resource": resource.partition("/")[0],
                    "subresource": resource.partition("/")[2],
                    "namespace": NAMESPACE,
                }
            },
        }
        for verb, group, resource in FORBIDDEN
    ]
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": reviews})
    answer = "jsonpath={.status.allowed}{'\\n'}"
    answers = cluster.kubectl("create", "-f", "-", "-o", answer, input=body, as_user=operator).split()

    assert set(answers) == {"false"}, list(zip(FORBIDDEN, answers, strict=True))
    assert len(answers) == len(FORBIDDEN)


def test_the_operator_does_its_work(cluster: LocalCluster, operator: Path, described: Object) -> None:
    status = {"status": {"observedGeneration": 1}}
    apply = "apply", "--server-side", "--force-conflicts", "--field-manager=gpu-rightsizer", "-f", "-"
    identity = {key: described[key] for key in ("apiVersion", "kind", "metadata")}
    cluster.kubectl(*apply, "--subresource=status", input=json.dumps(identity | status), as_user=operator)
    annotated = json.loads(json.dumps(identity))
    annotated["metadata"]["annotations"] = {"gpu-rightsizer.dev/summary": "keep"}
    cluster.kubectl(*apply, input=json.dumps(annotated), as_user=operator)

    found = cluster.get("infd", "llama-8b", namespace="chat")
    assert found["status"]["observedGeneration"] == 1
    assert found["metadata"]["annotations"]["gpu-rightsizer.dev/summary"] == "keep"


@pytest.mark.usefixtures("described")
def test_the_operator_writes_events_and_its_lease(cluster: LocalCluster, operator: Path) -> None:
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "llama-8b.1", "namespace": "chat"},
        "regarding": {"kind": "InferenceDeployment", "name": "llama-8b", "namespace": "chat"},
        "reportingController": "gpu-rightsizer.dev",
        "reportingInstance": "gpu-rightsizer",
        "eventTime": "2026-11-25T00:00:00.000000Z",
        "type": "Normal",
        "action": "Recommend",
        "reason": "Recommended",
        "note": "a smaller class holds",
    }
    create(cluster, operator, event)
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "gpu-rightsizer", "namespace": NAMESPACE},
        "spec": {"holderIdentity": "a"},
    }
    create(cluster, operator, lease)
    cluster.kubectl("replace", "-f", "-", input=json.dumps(lease), as_user=operator)

    with pytest.raises(KubectlError, match="orbidden"):
        cluster.kubectl("get", "lease", "another", "-n", NAMESPACE, as_user=operator)
    elsewhere = lease | {"metadata": {"name": "gpu-rightsizer", "namespace": "chat"}}
    with pytest.raises(KubectlError, match="orbidden"):
        create(cluster, operator, elsewhere)


@pytest.mark.usefixtures("described")
def test_the_operator_cannot_change_what_the_user_wrote(cluster: LocalCluster, operator: Path) -> None:
    with pytest.raises(KubectlError, match="You may not patch Deployment llama-8b, so you may not have it rightsized"):
        patch(cluster, operator, {"spec": {"mode": "Off"}})


@pytest.mark.usefixtures("described")
def test_nobody_else_writes_the_status_not_even_an_administrator(cluster: LocalCluster) -> None:
    with pytest.raises(KubectlError, match="Only the operator writes the status of an InferenceDeployment"):
        patch(cluster, cluster.admin_kubeconfig, {"status": {"observedGeneration": 7}}, "--subresource=status")

    assert "status" not in cluster.get("infd", "llama-8b", namespace="chat")


def test_a_status_given_at_creation_is_dropped(cluster: LocalCluster) -> None:
    create(cluster, cluster.admin_kubeconfig, infd() | {"status": {"observedGeneration": 7}})

    assert "status" not in cluster.get("infd", "llama-8b", namespace="chat")
    cluster.kubectl("delete", "infd", "llama-8b", "-n", "chat")


def test_who_may_edit_a_namespace_has_its_workloads_rightsized(cluster: LocalCluster) -> None:
    editor = somebody(cluster, "editor", "edit")
    cluster.eventually(lambda: create(cluster, editor, infd()), what="the role edit includes our kind")

    patch(cluster, editor, {"spec": {"mode": "Off"}})
    with pytest.raises(KubectlError, match="orbidden"):
        patch(cluster, editor, {"status": {"observedGeneration": 7}}, "--subresource=status")
    with pytest.raises(KubectlError, match="orbidden"):
        cluster.kubectl("delete", "instanceclass", "--all", as_user=editor)
    cluster.kubectl("delete", "infd", "llama-8b", "-n", "chat", as_user=editor)


@pytest.mark.usefixtures("described")
def test_who_may_view_a_namespace_sees_and_writes_nothing(cluster: LocalCluster) -> None:
    viewer = somebody(cluster, "viewer", "view")
    cluster.eventually(
        lambda: "llama-8b" in cluster.kubectl("get", "infd", "-n", "chat", as_user=viewer),
        what="the role view includes our kind",
    )

    with pytest.raises(KubectlError, match="orbidden"):
        patch(cluster, viewer, {"metadata": {"annotations": {"gpu-rightsizer.dev/paused": "true"}}})
    with pytest.raises(KubectlError, match="orbidden"):
        create(cluster, viewer, infd("another"))


def test_who_may_not_patch_the_workload_may_not_have_it_rightsized(cluster: LocalCluster) -> None:
    ours = {"apiGroups": [OURS], "resources": ["inferencedeployments"], "verbs": ["create", "get", "patch", "update"]}
    outsider = somebody(cluster, "outsider", role(cluster, "describes-only", [ours]))

    with pytest.raises(KubectlError, match="You may not patch Deployment llama-8b, so you may not have it rightsized"):
        create(cluster, outsider, infd())


def test_the_right_to_one_workload_is_no_right_to_another(cluster: LocalCluster) -> None:
    ours = {"apiGroups": [OURS], "resources": ["inferencedeployments"], "verbs": ["create", "get", "patch", "update"]}
    one = {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["llama-8b"], "verbs": ["patch"]}
    user = somebody(cluster, "owner-of-one", role(cluster, "patches-llama-8b", [ours, one]))

    create(cluster, user, infd())
    with pytest.raises(KubectlError, match="You may not patch Deployment mistral, so"):
        create(cluster, user, infd("mistral"))
    stateful = infd("llama-8b-s")
    stateful["spec"]["targetRef"] |= {"kind": "StatefulSet", "name": "llama-8b"}
    with pytest.raises(KubectlError, match="You may not patch StatefulSet llama-8b, so"):
        create(cluster, user, stateful)
    cluster.kubectl("delete", "infd", "--all", "-n", "chat")


@pytest.mark.usefixtures("described")
def test_annotations_need_no_right_to_the_workload(cluster: LocalCluster) -> None:
    ours = {"apiGroups": [OURS], "resources": ["inferencedeployments"], "verbs": ["get", "patch"]}
    user = somebody(cluster, "annotator", role(cluster, "annotates-only", [ours]))

    patch(cluster, user, {"metadata": {"annotations": {"gpu-rightsizer.dev/paused": "true"}}})
    with pytest.raises(KubectlError, match="You may not patch Deployment llama-8b"):
        patch(cluster, user, {"spec": {"mode": "Off"}})


def test_the_policies_are_sound(cluster: LocalCluster) -> None:
    """The API server checks their expressions against the schema and reports what it doubts."""
    policies = cluster.objects("validatingadmissionpolicies")
    assert len(policies) == 2

    for each in policies:
        name = f"validatingadmissionpolicy/{each['metadata']['name']}"
        cluster.wait("jsonpath={.status.observedGeneration}", name)
        status = cluster.get("validatingadmissionpolicy", each["metadata"]["name"])["status"]
        assert not status.get("typeChecking", {}).get("expressionWarnings"), status
