"""What runs: a pod under the restricted standard, with probes, a read-only root and the arguments of the values."""

import pytest

from testbed.helm import HelmError
from tests.chart.helm import MONITORING, RELEASE, URL, Helm, Object, of_kind, sets, the

SECRET = "prometheus.existingSecret=metrics-access"  # noqa: S105  the name of an object
FILES = "/etc/gpu-rightsizer/prometheus"


def pods(objects: list[Object]) -> list[Object]:
    return [each["spec"]["template"]["spec"] for each in objects if each["kind"] in {"Deployment", "Job"}]


def container(objects: list[Object]) -> Object:
    (only,) = pods(objects)[0]["containers"]
    operator: Object = only
    return operator


def with_values(helm: Helm, *values: str) -> list[Object]:
    return helm.template("--skip-tests", *sets(URL, *values))


def test_every_pod_meets_the_restricted_standard(helm: Helm) -> None:
    both = pods(helm.template(*sets(URL)))
    assert len(both) == 2

    for pod in both:
        assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC", "initContainers"))
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in pod["containers"]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert each["resources"]["limits"]["memory"]


def test_only_temporary_files_can_be_written(default: list[Object]) -> None:
    (pod,) = pods(default)

    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}]
    assert container(default)["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108  in the pod


def test_the_token_is_mounted_in_the_operators_pod_alone(helm: Helm) -> None:
    objects = helm.template(*sets(URL))

    assert the(objects, "ServiceAccount")["automountServiceAccountToken"] is False
    assert [pod["automountServiceAccountToken"] for pod in pods(objects)] == [True, False]


def test_the_arguments_with_nothing_but_the_address(default: list[Object]) -> None:
    assert container(default)["args"] == [
        "run",
        "--prometheus-url=http://prometheus-operated.monitoring.svc:9090",
        "--interval=5m",
        "--metrics-port=8080",
        "--health-port=8081",
        "--log-level=info",
    ]


def test_probes_ask_the_health_port(default: list[Object]) -> None:
    only = container(default)

    assert only["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "health"}
    assert only["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "health"}
    assert only["ports"] == [{"name": "metrics", "containerPort": 8080}, {"name": "health", "containerPort": 8081}]


def test_the_pod_knows_its_name_and_namespace(default: list[Object]) -> None:
    assert {each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"] for each in container(default)["env"]} == {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
    }


def test_credentials_are_files_of_the_secret(helm: Helm) -> None:
    keys = ["basicAuth.usernameKey=user", "basicAuth.passwordKey=password", "ca.key=ca.crt"]
    keys += ["clientCertificate.certificateKey=tls.crt", "clientCertificate.privateKeyKey=tls.key"]
    objects = with_values(helm, SECRET, *(f"prometheus.{key}" for key in keys))

    assert container(objects)["args"][3:8] == [
        f"--prometheus-basic-auth-user-file={FILES}/user",
        f"--prometheus-basic-auth-password-file={FILES}/password",
        f"--prometheus-client-cert={FILES}/tls.crt",
        f"--prometheus-client-key={FILES}/tls.key",
        f"--prometheus-ca={FILES}/ca.crt",
    ]
    assert {"name": "prometheus", "mountPath": FILES, "readOnly": True} in container(objects)["volumeMounts"]
    assert {"name": "prometheus", "secret": {"secretName": "metrics-access", "defaultMode": 0o440}} in (
        pods(objects)[0]["volumes"]
    )


def test_a_bearer_token_and_an_authority_from_a_config_map(helm: Helm) -> None:
    objects = with_values(
        helm, SECRET, "prometheus.bearerTokenKey=token", "prometheus.ca.key=ca.pem", "prometheus.ca.configMap=corp-ca"
    )

    assert f"--prometheus-bearer-token-file={FILES}/token" in container(objects)["args"]
    assert f"--prometheus-ca={FILES}-ca/ca.pem" in container(objects)["args"]
    assert {"name": "prometheus-ca", "configMap": {"name": "corp-ca"}} in pods(objects)[0]["volumes"]


def test_tenant_headers_and_a_cluster_matcher(helm: Helm) -> None:
    objects = helm.template(
        *sets(URL, "prometheus.headers.X-Scope-OrgID=team-a"),
        '--set-json=prometheus.clusterMatcher="cluster=\\"prod-1\\""',
    )

    assert '--cluster-matcher=cluster="prod-1"' in container(objects)["args"]
    assert "--prometheus-header=X-Scope-OrgID: team-a" in container(objects)["args"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "`prometheus.url` is not set"),
        (
            [URL, "prometheus.bearerTokenKey=token"],
            "`prometheus.existingSecret` is not set. Name the Secret",
        ),
        ([URL, SECRET], "is metrics-access, but no key of it is named"),
        ([URL, SECRET, "prometheus.basicAuth.usernameKey=user"], "needs both `usernameKey` and `passwordKey`"),
        (
            [URL, SECRET, "prometheus.clientCertificate.certificateKey=c"],
            "needs both `certificateKey` and",
        ),
        ([URL, "prometheus.ca.configMap=corp-ca"], "`prometheus.ca.key` is not set"),
        (
            [
                URL,
                SECRET,
                "prometheus.bearerTokenKey=t",
                "prometheus.basicAuth.usernameKey=u",
                "prometheus.basicAuth.passwordKey=p",
            ],
            "exclude each other",
        ),
    ],
)
def test_a_contradiction_is_refused_with_its_remedy(helm: Helm, values: list[str], message: str) -> None:
    with pytest.raises(HelmError) as refused:
        helm.template(*sets(*values))

    assert message in str(refused.value)


def test_an_image_by_digest_or_tag(helm: Helm, default: list[Object]) -> None:
    digest = "sha256:" + "0" * 64

    assert container(default)["image"] == "gpu-rightsizer:0.1.0"
    assert container(with_values(helm, "image.tag=dev"))["image"] == "gpu-rightsizer:dev"
    assert container(with_values(helm, f"image.digest={digest}"))["image"] == f"gpu-rightsizer@{digest}"


def test_a_budget_exists_only_where_there_is_a_second_pod(helm: Helm, default: list[Object]) -> None:
    assert not of_kind(default, "PodDisruptionBudget")
    assert the(with_values(helm, "replicas=2"), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_an_upgrade_keeps_a_working_pod_until_the_new_one_is_ready(default: list[Object]) -> None:
    strategy = the(default, "Deployment")["spec"]["strategy"]

    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_labels_of_ones_own_never_replace_the_selectors(helm: Helm) -> None:
    objects = with_values(helm, r"podLabels.app\.kubernetes\.io/name=mine", "podLabels.team=infra")
    deployment = the(objects, "Deployment")["spec"]

    labels = deployment["template"]["metadata"]["labels"]
    assert labels["team"] == "infra"
    assert deployment["selector"]["matchLabels"].items() <= labels.items()


def test_every_object_is_named_after_the_release_and_labelled(default: list[Object]) -> None:
    for each in default:
        assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "gpu-rightsizer", each["metadata"]["name"]
        if each["kind"] != "CustomResourceDefinition":
            assert each["metadata"]["name"].startswith(RELEASE)


def test_monitoring_kinds_appear_only_when_wanted_and_known(helm: Helm) -> None:
    wanted = "podMonitor.enabled=true", "prometheusRule.enabled=true"
    known = [f"--api-versions={kind}" for kind in MONITORING]
    kinds = {"PodMonitor", "PrometheusRule"}

    assert not kinds & {each["kind"] for each in with_values(helm, *wanted)}
    assert not kinds & {each["kind"] for each in helm.template(*sets(URL), *known)}
    assert kinds < {each["kind"] for each in helm.template(*sets(URL, *wanted), *known)}
