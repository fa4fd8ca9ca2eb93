"""Room on an engine: what is judged, what is waited for, what is refused at once."""

from __future__ import annotations

from environments.engine import Room
from environments.errors import FailureKind
from environments.lifecycle.admission import shortage

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
    assert found.message.startswith("2 networks are needed and 1 of 4 subnets are free.")


def test_more_networks_than_the_pool_holds_are_not_waited_for() -> None:
    found = shortage(Room(networks_free=4, networks_total=4), networks=5, reserve_bytes=0)

    assert found is not None
    assert found.is_passing is False
