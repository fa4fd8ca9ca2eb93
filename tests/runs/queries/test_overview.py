"""A week against the one before, and what the overview says of a branch."""

from __future__ import annotations

from datetime import timedelta

import pytest

from runs.models import Project, Schedule
from runs.queries.overview import OverviewFilter, overview
from runs.queries.weeks import fortnight
from runs.vocabulary import ErrorReason, Outcome, RunStatus, Verdict
from tests.factories import NOW, make_project, make_run, make_suite
from tests.rows import add_blame, add_results

pytestmark = pytest.mark.django_db


def shop() -> Project:
    return make_project("shop", next_run_number=1_000)


def test_a_period_is_compared_with_the_one_before() -> None:
    project = shop()
    suite = make_suite(project)

    def ran(days: float, status: RunStatus, seconds: int, **values: object) -> None:
        at = NOW - timedelta(days=days)
        make_run(suite, status=status, run_at=at, duration_ms=seconds * 1000, **{"branch": "main"} | values)

    for days, status, seconds in (
        (1, RunStatus.PASSED, 60),
        (2, RunStatus.FAILED, 90),
        (3, RunStatus.PASSED, 70),
    ):
        ran(days, status, seconds)
    ran(4, RunStatus.PASSED, 80, flaky_count=1)
    ran(8, RunStatus.PASSED, 50)
    ran(9, RunStatus.FAILED, 50, flaky_count=2)
    # None of these counts: another branch, somebody's main, cancelled, too old.
    ran(1, RunStatus.FAILED, 999, branch="feat/x")
    ran(1, RunStatus.FAILED, 999, pull_request="12")
    ran(1, RunStatus.CANCELLED, 999)
    ran(15, RunStatus.FAILED, 999)

    lately = fortnight(project, branch="main", days=7, now=NOW)

    # Now 3 of 4 passed, before 1 of 2; medians 75 s and 50 s; flakes 1 of 4 and 1 of 2.
    assert (lately.now.passed, lately.now.judged, lately.before.judged) == (3, 4, 2)
    assert lately.pass_change == pytest.approx(0.25)
    assert (lately.now.median_ms, lately.median_change) == (75_000, 25_000)
    assert lately.flake_change == pytest.approx(-0.25)
    # Days 9, 8, 4, 3, 2, 1, each in a slice of its own.
    assert lately.pass_course == [0, 1, 1, 1, 0, 1]
    assert set(lately.branches) == {"main", "feat/x"}


def test_environments_that_did_not_boot_are_those_of_runs_here() -> None:
    project = shop()
    suite = make_suite(project)
    values = {"branch": "main", "run_at": NOW - timedelta(hours=1)}
    make_run(suite, status=RunStatus.PASSED, engine="docker", **values)
    make_run(suite, status=RunStatus.PASSED, **values)
    make_run(
        suite, status=RunStatus.ERRORED, engine="docker", error_reason=ErrorReason.NEVER_HEALTHY, **values
    )
    make_run(suite, status=RunStatus.ERRORED, engine="docker", error_reason=ErrorReason.NO_REPORT, **values)
    # Whether these would have booted is not known.
    make_run(suite, status=RunStatus.PREPARING, engine="docker", **values)
    make_run(suite, status=RunStatus.CANCELLED, engine="docker", **values)
    make_run(suite, status=RunStatus.ERRORED, engine="docker", error_reason=ErrorReason.CHECKOUT, **values)

    now = fortnight(project, branch="main", days=1, now=NOW).now

    assert (now.environments, now.not_booted) == (3, 1)
    assert now.boot_share == pytest.approx(2 / 3)


def test_nothing_ran_and_nothing_is_said() -> None:
    lately = fortnight(shop(), branch="main", days=7, now=NOW)

    assert lately.now.pass_share is None
    assert lately.now.boot_share is None
    assert lately.pass_change is None
    assert lately.pass_course == []


def test_the_branch_that_is_asked_for_is_told_of_and_who_is_blamed_there() -> None:
    project = shop()
    suite = make_suite(project, "checkout")
    make_run(suite, status=RunStatus.PASSED, branch="main", run_at=NOW)
    green = make_run(suite, status=RunStatus.PASSED, branch="feat/x", run_at=NOW)
    first = make_run(suite, status=RunStatus.FAILED, branch="feat/x", run_at=NOW, failed_count=1)
    newest = make_run(suite, status=RunStatus.FAILED, branch="feat/x", run_at=NOW)
    for result in add_results(newest, {"test_a": Outcome.FAILED, "test_b": Outcome.ERRORED}):
        add_blame(result, "user-service")

    page = overview(project, OverviewFilter(branch="feat/x"), now=NOW)

    [row] = page.red
    assert row.row_length == 2
    assert row.red_since is not None
    assert row.red_since.number == first.number
    assert row.last_green is not None
    assert row.last_green.number == green.number
    assert row.newest_judged is not None
    assert row.newest_judged.failed_count == 2
    assert page.blamed is not None
    assert (page.blamed.service, page.blamed.count) == ("user-service", 2)
    assert overview(project, OverviewFilter(branch="main"), now=NOW).red == []


def test_a_suite_is_red_by_its_verdict_as_its_badge_says_it() -> None:
    project = shop()
    suite = make_suite(project, "checkout")
    values = {"branch": "main", "run_at": NOW}
    spared = make_run(suite, status=RunStatus.FAILED, verdict=Verdict.PASS, **values)

    green = overview(project, OverviewFilter(branch="main"), now=NOW)

    assert (green.red, green.green_count, len(green.spared)) == ([], 1, 1)

    first = make_run(suite, status=RunStatus.FAILED, verdict=Verdict.FAIL, **values)
    make_run(suite, status=RunStatus.PASSED, verdict=Verdict.FAIL, **values)

    page = overview(project, OverviewFilter(branch="main"), now=NOW)
    [row] = page.red
    assert row.red_since is not None
    assert (row.row_length, row.red_since.number) == (2, first.number)
    assert row.last_green is not None
    assert row.last_green.number == spared.number
    assert page.spared == []


def test_schedules_come_in_the_order_in_which_they_are_due() -> None:
    project = shop()
    suite = make_suite(project, "checkout")
    make_run(suite, status=RunStatus.PASSED, branch="main", duration_ms=90_000)
    for hours, paused in ((5, False), (2, False), (1, True)):
        Schedule.objects.create(
            suite=suite, cron=f"0 {hours} * * *", due_at=NOW + timedelta(hours=hours), is_paused=paused
        )

    page = overview(project, OverviewFilter(branch="main"), now=NOW)

    assert [one.schedule.cron for one in page.next_runs] == ["0 2 * * *", "0 5 * * *"]
    assert page.next_runs[0].expected_ms == 90_000
    assert page.rows[0][1] == page.next_runs[0]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, OverviewFilter("main", 7)),
        ({"branch": "feat/x", "days": "30"}, OverviewFilter("feat/x", 30)),
        ({"branch": "\x00", "days": "999"}, OverviewFilter("main", 7)),
    ],
)
def test_branch_and_period_come_from_the_address(query: dict[str, str], wanted: OverviewFilter) -> None:
    assert OverviewFilter.from_query(query, "main") == wanted
