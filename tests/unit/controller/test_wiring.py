"""The command line's options: what is refused at the start, and that no refusal repeats a secret."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import pytest

from gpu_rightsizer.controller import wiring
from gpu_rightsizer.controller.look import API
from gpu_rightsizer.controller.settings import Settings
from gpu_rightsizer.controller.wiring import _header, _matcher, _url
from tests.fakes.cluster import FakeCluster


@pytest.mark.parametrize("value", ["a\r\nX-Admin: 1", "a\nb", "a\x00b", "caf\u00e9", "a\x7fb"])
def test_a_header_value_that_is_not_one_line_of_ascii_is_refused_without_repeating_it(value: str) -> None:
    with pytest.raises(ValueError, match="X-Key: the value must be one line of printable ASCII") as caught:
        _header(f"X-Key: {value}")

    assert value not in str(caught.value)


@pytest.mark.parametrize("text", ["s3cret", "X Key: s3cret", ": s3cret"])
def test_a_header_in_another_form_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="give Name: value") as caught:
        _header(text)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "http://me:s3cret@store:9090",
        "http://me:s3/cret@s3cret@store",
        "https://store/x?token=s3cret",
        "http://s#s3cret",
    ],
)
def test_an_address_with_credentials_is_refused_without_repeating_them(text: str) -> None:
    with pytest.raises(ValueError, match="credentials go into files") as caught:
        _url(text)

    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ('cluster="prod-1"', ("cluster", "prod-1")),
        ("cluster=prod-1", ("cluster", "prod-1")),
        ('cluster=""', ("cluster", "")),
    ],
)
def test_a_matcher_is_one_exact_value(text: str, pair: tuple[str, str]) -> None:
    assert _matcher(text) == pair


@pytest.mark.parametrize(
    "text", ['cluster=~"prod-.*"', "cluster=~prod", 'cluster!="x"', "cluster", 'cluster="a', "cluster="]
)
def test_a_pattern_is_no_matcher(text: str) -> None:
    with pytest.raises(ValueError, match="one exact value"):
        _matcher(text)


@pytest.mark.parametrize("namespaces", [(), ("chat",)])
async def test_waiting_for_the_definitions_says_how_to_install_them(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, namespaces: tuple[str, ...]
) -> None:
    """An operator of some namespaces may list nothing outside them: it looks where it may."""
    monkeypatch.setattr(wiring, "WAIT_FOR_CRDS_S", 0.01)
    cluster, opened = FakeCluster(), asyncio.Event()
    settings = Settings(None, namespaces=namespaces)  # type: ignore[arg-type]  # no store is asked

    async def run() -> None:
        """Nothing."""

    cycle = SimpleNamespace(cluster=cluster, settings=settings)
    door, loop = SimpleNamespace(open=opened.set), SimpleNamespace(run=run)
    task = asyncio.create_task(wiring._work(cycle, loop, door))  # type: ignore[arg-type]  # as above
    with caplog.at_level(logging.WARNING):
        await asyncio.sleep(0.05)
    assert not opened.is_set()
    where = "namespaces/chat/" if namespaces else ""
    cluster.lists[f"{API}/{where}inferencedeployments"] = []
    await asyncio.wait_for(task, 1)

    assert opened.is_set()
    (said,) = (each.getMessage() for each in caplog.records)
    assert "gpu-rightsizer crds | kubectl apply --server-side -f -" in said
