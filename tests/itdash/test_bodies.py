"""Bodies are counted as they come: what is too large is refused, and chunks get a length."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping, Sequence
from typing import Any

from itdash.bodies import BoundedBodies, Message, Receive, Send


def answered(chunks: Sequence[bytes], headers: dict[str, str]) -> tuple[int, bytes, int]:
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

    scope = {"type": "http", "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    asyncio.run(BoundedBodies(behind, limit_bytes=10)(scope, receive, send))
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
