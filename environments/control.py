"""The control API: what a suite's own tests may ask of the environment they run in.

Plain HTTP and JSON on the standard library, served by the worker that runs the suite, on the one address
that the environment's services can reach. It holds no engine: it asks `Controls`, which the lifecycle
implements, so that the tests' container never comes near the engine's socket.

    with ControlServer(controls, token=token, address=engine.host_address(environment)) as server:
        variables = {"ITDASH_CONTROL_URL": server.url, "ITDASH_CONTROL_TOKEN": token}
"""

from __future__ import annotations

import hmac
import json
import logging
import socketserver
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol, Self, override
from urllib.parse import parse_qs, unquote, urlsplit

from environments.engine import LogLine, ServiceState
from environments.errors import (
    DeadlineExceededError,
    EnvironmentFailedError,
    FailureKind,
    ServiceNotFoundError,
    StoppedError,
)

#: A request's body, in bytes; every call of this API fits many times over.
MAX_BODY_BYTES = 64 * 1024
#: A test's name in a mark, in characters.
MAX_TEST_NAME_LENGTH = 2000
#: How long a client may take to send its request or to read the answer.
SOCKET_TIMEOUT_SECONDS = 30.0
#: How long a call waits for an earlier one on the same service.
TURN_TIMEOUT_SECONDS = 300.0

logger = logging.getLogger(__name__)


class MarkPhase(StrEnum):
    """Which end of a test's window a mark is."""

    START = "start"
    END = "end"


class Controls(Protocol):
    """What the API asks of the lifecycle. Calls come from many threads, but never two at a time for one
    service. Each raises `ServiceNotFoundError` for a name that is not in the environment, tells the owner of
    what it did, and may raise `EnvironmentFailedError`, `DeadlineExceededError` or `StoppedError`."""

    def services(self) -> Sequence[ServiceState]:
        """Every service as it is now."""

    def stop(self, name: str) -> None:
        """Ask it to end, then make it; return when it has ended."""

    def start(self, name: str) -> None:
        """Start it; return when it is ready again."""

    def restart(self, name: str) -> None:
        """Stop and start it; return when it is ready again."""

    def pause(self, name: str) -> None:
        """Freeze it."""

    def unpause(self, name: str) -> None:
        """Let it go on."""

    def kill(self, name: str) -> None:
        """End it at once, without a chance to tidy up; return when it has ended."""

    def logs(self, name: str, since: datetime | None) -> Iterable[LogLine]:
        """Its output so far, oldest line first."""

    def mark(self, test: str, phase: MarkPhase) -> None:
        """Note that a test starts or ends now."""


class ControlServer:
    """Serves the control API while entered, on a free port of `address`, an IPv4 address of this machine."""

    def __init__(self, controls: Controls, *, token: str, address: str) -> None:
        if not token:
            message = "the control API needs a token"
            raise ValueError(message)
        self._api = _Api(controls, token)
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


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    #: Decoded path segments, without empty ones.
    path: tuple[str, ...]
    query: Mapping[str, str]
    body: bytes

    def json(self) -> Mapping[str, Any]:
        try:
            value = json.loads(self.body)
        except ValueError as error:
            detail = f"The body is not JSON ({error}). Send a JSON object."
            raise _ProblemError(HTTPStatus.BAD_REQUEST, detail) from error
        if not isinstance(value, dict):
            raise _ProblemError(HTTPStatus.BAD_REQUEST, "The body is JSON, but not an object. Send {…}.")
        return value


@dataclass(frozen=True, slots=True)
class _Answer:
    status: HTTPStatus = HTTPStatus.OK
    value: Any = None
    text: Iterable[str] | None = None


class _ProblemError(Exception):
    """An answer that is an RFC 9457 problem document."""

    def __init__(
        self, status: HTTPStatus, detail: str, *, headers: Mapping[str, str] | None = None, **members: object
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}
        self.document = {
            "type": "about:blank",
            "title": status.phrase,
            "status": int(status),
            "detail": detail,
            **members,
        }


class _Api:
    """Requests in, answers out; knows nothing of sockets."""

    def __init__(self, controls: Controls, token: str) -> None:
        self._controls = controls
        self._token = token.encode()
        # Keyed by names that exist only, so it cannot grow without end.
        self._turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._verbs: Mapping[str, Callable[[str], None]] = {
            "stop": controls.stop,
            "start": controls.start,
            "restart": controls.restart,
            "pause": controls.pause,
            "unpause": controls.unpause,
            "kill": controls.kill,
        }

    def authorise(self, header: str | None) -> None:
        scheme, _, token = (header or "").partition(" ")
        # Compared as bytes: `compare_digest` refuses text outside ASCII, which a client may well send.
        if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token):
            return
        raise _ProblemError(
            HTTPStatus.UNAUTHORIZED,
            "Send the header 'Authorization: Bearer <ITDASH_CONTROL_TOKEN>'; the variable is set in the"
            " container that runs the tests.",
            headers={"WWW-Authenticate": 'Bearer realm="itdash control API"'},
        )

    def answer(self, request: _Request) -> _Answer:
        try:
            return self._route(request)
        except ServiceNotFoundError as error:
            raise self._unknown_service(str(error)) from error
        except EnvironmentFailedError as error:
            raise _failed(error) from error
        except DeadlineExceededError as error:
            detail = f"{error} Look at the service's log: GET /services/{{name}}/logs."
            raise _ProblemError(HTTPStatus.GATEWAY_TIMEOUT, detail) from error
        except StoppedError as error:
            detail = "The environment is being taken down; no service can be changed any more."
            raise _ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail) from error

    def _route(self, request: _Request) -> _Answer:
        match request.path:
            case ("services",):
                _allow(request, "GET")
                return _Answer(value={"services": [_service(state) for state in self._controls.services()]})
            case ("services", name):
                _allow(request, "GET")
                return _Answer(value=_service(self._state(name)))
            case ("services", name, "logs"):
                _allow(request, "GET")
                return self._logs(name, request)
            case ("services", name, verb) if verb in self._verbs:
                _allow(request, "POST")
                return self._change(name, verb)
            case ("marks",):
                _allow(request, "POST")
                return self._mark(request.json())
            case ("faults" | "data" | "snapshots" as noun, *_):
                detail = (
                    f"This version of itdash has no /{noun} yet; use the calls below /services and /marks."
                )
                raise _ProblemError(HTTPStatus.NOT_IMPLEMENTED, detail)
            case _:
                detail = (
                    "There is no such call. Known: GET /services, GET /services/{name},"
                    f" GET /services/{{name}}/logs, POST /services/{{name}}/{'|'.join(self._verbs)},"
                    " POST /marks."
                )
                raise _ProblemError(HTTPStatus.NOT_FOUND, detail)

    def _change(self, name: str, verb: str) -> _Answer:
        self._state(name)
        turn = self._turns[name]
        if not turn.acquire(timeout=TURN_TIMEOUT_SECONDS):
            detail = f"Another call on service '{name}' has not returned; try again when it has."
            raise _ProblemError(HTTPStatus.CONFLICT, detail)
        try:
            self._verbs[verb](name)
        finally:
            turn.release()
        return _Answer(value=_service(self._state(name)))

    def _logs(self, name: str, request: _Request) -> _Answer:
        self._state(name)
        since = _moment(request.query["since"]) if "since" in request.query else None
        stamped = request.query.get("timestamps", "") in {"1", "true"}
        lines = self._controls.logs(name, since)
        return _Answer(text=(f"{_stamp(line.at)} {line.text}" if stamped else line.text for line in lines))

    def _mark(self, body: Mapping[str, Any]) -> _Answer:
        test, phase = body.get("test"), body.get("phase")
        if not isinstance(test, str) or not 0 < len(test) <= MAX_TEST_NAME_LENGTH:
            detail = f"'test' must be the test's name, 1 to {MAX_TEST_NAME_LENGTH} characters."
            raise _ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
        if phase not in ("start", "end"):  # not a set: it may be anything
            raise _ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "'phase' must be 'start' or 'end'.")
        self._controls.mark(test, MarkPhase(phase))
        return _Answer(status=HTTPStatus.CREATED, value={"test": test, "phase": phase})

    def _state(self, name: str) -> ServiceState:
        for state in self._controls.services():
            if state.service == name:
                return state
        raise self._unknown_service(name)

    def _unknown_service(self, name: str) -> _ProblemError:
        names = sorted(state.service for state in self._controls.services())
        detail = f"There is no service '{name}' in this environment. Its services: {', '.join(names)}."
        return _ProblemError(HTTPStatus.NOT_FOUND, detail, services=names)


def _allow(request: _Request, method: str) -> None:
    if request.method != method:
        detail = f"Call this address with {method}, not with {request.method}."
        raise _ProblemError(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"Allow": method})


def _failed(error: EnvironmentFailedError) -> _ProblemError:
    unavailable = error.kind is FailureKind.ENGINE_UNAVAILABLE
    status = HTTPStatus.SERVICE_UNAVAILABLE if unavailable else HTTPStatus.CONFLICT
    tail = [line for evidence in error.evidence for line in evidence.log_tail]
    return _ProblemError(status, str(error), kind=error.kind.value, service=error.service, log_tail=tail)


def _service(state: ServiceState) -> dict[str, object]:
    return {
        "name": state.service,
        "status": state.status.value,
        "health": state.health.value,
        "exit_code": state.exit_code,
        "started_at": _stamp(state.started_at) if state.started_at else None,
        "finished_at": _stamp(state.finished_at) if state.finished_at else None,
    }


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _moment(text: str) -> datetime:
    """A moment from ISO 8601 (UTC unless it says otherwise) or from seconds since the epoch."""
    try:
        return datetime.fromtimestamp(float(text), tz=UTC)
    except (ValueError, OverflowError, OSError):
        pass
    try:
        # A plus sign in a query is a space, unless the client quoted it; nobody means a space here.
        moment = datetime.fromisoformat(text.replace(" ", "+") if text.count(":") > 2 else text)  # noqa: PLR2004 hh:mm:ss has two
    except ValueError as error:
        detail = f"'since' is not a moment: {text!r}. Send ISO 8601 in UTC or seconds since the epoch."
        raise _ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    #: A call may be waiting for a service to become ready when the environment goes; it must not hold us up.
    block_on_close = False

    def __init__(self, address: str, api: _Api) -> None:
        self.api = api
        super().__init__((address, 0), _Handler)

    @override
    def server_bind(self) -> None:
        # The parent also asks DNS for this machine's name, which can take seconds and is never used.
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
        except _ProblemError as problem:
            self._send_problem(problem)
        except Exception:
            logger.exception("control API: %s %s failed", self.command, self.path)
            detail = "itdash failed to do this; its own log says why. The environment may still be usable."
            self._send_problem(_ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, detail))
        else:
            self._send(answer)

    def _read(self) -> _Request:
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        path = tuple(unquote(segment) for segment in parts.path.split("/") if segment)
        return _Request(self.command, path, query, self._read_body())

    def _read_body(self) -> bytes:
        if "Transfer-Encoding" in self.headers:
            detail = "Send the body with a Content-Length instead of in chunks."
            raise _ProblemError(HTTPStatus.LENGTH_REQUIRED, detail)
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()):
            raise _ProblemError(HTTPStatus.BAD_REQUEST, "Content-Length is not a number.")
        if int(length) > MAX_BODY_BYTES:
            detail = f"The body may hold {MAX_BODY_BYTES} bytes; this one has {length}."
            raise _ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        return self.rfile.read(int(length))

    def _send(self, answer: _Answer) -> None:
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

    def _send_problem(self, problem: _ProblemError) -> None:
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
        self._send_problem(_ProblemError(HTTPStatus(code), detail))

    @override
    def log_message(self, format: str, *args: Any) -> None:
        logger.debug("control API: %s", format % args)
