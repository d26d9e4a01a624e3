"""Text from the cluster made harmless: no control or direction characters, no line breaks, no more than fits."""

from __future__ import annotations

import unicodedata
from typing import Final

_ELLIPSIS: Final = "…"
# Cc control (ANSI escapes among them), Cf format (bidirectional and zero-width marks), Cs surrogates, Co private use,
# Cn unassigned, Zl and Zp line and paragraph separators: all can change what a terminal or a page shows around them.
_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def safe(text: str, most: int = 120, *, quotes: bool = False) -> str:
    """One printable line of at most `most` characters; back-quotes become quotes, unless they are our own."""
    visible = "".join(" " if unicodedata.category(letter) in _UNSAFE else letter for letter in text)
    line = visible if quotes else visible.replace("`", "'")
    return shortened(" ".join(line.split()), most)


def shortened(text: str, most: int) -> str:
    """At most `most` characters, the last an ellipsis where something was cut."""
    return text if len(text) <= most else text[: most - 1].rstrip() + _ELLIPSIS


def shortened_bytes(text: str, most: int) -> str:
    """At most `most` bytes of UTF-8, the last character an ellipsis where something was cut."""
    raw = text.encode()
    if len(raw) <= most:
        return text
    return raw[: most - len(_ELLIPSIS.encode())].decode(errors="ignore").rstrip() + _ELLIPSIS
