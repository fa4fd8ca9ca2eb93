"""What words find, and what is counted of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from runs.models import Project
from runs.queries.run_list import COLUMNS, RunFilter, run_page
from runs.vocabulary import Outcome, RunStatus, Trigger
from tests.factories import NOW, make_project, make_run, make_suite, make_user
from tests.rows import add_results

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    """Three runs: 1 passed on main three days ago, 2 failed on a branch yesterday, 3 runs now."""
    project = make_project("shop")
    checkout, messaging = make_suite(project, "checkout"), make_suite(project, "messaging suite")
    first = make_run(
        checkout,
        status=RunStatus.PASSED,
        branch="main",
        run_at=NOW - timedelta(days=3),
        duration_ms=60_000,
        commit="abc1234" + "0" * 33,
    )
    second = make_run(
        checkout,
        status=RunStatus.FAILED,
        branch="feat/x",
        trigger=Trigger.PUSH,
        run_at=NOW - timedelta(days=1),
        duration_ms=600_000,
        commit_message="Round coupons up",
    )
    make_run(messaging, status=RunStatus.RUNNING, branch="main", run_at=NOW, requested_by=make_user("maya"))
    add_results(first, {"test_pay": Outcome.PASSED})
    add_results(second, {"test_pay": Outcome.FAILED, "test_cart": Outcome.PASSED})
    return project


def found(project: Project, q: str, **query: str) -> list[int]:
    page = run_page(project, RunFilter.from_query({"q": q, **query}), now=NOW)
    return [row.run.number for row in page.rows]


@pytest.mark.parametrize(
    ("q", "numbers"),
    [
        ("", [3, 2, 1]),
        ("branch:main", [3, 1]),
        ("branch:feat/*", [2]),
        ("-branch:feat/*", [3, 1]),
        ("branch:.*", []),
        ('suite:"messaging suite"', [3]),
        ("status:failed", [2]),
        ("status:live", [3]),
        ("status:nonsense", []),
        ("trigger:push", [2]),
        ("-trigger:push branch:main", [3, 1]),
        ("commit:abc", [1]),
        ("started:<2d", [3, 2]),
        ("started:>2d", [1]),
        ("started:soon", []),
        ("duration:>5m", [2]),
        ("duration:<90", [1]),
        ("test:test_pay", [2]),
        ("test:test_*", [2]),
        ("test:test_cart", []),
        ("service:postgres", []),
        ("by:maya", [3]),
        ("by:me", []),
        ("coupons", [2]),
        ("#2", [2]),
        ("coupons branch:main", []),
    ],
)
def test_words_find_runs(project: Project, q: str, numbers: list[int]) -> None:
    assert found(project, q) == numbers


def test_mine_are_those_that_i_asked_for(project: Project) -> None:
    maya = project.runs.get(number=3).requested_by

    page = run_page(project, RunFilter.from_query({"q": "by:me"}), now=NOW, person=maya)

    assert [row.run.number for row in page.rows] == [3]


def test_a_chip_that_changed_writes_into_the_text_and_one_that_did_not_leaves_it(project: Project) -> None:
    changed = RunFilter.from_query({"q": "coupons", "branch": "feat/x", "was_branch": ""})
    typed = RunFilter.from_query({"q": "branch:main", "branch": "", "was_branch": ""})
    cleared = RunFilter.from_query({"q": "branch:main coupons", "branch": "", "was_branch": "main"})

    assert (changed.q, changed.was_rewritten) == ("coupons branch:feat/x", True)
    assert (typed.q, typed.was_rewritten) == ("branch:main", False)
    assert (cleared.q, cleared.was_rewritten) == ("coupons", True)
    # As links from other pages have it.
    assert found(project, "", suite="messaging suite") == [3]


def test_what_matches_is_counted_and_drawn_over_its_time(project: Project) -> None:
    counted = run_page(project, RunFilter(), now=NOW).counted

    # Three days in sixty columns: 1 at the start, 2 after two thirds, 3 at the end.
    assert (counted.count, counted.failed_count, counted.is_cut) == (3, 1, False)
    assert counted.median_ms == 330_000
    assert len(counted.columns) == COLUMNS
    assert {place: column for place, column in enumerate(counted.columns) if column[0]} == {
        0: (1, 0),
        40: (1, 1),
        59: (1, 0),
    }
    assert counted.slice_words == "hour"


def test_one_moment_is_not_drawn(project: Project) -> None:
    counted = run_page(project, RunFilter.from_query({"q": "status:failed"}), now=NOW).counted

    assert counted.count == 1
    assert counted.columns == []
