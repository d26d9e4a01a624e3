"""What the operator may do, rule by rule: nothing that writes to a workload, no Secret, no wildcard."""

from collections.abc import Iterable

import pytest

from tests.chart.helm import NAMESPACE, URL, Helm, Object, of_kind, sets, the

READ, WATCH = ("get", "list"), ("get", "list", "watch")
OURS, CORE = "gpu-rightsizer.dev", ""

Rule = tuple[str, str, tuple[str, ...]]

NAMESPACED: set[Rule] = {
    (OURS, "inferencedeployments", (*WATCH, "patch")),
    (OURS, "inferencedeployments/status", ("patch",)),
    ("apps", "deployments", READ),
    ("apps", "statefulsets", READ),
    ("apps", "replicasets", READ),
    (CORE, "pods", READ),
    (CORE, "persistentvolumeclaims", READ),
    ("autoscaling", "horizontalpodautoscalers", READ),
    ("keda.sh", "scaledobjects", READ),
    ("events.k8s.io", "events", ("create", "patch")),
}
STATUSES: set[Rule] = {  # of an operator that serves the whole cluster: several would contradict each other
    (OURS, "instanceclasses/status", ("patch",)),
    (OURS, "rightsizingpolicies/status", ("patch",)),
}
CLUSTER: set[Rule] = {
    (OURS, "instanceclasses", WATCH),
    (OURS, "rightsizingpolicies", WATCH),
    (CORE, "nodes", READ),
    (CORE, "persistentvolumes", READ),
    (CORE, "namespaces", READ),
}
LEASE = [
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": ["gpu-rightsizer"],
        "verbs": ["get", "update"],
    },
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
]


def rules(role: Object) -> set[Rule]:
    """One entry per resource."""
    return {
        (group, resource, tuple(rule["verbs"]))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def operators_roles(objects: Iterable[Object]) -> list[Object]:
    """The roles that are bound to the operator's ServiceAccount."""
    objects = list(objects)
    bound = {
        (each["roleRef"]["kind"], each["roleRef"]["name"])
        for kind in ("RoleBinding", "ClusterRoleBinding")
        for each in of_kind(objects, kind)
    }
    return [each for each in objects if (each["kind"], each["metadata"]["name"]) in bound]


@pytest.fixture(scope="module")
def namespaced(helm: Helm) -> list[Object]:
    return helm.template(*sets(URL, "watchNamespaces={chat,search}"))


def test_the_cluster_role_holds_exactly_this(default: list[Object]) -> None:
    assert rules(the(default, "ClusterRole")) == NAMESPACED | CLUSTER | STATUSES


def test_the_lease_is_one_named_object_of_its_own_namespace(default: list[Object]) -> None:
    role = the(default, "Role", "gpu-rightsizer-lease")

    assert role["metadata"]["namespace"] == NAMESPACE
    assert role["rules"] == LEASE


def test_served_namespaces_get_roles_and_the_cluster_keeps_what_has_no_namespace(namespaced: list[Object]) -> None:
    name = "gpu-rightsizer-gpu-rightsizer"

    assert rules(the(namespaced, "ClusterRole", name)) == CLUSTER
    served = [each for each in of_kind(namespaced, "Role") if each["metadata"]["name"] == name]
    assert {each["metadata"]["namespace"]: rules(each) for each in served} == {"chat": NAMESPACED, "search": NAMESPACED}
    args = the(namespaced, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert [arg for arg in args if arg.startswith("--namespace")] == ["--namespace=chat", "--namespace=search"]


def test_policies_of_a_release_for_some_namespaces_match_these_alone(namespaced: list[Object]) -> None:
    policies = of_kind(namespaced, "ValidatingAdmissionPolicy")

    assert len(policies) == 2
    for each in policies:
        (expression,) = each["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]
        assert expression["values"] == ["chat", "search"]


@pytest.mark.parametrize(
    ("values", "further"),
    [
        ([], {(group, resource) for group, resource, _ in STATUSES}),
        (["watchNamespaces={chat}"], set()),
    ],
    ids=["cluster", "namespaced"],
)
def test_nothing_writes_to_a_workload(helm: Helm, values: list[str], further: set[tuple[str, str]]) -> None:
    roles = operators_roles(helm.template(*sets(URL, *values)))
    assert roles

    writing = {(group, resource) for role in roles for group, resource, verbs in rules(role) if set(verbs) - set(WATCH)}
    assert (
        writing
        == {
            (OURS, "inferencedeployments"),
            (OURS, "inferencedeployments/status"),
            ("events.k8s.io", "events"),
            ("coordination.k8s.io", "leases"),
        }
        | further
    )


@pytest.mark.parametrize("values", [[], ["watchNamespaces={chat}"]], ids=["cluster", "namespaced"])
def test_no_role_at_all_has_a_wildcard_or_a_dangerous_right(helm: Helm, values: list[str]) -> None:
    objects = helm.template(*sets(URL, *values))
    forbidden = {"*", "secrets", "configmaps", "pods/exec", "serviceaccounts/token", "escalate", "bind", "impersonate"}

    for role in of_kind(objects, "ClusterRole") + of_kind(objects, "Role"):
        for rule in role["rules"]:
            words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            assert not words & forbidden, role["metadata"]["name"]
            assert "nonResourceURLs" not in rule


def test_scaled_objects_are_read_only_where_wanted(helm: Helm) -> None:
    without = helm.template(*sets(URL, "rbac.scaledObjects=false"))

    assert {rule for rule in NAMESPACED | CLUSTER | STATUSES if rule[0] != "keda.sh"} == rules(
        the(without, "ClusterRole")
    )


def test_people_are_given_the_objects_but_never_the_status(default: list[Object]) -> None:
    view, edit = the(default, "ClusterRole", "gpu-rightsizer-view"), the(default, "ClusterRole", "gpu-rightsizer-edit")

    assert rules(view) == {
        (OURS, plural, WATCH) for plural in ("inferencedeployments", "instanceclasses", "rightsizingpolicies")
    }
    assert rules(edit) == {(OURS, "inferencedeployments", ("create", "update", "patch", "delete", "deletecollection"))}
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]


def test_nothing_of_it_is_rendered_when_somebody_else_grants_the_rights(helm: Helm) -> None:
    objects = helm.template(*sets(URL, "rbac.create=false", "rbac.aggregate=false", "serviceAccount.create=false"))

    kinds = {each["kind"] for each in objects}
    assert not kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount"}
