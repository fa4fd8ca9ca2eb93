"""Keeping how long tests take: append, put in place, take back, judge; and what of it costs how much."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from runs.actions.pacing import KEPT, judge_pace, pace_run
from runs.actions.rollups import count_groups
from runs.models import CaseDuration, Result, Run, Suite, TestCase
from runs.tasks import judge_run
from runs.vocabulary import Outcome, RunStatus
from tests.factories import NOW, make_suite
from tests.factories import make_run as make_any_run
from tests.rows import add_results

pytestmark = pytest.mark.django_db


def at(day: float) -> datetime:
    return NOW + timedelta(days=day)


def make_run(suite: Suite, day: float, **values: object) -> Run:
    status = values.pop("status", RunStatus.PASSED)
    assert isinstance(status, RunStatus)
    return make_any_run(suite, status=status, queued_at=at(day), **values)


def told(suite: Suite, day: float, ms: int, outcome: Outcome = Outcome.PASSED, **values: object) -> Run:
    """A run in which `test_pay` took so long, paced."""
    run = make_run(suite, day, commit=f"{round(day * 24):040x}", **values)
    add_results(run, {"test_pay": outcome}, duration_ms=ms)
    pace_run(run.pk)
    return run


def pace() -> CaseDuration:
    return CaseDuration.objects.get(case__name="test_pay")


def test_passes_are_kept_in_order_with_their_runs_and_percentiles() -> None:
    suite = make_suite()
    runs = [told(suite, day, ms) for day, ms in enumerate((1000, 3000, 2000))]

    kept = pace()

    assert kept.recent_ms == [1000, 3000, 2000]
    assert kept.recent_runs == [run.pk for run in runs]
    # Between 2000 and 3000 at 0.95 · 2 = 1.9: 2000 + 0.9 · 1000.
    assert (kept.p50_ms, kept.p95_ms) == (2000, 2900)
    assert kept.last_run_at == at(2)
    assert (kept.before_ms, kept.after_ms, kept.p_value, kept.is_slower) == (None, None, None, False)


def test_the_same_run_twice_changes_nothing() -> None:
    suite = make_suite()
    told(suite, 0, 1000)
    run = told(suite, 1, 2000)
    before = CaseDuration.objects.values().get()

    assert pace_run(run.pk) == 0

    assert CaseDuration.objects.values().get() == before


def test_a_late_run_is_put_in_its_place() -> None:
    suite = make_suite()
    first, last = told(suite, 0, 1000), told(suite, 2, 3000)

    late = told(suite, 1, 2000)

    assert pace().recent_ms == [1000, 2000, 3000]
    assert pace().recent_runs == [first.pk, late.pk, last.pk]
    assert pace().last_run_at == at(2)


def test_only_the_newest_hundred_are_kept() -> None:
    suite = make_suite()
    for day in range(KEPT + 2):
        told(suite, day / 10, 1000 + day)
    first = told(suite, 5.05, 5)

    assert len(pace().recent_ms) == KEPT
    # 1000, 1001 went with the 101st and the 102nd; 1002 gave way to the late one.
    assert pace().recent_ms[0] == 1003
    assert first.pk in pace().recent_runs


@pytest.mark.parametrize(
    "values",
    [
        {"outcome": Outcome.FAILED},
        {"outcome": Outcome.SKIPPED},
        # It waited for a failed attempt, too.
        {"outcome": Outcome.FLAKY},
        {"branch": "feat/x"},
        {"pull_request": "12"},
        {"status": RunStatus.ERRORED},
        {"status": RunStatus.CANCELLED},
    ],
)
def test_what_is_no_pass_of_a_telling_run_on_the_default_branch_is_not_kept(
    values: dict[str, object],
) -> None:
    told(make_suite(), 0, 1000, **values)  # type: ignore[arg-type] # the outcome is one of the values

    assert not CaseDuration.objects.exists()


def test_an_unfinished_run_waits_and_a_missing_one_is_no_error() -> None:
    run = told(make_suite(), 0, 1000, status=RunStatus.RUNNING)

    assert not CaseDuration.objects.exists()
    assert pace_run(run.pk + 1) == 0


def test_the_passes_of_an_outage_do_not_count_and_are_taken_back_when_it_shows_late() -> None:
    suite = make_suite()
    told(suite, 0, 1000)
    run = told(suite, 1, 9000)
    assert pace().recent_ms == [1000, 9000]

    # Another shard reports to the same run: of 11 tests 10 failed.
    add_results(run, {f"test_{number}": Outcome.FAILED for number in range(10)})
    Run.objects.filter(pk=run.pk).update(test_count=11, passed_count=1, failed_count=10)
    pace_run(run.pk)

    assert pace().recent_ms == [1000]
    # And once more, without them.
    Result.objects.filter(run=run, outcome=Outcome.FAILED).delete()
    Run.objects.filter(pk=run.pk).update(test_count=1, passed_count=1, failed_count=0)
    count_groups(run.pk, run.run_at)
    pace_run(run.pk)
    assert pace().recent_ms == [1000, 9000]


def test_a_result_that_changed_is_changed_and_one_that_fell_away_is_forgotten() -> None:
    run = told(make_suite(), 0, 1000)

    Result.objects.filter(run_id=run.pk).update(duration_ms=1500)
    pace_run(run.pk)
    assert pace().recent_ms == [1500]

    Result.objects.filter(run_id=run.pk).update(outcome=Outcome.FAILED)
    pace_run(run.pk)
    assert not CaseDuration.objects.exists()


def test_a_rise_is_an_alert_with_the_run_it_began_in_until_it_is_taken_back() -> None:
    suite = make_suite()
    for day in range(35):
        told(suite, day / 4, 4000 + 10 * (day % 5))
    slow = [told(suite, (35 + day) / 4, 6000 + 10 * (day % 5)) for day in range(10)]

    kept = pace()
    assert kept.is_slower is True
    # Medians of 4000, 4010 … 4040 and 6000 … 6040, each as often as the other.
    assert (kept.before_ms, kept.after_ms) == (4020, 6020)
    assert kept.changed_run_id == slow[0].pk
    assert kept.p_value is not None
    assert kept.p_value < 0.001

    # Five of the last ten are fast again: their median lies between, still more than a tenth above.
    for day in range(5):
        told(suite, (45 + day) / 4, 4020)
    assert pace().is_slower is True
    told(suite, 50 / 4, 4020)
    kept = pace()
    assert kept.is_slower is False
    assert kept.changed_run_id is None


def test_a_history_that_comes_in_any_order_says_the_same() -> None:
    suite, other = make_suite(), make_suite()
    days = [(day, 4000 if day < 35 else 6000) for day in range(50)]
    for day, ms in days:
        told(suite, day / 4, ms + day % 7)
    in_order = CaseDuration.objects.values_list("recent_ms", "before_ms", "after_ms", "is_slower").get()
    CaseDuration.objects.all().delete()
    TestCase.objects.all().delete()
    for day, ms in reversed(days):
        told(other, day / 4, ms + day % 7)

    assert (
        CaseDuration.objects.values_list("recent_ms", "before_ms", "after_ms", "is_slower").get() == in_order
    )


def test_too_few_passes_are_not_judged() -> None:
    assert judge_pace(1, [1000] * 39, list(range(39))).before_ms is None


def test_a_thousand_cases_cost_as_many_questions_as_one() -> None:
    def count(names: list[str], day: int) -> int:
        run = make_run(suite, day)
        add_results(run, dict.fromkeys(names, Outcome.PASSED))
        with CaptureQueriesContext(
            connection,
        ) as asked:
            pace_run(run.pk)
        return len(asked)

    suite = make_suite()
    one = count(["test_pay"], 0)

    assert count([f"test_{number}" for number in range(300)], 1) == one


@pytest.mark.django_db(transaction=True)
def test_workers_who_pace_one_suite_at_once_lose_nothing() -> None:
    suite = make_suite()
    runs = [make_run(suite, day, commit=f"{day:040x}") for day in range(6)]
    for run in runs:
        add_results(run, {"test_pay": Outcome.PASSED}, duration_ms=1000 + run.number)

    def paced(run: Run) -> int:
        try:
            return pace_run(run.pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        changed = list(pool.map(paced, [*reversed(runs), *runs]))

    assert sum(changed) == 6
    assert pace().recent_runs == [run.pk for run in runs]
    assert pace().recent_ms == [1000 + run.number for run in runs]


def test_the_doorbell_of_a_finished_run_paces_it_too() -> None:
    run = make_run(make_suite(), 0, commit="a" * 40)
    add_results(run, {"test_pay": Outcome.PASSED}, duration_ms=1000)

    judge_run(run.pk)

    assert pace().recent_ms == [1000]


def test_a_run_that_turns_out_to_tell_nothing_takes_its_durations_back() -> None:
    """A later report of it broke off, say: how it went on is not known."""
    suite = make_suite()
    first = told(suite, 0, 1000)
    run = told(suite, 1, 2000)
    assert pace().recent_ms == [1000, 2000]

    values = {
        "status": RunStatus.ERRORED,
        "error_reason": "report_unreadable",
        "error_message": "It breaks off.",
    }
    Run.objects.filter(pk=run.pk).update(**values)

    assert pace_run(run.pk) == 1
    assert (pace().recent_ms, pace().recent_runs) == ([1000], [first.pk])
