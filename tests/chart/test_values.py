"""The values: typos are refused by name, and every value is in the schema and in the README."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from gpu_rightsizer.controller import wiring
from testbed.helm import HelmError
from tests.chart.helm import CHART, URL, Helm, sets
from tools import chart_readme

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())


def defaults() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return loaded


def schema_objects(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of the schema that says something is an object."""
    if schema.get("type") == "object":
        yield path, schema
    for name, each in {**schema.get("properties", {}), **schema.get("$defs", {})}.items():
        yield from schema_objects(each, f"{path}.{name}")
    if "items" in schema:
        yield from schema_objects(schema["items"], f"{path}[]")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("replicaCount=2", "- at '': additional properties 'replicaCount' not allowed"),
        ("prometheus.ulr=x", "- at '/prometheus': additional properties 'ulr' not allowed"),
        ("prometheus.basicAuth.userKey=x", "- at '/prometheus/basicAuth': additional properties 'userKey' not allowed"),
        ("networkPolicy.enable=true", "- at '/networkPolicy': additional properties 'enable' not allowed"),
        ("replicas=9", "- at '/replicas': maximum: got 9, want 3"),
        ("logLevel=loud", "- at '/logLevel': value must be one of 'debug', 'info', 'warning', 'error'"),
        ("interval=5min", "- at '/interval': '5min' does not match pattern '^([0-9]+(ms|s|m|h|d))+$'"),
        ("crds.enabled=no", "- at '/crds/enabled': got string, want boolean"),
        ("watchNamespaces={Chat}", "- at '/watchNamespaces/0': 'Chat' does not match pattern"),
        ("prometheus.url=http://user:secret@prometheus", "- at '/prometheus/url': "),
        ("prometheus.url=file:///etc/passwd", "- at '/prometheus/url': "),
        ("image.digest=sha256:1", "- at '/image/digest': "),
    ],
)
def test_a_wrong_value_is_refused_where_it_stands(helm: Helm, value: str, message: str) -> None:
    with pytest.raises(HelmError) as refused:
        helm.template(*sets(URL, value))

    assert message in str(refused.value)


MATCHERS = [
    "",
    'cluster="a"',
    "cluster=a",
    'cluster=""',
    'cluster=~"a.*"',
    "cluster=~a",
    'cluster!="a"',
    'c="\\\\"',
    "cluster",
]
URLS = ["http://p:9090", "https://p/x", "http://u:p@s", "http://p?x=1", "http://p#x", "ftp://p"]


@pytest.mark.parametrize("matcher", MATCHERS)
def test_the_chart_and_the_command_line_take_the_same_matchers(matcher: str) -> None:
    assert _fits("clusterMatcher", matcher) is (not matcher or _taken(wiring._matcher, matcher))


@pytest.mark.parametrize("url", URLS)
def test_the_chart_and_the_command_line_take_the_same_addresses(url: str) -> None:
    assert _fits("url", url) is _taken(wiring._url, url)


@pytest.mark.parametrize("value", ["team-a", "a b", "a\nb", "caf\u00e9", ""])
def test_the_chart_and_the_command_line_take_the_same_headers(value: str) -> None:
    pattern = SCHEMA["properties"]["prometheus"]["properties"]["headers"]["additionalProperties"]["pattern"]

    assert bool(re.search(pattern, value)) is _taken(wiring._header, f"X-Key: {value}")


def _fits(name: str, value: str) -> bool:
    return bool(re.search(SCHEMA["properties"]["prometheus"]["properties"][name]["pattern"], value))


def _taken(read: Callable[[str], object], value: str) -> bool:
    try:
        read(value)
    except ValueError:
        return False
    return True


def test_lint_refuses_it_too(helm: Helm) -> None:
    with pytest.raises(match="additional properties 'replicaCount' not allowed"):
        helm("lint", str(CHART), *sets(URL, "replicaCount=2"))


def test_lint_is_content(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART), *sets(URL))


def test_a_parent_chart_may_hand_down_global_values(helm: Helm) -> None:
    assert helm.template(*sets(URL, "global.imageRegistry=example.com"))


def test_objects_of_the_schema_are_closed() -> None:
    passed_on = {".global", *(f".affinity.{kind}" for kind in ("nodeAffinity", "podAffinity", "podAntiAffinity"))}
    passed_on.add(".extraEnv[].valueFrom")

    for path, schema in schema_objects(SCHEMA):
        if path in passed_on:  # Helm's own, or Kubernetes' and checked by the API server
            continue
        what_else = schema["additionalProperties"]
        assert what_else is False or "type" in what_else, path


def test_the_schema_and_the_values_have_the_same_keys() -> None:
    def compare(schema: dict[str, Any], values: dict[str, Any], path: str) -> None:
        properties = set(schema["properties"]) - ({"global"} if not path else set())
        assert properties == set(values), path or "the top level"
        for key, value in values.items():
            nested = schema["properties"][key]
            if isinstance(value, dict) and value and "properties" in nested and key != "resources":
                compare(nested, value, f"{path}.{key}")

    compare(SCHEMA, defaults(), "")


def test_every_value_has_a_comment() -> None:
    assert [each.path for each in chart_readme.values() if not each.comment] == []


def test_the_table_in_the_readme_is_fresh() -> None:
    assert chart_readme.main(["--check"]) == 0
