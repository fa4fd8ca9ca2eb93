"""What pages read of durations: suites' trends, slow tests, tests that became slower."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs.models import CaseDuration, Suite
from runs.queries.durations import (
    case_trend,
    course_of,
    durations_page,
    slower_cases,
    slowest_cases,
    suite_trends,
)
from runs.vocabulary import Outcome, RunStatus
from tests.factories import NOW, make_case, make_project, make_run, make_suite
from tests.rows import add_results

pytestmark = pytest.mark.django_db


def runs_of(suite: Suite, durations: list[int], **values: object) -> None:
    for index, ms in enumerate(durations):
        moment = NOW + timedelta(hours=index)
        make_run(
            suite,
            status=RunStatus.PASSED,
            queued_at=moment,
            duration_ms=ms,
            commit=f"{index:040x}",
            **values,
        )


def paced(suite: Suite, name: str, p50: int, **values: object) -> CaseDuration:
    return CaseDuration.objects.create(
        case=make_case(suite, name),
        **{"last_run_at": NOW, "p50_ms": p50, "p95_ms": p50 * 2, "judged_at": NOW} | values,
    )


def test_a_suites_trend_is_of_its_passed_runs_on_the_default_branch() -> None:
    suite = make_suite()
    runs_of(suite, [60_000, 62_000, 64_000])
    runs_of(suite, [1], branch="feat/x")
    runs_of(suite, [2], pull_request="7")
    runs_of(suite, [3], branch="", ref="v1")
    runs_of(suite, [66_000], branch="", ref="main")
    make_run(suite, status=RunStatus.FAILED, duration_ms=5)

    [found] = suite_trends(suite.project)

    assert sorted(found.trend.seconds) == [60, 62, 64, 66]
    assert found.trend.p50_ms == 63_000
    assert found.trend.alert is None
    assert found.added_ms == 0


def test_a_suite_that_became_slower_says_since_when_and_how_much() -> None:
    suite = make_suite()
    runs_of(
        suite, [60_000 + 100 * (at % 5) for at in range(40)] + [90_000 + 100 * (at % 5) for at in range(15)]
    )

    [found] = suite_trends(suite.project, with_levels=True)

    assert found.trend.slower_since is not None
    assert found.trend.slower_since.number == 41
    assert (found.trend.before_ms, found.trend.after_ms) == (60_200, 90_200)
    # What it takes now, not what it took.
    assert (found.trend.p50_ms, found.added_ms) == (90_200, 30_000)
    [change] = found.trend.changes
    assert (change.index, round(change.added_seconds)) == (40, 30)


def test_suites_are_read_by_one_question() -> None:
    project = make_project()
    for _ in range(3):
        runs_of(make_suite(project), [1000, 2000])
    with CaptureQueriesContext(connection) as asked:
        suite_trends(project)

    assert len(asked) == 1


def test_the_slowest_tests_have_their_share_of_the_time_of_all() -> None:
    suite = make_suite()
    for name, p50 in (("a", 6000), ("b", 3000), ("c", 1000)):
        paced(suite, name, p50, recent_ms=[p50] * 4)
    paced(suite, "gone", 90_000, last_run_at=NOW - timedelta(days=15))
    paced(make_suite(), "elsewhere", 50_000)

    found = slowest_cases([suite], limit=2)

    assert [(row.case.name, row.share, row.pass_count) for row in found.rows] == [
        ("a", 0.6, 4),
        ("b", 0.3, 4),
    ]
    assert (found.case_count, found.total_ms) == (3, 10_000)
    assert found.share == pytest.approx(0.9)


def test_slower_tests_are_those_with_an_alert_and_regressed_also_those_beyond_chance() -> None:
    project = make_project()
    suite, other = make_suite(project, "a"), make_suite(project, "b")
    run = make_run(suite)
    paced(suite, "alert", 6000, before_ms=4000, after_ms=6000, p_value=1e-5, is_slower=True, changed_run=run)
    paced(other, "worse", 9000, before_ms=4000, after_ms=9000, p_value=1e-5, is_slower=True)
    paced(suite, "listed", 4400, before_ms=4000, after_ms=4400, p_value=0.005)
    paced(suite, "chance", 4400, before_ms=4000, after_ms=4400, p_value=0.2)
    paced(suite, "faster", 400, before_ms=4000, after_ms=400, p_value=0.001)

    assert [row.case.name for row in slower_cases(project)] == ["worse", "alert"]
    assert slower_cases(project, limit=1)[0].added_ms == 5000
    page = durations_page(project, suite_name="a")
    assert [row.case.name for row in page.regressed] == ["alert", "listed"]
    assert page.regressed[0].since == run
    assert page.regressed[0].share == 0.5
    assert [row.case.name for row in page.slower_cases] == ["alert"]
    assert [one.suite.name for one in page.shown] == ["a"]
    assert len(page.suites) == 2
    assert durations_page(project, suite_name="none such").suite is None


def test_a_tests_trend_is_of_its_passes_on_one_branch_or_on_all() -> None:
    suite = make_suite()
    for at, (outcome, branch) in enumerate(
        [
            (Outcome.PASSED, "main"),
            (Outcome.FAILED, "main"),
            (Outcome.PASSED, "feat"),
            (Outcome.PASSED, "main"),
        ]
    ):
        run = make_run(suite, queued_at=NOW + timedelta(hours=at), branch=branch)
        [result] = add_results(run, {"test_pay": outcome}, duration_ms=1000 * (at + 1))

    assert case_trend(result.case, branch="main").seconds == [1, 4]
    assert case_trend(result.case, branch="").seconds == [1, 3, 4]
    assert case_trend(make_case(suite), branch="main").spread is None


def test_a_spark_shows_the_course_and_not_single_values() -> None:
    assert course_of([]) == []
    assert course_of([3, 1]) == [3, 1]
    # 72 values, three in each part: 1 is what two of three are.
    assert course_of([1, 1, 9] * 12 + [5, 5, 9] * 12) == [1] * 12 + [5] * 12


def test_one_pass_far_off_hides_no_alert_from_the_chart() -> None:
    suite = make_suite()
    runs_of(
        suite,
        [1_400 + 10 * (at % 5) for at in range(40)] + [3_300 + 10 * (at % 5) for at in range(14)] + [33],
    )

    [found] = suite_trends(suite.project, with_levels=True)

    assert found.trend.slower_since is not None
    [change] = found.trend.changes
    assert (change.point.number, change.before_ms, change.after_ms) == (41, 1_420, 3_320)
    assert found.trend.current_since == found.trend.slower_since


def test_what_is_usual_now_is_that_of_the_newest_level_even_where_nothing_is_worth_an_alert() -> None:
    suite = make_suite()
    runs_of(
        suite, [60_000 + 100 * (at % 5) for at in range(40)] + [65_000 + 100 * (at % 5) for at in range(30)]
    )

    [found] = suite_trends(suite.project, with_levels=True)

    assert found.trend.alert is None
    assert found.trend.newest_change is not None
    assert (found.trend.newest_change.before_ms, found.trend.newest_change.after_ms) == (60_200, 65_200)
    assert (found.trend.p50_ms, found.trend.current.count if found.trend.current else 0) == (65_200, 30)
    assert found.trend.current_since == found.trend.newest_change.point
