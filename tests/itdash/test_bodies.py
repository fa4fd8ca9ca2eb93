"""Bodies are counted as they come: what is too large or was cut is refused, and chunks get a length."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping, Sequence
from typing import Any

from itdash.bodies import BoundedBodies, Message, Receive, Send

LIMIT = 10
FORM = {"content-type": "multipart/form-data; boundary=a"}


def answered(
    chunks: Sequence[bytes], headers: dict[str, str], path: str = "/api/v1/projects/p/uploads"
) -> tuple[int, bytes, int]:
    """The status, the body and how many chunks were asked for, of an application that takes ten bytes.

    The one behind it answers with the length that it was told.
    """
    asked = 0
    sent: list[Message] = []

    async def behind(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        length = dict(scope["headers"]).get(b"content-length", b"none")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": length})

    async def receive() -> Message:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": chunks[asked - 1], "more_body": asked < len(chunks)}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(BoundedBodies(behind, limit_bytes=LIMIT, elsewhere_bytes=5)(scope, receive, send))
    return sent[0]["status"], sent[1]["body"], asked


def test_what_says_that_it_is_too_large_is_refused_before_it_is_read() -> None:
    status, body, asked = answered([b"x" * 11], {"content-length": "11"})

    assert (status, asked) == (413, 0)
    assert "Compress the reports" in json.loads(body)["detail"]


def test_what_turns_out_too_large_is_refused_as_soon_as_it_does() -> None:
    status, _, asked = answered([b"x" * 4] * 9, {"transfer-encoding": "chunked"})

    assert (status, asked) == (413, 3)


def test_what_comes_in_chunks_gets_its_length() -> None:
    assert answered([b"abc", b"defg", b""], {"transfer-encoding": "chunked"}) == (200, b"7", 3)


def test_everything_else_passes_as_it_is() -> None:
    assert answered([b"x" * 10], {"content-length": "10"}) == (200, b"10", 1)
    assert answered([b""], {}) == (200, b"none", 1)


def test_what_is_no_upload_has_a_smaller_limit() -> None:
    assert answered([b"x" * 6], {}, "/accounts/login/")[0] == 413
    assert answered([b"x" * 5], {}, "/accounts/login/")[0] == 200


def test_a_form_that_was_cut_is_refused_and_not_taken_without_its_last_file() -> None:
    assert answered([b"x", b"\r\n--a", b"--"], FORM)[0] == 200
    assert answered([b"x--a--\r\n"], {"content-type": 'multipart/form-data; boundary="a"'})[0] == 200
    for end in (b"\r\n--a-", b"\r\n--a", b"", b"--b--"):
        status, body, _ = answered([b"x", end], FORM)
        assert (status, "last boundary is missing" in json.loads(body)["detail"]) == (400, True)
    assert answered([b""], FORM)[0] == 200


def test_what_is_no_encoding_of_forms_is_refused() -> None:
    """Django takes any of Python's by its name, and breaks on the first field."""
    for charset, status in {
        "UTF-8": 200,
        "latin1": 200,
        "nope": 200,
        "rot13": 415,
        "hex": 415,
        "idna": 415,
    }.items():
        kind = f"multipart/form-data; charset={charset}; boundary=a"
        assert answered([b"--a--"], {"content-type": kind})[0] == status, charset
