"""JSON over HTTP on the standard library: just enough for three small services."""

from __future__ import annotations

import hmac
import json
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NoReturn
from urllib.parse import parse_qsl, urlsplit

import psycopg

MAX_BODY_BYTES = 1_000_000


class ProblemError(Exception):
    """An answer other than success: a status and a sentence for whoever asked."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Request:
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: object


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: object


type View = Callable[[Request], Answer]


class Service:
    """A named set of routes behind one bearer token."""

    def __init__(self, name: str, *, token: str) -> None:
        self.name = name
        self._token = token
        self._routes: list[tuple[str, re.Pattern[str], View, bool]] = []

    def route(self, method: str, path: str, *, public: bool = False) -> Callable[[View], View]:
        """Answer `method` on `path` with the decorated view; ``{name}`` in the path matches one segment."""
        pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path) + "$")

        def register(view: View) -> View:
            self._routes.append((method, pattern, view, public))
            return view

        return register

    def answer(self, method: str, target: str, authorization: str, body: bytes) -> Answer:
        """Answer one request; whatever goes wrong becomes an answer too."""
        try:
            return self._dispatch(method, target, authorization, body)
        except ProblemError as problem:
            return Answer(problem.status, {"detail": problem.detail})
        except psycopg.OperationalError as error:
            print(f"{self.name}: database: {error}", file=sys.stderr, flush=True)
            return Answer(503, {"detail": "The database cannot be reached."})
        except Exception:  # noqa: BLE001 - whatever a view got wrong, its client is owed an answer
            traceback.print_exc()
            return Answer(500, {"detail": f"{self.name} failed; its log says why."})

    def _dispatch(self, method: str, target: str, authorization: str, body: bytes) -> Answer:
        address = urlsplit(target)
        matches = [
            (route, match) for route in self._routes if (match := route[1].match(address.path)) is not None
        ]
        if not matches:
            raise ProblemError(404, f"There is nothing at {address.path}.")
        for (verb, _, view, public), match in matches:
            if verb == method:
                if not public:
                    self._authorise(authorization)
                query = dict(parse_qsl(address.query))
                return view(Request(match.groupdict(), query, _parsed(body)))
        raise ProblemError(405, f"{address.path} does not answer {method}.")

    def _authorise(self, authorization: str) -> None:
        if not hmac.compare_digest(authorization.encode(), f"Bearer {self._token}".encode()):
            raise ProblemError(401, "Send the header Authorization: Bearer TOKEN.")


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body) if body else None
    except ValueError as error:
        raise ProblemError(400, f"The body is not JSON: {error}.") from error


def serve(service: Service, *, beside: Callable[[], None] | None = None) -> NoReturn:
    """Serve on HOST and PORT (0.0.0.0 and 8000 when unset) until SIGTERM; `beside` runs in its own thread."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if beside is not None:
        threading.Thread(target=_or_die, args=(beside,), daemon=True).start()
    host, port = os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "8000"))
    with _Server((host, port), _handler(service)) as server:
        print(f"{service.name} listens on {host}:{port}", flush=True)
        server.serve_forever()
    sys.exit(0)


def _or_die(loop: Callable[[], None]) -> None:
    """A service that answers while its loop is dead looks well and is not: it had better end."""
    try:
        loop()
    finally:
        traceback.print_exc()
        os._exit(1)


class _Server(ThreadingHTTPServer):
    # A burst of concurrent clients waits in the backlog instead of being refused.
    request_queue_size = 128


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without it the answer's second packet waits 40 ms for the client's acknowledgement.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._reply(b"")

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if length > MAX_BODY_BYTES:
                self.send_error(413)
                return
            self._reply(self.rfile.read(length))

        def _reply(self, body: bytes) -> None:
            authorization = self.headers.get("Authorization", "")
            answer = service.answer(self.command, self.path, authorization, body)
            content = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, template: str, *values: object) -> None:
            if self.path != "/health":
                # One write, so that lines of concurrent requests do not run into each other.
                sys.stdout.write(f"{service.name}: {template % values}\n")

    return Handler
