"""The notes end with the way to the first recommendation; the CRDs are the published ones, kept."""

import yaml

from tests.chart.helm import CHART, NAMESPACE, RELEASE, ROOT, URL, Helm, Object, crd_files, of_kind, sets


def notes(helm: Helm, *values: str) -> str:
    where = "--namespace", NAMESPACE, "--dry-run=client"
    return helm("install", RELEASE, str(CHART), *where, *sets(URL, *values)).split("NOTES:")[1]


def test_the_last_line_shows_the_first_recommendation(helm: Helm) -> None:
    assert notes(helm).rstrip().splitlines()[-1].strip() == "kubectl get infd -A"


def test_they_say_which_namespaces_are_served_and_that_nothing_changes(helm: Helm) -> None:
    assert "serves the whole cluster, in Recommend mode: it changes no workload." in notes(helm)
    assert "serves the namespaces chat, search, in" in notes(helm, "watchNamespaces={chat,search}")


def test_they_tell_what_was_switched_off_or_is_missing(helm: Helm) -> None:
    text = notes(helm, "policies.enabled=false", "crds.enabled=false", "podMonitor.enabled=true")

    assert "can forge a recommendation" in text
    assert "The CRDs are yours to install" in text
    assert "No PodMonitor was created" in text
    assert "No PrometheusRule was created" not in text


def test_the_crds_are_the_published_ones(default: list[Object]) -> None:
    published = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]

    assert published
    rendered = {each["metadata"]["name"]: each["spec"] for each in of_kind(default, "CustomResourceDefinition")}
    assert rendered == {each["metadata"]["name"]: each["spec"] for each in published}


def test_the_crds_outlive_the_release(default: list[Object]) -> None:
    for each in of_kind(default, "CustomResourceDefinition"):
        assert each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_crds_can_be_left_out(helm: Helm) -> None:
    assert crd_files()
    assert not of_kind(helm.template(*sets(URL, "crds.enabled=false")), "CustomResourceDefinition")
