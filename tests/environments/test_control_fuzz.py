"""Whatever is sent to the control API, the answer is an answer or a problem document that says what to do."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from environments.control import ControlServer
from environments.control.answers import MAX_BODY_BYTES, Answer, ProblemError, Request
from environments.control.api import Api
from tests.environments.test_control import TOKEN, Client, RememberedControls

WORDS = st.sampled_from(
    [
        *("services", "users", "orders", "marks", "data", "snapshots", "faults", "restore", "logs", "exec"),
        *("stop", "start", "restart", "pause", "kill", "partition", "seed", "..", ""),
    ]
)
KEYS = st.sampled_from(
    ["service", "kind", "seconds", "from", "groups", "mode", "direction", "test", "phase", "command"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -1, 0, 3600, 3601, float("inf"), float("nan"), 0.5])
    | st.sampled_from(["users", "orders", "partition", "pause", "drop", "in", "start", "end", "\0"])
    | st.text(max_size=20)
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner), max_leaves=6
)
BODIES = (
    st.dictionaries(KEYS | st.text(max_size=5), VALUES, max_size=6).map(
        lambda value: json.dumps(value).encode()
    )
    | VALUES.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=40)
)
REQUESTS = st.builds(
    Request,
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT", "HEAD", "get", ""]),
    path=st.lists(WORDS | st.text(max_size=8), max_size=4).map(tuple),
    query=st.dictionaries(st.sampled_from(["since", "timestamps", "x"]), st.text(max_size=12), max_size=2),
    body=BODIES,
)


@given(REQUESTS)
def test_every_call_is_answered_or_refused_in_words(request_: Request) -> None:
    answer, problem = answered(request_)

    if problem is None:
        assert answer is not None
        assert answer.text is not None or json.dumps(answer.value)
        return
    assert 400 <= problem.status < 500
    document = json.loads(json.dumps(problem.document))
    assert (document["status"], document["title"]) == (problem.status, problem.status.phrase)
    assert document["detail"]


def answered(request_: Request) -> tuple[Answer | None, ProblemError | None]:
    try:
        return Api(RememberedControls(), TOKEN).answer(request_), None
    except ProblemError as problem:
        return None, problem


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[" * 30_000, "nested deeper"),
        (b'{"test": "\\ud800", "phase": "start"}', "surrogates not allowed"),
        (b'{"test": "x", "phase": "start"', "The body is not JSON"),
        (b"9" * 5000, "The body is not JSON"),
    ],
)
def test_bodies_that_break_readers_are_refused(body: bytes, why: str) -> None:
    controls = RememberedControls()
    with pytest.raises(ProblemError, match=why) as refused:
        Api(controls, TOKEN).answer(Request("POST", ("marks",), {}, body))

    assert refused.value.status == 400
    assert controls.asked == []


@pytest.mark.parametrize("seconds", [10**400, 0, -1, 3601, True, "3", [], float("nan"), float("inf")])
def test_a_time_that_cannot_be_is_refused(seconds: Any) -> None:
    body = json.dumps({"service": "users", "kind": "pause", "seconds": seconds}).encode()
    with pytest.raises(ProblemError, match="above 0 and at most 3600"):
        Api(RememberedControls(), TOKEN).answer(Request("POST", ("faults",), {}, body))


@pytest.fixture
def client() -> Iterator[Client]:
    with ControlServer(RememberedControls(), token=TOKEN, address="127.0.0.1") as server:
        yield Client(server.url)


HEAD = f"POST /marks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n".encode()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HEAD + f"Content-Length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode() + b"x" * 1000, 413),
        (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", 413),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (HEAD + "Content-Length: ²\r\n\r\n".encode("latin-1"), 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 411),
        (HEAD + b"\r\n", 400),
        (b"POST /marks\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_what_is_hardly_http_gets_a_problem_document_and_the_server_goes_on(
    client: Client, sent: bytes, status: int
) -> None:
    place = urlsplit(client.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(sent)
        heard = b""
        # What it has not read when it closes the connection resets it, after the answer.
        with suppress(ConnectionResetError):
            while data := connection.recv(65536):
                heard += data

    assert heard.split()[1] == str(status).encode()
    document = json.loads(heard.partition(b"\r\n\r\n")[2])
    assert document["status"] == status
    assert document["detail"]
    assert client.ask("GET", "/services").status == 200
