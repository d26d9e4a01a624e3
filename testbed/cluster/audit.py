"""What the API server's audit log says: who asked for what, and what became of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

READING_VERBS = frozenset({"get", "list", "watch"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the API server recorded it; `resource` is empty for paths such as /readyz."""

    user: str
    verb: str
    path: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    dry_run: bool
    body: dict[str, Any] | None  # the object written, in its API's shape; recorded for ServiceAccounts only

    @property
    def writes(self) -> bool:
        """Whether it could have changed the cluster: not a read, and not a dry run."""
        return bool(self.resource) and self.verb not in READING_VERBS and not self.dry_run

    @property
    def denied(self) -> bool:
        """Whether the API server answered 403."""
        return self.code == 403


def read(log: Path, *, user: str | None = None) -> Iterator[Request]:
    """The finished requests in the log, in order, of one user or of all; a watch appears when it ends or starts."""
    if not log.exists():
        return
    for line in log.read_bytes().splitlines():
        event = _parsed(line)
        if event is not None and (user is None or event["user"]["username"] == user):
            yield _request(event)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """None for a last line still being written."""
    try:
        event: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    # A long-running request is recorded twice: when it starts to answer, and when it is over.
    return event if event["stage"] == "ResponseComplete" or event["verb"] == "watch" else None


def _request(event: dict[str, Any]) -> Request:
    target = event.get("objectRef", {})
    path = event["requestURI"]
    return Request(
        user=event["user"]["username"],
        verb=event["verb"],
        path=path,
        group=target.get("apiGroup", ""),
        resource=target.get("resource", ""),
        subresource=target.get("subresource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        dry_run="dryRun=All" in path,
        body=event.get("requestObject"),
    )
