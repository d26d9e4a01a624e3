"""CLUSTER decides; without it kind is taken where the machine's own Docker runs."""

import pytest

from testbed.cluster import ClusterUnavailable, choose

LACK = "Docker is not running"


def kind_lacks(monkeypatch: pytest.MonkeyPatch, lack: str | None, *, docker_runs: bool = False) -> None:
    monkeypatch.setattr(choose, "why_not_kind", lambda: lack)
    monkeypatch.setattr(choose, "_docker_runs", lambda: docker_runs)


@pytest.mark.parametrize(
    ("wish", "docker_runs", "chosen"),
    [
        (None, True, "kind"),
        (None, False, "local"),  # a node image of our own is used only when asked for: it starts a daemon
        ("local", True, "local"),
        ("kind", False, "kind"),
        ("", False, "local"),
    ],
)
def test_the_wish_wins_and_kind_is_preferred_where_docker_runs(
    wish: str | None, docker_runs: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind_lacks(monkeypatch, None, docker_runs=docker_runs)
    monkeypatch.delenv("CLUSTER", raising=False)
    if wish is not None:
        monkeypatch.setenv("CLUSTER", wish)

    assert choose.chosen_kind() == chosen


def test_kind_that_was_demanded_and_cannot_be_had_is_an_error_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    kind_lacks(monkeypatch, LACK)
    monkeypatch.setenv("CLUSTER", "kind")

    with pytest.raises(ClusterUnavailable, match="CLUSTER=kind, but Docker is not running"):
        choose.chosen_kind()


def test_an_unknown_wish_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", "minikube")

    with pytest.raises(ClusterUnavailable, match="it must be kind or local"):
        choose.chosen_kind()
