from __future__ import annotations

from typing import Any

import pytest

from environments.lifecycle.requests import HappeningKind
from runs.analytics.lifelines import (
    Fault,
    Kind,
    Life,
    Mark,
    Sighting,
    Trouble,
    TroubleKind,
    Window,
    is_named,
    life,
    overlaps,
    windows,
)


def seen(*told: tuple[Any, ...]) -> list[Sighting]:
    return [
        Sighting(
            at,
            "orders",
            kind,
            action=next((each for each in rest if isinstance(each, str)), ""),
            exit_code=next((each for each in rest if isinstance(each, int)), None),
        )
        for at, kind, *rest in told
    ]


BOOT = ((1.0, Kind.CREATED), (2.0, Kind.STARTED), (5.0, Kind.HEALTHY))


def lived(*told: tuple[Any, ...]) -> Life:
    return life("orders", seen(*BOOT, *told), end=60)


def test_the_words_are_the_environments_own() -> None:
    assert set(Kind) <= set(HappeningKind)


def test_a_service_waits_starts_and_is_well_to_the_end() -> None:
    assert lived() == Life("orders", stretches=(("wait", 1, 2), ("start", 2, 5), ("up", 5, 60)), ready_at=5)


def test_a_service_without_a_health_check_is_well_as_soon_as_it_runs() -> None:
    alive = life("orders", seen((1, Kind.CREATED), (2, Kind.STARTED)), end=10, has_check=False)

    assert list(alive.stretches) == [("wait", 1, 2), ("up", 2, 10)]
    assert alive.ready_at == 2


def test_one_that_dies_for_want_of_memory_has_one_trouble_and_is_well_again_when_it_is_healthy() -> None:
    alive = lived((20, Kind.OUT_OF_MEMORY), (20.5, Kind.EXITED, 137), (22, Kind.STARTED), (30, Kind.HEALTHY))

    assert list(alive.stretches[2:]) == [("up", 5, 20), ("bad", 20, 22), ("start", 22, 30), ("up", 30, 60)]
    assert alive.troubles == (Trouble(TroubleKind.OUT_OF_MEMORY, 20, 30),)
    assert alive.ready_at == 5


def test_a_death_that_nobody_asked_for_is_trouble_until_it_is_well_again() -> None:
    assert lived((20, Kind.EXITED, 3)).troubles == (Trouble(TroubleKind.DIED, 20, None, 3),)


def test_what_the_tests_did_is_a_fault_and_no_trouble() -> None:
    alive = lived((20, Kind.CONTROL, "kill"), (21, Kind.EXITED, 137), (30, Kind.STARTED), (33, Kind.READY))

    assert alive.troubles == ()
    assert alive.faults == (Fault("orders", "kill", 20, 30),)
    assert ("fault", 21, 30) in alive.stretches


def test_a_death_after_the_fault_was_undone_is_the_services_own() -> None:
    alive = lived(
        (20, Kind.CONTROL, "stop"),
        (21, Kind.EXITED, 0),
        (25, Kind.CONTROL, "start"),
        (26, Kind.STARTED),
        (28, Kind.HEALTHY),
        (40, Kind.EXITED, 1),
    )

    assert alive.troubles == (Trouble(TroubleKind.DIED, 40, None, 1),)


def test_a_paused_service_goes_back_to_what_it_was_and_its_checks_failing_meanwhile_say_nothing() -> None:
    alive = lived((20, Kind.CONTROL, "pause"), (20.1, Kind.PAUSED), (25, Kind.UNHEALTHY), (30, Kind.UNPAUSED))

    assert list(alive.stretches[2:]) == [("up", 5, 20.1), ("fault", 20.1, 30), ("up", 30, 60)]
    assert alive.troubles == ()
    assert alive.faults == (Fault("orders", "pause", 20, 30),)


@pytest.mark.parametrize(("fault", "undone"), [("disconnect", "connect"), ("partition", "heal")])
def test_a_service_off_its_networks_suffers_until_it_is_put_back(fault: str, undone: str) -> None:
    alive = lived((20, Kind.CONTROL, fault), (25, Kind.CONTROL, undone))

    assert alive.faults == (Fault("orders", fault, 20, 25),)
    assert alive.troubles == ()


def test_unhealthy_lasts_until_healthy() -> None:
    alive = lived((20, Kind.UNHEALTHY), (24, Kind.UNHEALTHY), (29, Kind.HEALTHY))

    assert alive.troubles == (Trouble(TroubleKind.UNHEALTHY, 20, 29),)


def test_a_job_that_is_done_and_tests_that_fail_are_no_trouble() -> None:
    done = life("orders", seen((1, Kind.STARTED), (4, Kind.EXITED, 0)), end=10)
    tests = life("orders", seen((1, Kind.STARTED), (4, Kind.EXITED, 1)), end=10, is_tests=True)
    told_late = life("orders", seen((1, Kind.STARTED), (4, Kind.EXITED, 0), (4.1, Kind.READY)), end=10)

    assert list(done.stretches) == [("start", 1, 4)]
    assert list(tests.stretches) == [("tests", 1, 4)]
    assert done.troubles == tests.troubles == ()
    assert (list(told_late.stretches), told_late.ready_at) == ([("start", 1, 4)], 4.1)


def test_the_worst_trouble_is_the_gravest_and_then_the_first() -> None:
    alive = lived(
        (20, Kind.UNHEALTHY),
        (29, Kind.HEALTHY),
        (40, Kind.EXITED, 1),
        (41, Kind.STARTED),
        (50, Kind.EXITED, 2),
    )

    assert alive.worst == Trouble(TroubleKind.DIED, 40, None, 1)
    assert lived().worst is None


def test_what_comes_after_the_end_and_of_others_is_not_looked_at() -> None:
    others = [Sighting(10, "stock", Kind.EXITED, exit_code=1)]

    assert life("orders", [*seen(*BOOT, (61, Kind.EXITED, 1)), *others], end=60).troubles == ()
    assert life("orders", [], end=60) == Life("orders")


def test_each_try_of_a_test_is_a_window_of_its_own() -> None:
    marks = [
        Mark(1, "a", "start"),
        Mark(2, "a", "end"),
        Mark(3, "a", "start"),
        Mark(4, "b", "start"),
        Mark(5, "a", "end"),
        Mark(6, "never begun", "end"),
    ]

    assert windows(marks) == [Window("a", 1, 2), Window("a", 3, 5), Window("b", 4, None)]


def test_a_mark_names_a_test_by_its_whole_last_part() -> None:
    assert is_named("tests/a.py::TestB::test_c[x]", "test_c[x]")
    assert is_named("com.shop.OrderTest.refunds", "refunds")
    assert not is_named("tests/a.py::test_cc", "c")


def test_a_window_and_a_fault_overlap_when_they_share_a_moment() -> None:
    fault = Fault("orders", "stop", 10, 20)

    assert overlaps(Window("a", 5, 10), fault, 60)
    assert not overlaps(Window("a", 5, 9), fault, 60)
    assert overlaps(Window("a", 5, None), fault, 60)
    assert overlaps(Window("a", 50, 55), Fault("orders", "stop", 10), 60)
