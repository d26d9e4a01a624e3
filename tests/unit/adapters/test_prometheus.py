"""The store misbehaves; the adapter says so in time and in short, and never takes half an answer for a whole one."""

from __future__ import annotations

import gzip
import json
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from gpu_rightsizer.adapters.prometheus import PrometheusMetrics, PrometheusSettings
from gpu_rightsizer.ports import Rejected, Unavailable
from tests.fakes.broken_store import Behaviour, BrokenStore, breaks_off, drips, hangs, says

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
EARLIER = datetime(2026, 11, 25, 10, tzinfo=UTC)
LABELS = {"pod": "llm-0"}


def vector(*values: Any, **more: Any) -> bytes:
    rows = [{"metric": LABELS, "value": [1764072000.5, value]} for value in values]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": rows}, **more}).encode()


def matrix(*values: Any, **more: Any) -> bytes:
    points = [[1764064800 + 3600 * index, value] for index, value in enumerate(values)]
    rows = [{"metric": LABELS, "values": points}] if points else []
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": rows}, **more}).encode()


def failure(kind: str, error: str) -> bytes:
    return json.dumps({"status": "error", "errorType": kind, "error": error}).encode()


@asynccontextmanager
async def asking(*behaviours: Behaviour, **settings: Any) -> AsyncIterator[tuple[PrometheusMetrics, BrokenStore]]:
    with BrokenStore(list(behaviours)) as store:
        for behaviour in behaviours:  # those that wait want to know when the test is over
            for cell in getattr(behaviour, "__closure__", None) or ():
                if cell.cell_contents == []:
                    cell.cell_contents.append(store)
        metrics = PrometheusMetrics(PrometheusSettings(store.url, **settings))
        try:
            yield metrics, store
        finally:
            metrics.close()


async def test_an_instant_answer_is_read() -> None:
    async with asking(says(vector("1.5"))) as (metrics, _):
        answer = await metrics.instant("up", AT)

    (series,) = answer.series
    assert (dict(series.labels), series.times.tolist(), series.values.tolist()) == (LABELS, [1764072000.5], [1.5])
    assert answer.warnings == ()


async def test_a_range_answer_is_read() -> None:
    async with asking(says(matrix("1", "2", "+Inf"))) as (metrics, store):
        answer = await metrics.between("up", EARLIER, AT, 3600)

    assert answer.series[0].values.tolist() == [1.0, 2.0, math.inf]
    assert store.requests[0].form["start"] == [str(int(EARLIER.timestamp()))]
    assert store.requests[0].form["step"] == ["3600s"]


async def test_queries_travel_in_the_body_and_ask_for_whole_answers() -> None:
    long = "vllm:num_requests_running" + " or vllm:num_requests_running" * 2000

    async with asking(says(vector())) as (metrics, store):
        await metrics.instant(long, AT)

    (request,) = store.requests
    assert request.path == "/api/v1/query"
    assert request.form["query"] == [long]
    assert request.form["partial_response"] == ["false"]
    assert request.form["dedup"] == ["true"]
    assert request.form["timeout"] == ["30s"]


@pytest.mark.parametrize("value", ["", None, "1,5", [], "abc"])
async def test_a_figure_that_is_no_number_is_unknown_and_hides_no_other(value: Any) -> None:
    async with asking(says(matrix("1", value, "3"))) as (metrics, _):
        answer = await metrics.between("up", EARLIER, AT, 3600)

    first, second, third = answer.series[0].values.tolist()
    assert (first, third) == (1.0, 3.0)
    assert math.isnan(second)


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "1e400"])
async def test_figures_that_are_not_finite_stay_so(text: str) -> None:
    async with asking(says(vector(text))) as (metrics, _):
        answer = await metrics.instant("up", AT)

    assert not math.isfinite(answer.series[0].values[0])


@pytest.mark.parametrize(
    ("more", "warnings"),
    [
        ({"warnings": ["store-1: timed out"]}, ("store-1: timed out",)),
        ({"infos": ["results truncated due to limit"]}, ("results truncated due to limit",)),
        ({"isPartial": True}, ("the answer is partial",)),
        ({"isPartial": False, "warnings": [], "infos": None}, ()),
        ({"infos": ['PromQL info: metric might not be a counter, name does not end in _total: "x"']}, ()),
    ],
)
async def test_what_makes_an_answer_partial_is_seen(more: dict[str, Any], warnings: tuple[str, ...]) -> None:
    async with asking(says(vector("1", **more))) as (metrics, _):
        answer = await metrics.instant("up", AT)

    assert answer.warnings == warnings
    assert len(answer.series) == 1


@pytest.mark.parametrize(
    ("behaviour", "error", "message"),
    [
        (says(b"<html>Sign in</html>", Content_Type="text/html"), Unavailable, "login page"),
        (says(matrix("1")[:-30]), Unavailable, "not JSON"),
        (breaks_off(matrix("1")), Unavailable, "did not answer"),
        (says(b"[]"), Unavailable, "no JSON object"),
        (says(b'{"status":"success"}'), Unavailable, "None to query_range"),
        (
            says(b'{"status":"success","data":{"resultType":"vector","result":[]}}'),
            Unavailable,
            "vector to query_range",
        ),
        (says(b'{"status":"success","data":{"resultType":"matrix","result":[{}]}}'), Unavailable, "without values"),
        (says(b'{"status":"success","data":{"resultType":"matrix","result":{}}}'), Unavailable, "no list"),
        (says(failure("bad_data", "parse error")), Rejected, "parse error"),
        (says(failure("bad_data", "exceeded 11,000 points"), 400), Rejected, "11,000 points"),
        (says(failure("execution", "query processing would load too many samples"), 422), Unavailable, "too many"),
        (says(b"", 302, Location="http://127.0.0.1:1/"), Rejected, "a redirect"),
        (says(b"", 401), Rejected, "check the credentials"),
        (says(b"", 403), Rejected, "check the credentials"),
        (says(b"404 page not found", 404), Rejected, "404"),
        (says(b"", 414), Rejected, "414"),
        (says(b"slow down", 429), Unavailable, "slow down"),
        (says(b"", 503), Unavailable, "503"),
        (says(b"not gzip", Content_Encoding="gzip"), Unavailable, "no gzip"),
        (says(gzip.compress(matrix("1"))[:-12], Content_Encoding="gzip"), Unavailable, "ends early"),
        (says(b"x", Content_Encoding="br"), Unavailable, "coding br"),
    ],
)
async def test_what_is_no_answer_is_refused(behaviour: Behaviour, error: type[Exception], message: str) -> None:
    async with asking(behaviour) as (metrics, store):
        with pytest.raises(error, match=message) as caught:
            await metrics.between("up", EARLIER, AT, 3600)

    assert len(store.requests) == 1  # neither retried nor followed
    assert len(str(caught.value)) < 500


async def test_compressed_answers_are_read() -> None:
    async with asking(says(gzip.compress(vector("7")), Content_Encoding="gzip")) as (metrics, store):
        answer = await metrics.instant("up", AT)

    assert answer.series[0].values.tolist() == [7.0]
    assert store.requests[0].headers["Accept-Encoding"] == "gzip"


async def test_a_gzip_bomb_stops_at_the_cap() -> None:
    bomb = gzip.compress(bytes(64 << 20))

    async with asking(says(bomb, Content_Encoding="gzip")) as (metrics, _):
        with pytest.raises(Unavailable, match="larger than 16 MiB"):
            await metrics.instant("up", AT)


async def test_a_large_answer_stops_at_the_cap_of_its_kind() -> None:
    large = vector(*["1"] * 500)

    async with asking(says(large), most_instant_bytes=1000, most_bytes=10) as (metrics, _):
        with pytest.raises(Unavailable, match="larger than"):
            await metrics.instant("up", AT)


async def test_a_store_that_hangs_is_left_in_time() -> None:
    began = time.monotonic()

    async with asking(hangs([]), whole_s=0.3) as (metrics, _):
        with pytest.raises(Unavailable, match=r"did not answer|within 0\.3 s"):
            await metrics.instant("up", AT)

    assert time.monotonic() - began < 3


async def test_a_store_that_drips_is_left_in_time() -> None:
    began = time.monotonic()

    async with asking(drips(vector("1"), 0.1, []), whole_s=0.5) as (metrics, _):
        with pytest.raises(Unavailable, match=r"no whole answer within 0\.5 s"):
            await metrics.instant("up", AT)

    assert time.monotonic() - began < 3


async def test_after_a_hang_the_next_answer_is_read() -> None:
    async with asking(drips(vector("1"), 0.1, []), says(vector("2")), whole_s=0.4) as (metrics, _):
        with pytest.raises(Unavailable):
            await metrics.instant("up", AT)
        answer = await metrics.instant("up", AT)

    assert answer.series[0].values.tolist() == [2.0]


async def test_a_store_that_is_not_there_is_unavailable() -> None:
    metrics = PrometheusMetrics(PrometheusSettings("http://127.0.0.1:1"))
    with pytest.raises(Unavailable, match="did not answer"):
        await metrics.instant("up", AT)
    metrics.close()


async def test_a_token_is_read_again_for_every_request(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")

    async with asking(says(vector()), bearer_token_file=token) as (metrics, store):
        await metrics.instant("up", AT)
        token.write_text("new\n")
        await metrics.instant("up", AT)

    assert [each.headers["Authorization"] for each in store.requests] == ["Bearer old", "Bearer new"]


async def test_a_token_that_rotates_during_a_request_is_tried_once_more(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")

    def rotates(handler: Any) -> None:
        token.write_text("new")
        says(b"", 401)(handler)

    async with asking(rotates, says(vector("1")), bearer_token_file=token) as (metrics, store):
        answer = await metrics.instant("up", AT)

    assert len(answer.series) == 1
    assert [each.headers["Authorization"] for each in store.requests] == ["Bearer old", "Bearer new"]


async def test_a_token_that_is_wrong_is_tried_once(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("wrong")

    async with asking(says(b"", 401), bearer_token_file=token) as (metrics, store):
        with pytest.raises(Rejected, match="credentials"):
            await metrics.instant("up", AT)

    assert len(store.requests) == 1


async def test_a_token_file_that_is_missing_is_named(tmp_path: Path) -> None:
    async with asking(says(vector()), bearer_token_file=tmp_path / "nothing") as (metrics, store):
        with pytest.raises(Rejected, match=r"cannot read .*/nothing: No such file"):
            await metrics.instant("up", AT)

    assert store.requests == []


async def test_basic_authentication_and_tenant_headers_are_sent(tmp_path: Path) -> None:
    (tmp_path / "user").write_text("me\n")
    (tmp_path / "password").write_text("secret\n")
    settings = {"user_file": tmp_path / "user", "password_file": tmp_path / "password"}

    async with asking(says(vector()), **settings, headers={"X-Scope-OrgID": "team-1"}) as (metrics, store):
        await metrics.instant("up", AT)

    headers = store.requests[0].headers
    assert headers["Authorization"] == "Basic bWU6c2VjcmV0"
    assert headers["X-Scope-OrgID"] == "team-1"


async def test_proxies_and_netrc_of_the_environment_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    async with asking(says(vector("1"))) as (metrics, store):
        await metrics.instant("up", AT)

    assert "Authorization" not in store.requests[0].headers


async def test_the_stores_clock_is_read() -> None:
    body = b'{"status":"success","data":{"resultType":"scalar","result":[1764072000.25,"1764072000.25"]}}'

    async with asking(says(body)) as (metrics, _):
        assert (await metrics.server_time()).timestamp() == 1764072000.25


@pytest.mark.parametrize("code", [400, 422, 503])
async def test_a_proxy_that_echoes_our_credentials_does_not_get_them_into_words(tmp_path: Path, code: int) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    headers = {"X-Scope-OrgID": "team-1-with-a-key"}

    def echoes(handler: BaseHTTPRequestHandler) -> None:
        says(f"request was: {handler.headers}; s3cret".encode(), code)(handler)

    async with asking(echoes, bearer_token_file=tmp_path / "token", headers=headers) as (metrics, _):
        with pytest.raises((Unavailable, Rejected), match=f"answered {code}: ") as caught:
            await metrics.instant("up", AT)

    assert "s3cret" not in str(caught.value)
    assert "team-1-with-a-key" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b'{"status":"error","error":"Bearer s3cret"}', b'{"status":"error","error":"s3cret"}']
)
async def test_an_error_of_the_store_is_redacted_too(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "token").write_text("s3cret\n")

    async with asking(says(body), bearer_token_file=tmp_path / "token") as (metrics, _):
        with pytest.raises(Rejected, match=r"\[redacted\]"):
            await metrics.instant("up", AT)


async def test_warnings_of_the_store_are_redacted_too(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    body = b'{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["store said s3cret"]}'

    async with asking(says(body), bearer_token_file=tmp_path / "token") as (metrics, _):
        answer = await metrics.instant("up", AT)

    assert answer.warnings == ("store said [redacted]",)
