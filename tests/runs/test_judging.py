"""Judging: real reports in, verdicts out; idempotent, parallel, bounded in its questions."""

from __future__ import annotations

import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from runs.actions.judging import CHUNK, judge_run, verdict_of
from runs.actions.partitions import ensure_partition
from runs.actions.results import ReportFile, store_reports
from runs.actions.runs import settle_uploaded_run
from runs.analytics.flakiness import FlakeState
from runs.models import CaseState, Run, Suite, TestCase
from runs.vocabulary import RunStatus
from tests.factories import NOW, make_run, make_suite

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_files")]
#: Tests that always pass, so that one failure is no outage.
CALM = [f"calm_{number}" for number in range(10)]


def junit(outcomes: Mapping[str, str]) -> bytes:
    """`p` passed, `f` failed, `fp` failed and then passed; each failure with a reason of its own."""
    cases = []
    for name, tries in outcomes.items():
        for one in tries:
            failure = f'<failure type="E" message="{name} is wrong">trace</failure>' if one == "f" else ""
            cases.append(f'<testcase classname="c" name="{name}" time="0.5">{failure}</testcase>')
    return f'<testsuite name="shop">{"".join(cases)}</testsuite>'.encode()


def report(
    suite: Suite, day: int, outcomes: Mapping[str, str], *, commit: str = "", branch: str = "main"
) -> Run:
    """A run of the day's commit, reported, settled and judged."""
    run = make_run(
        suite,
        status=RunStatus.INGESTING,
        queued_at=NOW + timedelta(days=day, minutes=Run.objects.count()),
        commit=commit or f"{day:040x}",
        branch=branch,
    )
    content = junit(dict.fromkeys(CALM, "p") | dict(outcomes))
    store_reports(run_id=run.pk, files=[ReportFile("junit.xml", open=lambda: io.BytesIO(content))])
    settle_uploaded_run(run.pk, duration_ms=60_000)
    judge_run(run.pk)
    return run


def state_of(name: str) -> str:
    state = CaseState.objects.filter(case__name=name).first()
    return state.flakiness if state else "healthy"


def state_row(name: str) -> CaseState:
    return CaseState.objects.get(case__name=name)


def test_a_fortnight_of_reports_becomes_verdicts() -> None:
    suite = make_suite()
    story = {
        # One try a day, by commit 0 to 11.
        "isolated_once": "ppfppppppppp",
        "isolated_twice": "ppfppppfpppp",
        "always_failing": "ffffffffffff",
        "broke_lately": "pppppppppfff",
        "sound": "pppppppppppp",
    }
    for day in range(12):
        outcomes = {name: tries[day] for name, tries in story.items()}
        report(suite, day, outcomes | {"retried": "fp" if day == 5 else "p"})

    assert {name: state_of(name) for name in (*story, "retried")} == {
        "isolated_once": "suspect",
        "isolated_twice": "likely_flaky",
        "always_failing": "healthy",
        "broke_lately": "healthy",
        "sound": "healthy",
        "retried": "flaky",
    }
    assert {state.case.name for state in CaseState.objects.filter(is_broken=True).select_related("case")} == {
        "always_failing",
        "broke_lately",
    }
    retried, twice = state_row("retried"), state_row("isolated_twice")
    assert (retried.direct_count, retried.isolated_count, retried.commit_count) == (1, 0, 12)
    assert (twice.direct_count, twice.isolated_count) == (0, 2)
    # Two halves of twelve commits.
    assert twice.evidence == pytest.approx(1 / 12)
    assert twice.evidence_low < twice.evidence < twice.evidence_high
    # Twelve runs in a fortnight, a twelfth of them lost: half a minute a week and the test's own time.
    assert twice.lost_ms_per_week == pytest.approx(30_250)
    assert (retried.inputs["runs_per_week"], retried.inputs["rerun_seconds"]) == (6.0, 60.0)
    # Since the commit that proved it, not since the last report.
    assert retried.changed_at.date() == (NOW + timedelta(days=5)).date()
    # What never had anything said of it has no row.
    assert not CaseState.objects.filter(case__name__in=[*CALM, "sound"]).exists()


def test_a_rerun_of_the_same_commit_proves_a_test_flaky_on_any_branch() -> None:
    suite = make_suite()
    for day in range(3):
        report(suite, day, {"shaky": "p"})

    report(suite, 4, {"shaky": "f"}, branch="topic", commit="b" * 40)
    assert state_of("shaky") == "healthy"
    report(suite, 4, {"shaky": "p"}, branch="topic", commit="b" * 40)

    assert state_of("shaky") == "flaky"
    assert state_row("shaky").inputs["changes_hit"] == 1


def test_an_outage_and_its_rerun_change_no_state() -> None:
    suite = make_suite()
    for day in range(4):
        report(suite, day, {"sound": "p", "shaky": "fp" if day == 1 else "p"})
    before = dict(CaseState.objects.values_list("case__name", "flakiness"))

    report(suite, 5, dict.fromkeys([*CALM, "sound", "shaky"], "f"))
    report(suite, 5, {"sound": "p", "shaky": "p"})

    assert before == {"shaky": "flaky"}
    assert dict(CaseState.objects.values_list("case__name", "flakiness")) == before
    assert state_row("shaky").masked_count == 1


def test_one_reason_that_five_tests_share_is_no_evidence() -> None:
    suite = make_suite()
    names = [f"order_{number}" for number in range(5)]
    report(suite, 0, dict.fromkeys(names, "p"))
    content = junit(dict.fromkeys(CALM, "p") | dict.fromkeys(names, "f"))
    shared = content
    for name in names:
        shared = shared.replace(f"{name} is wrong".encode(), b"it is wrong")
    run = make_run(suite, status=RunStatus.INGESTING, queued_at=NOW + timedelta(days=1), commit="c" * 40)
    store_reports(run_id=run.pk, files=[ReportFile("junit.xml", open=lambda: io.BytesIO(shared))])
    settle_uploaded_run(run.pk)
    judge_run(run.pk)

    report(suite, 1, dict.fromkeys(names, "p"), commit="c" * 40)

    assert not CaseState.objects.exists()


def test_a_flaky_test_recovers_with_twenty_executions_in_a_quiet_fortnight_and_keeps_its_row() -> None:
    suite = make_suite()
    report(suite, 0, {"shaky": "fp"})
    for day in range(1, 20):
        report(suite, day, {"shaky": "p"})
    # 19 days without evidence, and as many executions: one too few.
    assert state_of("shaky") == "flaky"

    last = report(suite, 20, {"shaky": "p"})

    recovered = state_row("shaky")
    assert (recovered.flakiness, recovered.changed_at) == ("healthy", last.run_at)
    report(suite, 21, {"shaky": "p"})
    assert (state_of("shaky"), state_row("shaky").changed_at) == ("healthy", last.run_at)


def test_judging_again_changes_nothing_and_a_lost_doorbell_is_made_up_for() -> None:
    suite = make_suite()
    report(suite, 0, {"shaky": "p"})
    lost = report(suite, 1, {"shaky": "fp"})
    first = CaseState.objects.values().get()
    assert judge_run(lost.pk) == 0
    assert CaseState.objects.values().get() == first

    CaseState.objects.all().delete()  # as if nobody had heard of that run
    report(suite, 2, {"shaky": "p"})

    assert state_of("shaky") == "flaky"


def test_the_last_verdict_is_read_back_as_it_was_written() -> None:
    suite = make_suite()
    report(suite, 0, {"shaky": "fp"})

    verdict = verdict_of(state_row("shaky"))

    assert (verdict.state, verdict.direct, verdict.direct_recent) == (FlakeState.FLAKY, 1, 1)
    assert verdict.last_evidence_at == Run.objects.get().run_at


def test_runs_that_are_gone_unfinished_or_cancelled_are_not_judged() -> None:
    suite = make_suite()
    unfinished = make_run(suite, status=RunStatus.RUNNING, started_at=NOW)
    cancelled = make_run(suite, status=RunStatus.CANCELLED)

    assert [judge_run(run_id) for run_id in (0, unfinished.pk, cancelled.pk)] == [0, 0, 0]


@pytest.mark.django_db(transaction=True)
def test_two_workers_judging_one_suite_agree() -> None:
    suite = make_suite()
    runs = [report(suite, day, {"shaky": "fp" if day == 1 else "p"}) for day in range(3)]
    CaseState.objects.all().delete()

    def judge(run: Run) -> int:
        try:
            return judge_run(run.pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        changed = list(pool.map(judge, [*runs, *runs]))

    assert sum(changed) == 1
    assert state_of("shaky") == "flaky"


def test_a_run_of_twenty_thousand_cases_is_judged_with_a_few_statements_a_chunk() -> None:
    suite = make_suite()
    many = 20_000
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO runs_testcase (suite_id, identity, path, class_name, name, parameters, variant,"
            " file, first_seen_at, last_seen_at) SELECT %s, decode(md5(n::text), 'hex'), '', '',"
            " 'case ' || n, '', '', '', %s, %s FROM generate_series(1, %s) n",
            [suite.pk, NOW, NOW, many],
        )
        for day in range(4):
            run = make_run(
                suite,
                status=RunStatus.FAILED,
                queued_at=NOW + timedelta(days=day),
                commit=f"{day:040x}",
                test_count=many,
                failed_count=20,
            )
            ensure_partition(run.run_at)
            # Every thousandth case fails, on the second day alone.
            cursor.execute(
                "INSERT INTO runs_result (run_at, run_id, case_id, position, shard, attempt_count, outcome)"
                " SELECT %s, %s, id, 0, 1, 1,"
                " (CASE WHEN %s AND name LIKE '%%000' THEN 'failed' ELSE 'passed' END)::runs_outcome"
                " FROM runs_testcase WHERE suite_id = %s",
                [run.run_at, run.pk, day == 1, suite.pk],
            )

    with CaptureQueriesContext(
        connection,
    ) as asked:
        changed = judge_run(run.pk)

    assert changed == 20
    assert set(CaseState.objects.values_list("flakiness", "isolated_count")) == {("suspect", 1)}
    # A chunk: the rows of states, the evidence, what is written (in a savepoint of two more).
    chunks = many // CHUNK
    assert len(asked) <= 10 + 5 * chunks
    assert TestCase.objects.count() == many
