"""How much of a request's body is taken, before anything is made of it.

Django puts a whole body on disk before it looks at the request: whoever sends without end, token or not,
would fill it. And it takes a form that is sent in chunks, without its length, for an empty one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from runs.api.problems import problem

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[..., Awaitable[None]]


class _TooLargeError(Exception):
    """More came than is taken."""


class BoundedBodies:
    """In front of another ASGI application: refuses what is too large, tells the length of chunks."""

    def __init__(self, application: Application, *, limit_bytes: int) -> None:
        self._application = application
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers = list(scope["headers"])
        declared = next((value for name, value in headers if name == b"content-length"), b"")
        is_chunked = any(name == b"transfer-encoding" for name, _ in headers)
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > self._limit_bytes:
                    raise _TooLargeError
                if is_chunked and not declared and not message.get("more_body"):
                    # Django looks at the headers once the body is there.
                    headers.append((b"content-length", str(taken).encode()))
            return message

        if declared.isdigit() and int(declared) > self._limit_bytes:
            await self._refuse(send)
            return
        try:
            await self._application({**scope, "headers": headers}, counted, send)
        except _TooLargeError:
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        detail = (
            f"A request has up to {self._limit_bytes // 2**20} MiB. Compress the reports, or send them in "
            "several uploads with one run_key."
        )
        answer = problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.items()]
        headers.append((b"content-length", str(len(answer.content)).encode()))
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": answer.content})
