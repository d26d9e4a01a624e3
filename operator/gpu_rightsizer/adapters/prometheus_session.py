"""A `requests` session that cannot hang, wander off, or swallow a gigabyte: what prometheus-api-client is given.

Time-outs on every request and on the whole answer, no redirects (they would carry tenant headers elsewhere), no proxy
or netrc from the environment, a cap on the body after decompression, credentials read again for every request.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from typing_extensions import override

from gpu_rightsizer.ports import Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONNECT_S = 5.0
WHOLE_S = 60.0
CHUNK = 1 << 18
FORM = "application/x-www-form-urlencoded"


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
    most_bytes: int = 128 << 20


class HardenedSession(requests.Session):
    """For one store. Raises Unavailable where asking again may help, Rejected where it will not."""

    def __init__(self, settings: PrometheusSettings) -> None:
        super().__init__()
        self._settings = settings
        self.trust_env = False
        self.max_redirects = 0
        self.headers.update({"Accept-Encoding": "gzip", **(settings.headers or {})})
        if settings.ca is not None:
            self.verify = str(settings.ca)
        if settings.client_cert is not None:
            key = settings.client_key or settings.client_cert
            self.cert = (str(settings.client_cert), str(key))

    def harden(self) -> None:
        """Put our adapter before the one that prometheus-api-client mounts at the bare URL, with retries of its own."""
        self.mount(self._settings.url.rstrip("/") + "/api/", _CappedAdapter(self._settings.most_bytes, max_retries=0))

    @override
    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:  # as requests has it
        """One request with credentials as they are now. Queries go into the body: long ones meet proxies' limits."""
        kwargs |= {"allow_redirects": False, "timeout": (CONNECT_S, WHOLE_S)}
        kwargs.setdefault("headers", {})
        kwargs["headers"] = {**(kwargs["headers"] or {}), **self._credentials()}
        if method.upper() == "POST":
            kwargs["data"] = {**(kwargs.pop("params", None) or {}), **(kwargs.get("data") or {})}
            kwargs["headers"]["Content-Type"] = FORM
        try:
            answer = super().request(method, url, *args, **kwargs)
        except requests.exceptions.SSLError as error:
            raise Rejected(
                f"TLS to the metrics store failed: {_short(error)}; check the CA and the certificate"
            ) from error
        except requests.exceptions.RequestException as error:
            raise Unavailable(f"the metrics store did not answer: {_short(error)}") from error
        return _checked(answer)

    def _credentials(self) -> dict[str, str]:
        settings = self._settings
        if settings.bearer_token_file is not None:
            return {"Authorization": f"Bearer {_secret(settings.bearer_token_file)}"}
        if settings.user_file is not None and settings.password_file is not None:
            basic = requests.Request(
                auth=(_secret(settings.user_file), _secret(settings.password_file)), url="http://x"
            )
            return {"Authorization": str(basic.prepare().headers["Authorization"])}
        return {}


class _CappedAdapter(HTTPAdapter):
    """Reads the whole body at once, up to a size and a time."""

    def __init__(self, most_bytes: int, **kwargs: Any) -> None:  # as requests has it
        self._most = most_bytes
        super().__init__(**kwargs)

    @override
    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        deadline = time.monotonic() + WHOLE_S
        kwargs["stream"] = True
        answer = super().send(request, *args, **kwargs)
        body, size = [], 0
        for chunk in answer.iter_content(CHUNK):
            size += len(chunk)
            if size > self._most:
                answer.close()
                raise Unavailable(f"the metrics store's answer is larger than {self._most >> 20} MiB")
            if time.monotonic() > deadline:
                answer.close()
                raise Unavailable(f"the metrics store's answer took longer than {WHOLE_S:.0f} s")
            body.append(chunk)
        answer._content = b"".join(body)  # noqa: SLF001 - requests' own way to hold a body that was read
        return answer


def _checked(answer: requests.Response) -> requests.Response:
    code = answer.status_code
    if code == requests.codes.ok:
        return answer
    words = answer.content[:300].decode(errors="replace")
    if code in {401, 403}:
        raise Rejected(f"the metrics store answered {code}: check the credentials")
    if 300 <= code < 400:
        raise Rejected(f"the metrics store answered {code}, a redirect: configure the address it leads to")
    if code in {408, 413, 422, 429} or code >= 500:
        raise Unavailable(f"the metrics store answered {code}: {words}")
    raise Rejected(f"the metrics store answered {code}: {words}")


def _secret(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise Rejected(f"cannot read {path}: {error.strerror}") from error


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
