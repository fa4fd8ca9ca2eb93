"""The made-up past: always the same, and with everything in it that pages are to show."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import pairwise

import pytest

from runs.ingestion.junit import JUnitReader
from runs.ingestion.report import CaseRead
from runs.sample import DAYS, Quarantined, SampleReport, history
from runs.sample.catalogue import CHECKOUT, DATABASE, E2E
from runs.sample.incidents import BY_ORDER, GIFT_CARDS, RETRIED, SLOWER
from runs.vocabulary import Outcome

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def reports(*, now: datetime = NOW) -> list[SampleReport]:
    return [step for step in history(now=now) if isinstance(step, SampleReport)]


def read(report: SampleReport) -> list[CaseRead]:
    reader = JUnitReader(BytesIO(report.content), case_limit=1_000)
    return [case for batch in reader.batches() for case in batch]


def test_the_same_moment_gives_the_same_history_and_another_seed_another() -> None:
    assert history(now=NOW) == history(now=NOW)
    assert history(now=NOW) != history(now=NOW, seed="another")


@pytest.mark.parametrize("days_later", range(7))
def test_whatever_the_day_it_has_its_size_its_order_and_keys_of_its_own(days_later: int) -> None:
    now = NOW + timedelta(days=days_later, hours=days_later * 3)
    steps = history(now=now)
    sent = [step for step in steps if isinstance(step, SampleReport)]

    assert 300 <= len(sent) <= 500
    assert all(earlier.at <= later.at for earlier, later in pairwise(steps))
    assert now - timedelta(days=DAYS) <= steps[0].at
    assert steps[-1].at < now
    assert len({one.key for one in sent}) == len(sent)
    assert {one.suite for one in sent} == {CHECKOUT, DATABASE, E2E}
    assert len({one.branch for one in sent}) > 15


def test_its_reports_are_read_without_a_problem_and_hold_what_a_suite_has() -> None:
    found: dict[str, list[CaseRead]] = {}
    for report in reports():
        found.setdefault(report.suite, read(report))
    first = {suite: len(cases) for suite, cases in found.items()}

    # As in examples/shop: 34 and 25 tests, of which 3 came with the currency of an order.
    assert first == {CHECKOUT: 34, DATABASE: 22, E2E: 54}
    newest = {report.suite: len(read(report)) for report in reports() if report.branch == "main"}
    assert newest == {CHECKOUT: 34, DATABASE: 25, E2E: 58}


def test_its_tests_of_the_shop_are_those_of_the_shop() -> None:
    cases = {f"{case.class_name}::{case.name}" for case in read(reports()[-1]) or []}
    for report in reports():
        if report.suite == CHECKOUT and report.branch == "main":
            cases = {f"{case.class_name}::{case.name}" for case in read(report)}

    assert "tests.checkout.test_users::test_a_body_that_is_not_json_is_refused" in cases
    assert f"tests.checkout.test_notifications::{RETRIED}" in cases


def test_a_retry_that_passed_is_told_in_surefires_form() -> None:
    tries = [
        [attempt.outcome for attempt in case.attempts]
        for report in reports()
        if report.suite == CHECKOUT
        for case in read(report)
        if case.name == RETRIED and len(case.attempts) > 1
    ]

    assert [Outcome.FAILED, Outcome.PASSED] in tries


def test_one_test_takes_two_seconds_longer_since_a_commit() -> None:
    durations = [
        (report.at, case.attempts[-1].duration_ms or 0)
        for report in reports()
        if report.suite == CHECKOUT and report.branch == "main"
        for case in read(report)
        if case.name == SLOWER and case.attempts[-1].outcome is Outcome.PASSED
    ]
    before = sorted(ms for at, ms in durations if at < NOW - timedelta(days=13))
    after = sorted(ms for at, ms in durations if at > NOW - timedelta(days=11))

    assert 1_800 < after[len(after) // 2] - before[len(before) // 2] < 2_200


def test_a_day_without_postgres_fails_whole_runs() -> None:
    outage = [
        report
        for report in reports()
        if report.suite in {CHECKOUT, DATABASE} and 23 < (NOW - report.at) / timedelta(days=1) <= 24
    ]

    assert outage
    assert all(b'errors="0"' not in report.content and b"postgres" in report.content for report in outage)


def test_end_to_end_is_red_at_the_end_by_two_tests_that_name_a_service() -> None:
    *_, last = [report for report in reports() if report.suite == E2E]
    failed = {case.name for case in read(last) if case.attempts[-1].outcome is Outcome.FAILED}

    assert set(GIFT_CARDS) <= failed
    assert b'<property name="service" value="order-service"/>' in last.content


def test_tests_are_put_into_quarantine_for_reasons() -> None:
    held = [step for step in history(now=NOW) if isinstance(step, Quarantined)]

    assert Counter(step.suite for step in held) == {DATABASE: 1, E2E: 1}
    assert held[-1].test == BY_ORDER
    assert all(step.reason and step.owner for step in held)
