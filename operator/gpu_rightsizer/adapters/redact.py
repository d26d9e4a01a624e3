"""Takes secrets out of other people's words: a proxy's error page may echo the request, credentials and all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN: Final = "[redacted]"

_SCHEME: Final = re.compile(r"\b(bearer|basic|digest|negotiate)\s+[^\s\"'<>,;]+", re.IGNORECASE)
_HEADER: Final = re.compile(
    r"\b([\w-]*(?:authorization|cookie|[-_]token|secret|password|passwd|api[-_]?key))(\"?'?\s*[:=]\s*)[^\r\n<>&]+",
    re.IGNORECASE,
)
_USERINFO: Final = re.compile(r"(\w+://)[^/\s]*@")


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """Without the secrets that are known and without what looks like one: credentials in headers, fields and URLs."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
    text = _HEADER.sub(rf"\1\2{HIDDEN}", text)
    return _SCHEME.sub(rf"\1 {HIDDEN}", text)
