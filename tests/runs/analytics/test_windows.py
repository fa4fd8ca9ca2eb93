"""When tests ran: by their own marks, or worked out from order and durations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.analytics.windows import (
    CaseName,
    Mark,
    Names,
    Timed,
    Window,
    estimated_windows,
    marked_windows,
    name_of_node,
)
from runs.ingestion.identity import split_parameters

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("tests/test_orders.py::test_y", CaseName("tests.test_orders", "test_y")),
        ("tests/test_orders.py::TestX::test_y[p]", CaseName("tests.test_orders.TestX", "test_y", "[p]")),
        ("test_a.py::TestX::TestY::test_z", CaseName("test_a.TestX.TestY", "test_z")),
        ("tests/test_a.py::test_y[a/b::c.py-[1]]", CaseName("tests.test_a", "test_y", "[a/b::c.py-[1]]")),
        ("test_alone", CaseName("", "test_alone")),
        ("", CaseName("", "")),
    ],
)
def test_a_node_id_is_read_as_pytests_report_writes_it(node: str, name: CaseName) -> None:
    assert name_of_node(node) == name


words = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@given(
    folders=st.lists(words, max_size=3),
    file=words,
    classes=st.lists(words, max_size=2),
    name=words,
    parameters=st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
)
def test_a_mark_finds_its_test_whatever_its_parameters(
    folders: list[str], file: str, classes: list[str], name: str, parameters: str | None
) -> None:
    """What pytest writes into `classname` and `name` for a node id, split as ingestion splits it."""
    bracketed = "" if parameters is None else f"[{parameters}]"
    node = "::".join(["/".join([*folders, f"{file}.py"]), *classes, f"{name}{bracketed}"])
    reported = ".".join([*folders, file, *classes])
    case = CaseName(reported, *split_parameters(f"{name}{bracketed}"))
    other = CaseName(reported, f"{name}_other")

    assert Names([(1, other), (2, case)]).find(node) == 2


@given(st.text(max_size=60))
def test_no_mark_is_too_odd(text: str) -> None:
    assert Names([(1, CaseName("a", "\0"))]).find(text) is None


@pytest.mark.parametrize(
    "mark", ["com.shop.OrderTest.pays", "com.shop.OrderTest#pays", "com.shop.OrderTest::pays", "pays"]
)
def test_other_tools_names_are_understood_too(mark: str) -> None:
    assert Names([(7, CaseName("com.shop.OrderTest", "pays"))]).find(mark) == 7


def test_a_bare_name_that_two_tests_share_tells_neither() -> None:
    names = Names([(1, CaseName("a", "test_x")), (2, CaseName("b", "test_x"))])

    assert names.find("test_x") is None
    assert names.find("b.test_x") == 2


def test_marks_make_exact_windows_and_the_first_try_counts() -> None:
    names = Names([(1, CaseName("t", "a")), (2, CaseName("t", "b"))])
    marks = [
        Mark("t.py::a", True, at(1)),
        Mark("t.py::a", False, at(2)),
        Mark("t.py::b", True, at(2)),
        Mark("t.py::a", True, at(5)),
        Mark("t.py::a", False, at(9)),
        Mark("elsewhere.py::c", True, at(3)),
    ]

    assert marked_windows(marks, names, ended_at=at(10)) == {
        1: Window(at(1), at(2)),
        2: Window(at(2), at(10)),  # it never said that it ended
    }
    assert marked_windows(marks, names, ended_at=None) == {1: Window(at(1), at(2))}


def test_an_end_without_a_start_tells_nothing() -> None:
    names = Names([(1, CaseName("t", "a"))])

    assert marked_windows([Mark("t.py::a", False, at(2))], names, ended_at=at(3)) == {}


def test_estimates_are_as_wide_as_what_is_not_known() -> None:
    tests = [Timed(1, 2_000), Timed(2, 1_000), Timed(3, 4_000)]

    # 10 seconds passed, the tests took 7: each may have run up to 3 seconds later than packed tight.
    assert estimated_windows(tests, at(0), at(10)) == {
        1: Window(at(0), at(5), is_estimated=True),
        2: Window(at(2), at(6), is_estimated=True),
        3: Window(at(3), at(10), is_estimated=True),
    }


@pytest.mark.parametrize("tests", [[Timed(1, 8_000), Timed(2, 8_000)], [Timed(1, None), Timed(2, 1_000)]])
def test_side_by_side_or_without_durations_any_time_is_possible(tests: list[Timed]) -> None:
    anywhere = Window(at(0), at(10), is_estimated=True)

    assert estimated_windows(tests, at(0), at(10)) == {1: anywhere, 2: anywhere}


@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=30), st.integers(1, 400))
def test_estimates_hold_every_way_in_which_the_tests_can_have_run(durations: list[int], pause: int) -> None:
    """Serial tests with one pause of any length before any of them lie within their windows."""
    tests = [Timed(case, duration) for case, duration in enumerate(durations)]
    end = at((sum(durations) + pause) / 1000)
    windows = estimated_windows(tests, START, end)

    for paused in range(len(durations)):
        moment = START
        for case, duration in enumerate(durations):
            moment += timedelta(milliseconds=pause if case == paused else 0)
            assert windows[case].started_at <= moment
            moment += timedelta(milliseconds=duration)
            assert moment <= windows[case].ended_at
