"""Faults end once: when they are undone, when their time is up, or with the tests."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from environments.engine import Direction, Partition, PartitionMode
from environments.errors import EnvironmentFailedError, FailureKind, NotPossibleHereError, UnknownNameError
from environments.faults import Division, FaultKind, Faults, around, between


@dataclass
class Hands:
    """Remembers what was done to services."""

    done: list[str] = field(default_factory=list)
    undone: threading.Event = field(default_factory=threading.Event)
    failure: Exception | None = None
    faults: list[str] = field(default_factory=list)

    def _do(self, what: str) -> None:
        self.done.append(what)
        if self.failure:
            raise self.failure

    def stop(self, name: str) -> None:
        self._do(f"stop {name}")

    def kill(self, name: str) -> None:
        self._do(f"kill {name}")

    def start(self, name: str, *, is_awaited: bool = True) -> None:
        self._do(f"start {name}" + ("" if is_awaited else " unawaited"))
        self.undone.set()

    def restart(self, name: str) -> None:
        self._do(f"restart {name}")

    def pause(self, name: str) -> None:
        self._do(f"pause {name}")

    def unpause(self, name: str) -> None:
        self._do(f"unpause {name}")
        self.undone.set()

    def disconnect(self, name: str) -> Mapping[str, str]:
        self._do(f"disconnect {name}")
        return {"default": "10.0.0.7"}

    def connect(self, name: str, places: Mapping[str, str]) -> None:
        self._do(f"connect {name} {dict(places)}")

    def part(self, division: Division, fault: str) -> None:
        self._do(f"part {dict(division.sides)}")
        self.faults.append(fault)

    def keep_parted(self, division: Division, fault: str, started: str) -> None:
        self._do(f"keep parted, {started} was started")
        assert self.faults == [fault]

    def heal(self, division: Division, fault: str) -> None:
        self._do(f"heal {dict(division.sides)}")
        assert self.faults == [fault]


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def faults(hands: Hands, told: list[str]) -> Faults:
    return Faults(hands, impossible={}, on_failure=lambda _, why: told.append(why))


@pytest.mark.parametrize(
    ("kind", "done"),
    [
        ("stop", ["stop api", "start api"]),
        ("kill", ["kill api", "start api"]),
        ("pause", ["pause api", "unpause api"]),
        ("restart", ["restart api"]),
        ("disconnect", ["disconnect api", "connect api {'default': '10.0.0.7'}"]),
    ],
)
def test_each_kind_is_undone_once_by_its_opposite(
    faults: Faults, hands: Hands, kind: str, done: list[str]
) -> None:
    fault = faults.begin("api", kind)
    faults.end(fault)
    faults.end(fault)
    faults.close(undo=True)

    assert hands.done == done


def test_a_fault_ends_when_its_seconds_have_passed(faults: Faults, hands: Hands) -> None:
    fault = faults.begin("api", "pause", 0.01)

    assert hands.undone.wait(10)
    faults.end(fault)
    assert hands.done == ["pause api", "unpause api"]


def test_what_lasts_ends_with_the_tests_and_nothing_begins_after(faults: Faults, hands: Hands) -> None:
    faults.begin("api", "stop", 3600)
    faults.begin("db", "pause")

    faults.close(undo=True)

    assert sorted(hands.done[2:]) == ["start api unawaited", "unpause db"]
    with pytest.raises(NotPossibleHereError, match="tests are over"):
        faults.begin("api", "stop")


def test_one_service_suffers_one_fault_at_a_time(faults: Faults) -> None:
    first = faults.begin("api", "pause")
    with pytest.raises(NotPossibleHereError, match=f"DELETE /faults/{first} first"):
        faults.begin("api", "stop")

    faults.begin("db", "stop")
    faults.end(first)
    faults.begin("api", "stop")


def test_unknown_and_impossible_kinds_are_answered_with_what_works(hands: Hands) -> None:
    faults = Faults(
        hands, impossible={FaultKind.DISCONNECT: "There are no networks."}, on_failure=lambda *_: None
    )

    with pytest.raises(NotPossibleHereError, match=r"'latency'.*stop, kill, pause, restart") as unknown:
        faults.begin("api", "latency")
    with pytest.raises(NotPossibleHereError, match="There are no networks") as impossible:
        faults.begin("api", "disconnect")
    with pytest.raises(NotPossibleHereError, match="leave 'seconds' out"):
        faults.begin("api", "restart", 3)

    assert (
        unknown.value.facts
        == impossible.value.facts
        == {"kinds": ["stop", "kill", "pause", "restart", "partition"]}
    )
    assert hands.done == []


def test_a_fault_that_did_not_begin_is_none(faults: Faults, hands: Hands) -> None:
    hands.failure = EnvironmentFailedError("not frozen", kind=FailureKind.INTERNAL)
    with pytest.raises(EnvironmentFailedError):
        faults.begin("api", "pause")

    hands.failure = None
    faults.begin("api", "stop")


def test_what_cannot_be_undone_in_the_end_is_told(faults: Faults, hands: Hands, told: list[str]) -> None:
    faults.begin("api", "stop")
    hands.failure = EnvironmentFailedError("no memory left", kind=FailureKind.OUT_OF_MEMORY)

    faults.close(undo=True)

    assert told == ["The 'stop' of api could not be undone: no memory left"]


def test_an_unknown_fault_is_answered_with_those_that_last(faults: Faults) -> None:
    lasting = faults.begin("api", "pause")

    with pytest.raises(UnknownNameError) as caught:
        faults.end("none")

    assert caught.value.known == (lasting,)


def test_services_are_kept_apart_until_the_fault_ends(faults: Faults, hands: Hands) -> None:
    fault = faults.part(around("db", ["api", "worker"]))
    faults.end(fault)
    faults.end(fault)

    assert hands.done == ["part {'db': ('api', 'worker')}", "heal {'db': ('api', 'worker')}"]


def test_a_partition_ends_with_its_seconds_and_with_the_tests(faults: Faults, hands: Hands) -> None:
    faults.part(around("db", ["api"]), 3600)
    faults.close(undo=True)

    assert hands.done[1:] == ["heal {'db': ('api',)}"]
    with pytest.raises(NotPossibleHereError, match="tests are over"):
        faults.part(around("db", ["api"]))


def test_groups_need_rules_at_one_end_of_each_pair_and_befall_everybody() -> None:
    division = between([["a"], ["b", "c", "d"], ["e", "f"]], PartitionMode.REJECT)

    assert division.sides == {
        "a": ("b", "c", "d", "e", "f"),
        "e": ("a", "b", "c", "d"),
        "f": ("a", "b", "c", "d"),
    }
    assert division.sufferers == ("a", "b", "c", "d", "e", "f")
    # b and f are kept apart by the rules that stand at f, which is told of at b all the same.
    assert division.others("b") == ("a", "e", "f")
    assert division.others("f") == ("a", "b", "c", "d")
    assert division.partition("e", "0123abcd") == Partition(
        "0123abcd", ("a", "b", "c", "d"), PartitionMode.REJECT, Direction.BOTH
    )


def test_a_service_cut_off_has_no_second_fault_and_whom_it_is_cut_off_from_may_have_one(
    faults: Faults, hands: Hands
) -> None:
    first = faults.part(between([["db"], ["api", "web"]]))
    with pytest.raises(NotPossibleHereError, match=f"'web' suffers from a 'partition' .*{first}"):
        faults.begin("web", "stop")
    faults.end(first)

    faults.part(around("db", ["api"]))
    faults.begin("api", "pause")
    with pytest.raises(NotPossibleHereError, match="'db' suffers from a 'partition'"):
        faults.part(between([["db"], ["web"]]))
    assert hands.done[2:] == ["part {'db': ('api',)}", "pause api"]


def test_a_partition_is_made_anew_for_whoever_of_it_is_started(
    faults: Faults, hands: Hands, told: list[str]
) -> None:
    fault = faults.part(around("db", ["api"]))
    faults.started("web")
    faults.started("api")
    hands.failure = EnvironmentFailedError("no table", kind=FailureKind.UNSUPPORTED)
    faults.started("db")
    hands.failure = None
    faults.end(fault)
    faults.started("api")

    assert hands.done[1:] == [
        "keep parted, api was started",
        "keep parted, db was started",
        "heal {'db': ('api',)}",
    ]
    assert told == [f"The 'partition' {fault} does not hold since db was started: no table"]


def test_a_partition_says_who_is_kept_from_whom(faults: Faults, hands: Hands) -> None:
    with pytest.raises(NotPossibleHereError, match="'groups', or 'from'"):
        faults.begin("db", "partition")

    assert hands.done == []
