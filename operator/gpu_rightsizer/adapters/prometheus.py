"""A Prometheus-compatible store behind `ports.Metrics`: prometheus-api-client over a hardened session."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import orjson
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from typing_extensions import override

from gpu_rightsizer.adapters.matrix import decoded
from gpu_rightsizer.adapters.prometheus_session import THREADS, HardenedSession, PrometheusSettings
from gpu_rightsizer.ports import Answer, Rejected, Series, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests
    from numpy.typing import NDArray

# Remarks on how a metric is named and on rounding in histograms; any other note may mean a partial answer.
HARMLESS = (
    "PromQL info: metric might not be a counter",
    "PromQL info: input to histogram_quantile needed to be fixed for monotonicity",
)
RESULT_TYPES = {"query": frozenset({"vector", "scalar"}), "query_range": frozenset({"matrix"})}

T = TypeVar("T")

_NOTES: ContextVar[list[str]] = ContextVar("notes")  # warnings of the answer being read, in its own thread

__all__ = ["PrometheusMetrics", "PrometheusSettings"]


class _Session(HardenedSession):
    """Keeps the warnings that prometheus-api-client drops."""

    @override
    def request(self, *args: Any, **kwargs: Any) -> requests.Response:  # as requests has it
        answer = super().request(*args, **kwargs)
        body = _body(answer.content)
        if body.get("status") != "success":
            words = self.redacted(str(body.get("error", "no status")))
            raise Rejected(f"the metrics store answered: {words[:300]}")
        _check_type(body, answer.url.partition("?")[0].rpartition("/")[2])
        notes = [self.redacted(str(note)) for key in ("warnings", "infos") for note in body.get(key) or []]
        if body.get("isPartial") is True:
            notes.append("the answer is partial")
        _NOTES.get().extend(note for note in notes if not note.startswith(HARMLESS))
        answer.json = lambda **_: body  # type: ignore[method-assign]  # parsed once, by orjson
        return answer


class PrometheusMetrics:
    """`ports.Metrics`. Blocking calls run in four threads of their own, so that a slow store stops nothing else."""

    def __init__(self, settings: PrometheusSettings) -> None:
        session = _Session(settings)
        # method=POST: the session moves the parameters into the body
        self._client = PrometheusConnect(url=settings.url.rstrip("/"), session=session, method="POST")
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="prometheus")

    def close(self) -> None:
        """Let the threads end, and give the connections back."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def instant(self, promql: str, at: datetime) -> Answer:
        """One instant query; raises Unavailable or Rejected."""
        params = {"time": at.timestamp()}
        return await self._ask(lambda: self._client.custom_query(promql, params=params))

    async def between(self, promql: str, start: datetime, end: datetime, step_seconds: int) -> Answer:
        """One range query, both ends included; raises Unavailable or Rejected."""
        return await self._ask(lambda: self._client.custom_query_range(promql, start, end, f"{step_seconds}s"))

    async def server_time(self) -> datetime:
        """By the query `time()`."""
        moment = await self._run(lambda: _noted(lambda: self._client.custom_query("time()")))
        try:
            return datetime.fromtimestamp(float(moment[1]), UTC)  # a scalar: time and value
        except (IndexError, TypeError, ValueError) as error:
            raise Unavailable("the metrics store does not tell the time") from error

    async def _ask(self, query: Callable[[], list[Any]]) -> Answer:
        return await self._run(lambda: _answer(query))

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _answer(query: Callable[[], list[Any]]) -> Answer:
    notes: list[str] = []
    _NOTES.set(notes)
    rows = _translated(query)
    return Answer([_series(row) for row in rows], tuple(notes))


def _noted(query: Callable[[], list[Any]]) -> list[Any]:
    _NOTES.set([])
    return _translated(query)


def _translated(query: Callable[[], list[Any]]) -> list[Any]:
    try:
        rows = query()
    except PrometheusApiClientException as error:
        raise Unavailable(f"the metrics store answered: {str(error)[:300]}") from error
    except (KeyError, TypeError) as error:
        raise Unavailable("the metrics store answered something that is no query result") from error
    if not isinstance(rows, list):
        raise Unavailable("the metrics store answered something that is no list of series")
    return rows


def _series(row: Any) -> Series:  # JSON
    try:
        points = row["values"] if "values" in row else [row["value"]]
        if isinstance(points, np.ndarray):
            return Series(row["metric"], points[:, 0], points[:, 1])
        times = np.array([point[0] for point in points], dtype=np.float64)
        return Series(row["metric"], times, _figures([point[1] for point in points]))
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise Unavailable("the metrics store answered a series without values") from error


def _figures(texts: list[Any]) -> NDArray[np.float64]:  # JSON
    """What is no number becomes NaN: one bad figure must not hide the others."""
    try:
        return np.array(list(map(float, texts)))
    except (TypeError, ValueError):
        return np.array([_figure(text) for text in texts])


def _figure(text: Any) -> float:  # JSON
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")


def _check_type(body: dict[str, Any], endpoint: str) -> None:  # JSON
    found = body["data"].get("resultType") if isinstance(body.get("data"), dict) else None
    if found not in RESULT_TYPES.get(endpoint, {found}):
        raise Unavailable(f"the metrics store answered a {str(found)[:20]} to {endpoint}")


def _body(content: bytes) -> dict[str, Any]:  # JSON
    try:
        body = decoded(content)
    except orjson.JSONDecodeError as error:
        raise Unavailable("the metrics store answered something that is not JSON (a login page?)") from error
    if not isinstance(body, dict):
        raise Unavailable("the metrics store answered something that is no JSON object")
    return body
