"""Room on an engine: what is judged, what is waited for, what is refused at once."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from environments.docker_engine import DockerEngine
from environments.engine import Room
from environments.errors import EnvironmentFailedError, FailureKind
from environments.labels import EnvironmentRef
from environments.lifecycle import Happening, HappeningKind
from environments.lifecycle.admission import shortage
from environments.local_engine import LocalEngine
from environments.models import Environment
from environments.subnets import Pool
from tests.contract.services import service, spec_of
from tests.environments.lab import Lab

GIB = 1024**3


def test_an_engine_with_room_has_no_shortage() -> None:
    room = Room(disk_free_bytes=2 * GIB, networks_free=2, networks_total=1024)

    assert shortage(room, networks=2, reserve_bytes=2 * GIB) is None


def test_what_is_not_known_is_no_shortage() -> None:
    assert shortage(Room(), networks=5, reserve_bytes=2 * GIB) is None


def test_a_disk_below_the_reserve_admits_nobody() -> None:
    found = shortage(Room(disk_free_bytes=2 * GIB - 1), networks=0, reserve_bytes=2 * GIB)

    assert found is not None
    assert (found.kind, found.is_passing) == (FailureKind.DISK, False)
    assert "has 2.0 GiB free" in found.message
    assert "ITDASH_DISK_RESERVE_GIB" in found.message


def test_a_reserve_of_nothing_admits_on_a_full_disk() -> None:
    assert shortage(Room(disk_free_bytes=0), networks=0, reserve_bytes=0) is None


def test_subnets_that_are_taken_come_back() -> None:
    found = shortage(Room(networks_free=1, networks_total=4), networks=2, reserve_bytes=0)

    assert found is not None
    assert (found.kind, found.is_passing) == (FailureKind.ENGINE_UNAVAILABLE, True)
    assert found.message.startswith("Subnets are short: 2 needed, 1 of 4 free.")


def test_more_networks_than_the_pool_holds_are_not_waited_for() -> None:
    found = shortage(Room(networks_free=4, networks_total=4), networks=5, reserve_bytes=0)

    assert found is not None
    assert found.is_passing is False


@pytest.mark.django_db(transaction=True)
def test_nothing_is_made_on_an_engine_whose_disk_is_nearly_full(tmp_path: Path, settings: Settings) -> None:
    settings.DISK_RESERVE_BYTES = 10**18
    engine = LocalEngine(tmp_path / "environments")
    lab = Lab(engine)

    with pytest.raises(EnvironmentFailedError) as caught, lab.provisioned(spec_of(service("tests"))):
        pass

    assert caught.value.kind is FailureKind.DISK
    assert engine.environments(settings.INSTANCE) == []
    assert HappeningKind.IMAGE_READY not in lab.kinds()
    assert Environment.objects.get().failure_kind == "disk"


@pytest.fixture
def one_subnet() -> Iterator[DockerEngine]:
    engine = DockerEngine(subnet_pool=Pool.read("10.215.128.0/26", 26))
    yield engine
    engine.close()


@pytest.mark.engine
@pytest.mark.django_db(transaction=True)
def test_an_environment_waits_for_the_subnet_of_another(one_subnet: DockerEngine) -> None:
    first, second = Lab(one_subnet), Lab(one_subnet)
    waits, is_up = threading.Event(), threading.Event()

    def hear(happening: Happening) -> None:
        second.happenings.append(happening)
        if happening.kind is HappeningKind.NOTICE:
            waits.set()

    def live() -> None:
        try:
            with second.provisioned(spec_of(service("tests")), owner="run:2", hear=hear):
                is_up.set()
        finally:
            connection.close()

    waiting = threading.Thread(target=live)
    with first.provisioned(spec_of(service("tests")), owner="run:1"):
        waiting.start()
        assert waits.wait(20)
        assert not is_up.is_set()
    waiting.join(30)

    assert is_up.is_set()
    [notice] = [one.message for one in second.happenings if one.kind is HappeningKind.NOTICE]
    assert notice.startswith("Waiting for room on the engine. Subnets are short: 1 needed, 0 of 1 free.")


@pytest.mark.engine
@pytest.mark.django_db(transaction=True)
def test_a_full_pool_says_how_much_it_holds(one_subnet: DockerEngine) -> None:
    ref = EnvironmentRef("itd-00000000-1", f"full-{secrets.token_hex(4)}", "run:1", 1, int(time.time()) + 600)
    spec = spec_of(service("tests", networks={"a": (), "b": ()}), networks={"a": False, "b": False})
    try:
        with pytest.raises(EnvironmentFailedError) as caught:
            one_subnet.create_environment(ref, spec)
    finally:
        assert one_subnet.remove_environment(ref) == []

    assert caught.value.kind is FailureKind.ENGINE_UNAVAILABLE
    assert str(caught.value).startswith(
        "No free subnet was found for network 'b'. All 1 subnets of 10.215.128.0/26 (/26 each) are taken: "
        "1 by networks on the engine, "
    )
