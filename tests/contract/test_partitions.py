"""What every engine promises of services that are kept from each other."""

from __future__ import annotations

import secrets
import time

import pytest

from environments.engine import Direction, EngineEvent, EngineEventKind, Partition, PartitionMode
from environments.errors import EnvironmentFailedError, FailureKind
from environments.probes import steadily, wait_until
from tests.contract.conftest import PATIENCE_SECONDS, Place
from tests.contract.services import service, spec_of

#: Answers connections, and prints the datagrams that arrive.
SERVER = """
import socket, threading
def connections():
    with socket.create_server(("0.0.0.0", 8000)) as server:
        while True:
            server.accept()[0].close()
threading.Thread(target=connections, daemon=True).start()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
    datagrams.bind(("0.0.0.0", 8000))
    print("listening", flush=True)
    while True:
        print(datagrams.recv(100).decode(), flush=True)
"""
KNOCK = "import socket; socket.create_connection(('{}', 8000), timeout=0.5).close()"
#: Linux tells a sender of datagrams that its own network holds them back.
SEND = """
import socket
try:
    socket.socket(type=socket.SOCK_DGRAM).sendto(b"{}", ("{}", 8000))
except PermissionError:
    pass
"""
BEGINNINGS = (EngineEventKind.CREATED, EngineEventKind.STARTED)
#: The engines that can; the others say that they cannot, and why.
with_networks = pytest.mark.parametrize(
    "engine", [pytest.param("docker", marks=pytest.mark.engine)], indirect=True
)
without_networks = pytest.mark.parametrize("engine", ["local"], indirect=True)


@pytest.fixture
def three(place: Place) -> Place:
    """Services a, b and c that reach each other."""
    place.up(spec_of(*(service(name, SERVER) for name in "abc")))
    for name in "abc":
        place.until_said(name, "listening")
    return place


def reaches(place: Place, one: str, other: str) -> str:
    """Empty when it does, else the last word on why not."""
    command = ["python3", "-c", KNOCK.format(other)]
    done = place.engine.execute(place.ref, one, command, timeout_seconds=PATIENCE_SECONDS)
    return "" if done.exit_code == 0 else done.output.split(":")[-2].split()[-1]


def send(place: Place, sender: str, receiver: str, text: str) -> None:
    command = ["python3", "-c", SEND.format(text, receiver)]
    done = place.engine.execute(place.ref, sender, command, timeout_seconds=PATIENCE_SECONDS)
    assert done.exit_code == 0


def partition(*peers: str, mode: str = "drop", direction: str = "both") -> Partition:
    return Partition(secrets.token_hex(4), peers, PartitionMode(mode), Direction(direction))


@with_networks
def test_two_are_kept_apart_both_ways_and_nobody_else(three: Place) -> None:
    for mode, refusal in (("drop", "TimeoutError"), ("reject", "ConnectionRefusedError")):
        cut = partition("b", mode=mode)
        three.engine.partition_service(three.ref, "a", cut)

        assert reaches(three, "a", "b") == reaches(three, "b", "a") == refusal
        assert reaches(three, "c", "a") == reaches(three, "c", "b") == reaches(three, "a", "c") == ""
        assert three.engine.heal_service(three.ref, "a", cut) is True
        assert reaches(three, "a", "b") == reaches(three, "b", "a") == ""
        assert three.engine.heal_service(three.ref, "a", cut) is False


@with_networks
def test_one_way_holds_back_what_goes_that_way_alone(three: Place) -> None:
    for direction in ("in", "out"):
        cut = partition("b", direction=direction)
        three.engine.partition_service(three.ref, "a", cut)
        send(three, "a", "b", f"a to b, {direction}")
        send(three, "b", "a", f"b to a, {direction}")
        # What c sends later arrives later: by then, whatever else was to come has come.
        for receiver in "ab":
            send(three, "c", receiver, f"last, {direction}")
            three.until_said(receiver, f"last, {direction}")
        three.engine.heal_service(three.ref, "a", cut)

    said = [line for name in "ab" for line in three.texts(name) if " to " in line]
    assert said == ["b to a, out", "a to b, in"]


@with_networks
def test_partitions_of_one_service_stand_beside_each_other(three: Place) -> None:
    first, second = partition("b"), partition("c", mode="reject")
    three.engine.partition_service(three.ref, "a", first)
    three.engine.partition_service(three.ref, "a", second)
    three.engine.partition_service(three.ref, "a", second)

    assert three.engine.heal_service(three.ref, "a", first) is True
    assert (reaches(three, "b", "a"), reaches(three, "c", "a")) == ("", "ConnectionRefusedError")
    assert three.engine.heal_service(three.ref, "a", second) is True
    assert reaches(three, "c", "a") == ""


@with_networks
def test_what_starts_again_has_no_rules_until_they_are_made_again(three: Place) -> None:
    cut = partition("b")
    three.engine.partition_service(three.ref, "a", cut)
    three.engine.kill_service(three.ref, "a")
    three.until_ended("a")
    assert three.engine.heal_service(three.ref, "a", cut) is True
    three.engine.start_service(three.ref, "a")

    assert three.engine.heal_service(three.ref, "a", cut) is False
    three.engine.partition_service(three.ref, "a", cut)
    assert reaches(three, "b", "a") == "TimeoutError"


@with_networks
def test_nobody_is_kept_from_what_does_not_run(three: Place) -> None:
    three.engine.kill_service(three.ref, "b")
    three.until_ended("b")

    for one, peers in (("a", ("b",)), ("b", ("a",))):
        with pytest.raises(EnvironmentFailedError) as refused:
            three.engine.partition_service(three.ref, one, partition(*peers))
        assert refused.value.kind is FailureKind.SERVICE_EXITED
    three.engine.partition_service(three.ref, "a", partition("b", "c"))
    assert reaches(three, "c", "a") == "TimeoutError"


@without_networks
def test_an_engine_without_networks_says_so_and_changes_nothing(place: Place) -> None:
    limits = place.engine.capabilities().limits
    place.up(spec_of(service("a"), service("b")))

    with pytest.raises(EnvironmentFailedError) as refused:
        place.engine.partition_service(place.ref, "a", partition("b"))

    assert refused.value.kind is FailureKind.UNSUPPORTED
    assert str(refused.value) == limits["partition"]


@with_networks
def test_a_helper_leaves_nothing_behind_and_tells_nothing(three: Place, heard: list[EngineEvent]) -> None:
    cut = partition("b")
    began = time.monotonic()
    three.engine.partition_service(three.ref, "a", cut)
    seconds = time.monotonic() - began
    three.engine.heal_service(three.ref, "a", cut)

    # Measured at a quarter of a second; a machine that does much else is allowed more.
    assert seconds < 5
    three.engine.pause_service(three.ref, "c")
    wait_until(
        lambda: EngineEventKind.PAUSED in {event.kind for event in heard},
        deadline_seconds=PATIENCE_SECONDS,
        pauses=steadily(0.05),
    )
    # It began, ended and was removed twice, and none of that is an event of a service.
    assert {event.kind for event in heard} <= {*BEGINNINGS, EngineEventKind.PAUSED}
    assert len(three.engine.environments(three.ref.instance)) == 1
