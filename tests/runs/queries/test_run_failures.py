"""A run's failures put together: every one is counted, some are named."""

from __future__ import annotations

from itertools import pairwise

import pytest
from pytest_django import DjangoAssertNumQueries

from runs.models import Result, Run
from runs.queries.run_failures import GROUP_LIMIT, LEAST_NAMED, TEST_LIMIT, run_failures
from runs.vocabulary import Outcome, RunStatus
from tests.factories import make_run
from tests.rows import add_blame, add_results, make_failure

pytestmark = pytest.mark.django_db


def failed(*messages: str) -> Run:
    """A run in which one test after the other failed with these messages, and a last one passed."""
    run = make_run(status=RunStatus.FAILED)
    names = [f"test_{number:04}" for number in range(len(messages))]
    add_results(run, dict.fromkeys(names, Outcome.FAILED) | {"test_well": Outcome.PASSED})
    texts = {message: make_failure(run, message) for message in messages}
    own = Result.objects.filter(run_id=run.pk, run_at=run.run_at)
    for position, message in enumerate(messages):
        own.filter(position=position).update(failure=texts[message])
    return run


def test_a_run_without_failures_asks_for_none(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    run = make_run(status=RunStatus.PASSED)

    with django_assert_num_queries(0):
        assert run_failures(run).groups == []


def test_all_of_a_large_group_are_counted_and_the_first_are_named() -> None:
    run = failed("gone", *["late"] * (TEST_LIMIT + 5))

    found = run_failures(run)

    late, gone = found.groups
    assert (found.group_count, found.hidden_count) == (2, 0)
    assert (late.number, len(late.tests), late.unnamed_count) == (TEST_LIMIT + 5, TEST_LIMIT, 5)
    assert [case.name for case in late.tests[:2]] == ["test_0001", "test_0002"]
    assert (gone.number, [case.name for case in gone.tests]) == (1, ["test_0000"])
    assert late.failure is not None
    assert late.failure.message == "late"


def test_of_many_groups_the_largest_are_shown_and_the_others_counted() -> None:
    letters = [chr(65 + number % 26) * (number // 26 + 1) for number in range(GROUP_LIMIT + 2)]
    often = 2 * LEAST_NAMED + 5
    run = failed(*letters, *[letters[-1]] * often)

    found = run_failures(run)

    assert (found.group_count, found.hidden_count, len(found.groups)) == (GROUP_LIMIT + 2, 2, GROUP_LIMIT)
    # 400 names for 50 groups are eight each.
    assert [(group.number, len(group.tests)) for group in found.groups[:2]] == [(often + 1, 8), (1, 1)]
    assert all(one.number >= other.number for one, other in pairwise(found.groups))


def test_services_are_blamed_for_each_failure_of_the_group_that_they_count_for() -> None:
    run = failed(*["late"] * 4)
    results = list(Result.objects.filter(run_id=run.pk, outcome=Outcome.FAILED).order_by("position"))
    for result in results[:3]:
        add_blame(result, "payments", detail="the failure names payments")
    add_blame(results[3])

    [group] = run_failures(run).groups

    blame = group.blame
    assert blame is not None
    assert (blame.failure_count, blame.blamed_count, blame.nobody_count) == (4, 3, 1)
    assert blame.services == [("payments", 3)]
    assert [(line.service, line.count) for line in blame.evidence] == [("payments", 3)]


def test_what_failed_without_a_word_is_a_group_of_its_own() -> None:
    run = failed("late", "late")
    Result.objects.filter(run_id=run.pk, position=1).update(failure=None)

    late, silent = sorted(run_failures(run).groups, key=lambda group: not group.fingerprint)

    assert (late.number, late.failure and late.failure.message) == (1, "late")
    assert (silent.key, silent.number, silent.failure, silent.history) == ("none", 1, None, None)
