"""Tests that go on under another name are proposed, joined, found by either name, and parted again."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest

from runs.actions.renames import propose_renames
from runs.actions.results import ReportFile, store_reports
from runs.models import Rename, Run, Suite, TestCase
from runs.vocabulary import RunStatus
from tests.factories import NOW, make_run, make_suite

pytestmark = pytest.mark.django_db


def ended(suite: Suite, number: int, *tests: str, branch: str = "main", **values: object) -> Run:
    """A finished run of tests told as `class:name`; one that ends with `!` failed."""
    run = make_run(
        suite,
        number=number,
        branch=branch,
        queued_at=NOW + timedelta(hours=number),
        status=RunStatus.INGESTING,
    )
    told = "".join(
        f'<testcase classname="{test.split(":")[0]}" name="{test.split(":")[1].rstrip("!")}" time="0.1">'
        f"{'<failure/>' if test.endswith('!') else ''}</testcase>"
        for test in tests
    )
    document = f'<testsuite name="s">{told}</testsuite>'.encode()
    store_reports(run_id=run.pk, files=[ReportFile("a.xml", open=lambda: io.BytesIO(document))])
    values = {"status": RunStatus.PASSED, "finished_at": run.run_at} | values
    Run.objects.filter(pk=run.pk).update(**values)
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
