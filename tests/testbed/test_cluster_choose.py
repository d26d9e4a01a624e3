"""CLUSTER decides; without it kind is taken where it can be had."""

import pytest

from testbed.cluster import ClusterUnavailable, choose

LACK = "Docker is not running"


def kind_lacks(monkeypatch: pytest.MonkeyPatch, lack: str | None) -> None:
    monkeypatch.setattr(choose, "why_not_kind", lambda: lack)


@pytest.mark.parametrize(
    ("wish", "lack", "chosen"),
    [
        (None, None, "kind"),
        (None, LACK, "local"),
        ("local", None, "local"),
        ("kind", None, "kind"),
        ("", LACK, "local"),
    ],
)
def test_the_wish_wins_and_kind_is_preferred(
    wish: str | None, lack: str | None, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind_lacks(monkeypatch, lack)
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
