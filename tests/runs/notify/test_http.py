"""The one way out: what it refuses, what it waits for, and that it never goes where it did not look."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from runs.notify.addresses import read_networks
from runs.notify.errors import AddressRefusedError, NoAnswerError
from runs.notify.http import ANSWER_LIMIT, Answer, HttpRequest, check_url, send
from tests.ports import free_ports
from tests.standins import Heard, Reply, StandIn

LOOPBACK = read_networks("127.0.0.0/8")


def get(url: str, *, allowed: str = "127.0.0.0/8", seconds: float = 5) -> Answer:
    return send(HttpRequest("GET", url), timeout_seconds=seconds, allowed=read_networks(allowed))


@pytest.fixture
def server() -> Iterator[StandIn]:
    def answer(heard: Heard) -> Reply:
        return Reply(200, {"host": heard.headers["host"], "path": heard.path})

    with StandIn(answer).running() as running:
        yield running


def test_a_request_arrives_whole_and_its_answer_comes_back(server: StandIn) -> None:
    request = HttpRequest("POST", f"{server.url}/a/b?c=d", headers={"X-One": "1"}, body=b'{"a": 1}')
    answer = send(request, timeout_seconds=5, allowed=LOOPBACK)

    assert (answer.status, answer.is_good) == (200, True)
    [heard] = server.heard
    assert (heard.method, heard.path, heard.json) == ("POST", "/a/b?c=d", {"a": 1})
    assert heard.headers["content-type"] == "application/json"
    assert heard.headers["x-one"] == "1"
    assert heard.headers["user-agent"] == "itdash"


LOCAL = [
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::1]:{port}/",
    "http://0.0.0.0:{port}/",
    "http://0:{port}/",
]


@pytest.mark.parametrize("form", LOCAL)
def test_this_machine_is_not_spoken_to_however_it_is_written(server: StandIn, form: str) -> None:
    port = urlsplit(server.url).port

    with pytest.raises(AddressRefusedError):
        get(form.format(port=port), allowed="")
    assert server.heard == []


PRIVATE_NAMES = ["10.1.2.3", "192.168.0.9", "169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254"]


@pytest.mark.parametrize("address", PRIVATE_NAMES)
def test_a_name_that_leads_to_a_private_address_is_refused(address: str) -> None:
    with pytest.raises(
        AddressRefusedError, match="org is at an address of this machine or of a private network"
    ):
        send(
            HttpRequest("GET", "http://gitea.example.org/"),
            timeout_seconds=2,
            resolve=lambda host, port: [address],
        )


def test_the_address_that_was_looked_at_is_the_one_that_is_spoken_to(server: StandIn) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    asked: list[str] = []

    def changing(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    port = urlsplit(server.url).port
    answer = send(
        HttpRequest("GET", f"http://rebind.example.org:{port}/x"),
        timeout_seconds=5,
        allowed=LOOPBACK,
        resolve=changing,
    )

    assert answer.status == 200
    assert asked == ["rebind.example.org"]
    assert server.heard[0].headers["host"] == f"rebind.example.org:{port}"


def test_of_several_addresses_only_those_that_may_be_are_tried(server: StandIn) -> None:
    tried = send(
        HttpRequest("GET", f"http://two.example.org:{urlsplit(server.url).port}/"),
        timeout_seconds=5,
        allowed=LOOPBACK,
        resolve=lambda host, port: ["169.254.169.254", "10.0.0.1", "127.0.0.1"],
    )

    assert tried.status == 200


def test_a_redirect_is_not_followed(server: StandIn) -> None:
    server.replies = [Reply(302, headers={"Location": "http://169.254.169.254/latest/meta-data/"})]

    assert get(server.url).status == 302
    assert len(server.heard) == 1


NO_ADDRESSES = [
    "",
    "example.org/x",
    "ftp://example.org/",
    "file:///etc/passwd",
    "gopher://example.org/",
    "http://",
    "http://user:password@example.org/",
    "http://exa mple.org/",
    "http://example.org/\r\nX-Evil: 1",
    "http://[::1/",
]


@pytest.mark.parametrize("url", NO_ADDRESSES)
def test_what_is_no_address_of_the_web_is_refused(url: str) -> None:
    with pytest.raises(AddressRefusedError):
        check_url(url)


def test_nobody_there_is_no_answer() -> None:
    [port] = free_ports(1)

    with pytest.raises(NoAnswerError, match="could not be spoken to") as found:
        get(f"http://127.0.0.1:{port}/")
    assert found.value.may_heal


def test_an_unknown_host_is_no_answer() -> None:
    def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(NoAnswerError, match="no address of this host was found"):
        send(HttpRequest("GET", "http://nowhere.example/"), timeout_seconds=2, resolve=unknown)


@contextmanager
def raw_server(*chunks: bytes, pause_seconds: float = 0) -> Iterator[str]:
    """Sends the chunks to whoever connects, with pauses, and closes."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            try:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65_536)
                    for chunk in chunks:
                        connection.sendall(chunk)
                        if stop.wait(pause_seconds):
                            return
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            stop.set()
            thread.join()


def test_a_byte_now_and_then_does_not_hold_a_worker_up() -> None:
    began = time.monotonic()
    head = b"HTTP/1.1 200 OK\r\n"
    with (
        raw_server(*(bytes([byte]) for byte in head * 10), pause_seconds=0.05) as url,
        pytest.raises(NoAnswerError, match="did not answer within 1 second"),
    ):
        get(url, seconds=0.6)

    assert time.monotonic() - began < 3


def test_of_a_long_answer_a_little_is_read() -> None:
    body = b"x" * (ANSWER_LIMIT * 4)
    with raw_server(b"HTTP/1.1 500 Oh\r\nContent-Length: 99999999\r\n\r\n", body) as url:
        answer = get(url)

    assert answer.status == 500
    assert len(answer.text) == ANSWER_LIMIT


def test_what_is_no_http_is_no_answer() -> None:
    with raw_server(b"220 mail.example.org ESMTP\r\n") as url, pytest.raises(NoAnswerError):
        get(url)
