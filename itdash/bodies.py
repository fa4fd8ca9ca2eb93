"""How much of a request's body is taken, before anything is made of it.

Django puts a whole body on disk before it looks at the request: whoever sends without end, token or not,
would fill it. It takes a form that is sent in chunks, without its length, for an empty one, and leaves out
the last file of a form that was cut, without a word.
"""

from __future__ import annotations

import codecs
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any

from django.utils.http import parse_header_parameters

from runs.api.problems import problem

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[..., Awaitable[None]]


#: What a form may be written in. Some of what else Python calls an encoding is none of text.
_CHARSETS = frozenset({"utf-8", "utf-8-sig", "ascii", "iso8859-1", "cp1252"})
#: Of a body's end: a boundary has up to 200 characters, and little stands behind the last one.
_END_BYTES = 1024


class _RefusedError(Exception):
    """What came is not taken."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class BoundedBodies:
    """In front of another ASGI application: refuses what is too large or was cut, tells the length of chunks.

    `elsewhere_bytes` is the limit of whatever is no upload; where it is not given, there is one for all.
    """

    def __init__(
        self, application: Application, *, limit_bytes: int, elsewhere_bytes: int | None = None
    ) -> None:
        self._application = application
        self._limit_bytes = limit_bytes
        self._elsewhere_bytes = limit_bytes if elsewhere_bytes is None else elsewhere_bytes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers = list(scope["headers"])
        told = dict(reversed(headers))
        declared = told.get(b"content-length", b"")
        is_chunked = b"transfer-encoding" in told
        limit_bytes = (
            self._limit_bytes if scope.get("path", "").endswith("/uploads") else self._elsewhere_bytes
        )
        taken = 0
        end = b""

        async def counted() -> Message:
            nonlocal taken, end
            message = await receive()
            if message["type"] == "http.request":
                body = message.get("body", b"")
                taken += len(body)
                end = (end + body)[-_END_BYTES:]
                if taken > limit_bytes:
                    raise _too_large(limit_bytes)
                if not message.get("more_body"):
                    _refuse_cut(end, closing)
                    if is_chunked and not declared:
                        # Django looks at the headers once the body is there.
                        headers.append((b"content-length", str(taken).encode()))
            return message

        try:
            closing = _closing(told)
            if declared.isdigit() and int(declared) > limit_bytes:
                raise _too_large(limit_bytes)
            await self._application({**scope, "headers": headers}, counted, send)
        except _RefusedError as refusal:
            await _refuse(send, refusal)


def _closing(headers: Mapping[bytes, bytes]) -> bytes:
    """Return what a form of several parts ends with; nothing for any other body.

    Raises:
        _RefusedError: it is written in what is no encoding of forms.
    """
    try:
        kind, options = parse_header_parameters(headers.get(b"content-type", b"").decode("latin-1"))
        charset = codecs.lookup(options.get("charset", "utf-8")).name
    except (ValueError, LookupError):
        return b""  # Django says what is wrong, or takes it for UTF-8
    if charset not in _CHARSETS:
        detail = f"A body in {charset} is not read: send it in UTF-8."
        raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
    boundary = options.get("boundary", "") if kind == "multipart/form-data" else ""
    return f"--{boundary}--".encode("latin-1") if boundary else b""


def _refuse_cut(end: bytes, closing: bytes) -> None:
    if end and closing not in end:
        detail = "The form was cut: its last boundary is missing. Nothing of it was taken; send it again."
        raise _RefusedError(HTTPStatus.BAD_REQUEST, detail)


def _too_large(limit_bytes: int) -> _RefusedError:
    detail = (
        f"A request has up to {limit_bytes // 2**20} MiB. Compress the reports, or send them in "
        "several uploads with one run_key."
    )
    return _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


async def _refuse(send: Send, refusal: _RefusedError) -> None:
    answer = problem(refusal.status, refusal.detail)
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.items()]
    # Closed, for whoever sends without end would go on.
    headers += [(b"content-length", str(len(answer.content)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": answer.content})
