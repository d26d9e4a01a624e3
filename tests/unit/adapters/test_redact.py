"""Credentials do not come back in errors, whoever repeats them."""

from __future__ import annotations

import pytest

from gpu_rightsizer.adapters.redact import redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def-1", "Authorization: [redacted]"),
        ("bad header 'authorization': 'Basic bWU6c2VjcmV0'", "bad header 'authorization': [redacted]"),
        ("sent Bearer abc.def-1 to us", "sent Bearer [redacted] to us"),
        ("<td>Cookie</td>: <td>Cookie: a=b; c=d</td>", "<td>Cookie</td>: <td>Cookie: [redacted]</td>"),
        ("X-Auth-Token: t0ps3cret\nX-Other: fine", "X-Auth-Token: [redacted]\nX-Other: fine"),
        ('{"access_token":"abc"}', '{"access_token":[redacted]'),
        ("GET http://me:pass@word@store:9090/x", "GET http://[redacted]@store:9090/x"),
        ("query?api_key=abc&x=1", "query?api_key=[redacted]&x=1"),
        ("parse error: unexpected token: 'by'", "parse error: unexpected token: 'by'"),
        ("query processing would load too many samples", "query processing would load too many samples"),
    ],
)
def test_what_looks_like_a_credential_is_taken_out(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_what_is_known_to_be_one_is_taken_out_wherever_it_stands() -> None:
    assert redacted("you sent s3cret-long and s3cret", ["s3cret", "s3cret-long", ""]) == (
        "you sent [redacted] and [redacted]"
    )
