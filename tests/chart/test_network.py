"""The network policy: DNS, the API server and Prometheus, and nothing else."""

from typing import Any

import pytest

from tests.chart.helm import URL, Helm, Object, of_kind, sets, the


def tcp(*ports: int) -> list[Object]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def namespace(name: str) -> Object:
    return {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}]}


def prometheus_rule(helm: Helm, *values: str) -> Any:
    dns, api_server, prometheus = the(helm.template(*sets(*values)), "NetworkPolicy")["spec"]["egress"]
    assert dns["ports"] == [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    assert api_server == {"ports": tcp(443, 6443)}
    return prometheus


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://prometheus:9090", namespace("gpu-rightsizer")),
        ("http://prometheus.monitoring:80", namespace("monitoring")),
        ("https://prometheus.monitoring.svc", namespace("monitoring")),
        ("http://prometheus.monitoring.svc.cluster.local:9090/prefix", namespace("monitoring")),
        ("https://metrics.example.com/prometheus", {"ports": tcp(443)}),
        ("http://metrics.example.com", {"ports": tcp(80)}),
        ("http://10.0.0.7:9090", {"ports": tcp(9090)}),
        ("http://[fd00::7]:9090", {"ports": tcp(9090)}),
    ],
)
def test_the_way_to_prometheus_follows_its_address(helm: Helm, url: str, rule: Object) -> None:
    assert prometheus_rule(helm, f"prometheus.url={url}") == rule


def test_peers_can_be_named(helm: Helm) -> None:
    rule = prometheus_rule(
        helm,
        URL,
        "networkPolicy.prometheus.to[0].ipBlock.cidr=10.0.0.0/24",
        "networkPolicy.prometheus.ports={9090,10901}",
    )

    assert rule == {"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}], "ports": tcp(9090, 10901)}


def test_the_api_server_can_be_narrowed_to_its_addresses(helm: Helm) -> None:
    objects = helm.template(
        *sets(URL, "networkPolicy.apiServer.cidrs={10.0.0.1/32}", "networkPolicy.apiServer.ports={6443}")
    )

    assert the(objects, "NetworkPolicy")["spec"]["egress"][1] == {
        "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
        "ports": tcp(6443),
    }


def test_in_come_scrapes_and_probes(helm: Helm, default: list[Object]) -> None:
    policy = the(default, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"ports": tcp(8080)}, {"ports": tcp(8081)}]

    only = helm.template(*sets(URL, "networkPolicy.metrics.from[0].podSelector.matchLabels.app=prometheus"))
    scrapes, _ = the(only, "NetworkPolicy")["spec"]["ingress"]
    assert scrapes["from"] == [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]


def test_it_selects_the_operators_pods(default: list[Object]) -> None:
    labels = the(default, "Deployment")["spec"]["template"]["metadata"]["labels"]

    assert the(default, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_it_can_be_left_out(helm: Helm) -> None:
    assert not of_kind(helm.template(*sets(URL, "networkPolicy.enabled=false")), "NetworkPolicy")
