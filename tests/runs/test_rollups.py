"""The counts by day agree with the rows that they count, whatever happens to runs."""

from __future__ import annotations

import io
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase as HypothesisTestCase

from runs.actions.blaming import blame_run
from runs.actions.partitions import ensure_partition
from runs.actions.results import ReportFile, store_reports
from runs.actions.rollups import count_run, take_run_out
from runs.actions.runs import open_uploaded_run, settle_uploaded_run
from runs.models import CaseMonth, GroupRun, Project, Result, Run, ServiceDay, SuiteDay
from tests.factories import make_project

pytestmark = pytest.mark.django_db

JUNE_5 = datetime(2026, 6, 5, 23, 30, tzinfo=UTC)
JUNE_6 = datetime(2026, 6, 6, 0, 30, tzinfo=UTC)
WORDS = {"passed": "", "failed": "<failure message='f'/>", "errored": "<error/>", "skipped": "<skipped/>"}
WORDS["flaky"] = "<flakyFailure message='once'/>"


def report(outcomes: dict[str, str]) -> ReportFile:
    """A file with one test of each name."""
    cases = "".join(
        f'<testcase classname="t" name="{name}" time="0.25">{WORDS[outcome]}</testcase>'
        for name, outcome in outcomes.items()
    )
    content = f'<testsuite name="s">{cases}</testsuite>'.encode()
    return ReportFile(f"{hash(content)}.xml", open=lambda: io.BytesIO(content))


def upload(project: Project, at: datetime, outcomes: dict[str, str], **facts: Any) -> Run:
    """Store a report as an upload does, and end its run."""
    run, _ = open_uploaded_run(
        project=project, suite="s", run_key=facts.pop("run_key", None), started_at=at, branch="main", **facts
    )
    store_reports(run_id=run.pk, files=[report(outcomes)])
    settle_uploaded_run(run.pk, duration_ms=1_000)
    run.refresh_from_db()
    return run


def days(name: str, column: str = "results") -> dict[int, int]:
    """A case's counts by day of the month."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT d, m.{column}[d] FROM runs_casemonth m JOIN runs_testcase c ON c.id = m.case_id, "
            f"generate_series(1, 31) d WHERE c.name = %s AND m.{column}[d] > 0",
            [name],
        )
        return dict(cursor.fetchall())


def test_a_run_counts_on_its_own_day_in_utc() -> None:
    project = make_project()
    upload(project, JUNE_5, {"a": "passed", "b": "failed"})
    upload(project, JUNE_6, {"a": "flaky", "b": "errored"})
    upload(project, JUNE_6, {"a": "passed", "b": "skipped"})

    assert days("a") == {5: 1, 6: 2}
    assert days("a", "flaky") == {6: 1}
    assert days("a", "failed") == {}
    assert days("b", "failed") == {5: 1, 6: 1}
    assert days("b", "skipped") == {6: 1}
    month = CaseMonth.objects.get(case__name="a")
    assert (month.month, month.timed_count, month.timed_ms) == (date(2026, 6, 1), 2, 500)
    first, second = SuiteDay.objects.order_by("day")
    assert (first.day, first.run_count, first.result_count, first.failed_count) == (date(2026, 6, 5), 1, 2, 1)
    assert (second.run_count, second.failed_run_count, second.flaky_count, second.skipped_count) == (
        2,
        1,
        1,
        1,
    )
    assert (second.errored_count, second.duration_ms, second.timed_run_count) == (1, 2_000, 2)


def test_pull_requests_and_other_branches_are_counted_apart() -> None:
    project = make_project()
    upload(project, JUNE_5, {"a": "passed"})
    upload(project, JUNE_5, {"a": "failed"}, pull_request="7")

    apart = dict(SuiteDay.objects.values_list("is_default_branch", "failed_count"))
    assert apart == {True: 0, False: 1}


def test_a_second_report_of_a_run_that_had_ended_is_counted_with_it_once() -> None:
    project = make_project()
    upload(project, JUNE_5, {"a": "passed", "b": "passed"}, run_key="k")
    upload(project, JUNE_5, {"b": "failed", "c": "skipped"}, run_key="k")

    assert days("a") == days("b") == days("c") == {5: 1}
    assert days("b", "failed") == {5: 1}
    day = SuiteDay.objects.get()
    assert (day.run_count, day.result_count, day.skipped_count) == (1, 3, 1)


def test_counting_twice_and_taking_out_twice_are_once() -> None:
    project = make_project()
    run = upload(project, JUNE_5, {"a": "failed"})

    count_run(run.pk)
    assert days("a") == {5: 1}
    take_run_out(run.pk)
    take_run_out(run.pk)
    assert days("a") == days("a", "failed") == {}
    assert SuiteDay.objects.get().run_count == 0


def test_services_are_counted_by_day_and_anew_when_a_run_is_blamed_again() -> None:
    project = make_project()
    run = upload(project, JUNE_5, {"a": "failed", "b": "errored"})
    blame_run(run.pk)
    blame_run(run.pk)

    counted = ServiceDay.objects.values_list("day", "is_total", "service", "failure_count")
    assert sorted(counted) == [(date(2026, 6, 5), False, "", 2), (date(2026, 6, 5), True, "", 2)]


outcome_maps = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(sorted(WORDS)), min_size=1)
steps = st.lists(
    st.tuples(outcome_maps, st.sampled_from([None, "k1", "k2"]), st.sampled_from([JUNE_5, JUNE_6])),
    max_size=6,
)


class CountsAgree(HypothesisTestCase):
    @settings(max_examples=12, deadline=None)
    @given(steps=steps, gone=st.sets(st.integers(0, 5)))
    def test_whatever_is_uploaded_and_taken_out_the_counts_are_those_of_the_rows(
        self, steps: list[tuple[dict[str, str], str | None, datetime]], gone: set[int]
    ) -> None:
        project = make_project()
        ensure_partition(JUNE_5)
        runs = [upload(project, at, outcomes, run_key=key) for outcomes, key, at in steps]
        out = {runs[index].pk for index in gone if index < len(runs)}
        for run_id in out:
            take_run_out(run_id)

        rows = Result.objects.filter(run__project=project).exclude(run__in=out)
        wanted: dict[str, Counter[tuple[str, int]]] = {kind: Counter() for kind in ("all", "failed", "flaky")}
        for name, outcome, at in rows.values_list("case__name", "outcome", "run_at"):
            wanted["all"][name, at.day] += 1
            wanted["failed"][name, at.day] += outcome in {"failed", "errored"}
            wanted["flaky"][name, at.day] += outcome == "flaky"
        for name in "abcd":
            for kind, column in (("all", "results"), ("failed", "failed"), ("flaky", "flaky")):
                own = {day: count for (case, day), count in wanted[kind].items() if case == name and count}
                assert days(name, column) == own
        held = Run.objects.filter(project=project).exclude(pk__in=out)
        assert sum(SuiteDay.objects.values_list("run_count", flat=True)) == held.count()
        totals = sum(SuiteDay.objects.values_list("result_count", flat=True))
        assert totals == sum(held.values_list("test_count", flat=True))
        groups: Counter[tuple[bytes, int, bool]] = Counter()
        for text, run_id, outcome in rows.exclude(failure=None).values_list(
            "failure__fingerprint", "run_id", "outcome"
        ):
            groups[bytes(text), run_id, outcome == "flaky"] += 1
        counted = Counter[tuple[bytes, int, bool]]()
        for group in GroupRun.objects.filter(project=project):
            for is_flaky, count in ((False, group.failed_count), (True, group.flaky_count)):
                counted[bytes(group.fingerprint), group.run_id, is_flaky] += count
        assert +counted == groups
