"""A `requests` session that cannot hang, wander off, or swallow a gigabyte: what prometheus-api-client is given.

Time-outs on the connection and on the whole answer, however slowly it drips; no redirects (they would carry tenant
headers elsewhere), no proxy or netrc from the environment, a cap on the body after decompression, credentials and
certificates read again when they change.
"""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from typing_extensions import override

from gpu_rightsizer.adapters.deadline import Deadline, watched_pools
from gpu_rightsizer.adapters.redact import redacted
from gpu_rightsizer.ports import Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CONNECT_S = 5.0
WHOLE_S = 30.0
HISTORY_FACTOR = 3.5  # of WHOLE_S, for a first read of history: below the two minutes a Prometheus gives a query
DAY_S = 86_400
THREADS = 4
CHUNK = 1 << 16
MIB = 1 << 20
LEAST_SECRET = 8  # characters of a header's value; what is shorter names a tenant, and stands in other words too
MOST_WORDS = 4096  # bytes of an error's body that are looked at
FORM = "application/x-www-form-urlencoded"
# Thanos leaves out stores that do not answer unless told not to; others ignore what they do not know.
WHOLE_ANSWERS = {"partial_response": "false", "dedup": "true"}


@dataclass(frozen=True, slots=True)
class PrometheusSettings:
    """Where the metrics are and how to get in. Files are read again for every request."""

    url: str
    bearer_token_file: Path | None = None
    user_file: Path | None = None
    password_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    ca: Path | None = None
    headers: Mapping[str, str] | None = None
    whole_s: float = WHOLE_S
    most_bytes: int = 128 * MIB  # of a range answer, after decompression
    most_instant_bytes: int = 16 * MIB


class HardenedSession(requests.Session):
    """For one store, from several threads. Raises Unavailable where asking again may help, Rejected where not."""

    def __init__(self, settings: PrometheusSettings) -> None:
        super().__init__()
        self._settings = settings
        self._lock = threading.Lock()
        self._shown: tuple[str, ...] = ()  # the credentials last sent, which must not come back in words
        self._files = self._stamps()
        self._adapter = _CappedAdapter(settings)
        self.trust_env = False
        self.max_redirects = 1  # none is followed; with 0 requests raises before we see the answer
        self.headers.update({**(settings.headers or {}), "Accept-Encoding": "gzip"})
        if settings.ca is not None:
            self.verify = str(settings.ca)
        if settings.client_cert is not None:
            self.cert = (str(settings.client_cert), str(settings.client_key or settings.client_cert))

    @override
    def get_adapter(self, url: Any) -> HTTPAdapter:  # as requests has it
        """Ours alone, whatever prometheus-api-client mounts; a new one, with new connections, for new certificates."""
        with self._lock:
            stamps = self._stamps()
            if stamps != self._files:
                self._files, self._adapter = stamps, _CappedAdapter(self._settings)
            return self._adapter

    @override
    def close(self) -> None:
        super().close()
        self._adapter.close()

    @override
    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:  # as requests has it
        """One request with credentials as they are now. Queries go into the body: long ones meet proxies' limits."""
        params = kwargs.pop("params", None) or {}
        seconds = self._allowed(params)
        kwargs |= {"allow_redirects": False, "timeout": (CONNECT_S, seconds)}
        kwargs["data"] = {**params, **WHOLE_ANSWERS, "timeout": f"{seconds:g}s", **(kwargs.get("data") or {})}
        own = {**(kwargs.pop("headers", None) or {}), "Content-Type": FORM}
        credentials = self._credentials()
        answer = self._sent(seconds, method, url, *args, headers={**own, **credentials}, **kwargs)
        if answer.status_code == requests.codes.unauthorized and self._credentials() != credentials:
            answer = self._sent(seconds, method, url, *args, headers={**own, **self._credentials()}, **kwargs)
        return self._checked(answer)

    def redacted(self, text: str) -> str:
        """Words of the store, or of a library about our request, without our credentials."""
        headers = [each for each in (self._settings.headers or {}).values() if len(each) >= LEAST_SECRET]
        return redacted(text, [*self._shown, *headers])

    def _checked(self, answer: requests.Response) -> requests.Response:
        code = answer.status_code
        if code == requests.codes.ok:
            return answer
        if code in {401, 403}:
            raise Rejected(f"the metrics store answered {code}: check the credentials")
        if 300 <= code < 400:
            raise Rejected(f"the metrics store answered {code}, a redirect: configure the address it leads to")
        words = self.redacted(answer.content[:MOST_WORDS].decode(errors="replace"))[:300]
        if code in {408, 413, 422, 429} or code >= 500:
            raise Unavailable(f"the metrics store answered {code}: {words}")
        raise Rejected(f"the metrics store answered {code}: {words}")

    def _short(self, error: Exception) -> str:
        return self.redacted(f"{type(error).__name__}: {error}")[:200]

    def _allowed(self, params: Mapping[str, Any]) -> float:
        """Seconds for the whole exchange: the first read of weeks of history is the store's heaviest work."""
        reaches_back = float(params.get("end", 0)) - float(params.get("start", 0))
        return self._settings.whole_s * (HISTORY_FACTOR if reaches_back > DAY_S else 1.0)

    def _sent(self, seconds: float, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        with Deadline(seconds) as deadline:
            try:
                answer = super().request(method, url, *args, **kwargs)
            except requests.exceptions.SSLError as error:
                raise Rejected(
                    f"TLS to the metrics store failed: {self._short(error)}; check the CA and the certificate"
                ) from error
            except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
                if deadline.passed:
                    raise _too_slow(seconds) from error
                raise Unavailable(f"the metrics store did not answer: {self._short(error)}") from error
            except OSError as error:  # requests finds out itself that a certificate's file is not there
                raise Rejected(f"cannot use the files for the metrics store: {self._short(error)}") from error
        if deadline.passed:
            raise _too_slow(seconds)
        return answer

    def _credentials(self) -> dict[str, str]:
        settings = self._settings
        if settings.bearer_token_file is not None:
            token = _secret(settings.bearer_token_file)
            self._shown = (token,)
            return {"Authorization": f"Bearer {token}"}
        if settings.user_file is not None and settings.password_file is not None:
            user, password = _secret(settings.user_file), _secret(settings.password_file)
            basic = str(requests.Request(auth=(user, password), url="http://x").prepare().headers["Authorization"])
            self._shown = (password, basic.removeprefix("Basic "))
            return {"Authorization": basic}
        return {}

    def _stamps(self) -> tuple[tuple[int, int] | None, ...]:
        files = (self._settings.client_cert, self._settings.client_key, self._settings.ca)
        return tuple(_stamp(path) for path in files if path is not None)


class _CappedAdapter(HTTPAdapter):
    """Reads the whole body at once, up to a size after decompression."""

    def __init__(self, settings: PrometheusSettings) -> None:
        self._settings = settings
        super().__init__(pool_maxsize=THREADS, max_retries=0)
        self.poolmanager.pool_classes_by_scheme = watched_pools()

    @override
    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["stream"] = True
        answer = super().send(request, *args, **kwargs)
        ranged = (request.url or "").partition("?")[0].endswith("/query_range")
        most = self._settings.most_bytes if ranged else self._settings.most_instant_bytes
        try:
            answer._content = _body(answer, most)  # noqa: SLF001 - requests' own way to hold a body that was read
        except BaseException:
            answer.close()
            raise
        answer._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001 - likewise
        return answer


def _body(answer: requests.Response, most: int) -> bytes:
    """Decompressed here, piece by piece and never further than the cap."""
    coding = answer.headers.get("Content-Encoding", "identity").lower()
    if coding not in {"identity", "gzip", ""}:
        raise Unavailable(f"the metrics store answered in the coding {coding[:20]}, which was not asked for")
    pieces: list[bytes] = []
    size = 0
    for piece in _inflated(answer, most) if coding == "gzip" else _raw(answer):
        size += len(piece)
        if size > most:
            raise Unavailable(f"the metrics store's answer is larger than {most / MIB:.3g} MiB")
        pieces.append(piece)
    return b"".join(pieces)


def _raw(answer: requests.Response) -> Iterator[bytes]:
    while piece := answer.raw.read(CHUNK, decode_content=False):
        yield piece


def _inflated(answer: requests.Response, most: int) -> Iterator[bytes]:
    unzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        for piece in _raw(answer):
            yield unzip.decompress(piece, most + 1)
    except zlib.error as error:
        raise Unavailable("the metrics store's answer is no gzip, although it says so") from error
    if not unzip.eof:
        raise Unavailable("the metrics store's answer ends early")


def _too_slow(seconds: float) -> Unavailable:
    return Unavailable(f"the metrics store gave no whole answer within {seconds:g} s")


def _secret(path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise Rejected(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise Rejected(f"{path} holds no credential: it must be one line of printable ASCII")
    return text


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
