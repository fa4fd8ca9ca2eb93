"""Answers of HTTP servers judged, and who may ask how much at once."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from environments.docker_engine.reaching import is_near
from environments.engine import LogLine
from environments.errors import StoppedError
from environments.lifecycle.asking import judged
from environments.lifecycle.turns import turns_of
from environments.lifecycle.watching import Matches
from environments.local_engine import LocalEngine
from environments.probes import FakeClock, ProbeOutcome, Turns
from environments.spec.ready import HttpProbe, LogProbe


def answer(text: str, probe: HttpProbe) -> ProbeOutcome:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(text.replace("\n", "\r\n").encode())
        theirs.close()
        return judged(probe, ours)


@pytest.mark.parametrize(
    ("status", "statuses", "is_ready"),
    [
        ("200 OK", (), True),
        ("302 Found", (), True),
        ("404 Not Found", (), False),
        ("503 Service Unavailable", (), False),
        ("401 Unauthorized", (200, 401), True),
        ("204 No Content", (200,), False),
    ],
)
def test_a_status_says_whether_a_server_is_ready(
    status: str, statuses: tuple[int, ...], is_ready: bool
) -> None:
    assert answer(f"HTTP/1.0 {status}\n\n", HttpProbe(80, statuses=statuses)).passed is is_ready


def test_a_body_is_searched_line_by_line() -> None:
    probe = HttpProbe(80, body=r'^"status": "up"$')

    assert answer('HTTP/1.1 200 OK\n\n{\n"status": "up"\n}', probe) == ProbeOutcome(True, "200 OK")
    assert answer('HTTP/1.1 200 OK\n\n{"status": "up"}', probe) == ProbeOutcome(
        False, '200 OK, and \'^"status": "up"$\' is not in it: {"status": "up"}'
    )


def test_a_refusal_is_said_with_the_beginning_of_its_body() -> None:
    said = answer("HTTP/1.1 503 Unavailable\nContent-Length: 2000\n\n" + "x" * 2000, HttpProbe(80)).output

    assert said.startswith("503 Unavailable: xxx")
    assert len(said) == 1024


def line(second: int, text: str) -> LogLine:
    clock = FakeClock(seconds=second)
    return LogLine(clock.now(), "api", text)


def test_lines_of_an_earlier_life_do_not_count() -> None:
    matches = Matches(LogProbe("ready", times=2))
    took = [
        matches.take(one)
        for one in (line(1, "ready"), line(2, "not yet"), line(3, "ready"), line(5, "ready"))
    ]

    assert took == [True, False, True, True]
    # Only as many are kept as are asked for.
    assert matches.count(None) == 2
    assert matches.count(line(3, "").at) == 1
    assert matches.count(line(5, "").at) == 0


def test_a_pattern_is_searched_for_in_the_first_500_characters() -> None:
    matches = Matches(LogProbe("ready"))

    assert matches.take(line(1, "x" * 495 + "ready"))
    assert not matches.take(line(1, "x" * 496 + "ready"))


def test_turns_are_shared_by_all_environments_of_an_engine(tmp_path: Path) -> None:
    engine, other = LocalEngine(tmp_path), LocalEngine(tmp_path)

    assert turns_of(engine) is turns_of(engine)
    assert turns_of(engine) is not turns_of(other)


def test_as_many_services_start_at_once_as_the_engine_has_cores(tmp_path: Path) -> None:
    engine = LocalEngine(tmp_path)
    cores = engine.capabilities().cpus
    starts, stop = turns_of(engine).starts, threading.Event()
    stop.set()
    held = [starts.taken() for _ in range(cores)]
    for one in held:
        one.__enter__()

    with pytest.raises(StoppedError), starts.taken(stop):
        pass
    held[0].__exit__(None, None, None)
    with starts.taken(stop):
        pass
    for one in held[1:]:
        one.__exit__(None, None, None)


def test_whoever_waits_for_a_turn_gets_it_when_one_is_over() -> None:
    turns = Turns(1)
    got = threading.Event()

    def wait() -> None:
        with turns.taken():
            got.set()

    with turns.taken():
        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        assert not got.wait(0.05)
    thread.join(5)

    assert got.is_set()


ROUTES = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 0100A8C0 0003 0 0 0 00000000 0 0 0
br-1 4000D50A 00000000 0001 0 0 0 C0FFFFFF 0 0 0
tun0 0000D60A 01FFD50A 0003 0 0 0 0000FFFF 0 0 0
"""


@pytest.mark.parametrize(
    ("address", "is_ours"),
    [
        ("10.213.0.66", True),
        ("10.213.0.127", True),
        # The next network, one behind a gateway, and everything else by the default route.
        ("10.213.0.130", False),
        ("10.214.0.5", False),
        ("172.17.0.2", False),
    ],
)
def test_an_address_is_near_when_a_network_of_ours_holds_it(
    tmp_path: Path, address: str, is_ours: bool
) -> None:
    table = tmp_path / "route"
    table.write_text(ROUTES)

    assert is_near(address, table) is is_ours
    assert not is_near(address, tmp_path / "missing")
