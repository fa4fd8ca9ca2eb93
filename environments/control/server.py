"""Carries the control API's requests and answers over sockets."""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, override
from urllib.parse import parse_qs, unquote, urlsplit

from environments.control.answers import MAX_BODY_BYTES, Answer, ProblemError, Request
from environments.control.api import Api
from environments.control.controls import Controls

#: How long a client may take to send its request or to read the answer.
SOCKET_TIMEOUT_SECONDS = 30.0

#: Linux's number for binding to an address that is not there yet; the standard library has no name for it.
_IP_FREEBIND = 15

logger = logging.getLogger(__name__)


class ControlServer:
    """Serves the control API while entered, on a free port of `address`, an IPv4 address of this machine."""

    def __init__(self, controls: Controls, *, token: str, address: str) -> None:
        if not token:
            message = "the control API needs a token"
            raise ValueError(message)
        self._api = Api(controls, token)
        self._address = address
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._server = _Server(self._address, self._api)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="control-api", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
        self._server = self._thread = None

    @property
    def url(self) -> str:
        """``http://address:port``, without a slash at the end."""
        if self._server is None:
            message = "the control API is not being served; enter it first"
            raise RuntimeError(message)
        return f"http://{self._address}:{self._server.server_address[1]}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    #: A call may be waiting for a service to become ready when the environment goes; it must not hold us up.
    block_on_close = False

    def __init__(self, address: str, api: Api) -> None:
        self.api = api
        super().__init__((address, 0), _Handler)

    @override
    def server_bind(self) -> None:
        # The parent also asks DNS for this machine's name, which can take seconds and is never used.
        # Podman brings a network's gateway up with the first container on it: the address may be to come.
        if sys.platform == "linux":
            self.socket.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        # Called while the error is being handled; usually a client that went away.
        logger.debug("control API: %s broke off: %s", client_address, sys.exception())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "itdash"
    sys_version = ""
    timeout = SOCKET_TIMEOUT_SECONDS
    #: Head and body leave in one packet; two would meet a delayed acknowledgement (40 ms).
    wbufsize = -1
    server: _Server

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Every method goes the same way (the standard library looks for `do_<METHOD>`); routing refuses."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        try:
            self.server.api.authorise(self.headers.get("Authorization"))
            answer = self.server.api.answer(self._read())
        except ProblemError as problem:
            self._send_problem(problem)
        except Exception:
            logger.exception("control API: %s %s failed", self.command, self.path)
            detail = "itdash failed to do this; its own log says why. The environment may still be usable."
            self._send_problem(ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, detail))
        else:
            self._send(answer)

    def _read(self) -> Request:
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        path = tuple(unquote(segment) for segment in parts.path.split("/") if segment)
        return Request(self.command, path, query, self._read_body())

    def _read_body(self) -> bytes:
        if "Transfer-Encoding" in self.headers:
            detail = "Send the body with a Content-Length instead of in chunks."
            raise ProblemError(HTTPStatus.LENGTH_REQUIRED, detail)
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()):
            raise ProblemError(HTTPStatus.BAD_REQUEST, "Content-Length is not a number.")
        if int(length) > MAX_BODY_BYTES:
            detail = f"The body may hold {MAX_BODY_BYTES} bytes; this one has {length}."
            raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        return self.rfile.read(int(length))

    def _send(self, answer: Answer) -> None:
        if answer.text is None:
            self._send_json(answer.status, answer.value, "application/json")
            return
        # A log has no known length and may be long: it is streamed, and its end is the connection's end.
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        for line in answer.text:
            self.wfile.write(f"{line}\n".encode(errors="replace"))

    def _send_problem(self, problem: ProblemError) -> None:
        # The body may not have been read; what is left of it must not be taken for the next request.
        self.close_connection = True
        headers = {**problem.headers, "Connection": "close"}
        self._send_json(problem.status, problem.document, "application/problem+json", headers)

    def _send_json(
        self, status: HTTPStatus, value: object, kind: str, headers: Mapping[str, str] | None = None
    ) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    @override
    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses by itself (a malformed request line …), as a problem document."""
        # Until it has understood the first line, the library takes the client for one of 1991.
        self.request_version = self.protocol_version
        detail = explain or message or "The request is not HTTP that this server understands."
        self._send_problem(ProblemError(HTTPStatus(code), detail))

    @override
    def log_message(self, format: str, *args: Any) -> None:
        logger.debug("control API: %s", format % args)
