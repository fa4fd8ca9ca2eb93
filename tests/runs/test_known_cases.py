"""Large reports take a shorter way in; what comes of them is what comes of the usual one."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase as HypothesisTestCase

from runs.actions import result_rows
from runs.actions.known_cases import KnownCases
from runs.actions.results import ReportFile, store_reports
from runs.ingestion.details import unpacked
from runs.models import Attempt, Result, ResultDetails, Run, TestCase
from runs.vocabulary import UploadStatus
from tests.factories import make_run

NAMES = "abcdef"
UNTIMED = "f"
BODIES = {
    "passed": "",
    "failed": "<failure message='no'/>",
    "skipped": "<skipped/>",
    "flaky": "<flakyFailure message='once'/>",
    "passed, and said so": "<properties><property name='p' value='\\t&#10;v'/></properties>"
    "<system-out>[[ATTACHMENT|a.png]]</system-out>",
}


#: How a document ends: as it should, broken off (what stood before is kept), or so that all of it is refused.
WHOLE, CUT, REFUSED = "</testsuite>", "", "<a>" * 1_100


def xml_of(cases: list[tuple[str, str]], end: str = WHOLE) -> bytes:
    inner = "".join(
        f'<testcase classname="t" name="{n}" time="{"" if n == UNTIMED else 0.5}">{BODIES[o]}</testcase>'
        for n, o in cases
    )
    return f'<testsuite name="s">{inner}{end}'.encode()


def store(run: Run, *documents: bytes) -> list[str]:
    """Store the documents as one upload's files; return the problems."""
    files = [
        ReportFile(f"{index}.xml", open=lambda content=content: io.BytesIO(content))  # type: ignore[misc]
        for index, content in enumerate(documents)
    ]
    return [problem.reason for problem in store_reports(run_id=run.pk, files=files).problems]


_OF_DETAILS = ("case__name", "number", "shard", "attachment_count")


def told(run: Run) -> tuple[list[Any], list[Any], list[int], list[Any]]:
    """Everything that is kept of a run's tests."""
    results = Result.objects.filter(run=run).order_by("case__name")
    attempts = Attempt.objects.filter(run=run).order_by("case__name", "number")
    details = ResultDetails.objects.filter(run=run).order_by("case__name", "number")
    run.refresh_from_db()
    return (
        list(
            results.values_list("case__name", "outcome", "attempt_count", "duration_ms", "position", "shard")
        ),
        list(attempts.values_list("case__name", "number", "outcome", "duration_ms", "failure__message")),
        [run.test_count, run.passed_count, run.failed_count, run.skipped_count, run.flaky_count],
        [(*row, unpacked(body)) for *row, body in details.values_list(*_OF_DETAILS, "body")],
    )


def cases_of(run: Run) -> list[Any]:
    """What is known of the tests of a run's suite; numbers aside."""
    names = [one.name for one in TestCase._meta.fields if one.name not in {"id", "suite"}]
    moments = {"first_seen_at": run.run_at, "last_seen_at": run.run_at}
    rows = TestCase.objects.filter(suite=run.suite).order_by("identity").values(*names)
    return [row | {name: row[name] - moment for name, moment in moments.items()} for row in rows]


cases = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(sorted(BODIES))), max_size=12)
documents = st.lists(st.tuples(cases, st.sampled_from([WHOLE, CUT, REFUSED])), min_size=1, max_size=3)


class TwoWays(HypothesisTestCase):
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        known=st.sets(st.sampled_from(NAMES)),
        files=documents,
        # Of new cases as many are numbered in one go; beyond, they take the usual way.
        numbers=st.sampled_from([1, 3, 20_000]),
    )
    def test_both_ways_keep_the_same(
        self, known: set[str], files: list[tuple[list[tuple[str, str]], str]], numbers: int
    ) -> None:
        contents = list(dict.fromkeys(xml_of(listed, end) for listed, end in files))
        kept = []
        for bound in (0, 1_000_000):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(result_rows, "_MANY_ATTEMPTS", bound)
                patch.setattr("runs.actions.results._USUAL_BYTES_OF_A_CASE", 1)
                patch.setattr("runs.actions.known_cases._NUMBERS_AT_ONCE", numbers)
                patch.setattr("runs.actions.known_cases._NUMBERS_NEEDED", 1)
                before = make_run()
                if known:
                    store(before, xml_of([(name, "passed") for name in sorted(known)]))
                run = make_run(suite=before.suite)
                problems = store(run, *contents)
                kept.append((told(run), cases_of(run), problems))

        assert kept[0] == kept[1]


@pytest.mark.django_db
def test_passes_that_are_known_never_see_the_staging_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_rows, "_MANY_ATTEMPTS", 0)
    before = make_run()
    store(before, xml_of([("a", "passed"), ("b", "passed")]))
    run = make_run(suite=before.suite)
    statements: list[str] = []

    def listen(execute: Any, sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(listen):
        store(run, xml_of([("a", "passed"), ("b", "skipped")]))

    assert Result.objects.filter(run=run).count() == 2
    assert not [sql for sql in statements if "INSERT INTO runs_result" in sql]


@pytest.mark.django_db
@pytest.mark.parametrize("many", [0, 5_000])
def test_new_cases_are_numbered_as_the_report_tells_them_whatever_their_digests(
    many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_rows, "_MANY_ATTEMPTS", many)
    run = make_run()
    names = [str(number) for number in range(40)]
    store(run, xml_of([(name, "passed") for name in (*names, "0")]))

    cases = TestCase.objects.filter(suite=run.suite)
    assert list(cases.order_by("pk").values_list("name", flat=True)) == names
    assert list(cases.order_by("identity").values_list("name", flat=True)) != names


@pytest.mark.django_db
def test_a_run_that_holds_results_or_a_suite_that_is_far_larger_is_not_for_this_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_run()
    store(run, xml_of([(name, "passed") for name in NAMES]))
    other = make_run(suite=run.suite)

    def way(of: Run, expected_count: int) -> KnownCases | None:
        place = result_rows.Place(of.pk, of.run_at, of.suite_id, of.project_id, 1)
        return result_rows.Staging(place, expected_count=expected_count)._known

    monkeypatch.setattr(result_rows, "_MANY_ATTEMPTS", 0)
    assert way(run, 100) is None
    assert way(other, 1) is None
    assert way(other, 2) is not None


@pytest.mark.django_db
def test_a_report_refused_in_the_middle_leaves_nothing_and_the_next_file_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(result_rows, "_MANY_ATTEMPTS", 0)
    before = make_run()
    store(before, xml_of([("a", "passed"), ("b", "passed")]))
    run = make_run(suite=before.suite)

    problems = store(run, xml_of([("a", "passed")], REFUSED), xml_of([("a", "skipped"), ("b", "passed")]))

    assert len(problems) == 1
    assert dict(Result.objects.filter(run=run).values_list("case__name", "outcome")) == {
        "a": "skipped",
        "b": "passed",
    }
    statuses = sorted(run.reports.values_list("status", flat=True))
    assert statuses == [UploadStatus.REJECTED, UploadStatus.STORED]
