"""The control API over real sockets; behind it, controls that remember what was asked."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from environments.control import MAX_BODY_BYTES, ControlServer, MarkPhase
from environments.engine import Health, LogLine, ServiceState, ServiceStatus
from environments.errors import (
    DeadlineExceededError,
    EnvironmentFailedError,
    Evidence,
    FailureKind,
    ServiceNotFoundError,
    StoppedError,
)
from tests.controls import NoDepths

TOKEN = "a-token-for-one-run"
NOON = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)
LINES = (LogLine(NOON, "orders", "listening"), LogLine(NOON, "orders", "größer", is_stderr=True))


@dataclass
class RememberedControls(NoDepths):
    """Controls over two services that live in this object."""

    states: dict[str, ServiceStatus] = field(
        default_factory=lambda: {"users": ServiceStatus.RUNNING, "orders": ServiceStatus.RUNNING}
    )
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    #: Raised by the next change.
    failure: Exception | None = None
    #: When set, a change waits in `entered` until `leave`.
    hold: bool = False
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    leave: threading.Event = field(default_factory=threading.Event)

    def services(self) -> Sequence[ServiceState]:
        return [
            ServiceState(
                service=name,
                status=status,
                health=Health.HEALTHY if status is ServiceStatus.RUNNING else Health.NONE,
                exit_code=None if status is ServiceStatus.RUNNING else 0,
                started_at=NOON,
            )
            for name, status in self.states.items()
        ]

    def stop(self, name: str) -> None:
        self._change("stop", name, ServiceStatus.EXITED)

    def start(self, name: str) -> None:
        self._change("start", name, ServiceStatus.RUNNING)

    def restart(self, name: str) -> None:
        self._change("restart", name, ServiceStatus.RUNNING)

    def pause(self, name: str) -> None:
        self._change("pause", name, ServiceStatus.PAUSED)

    def unpause(self, name: str) -> None:
        self._change("unpause", name, ServiceStatus.RUNNING)

    def kill(self, name: str) -> None:
        self._change("kill", name, ServiceStatus.EXITED)

    def logs(self, name: str, since: datetime | None) -> Iterable[LogLine]:
        self.asked.append(("logs", name, since))
        return LINES

    def mark(self, test: str, phase: MarkPhase) -> None:
        self.asked.append(("mark", test, phase))

    def _change(self, verb: str, name: str, status: ServiceStatus) -> None:
        self.asked.append((verb, name))
        if self.hold:
            self.entered.release()
            assert self.leave.wait(10)
        if self.failure:
            raise self.failure
        self.states[name] = status


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    url: str
    token: str | None = TOKEN

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        try:
            data = (
                body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
            )
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()


@pytest.fixture
def controls() -> RememberedControls:
    return RememberedControls()


@pytest.fixture
def client(controls: RememberedControls) -> Iterator[Client]:
    with ControlServer(controls, token=TOKEN, address="127.0.0.1") as server:
        yield Client(server.url)


def test_the_services_are_listed_with_status_and_health(client: Client) -> None:
    answer = client.ask("GET", "/services")

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.document["services"][0] == {
        "name": "users",
        "status": "running",
        "health": "healthy",
        "published": {},
        "exit_code": None,
        "started_at": "2026-11-21T12:00:00.250000Z",
        "finished_at": None,
    }
    assert [service["name"] for service in answer.document["services"]] == ["users", "orders"]


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        ("stop", "exited"),
        ("start", "running"),
        ("restart", "running"),
        ("pause", "paused"),
        ("unpause", "running"),
        ("kill", "exited"),
    ],
)
def test_a_change_is_made_before_it_is_answered(
    client: Client, controls: RememberedControls, verb: str, status: str
) -> None:
    answer = client.ask("POST", f"/services/users/{verb}")

    assert (answer.status, answer.document["status"]) == (200, status)
    assert controls.asked == [(verb, "users")]


def test_logs_are_plain_text_and_begin_at_the_moment_asked_for(
    client: Client, controls: RememberedControls
) -> None:
    answer = client.ask("GET", "/services/orders/logs?since=2026-11-21T12:00:00%2B01:00")

    assert answer.body.decode() == "listening\ngrößer\n"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert controls.asked == [("logs", "orders", datetime(2026, 11, 21, 11, tzinfo=UTC))]


def test_log_lines_carry_their_moment_when_asked_to(client: Client) -> None:
    answer = client.ask("GET", "/services/orders/logs?timestamps=1")

    assert answer.body.decode().splitlines()[0] == "2026-11-21T12:00:00.250000Z listening"


@pytest.mark.parametrize(
    ("since", "moment"),
    [
        ("1795262400.5", datetime(2026, 11, 21, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-21T12:00:00", datetime(2026, 11, 21, 12, tzinfo=UTC)),
        ("2026-11-21T12:00:00Z", datetime(2026, 11, 21, 12, tzinfo=UTC)),
        ("2026-11-21T12:00:00+02:00", datetime(2026, 11, 21, 10, tzinfo=UTC)),
    ],
)
def test_a_moment_may_be_written_in_each_usual_form(
    client: Client, controls: RememberedControls, since: str, moment: datetime
) -> None:
    client.ask("GET", f"/services/orders/logs?since={since}")

    assert controls.asked == [("logs", "orders", moment)]


def test_a_moment_that_is_none_is_refused(client: Client, controls: RememberedControls) -> None:
    answer = client.ask("GET", "/services/orders/logs?since=yesterday")

    assert answer.status == 422
    assert "ISO 8601" in answer.document["detail"]
    assert controls.asked == []


def test_a_mark_names_the_test_and_its_phase(client: Client, controls: RememberedControls) -> None:
    answer = client.ask("POST", "/marks", {"test": "tests/a.py::test_b[ü]", "phase": "start"})

    assert answer.status == 201
    assert controls.asked == [("mark", "tests/a.py::test_b[ü]", MarkPhase.START)]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"phase": "start"}, 422),
        ({"test": "", "phase": "start"}, 422),
        ({"test": "x" * 2001, "phase": "start"}, 422),
        ({"test": "x", "phase": "middle"}, 422),
        ({"test": "x", "phase": ["start"]}, 422),
        (["start"], 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
    ],
)
def test_a_mark_that_says_nothing_usable_is_refused(
    client: Client, controls: RememberedControls, body: object, status: int
) -> None:
    answer = client.ask("POST", "/marks", body)

    assert (answer.status, controls.asked) == (status, [])


@pytest.mark.parametrize(
    "authorization", [None, "Bearer wrong", "Basic a-token-for-one-run", "Bearer größer", TOKEN, "Bearer "]
)
def test_without_the_token_nothing_is_done(
    client: Client, controls: RememberedControls, authorization: str | None
) -> None:
    stranger = Client(client.url, token=None)
    headers = {} if authorization is None else {"Authorization": authorization}

    answer = stranger.ask("POST", "/services/users/stop", **headers)

    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert controls.asked == []


def test_an_unknown_service_is_answered_with_the_known_ones(
    client: Client, controls: RememberedControls
) -> None:
    answer = client.ask("POST", "/services/user/stop")

    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.document["detail"] == (
        "There is no service 'user' in this environment. Its services: orders, users."
    )
    assert controls.asked == []


def test_a_service_that_vanishes_during_the_call_is_unknown(
    client: Client, controls: RememberedControls
) -> None:
    controls.failure = ServiceNotFoundError("users")

    assert client.ask("POST", "/services/users/stop").status == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/service", 404),
        ("POST", "/services/users/explode", 404),
        ("POST", "/services", 405),
        ("GET", "/services/users/stop", 405),
        ("DELETE", "/services/users", 405),
        ("OPTIONS", "/marks", 405),
        ("POST", "/faults", 400),
        ("DELETE", "/faults", 405),
        ("GET", "/faults/1", 405),
        ("DELETE", "/faults/1", 404),
        ("POST", "/data/users", 404),
        ("POST", "/data", 404),
        ("POST", "/snapshots", 400),
        ("POST", "/snapshots/1", 404),
        ("POST", "/snapshots/1/restore", 404),
        ("POST", "/services/users/exec", 400),
    ],
)
def test_what_cannot_be_called_is_a_problem_document(
    client: Client, method: str, path: str, status: int
) -> None:
    answer = client.ask(method, path)

    assert (answer.status, answer.document["status"]) == (status, status)
    assert set(answer.document) >= {"type", "title", "status", "detail"}


@pytest.mark.parametrize(
    ("failure", "status", "said"),
    [
        (
            EnvironmentFailedError(
                "It ended with exit code 3.",
                kind=FailureKind.SERVICE_EXITED,
                service="users",
                evidence=(Evidence("users", "ended", log_tail=("no such table",)),),
            ),
            409,
            "It ended with exit code 3.",
        ),
        (
            EnvironmentFailedError("The engine does not answer.", kind=FailureKind.ENGINE_UNAVAILABLE),
            503,
            "The engine does not answer.",
        ),
        (DeadlineExceededError("users was not ready within 60 s."), 504, "not ready within 60 s"),
        (StoppedError(), 503, "being taken down"),
        (ZeroDivisionError("oh"), 500, "own log"),
    ],
)
def test_a_change_that_fails_says_why(
    client: Client, controls: RememberedControls, failure: Exception, status: int, said: str
) -> None:
    controls.failure = failure

    answer = client.ask("POST", "/services/users/start")

    assert answer.status == status
    assert said in answer.document["detail"]


def test_a_failed_start_shows_the_last_lines_of_the_log(client: Client, controls: RememberedControls) -> None:
    evidence = Evidence("users", "ended", log_tail=("no such table",))
    controls.failure = EnvironmentFailedError(
        "It ended.", kind=FailureKind.SERVICE_EXITED, service="users", evidence=(evidence,)
    )

    document = client.ask("POST", "/services/users/start").document

    assert (document["kind"], document["service"]) == ("service_exited", "users")
    assert document["log_tail"] == ["no such table"]


def test_two_changes_of_one_service_take_turns(client: Client, controls: RememberedControls) -> None:
    controls.hold = True
    calls = [threading.Thread(target=client.ask, args=("POST", "/services/users/stop")) for _ in range(2)]
    for call in calls:
        call.start()

    assert controls.entered.acquire(timeout=10)
    # The second is held back: it does not enter although there is time.
    assert not controls.entered.acquire(timeout=0.2)
    controls.leave.set()
    assert controls.entered.acquire(timeout=10)
    for call in calls:
        call.join(10)
    assert controls.asked == [("stop", "users"), ("stop", "users")]


def test_changes_of_two_services_do_not_wait_for_each_other(
    client: Client, controls: RememberedControls
) -> None:
    controls.hold = True
    calls = [
        threading.Thread(target=client.ask, args=("POST", f"/services/{name}/stop"))
        for name in ("users", "orders")
    ]
    for call in calls:
        call.start()

    assert controls.entered.acquire(timeout=10)
    assert controls.entered.acquire(timeout=10)
    controls.leave.set()
    for call in calls:
        call.join(10)


def test_a_body_that_is_too_long_is_refused_unread(client: Client) -> None:
    answer = client.ask("POST", "/marks", b" " * (MAX_BODY_BYTES + 1))

    assert answer.status == 413
    assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /marks HTTP/1.1\r\nTransfer-Encoding: chunked", 411),
        (b"POST /marks HTTP/1.1\r\nContent-Length: -1", 400),
        (b"POST /marks HTTP/1.1\r\nContent-Length: lots", 400),
        (b"NONSENSE", 400),
    ],
)
def test_a_request_that_is_not_one_is_refused(client: Client, head: bytes, status: int) -> None:
    address = urlsplit(client.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(head + b"\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert f" {status} ".encode() in answer
    assert b'"detail"' in answer


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/faults", {"kind": "pause"}, "'service' must be"),
        ("/faults", {"service": "users"}, "'kind' must say"),
        ("/faults", {"service": "users", "kind": "pause", "seconds": 0}, "'seconds' must be"),
        ("/faults", {"service": "users", "kind": "pause", "seconds": True}, "'seconds' must be"),
        ("/faults", {"service": "users", "kind": "pause", "percent": 3}, "no 'percent'"),
        ("/snapshots", {"service": ["users"]}, "'service' must be"),
        ("/services/users/exec", {"command": []}, "'command' must be"),
        ("/services/users/exec", {"command": ["a\0b"]}, "'command' must be"),
        ("/services/users/exec", {"command": "id", "seconds": 9999}, "'seconds' must be"),
    ],
)
def test_a_body_that_says_too_little_or_too_much_is_refused_in_words(
    client: Client, path: str, body: object, said: str
) -> None:
    answer = client.ask("POST", path, body)

    assert answer.status == 422
    assert said in answer.document["detail"]


def test_one_connection_serves_many_calls(client: Client) -> None:
    connection = http.client.HTTPConnection(urlsplit(client.url).netloc, timeout=10)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        for _ in range(3):
            connection.request("GET", "/services", headers=headers)
            assert len(json.loads(connection.getresponse().read())["services"]) == 2
    finally:
        connection.close()


def test_leaving_does_not_wait_for_a_call_that_hangs(controls: RememberedControls) -> None:
    controls.hold = True
    with ControlServer(controls, token=TOKEN, address="127.0.0.1") as server:
        call = threading.Thread(target=Client(server.url).ask, args=("POST", "/services/users/start"))
        call.start()
        assert controls.entered.acquire(timeout=10)
        url = server.url

    with pytest.raises(ConnectionRefusedError):
        Client(url).ask("GET", "/services")
    controls.leave.set()
    call.join(10)


def test_an_empty_token_is_no_token(controls: RememberedControls) -> None:
    with pytest.raises(ValueError, match="needs a token"):
        ControlServer(controls, token="", address="127.0.0.1")
