"""Tests that go on under another name are proposed, joined, found by either name, and parted again."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest

from runs.actions import result_rows
from runs.actions.errors import NotPossibleError
from runs.actions.judging import judge_run
from runs.actions.pacing import pace_run
from runs.actions.quarantine import quarantine_case
from runs.actions.renames import confirm_renames, part_rename, propose_renames, refuse_renames
from runs.actions.results import ReportFile, store_reports
from runs.actions.rollups import count_run
from runs.models import (
    Attempt,
    AuditEntry,
    CaseDuration,
    CaseMonth,
    CaseState,
    Rename,
    Result,
    Run,
    Suite,
    TestCase,
)
from runs.queries.rename_list import rename_page
from runs.vocabulary import RunStatus
from tests.factories import NOW, make_run, make_suite
from tests.recount import disagreements

pytestmark = pytest.mark.django_db


def xml_of(*tests: str) -> bytes:
    told = "".join(
        f'<testcase classname="{test.split(":")[0]}" name="{test.split(":")[1].rstrip("!")}" time="0.1">'
        f"{'<failure/>' if test.endswith('!') else ''}</testcase>"
        for test in tests
    )
    return f'<testsuite name="s">{told}</testsuite>'.encode()


def ended(suite: Suite, number: int, *tests: str, branch: str = "main", **values: object) -> Run:
    """A finished run of tests told as `class:name`; one that ends with `!` failed."""
    run = make_run(
        suite,
        number=number,
        branch=branch,
        queued_at=NOW + timedelta(hours=number),
        status=RunStatus.INGESTING,
    )
    document = xml_of(*tests)
    store_reports(run_id=run.pk, files=[ReportFile("a.xml", open=lambda: io.BytesIO(document))])
    values = {"status": RunStatus.PASSED, "finished_at": run.run_at} | values
    Run.objects.filter(pk=run.pk).update(commit=f"{number:040x}", **values)
    count_run(run.pk)
    judge_run(run.pk)
    pace_run(run.pk)
    return run


def proposed(suite: Suite) -> set[tuple[str, str, str]]:
    rows = Rename.objects.filter(suite=suite).select_related("old", "new")
    return {
        (f"{one.old.class_name}:{one.old.name}", f"{one.new.class_name}:{one.new.name}", one.status)
        for one in rows
    }


STAYS = ("a.Cart:stays_one", "a.Cart:stays_two")


def test_what_is_gone_and_what_is_new_in_one_run_is_proposed_once() -> None:
    suite = make_suite()
    ended(suite, 1, *STAYS, "a.Cart:places_order", "a.Pay:pays", "a.Pay:refunds", "a.Old:goes_away")
    # Its branch saw the new name first.
    ended(suite, 2, *STAYS, "a.Cart:places_an_order", branch="feature")
    run = ended(suite, 3, *STAYS, "a.Cart:places_an_order", "b.Pay:pays", "b.Pay:refunds")

    assert propose_renames(run.pk) == 3
    assert propose_renames(run.pk) == 0
    assert proposed(suite) == {
        ("a.Cart:places_order", "a.Cart:places_an_order", "proposed"),
        ("a.Pay:pays", "b.Pay:pays", "proposed"),
        ("a.Pay:refunds", "b.Pay:refunds", "proposed"),
    }
    assert set(Rename.objects.exclude(kind="renamed").values_list("old_place", "new_place")) == {("a", "b")}

    both = ended(suite, 4, *STAYS, "a.Cart:places_an_order", "a.Pay:pays", "b.Pay:pays", "b.Pay:refunds")
    propose_renames(both.pk)
    assert ("a.Pay:pays", "b.Pay:pays", "withdrawn") in proposed(suite)


@pytest.mark.parametrize(
    ("tests", "values"),
    [
        (("a.Cart:places_an_order",), {}),  # one of three is not enough of the suite
        ((*STAYS, "a.Cart:places_an_order"), {"branch": "feature"}),
        ((*STAYS, "a.Cart:places_an_order"), {"pull_request": "7"}),
        ((*STAYS, "a.Cart:places_an_order"), {"selection": ["x"]}),
        ((*STAYS, "a.Cart:places_an_order"), {"shards_expected": 2, "shards_received": 1}),
        ((*STAYS, "a.Cart:places_an_order"), {"status": RunStatus.TIMED_OUT}),
        (STAYS, {}),  # nothing is new
    ],
)
def test_a_run_that_cannot_show_it_proposes_nothing(
    tests: tuple[str, ...], values: dict[str, object]
) -> None:
    suite = make_suite()
    ended(suite, 1, *STAYS, "a.Cart:places_order")

    assert propose_renames(ended(suite, 2, *tests, **values).pk) == 0  # type: ignore[arg-type]
    assert TestCase.objects.filter(suite=suite, name="places_order").exists()


def history(suite: Suite) -> dict[str, Any]:
    """All that is kept of each test that has a name now, by that name."""
    told: dict[str, Any] = {}
    for case in TestCase.objects.filter(suite=suite, same_as=None):
        results = Result.objects.filter(case=case).order_by("run__number")
        attempts = Attempt.objects.filter(case=case).order_by("run__number")
        days: dict[int, list[int | None]] = {}
        for day in range(1, 32):
            counts = [
                sum(month.__dict__[f"day_{column}"] or 0 for month in _months(case, day))
                for column in ("results", "failed")
            ]
            if any(counts):
                days[day] = counts
        pace = CaseDuration.objects.filter(case=case).first()
        told[f"{case.class_name}:{case.name}"] = (
            list(results.values_list("run__number", "outcome")),
            list(attempts.values_list("run__number", "outcome")),
            days,
            list(CaseMonth.objects.filter(case=case).values_list("timed_count", "timed_ms")),
            (pace.recent_ms, pace.recent_runs, pace.p50_ms) if pace else None,
        )
    return told


def _months(case: TestCase, day: int) -> list[CaseMonth]:
    """Read by subscript, as pages do: an array begins at the first day that has something."""
    return list(
        CaseMonth.objects.raw(
            f"SELECT *, results[{day}] AS day_results, failed[{day}] AS day_failed FROM runs_casemonth"
            " WHERE case_id = %s",
            [case.pk],
        )
    )


OLD, NEW = "a.Pay:pays", "b.Pay:pays"


def renamed() -> tuple[Suite, Rename]:
    """Three runs of the old name, the last of which failed, and two of the new one."""
    suite = make_suite()
    for number in (1, 2):
        ended(suite, number, *STAYS, OLD)
    ended(suite, 3, *STAYS, f"{OLD}!")
    propose_renames(ended(suite, 4, *STAYS, NEW).pk)
    ended(suite, 5, *STAYS, f"{NEW}!")
    return suite, Rename.objects.get(suite=suite)


def test_two_names_become_one_history_and_two_again() -> None:
    suite, rename = renamed()
    before = history(suite)
    old, new = rename.old, rename.new
    quarantine_case(case=new, reason="shaky", days=7, now=NOW)

    assert confirm_renames(suite=suite, rename_ids=[rename.pk], by=None) == 1
    assert confirm_renames(suite=suite, rename_ids=[rename.pk], by=None) == 0
    told = history(suite)
    assert sorted(told) == ["a.Cart:stays_one", "a.Cart:stays_two", NEW]
    results, attempts, days, months, pace = told[NEW]
    assert results == [(1, "passed"), (2, "passed"), (3, "failed"), (4, "passed"), (5, "failed")]
    assert attempts == [(3, "failed"), (5, "failed")]
    assert days == {21: [5, 2]}
    assert months == [(3, 300)]
    assert pace[0] == [100, 100, 100]
    survivor = TestCase.objects.get(suite=suite, class_name="b.Pay")
    assert survivor.pk == old.pk
    assert survivor.quarantines.get().reason == "shaky"
    assert CaseState.objects.get(case=survivor).isolated_count == 1  # the third run, between passes
    assert not CaseState.objects.filter(case=new).exists()

    # Whatever name is reported from now on is the same test, by either way into the tables.
    ended(suite, 6, *STAYS, OLD, branch="release")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result_rows, "_MANY_ATTEMPTS", 0)
        ended(suite, 7, *STAYS, NEW)
        ended(suite, 8, *STAYS, OLD, branch="release")
    assert list(
        Result.objects.filter(case=old, run__number__gt=5)
        .order_by("run__number")
        .values_list("run__number", flat=True)
    ) == [6, 7, 8]

    rename.refresh_from_db()
    part_rename(rename=rename, by=None)
    parted = history(suite)
    assert parted["a.Cart:stays_one"] != before["a.Cart:stays_one"]  # three runs came in
    assert [row[0] for row in parted[OLD][0]] == [1, 2, 3, 6, 8]
    assert [row[0] for row in parted[NEW][0]] == [4, 5, 7]
    assert parted[OLD][2] == {21: [5, 1]}
    assert parted[NEW][2] == {21: [3, 1]}
    assert parted[OLD][4] == before[OLD][4]
    assert TestCase.objects.get(pk=new.pk).quarantines.get().reason == "shaky"
    assert TestCase.objects.get(pk=old.pk).identity == old.identity
    with pytest.raises(NotPossibleError):
        part_rename(rename=rename, by=None)
    assert [entry.action for entry in AuditEntry.objects.order_by("pk")] == [
        "quarantine.begun",
        "rename.confirmed",
        "rename.parted",
    ]


def test_a_run_that_holds_both_names_keeps_both_results_until_they_are_parted() -> None:
    suite, rename = renamed()
    confirm_renames(suite=suite, rename_ids=[rename.pk], by=None)

    ended(suite, 6, *STAYS, OLD, f"{NEW}!")

    [told_as_one] = rename_page(suite.project, view="decided").decided
    assert told_as_one.is_refuted
    rows = Result.objects.filter(run__number=6, case__in=[rename.old_id, rename.new_id])
    assert set(rows.values_list("case__class_name", "outcome")) == {("a.Pay", "passed"), ("b.Pay", "failed")}
    part_rename(rename=rename, by=None)
    told = history(suite)
    assert [row[0] for row in told[OLD][0]] == [1, 2, 3, 6]
    assert [row[0] for row in told[NEW][0]] == [4, 5, 6]
    assert told[OLD][2] == {21: [4, 1]}
    assert told[NEW][2] == {21: [3, 2]}


def test_a_run_that_reported_the_former_name_first_and_then_both_can_be_parted() -> None:
    """What it holds of the present name is the old name's too, in one result that nobody can tell apart."""
    suite, rename = renamed()
    confirm_renames(suite=suite, rename_ids=[rename.pk], by=None)
    run = ended(suite, 6, *STAYS, OLD)

    more(run, f"{OLD}!", NEW)
    count_run(run.pk)
    part_rename(rename=rename, by=None)

    told = history(suite)
    assert [row[0] for row in told[OLD][0]] == [1, 2, 3, 6]
    assert [row[0] for row in told[NEW][0]] == [4, 5, 6]
    assert (told[OLD][2], told[NEW][2]) == ({21: [4, 1]}, {21: [3, 2]})
    assert disagreements() == {}


def more(run: Run, *tests: str) -> None:
    """Another report of the run."""
    document = xml_of(*tests)
    store_reports(run_id=run.pk, files=[ReportFile("b.xml", open=lambda: io.BytesIO(document))])


def test_what_was_renamed_twice_is_parted_backwards_and_what_was_refused_stays_two() -> None:
    suite, first = renamed()
    propose_renames(ended(suite, 6, *STAYS, "c.Pay:pays").pk)
    second = Rename.objects.exclude(pk=first.pk).get()
    confirm_renames(suite=suite, rename_ids=[first.pk], by=None)
    confirm_renames(suite=suite, rename_ids=[second.pk], by=None)
    assert [row[0] for row in history(suite)["c.Pay:pays"][0]] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(NotPossibleError):
        part_rename(rename=first, by=None)
    second.refresh_from_db()
    part_rename(rename=second, by=None)
    part_rename(rename=first, by=None)
    assert {name: len(told[0]) for name, told in history(suite).items()} == {
        "a.Cart:stays_one": 6,
        "a.Cart:stays_two": 6,
        OLD: 3,
        NEW: 2,
        "c.Pay:pays": 1,
    }

    suite, rename = renamed()
    assert refuse_renames(suite=suite, rename_ids=[rename.pk], by=None) == 1
    assert confirm_renames(suite=suite, rename_ids=[rename.pk], by=None) == 0
    assert propose_renames(Run.objects.get(suite=suite, number=4).pk) == 0


def test_what_is_renamed_back_or_run_in_part_neither_doubles_nor_decides_a_proposal() -> None:
    suite = make_suite()
    more = [f"a.Cart:test_{letter}" for letter in "klm"]
    ended(suite, 1, *STAYS, *more, OLD)
    propose_renames(ended(suite, 2, *STAYS, *more, f"{NEW}!").pk)  # renamed, and it fails
    # A part of the suite, the old name on a branch, the old name again on main, the new one again.
    propose_renames(ended(suite, 3, *STAYS, *more[:1]).pk)
    propose_renames(ended(suite, 4, *STAYS, *more, OLD, branch="release").pk)
    propose_renames(ended(suite, 5, *STAYS, *more, OLD).pk)
    propose_renames(ended(suite, 6, *STAYS, *more, NEW).pk)

    assert proposed(suite) == {(OLD, NEW, "proposed")}
    confirm_renames(suite=suite, rename_ids=list(Rename.objects.values_list("pk", flat=True)), by=None)
    assert [row[0] for row in history(suite)[NEW][0]] == [1, 2, 4, 5, 6]


def test_the_rule_joins_moves_that_a_second_run_bears_out() -> None:
    suite = make_suite()
    type(suite.project).objects.update(confirms_moves=True)
    ended(suite, 1, *STAYS, OLD, "a.Pay:places_order")
    propose_renames(ended(suite, 2, *STAYS, NEW, "a.Pay:places_an_order").pk)
    assert not Rename.objects.exclude(status="proposed").exists()

    # Three of the four tests before: perhaps the first of two shards.
    propose_renames(ended(suite, 3, *STAYS, NEW).pk)
    assert not Rename.objects.exclude(status="proposed").exists()

    propose_renames(ended(suite, 4, *STAYS, NEW, "a.Pay:places_an_order").pk)

    assert set(Rename.objects.values_list("kind", "status")) == {
        ("moved", "confirmed"),
        ("renamed", "proposed"),
    }
