"""Install, upgrade, test, uninstall and install again, against a real API server."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from testbed.cluster.base import KubectlError
from testbed.cluster.local import LocalCluster
from testbed.helm import HelmError
from tests.chart.conftest import list_kinds
from tests.chart.helm import CHART, NAMESPACE, RELEASE, ROOT, Helm, Object, crd_files, sets

pytestmark = pytest.mark.e2e

INFD = "inferencedeployments.gpu-rightsizer.dev"
KUBECTL_APPLY = pytest.mark.parametrize("how", [(), ("--server-side",)], ids=["client-side", "server-side"])
SAMPLE = {
    "apiVersion": "gpu-rightsizer.dev/v1alpha1",
    "kind": "InferenceDeployment",
    "metadata": {"name": "llama-8b", "namespace": NAMESPACE},
    "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama-8b"}},
}


def crd(cluster: LocalCluster) -> Object:
    return cluster.get("customresourcedefinition", INFD)


def crds(cluster: LocalCluster) -> dict[str, str]:
    """Name and resourceVersion of our CRDs: equal means that nobody wrote to them."""
    everything = cluster.objects("customresourcedefinitions")
    return {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in everything}


def changed_chart(folder: Path, description: str = "A newer description.") -> Path:
    """A later version of the chart, whose CRDs describe their kinds otherwise."""
    chart = folder / "gpu-rightsizer"
    shutil.copytree(CHART, chart)
    for path in (chart / "files" / "crds").glob("*.yaml"):
        body = yaml.safe_load(path.read_text())
        body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = description
        path.write_text(yaml.safe_dump(body))
    return chart


def description(cluster: LocalCluster) -> str:
    text: str = crd(cluster)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"]
    return text


def owner(cluster: LocalCluster) -> str | None:
    name: str | None = crd(cluster)["metadata"].get("annotations", {}).get("meta.helm.sh/release-name")
    return name


def kubectl_apply_crds(cluster: LocalCluster, folder: Path, *how: str) -> None:
    cluster.kubectl("apply", *how, "-f", str(folder))
    cluster.wait("condition=Established", *(f"crd/{name}" for name in crds(cluster)))


def test_install_upgrade_test_uninstall(clean: LocalCluster, releases: Helm) -> None:
    releases.install("--wait", "--timeout=60s")
    (pod,) = clean.objects("pods", namespace=NAMESPACE)
    assert pod["spec"]["serviceAccountName"] == RELEASE

    releases.upgrade("--wait", "--timeout=60s", *sets("interval=1m"))
    deployment = clean.get("deployment", RELEASE, namespace=NAMESPACE)
    assert "--interval=1m" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]

    assert "Succeeded" in releases.helm.test(RELEASE, namespace=NAMESPACE)

    releases.uninstall()
    left = clean.kubectl("get", "all,sa,role,rolebinding,netpol", "-n", NAMESPACE, "-o", "name").split()
    assert [
        name for name in left if "gpu-rightsizer" in name and "-test" not in name and not name.startswith("pod/")
    ] == []
    assert clean.kubectl("get", "clusterrole,validatingadmissionpolicy", "-o", "name").count("gpu-rightsizer") == 0
    assert len(crds(clean)) == len(crd_files())


def test_an_upgrade_without_changes_writes_nothing(installed: LocalCluster, releases: Helm) -> None:
    before = crds(installed)
    generation = installed.get("deployment", RELEASE, namespace=NAMESPACE)["metadata"]["generation"]

    releases.upgrade()

    assert crds(installed) == before
    assert installed.get("deployment", RELEASE, namespace=NAMESPACE)["metadata"]["generation"] == generation


def test_an_upgrade_of_the_release_upgrades_its_crds(installed: LocalCluster, releases: Helm, tmp_path: Path) -> None:
    installed.apply(SAMPLE)

    releases.upgrade(chart=changed_chart(tmp_path))

    assert description(installed) == "A newer description."
    assert installed.get("infd", "llama-8b", namespace=NAMESPACE)["spec"]["mode"] == "Recommend"


def test_objects_and_crds_outlive_the_release_and_serve_the_next_one(installed: LocalCluster, releases: Helm) -> None:
    installed.apply(SAMPLE)
    releases.uninstall()

    releases.install()

    assert installed.get("infd", "llama-8b", namespace=NAMESPACE)
    assert owner(installed) == RELEASE


def test_crds_of_an_earlier_release_of_another_name_are_left_alone(
    installed: LocalCluster, releases: Helm, tmp_path: Path
) -> None:
    releases.uninstall()
    before = crds(installed)

    notes = releases.install(release="other", chart=changed_chart(tmp_path))
    releases.upgrade(release="other", chart=tmp_path / "gpu-rightsizer")

    assert f"The CRD {INFD} was there before and was left alone. IT DIFFERS" in notes
    assert crds(installed) == before
    releases.uninstall("other")
    assert crds(installed) == before


@KUBECTL_APPLY
def test_crds_applied_by_kubectl_first_are_left_alone(
    clean: LocalCluster, releases: Helm, how: tuple[str, ...]
) -> None:
    kubectl_apply_crds(clean, ROOT / "crds", *how)
    before = crds(clean)

    notes = releases.install("--wait", "--timeout=60s")
    releases.upgrade()

    assert notes.count("was left alone; it is the one this chart would install.") == len(before)
    assert crds(clean) == before
    releases.uninstall()
    assert crds(clean) == before


@KUBECTL_APPLY
def test_older_crds_applied_by_kubectl_are_left_alone_and_said_to_differ(
    clean: LocalCluster, releases: Helm, tmp_path: Path, how: tuple[str, ...]
) -> None:
    older = changed_chart(tmp_path, "An older description.")
    kubectl_apply_crds(clean, older / "files" / "crds", *how)

    notes = releases.install()

    assert description(clean) == "An older description."
    assert notes.count("IT DIFFERS from") == len(crds(clean))
    command = "kubectl apply --server-side --force-conflicts -f crds/"
    assert notes.count(command) == len(crds(clean))

    clean.kubectl(*command.split()[1:-1], str(ROOT / "crds"))
    assert "IT DIFFERS" not in releases.upgrade()


@KUBECTL_APPLY
def test_kubectl_may_apply_the_same_crds_after_helm(
    installed: LocalCluster, releases: Helm, how: tuple[str, ...]
) -> None:
    kubectl_apply_crds(installed, ROOT / "crds", *how)

    releases.upgrade()
    assert owner(installed) == RELEASE


@KUBECTL_APPLY
def test_crds_can_be_handed_to_the_release(
    clean: LocalCluster, releases: Helm, tmp_path: Path, how: tuple[str, ...]
) -> None:
    older = changed_chart(tmp_path, "An older description.")
    kubectl_apply_crds(clean, older / "files" / "crds", *how)
    releases.install()

    releases.upgrade("--take-ownership", "--force-conflicts", *sets("crds.adopt=true"))
    assert owner(clean) == RELEASE
    assert description(clean) != "An older description."

    releases.upgrade()
    assert owner(clean) == RELEASE


def test_switching_the_crds_off_keeps_them(installed: LocalCluster, releases: Helm) -> None:
    before = set(crds(installed))

    releases.upgrade(*sets("crds.enabled=false"))
    assert set(crds(installed)) == before

    releases.upgrade()
    assert owner(installed) == RELEASE


def test_a_second_release_for_the_whole_cluster_is_refused(installed: LocalCluster, releases: Helm) -> None:
    installed.kubectl("create", "namespace", "search")

    with pytest.raises(HelmError, match="invalid ownership metadata"):
        releases.helm.install(RELEASE, CHART, *sets("prometheus.url=http://p"), namespace="search")


def test_releases_for_some_namespaces_stand_side_by_side(clean: LocalCluster, releases: Helm) -> None:
    for name in ("chat", "search"):
        clean.create_namespace(name)
        options = sets("prometheus.url=http://p", f"watchNamespaces={{{name}}}")
        releases.helm.install(RELEASE, CHART, "--wait", "--timeout=60s", *options, namespace=name)

    for name in ("chat", "search"):
        account = clean.kubeconfig_for(name, RELEASE)
        clean.apply(SAMPLE | {"metadata": {"name": "llama-8b", "namespace": name}})
        assert clean.kubectl("get", "infd", "-n", name, "-o", "name", as_user=account)
        status = SAMPLE | {"metadata": {"name": "llama-8b", "namespace": name}, "status": {"observedGeneration": 1}}
        del status["spec"]
        apply = "apply", "--server-side", "--subresource=status", "-f", "-"
        clean.kubectl(*apply, input=json.dumps(status), as_user=account)
        with pytest.raises(KubectlError, match="Forbidden"):
            clean.kubectl("get", "infd", "-A", as_user=account)
    clean.kubectl("delete", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/part-of=gpu-rightsizer")


def test_the_manifest_installs_without_helm(clean: LocalCluster) -> None:
    clean.kubectl("apply", "--server-side", "-f", str(ROOT / "manifests" / "install.yaml"))

    clean.wait("condition=Available", f"deployment/{RELEASE}", namespace=NAMESPACE, seconds=60)
    assert "Warning" not in clean.kubectl(
        "apply", "--server-side", "--dry-run=server", "-f", str(ROOT / "manifests" / "install.yaml"), check=False
    )
    list_kinds(clean)
    clean.kubectl("delete", "-f", str(ROOT / "manifests" / "install.yaml"), "--timeout=150s", seconds=160)
    assert crds(clean) == {}
