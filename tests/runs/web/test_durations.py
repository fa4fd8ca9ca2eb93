"""The page of durations: what it says of nothing, of too little, of a rise."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from runs.models import CaseDuration, Suite
from runs.vocabulary import Outcome, RunStatus
from tests.factories import NOW, make_case, make_project, make_run, make_suite
from tests.rows import add_results

pytestmark = pytest.mark.django_db


def text_of(client: Client, address: str = "/p/shop/durations/") -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def shop() -> Suite:
    return make_suite(make_project("shop", visibility="public"), "checkout")


def add_runs(suite: Suite, durations: list[int]) -> None:
    for index, ms in enumerate(durations):
        make_run(
            suite,
            status=RunStatus.PASSED,
            queued_at=NOW + timedelta(hours=index),
            duration_ms=ms,
            commit=f"{index:07d}" + "a" * 33,
        )


def test_without_passes_it_says_that_nothing_is_measured(client: Client) -> None:
    make_run(shop(), status=RunStatus.FAILED)

    page = text_of(client)

    assert "Nothing is measured yet: no run passed on" in page
    assert "needs 40 passes" in page
    assert "duration is kept yet" in page


def test_with_few_passes_it_says_how_many_a_verdict_takes(client: Client) -> None:
    add_runs(shop(), [60_000] * 12)

    assert "a rise is judged after 40 passes, and the most there are is 12" in text_of(client)


def test_a_suite_and_a_test_that_became_slower_are_named_with_figures_and_run(client: Client) -> None:
    suite = shop()
    add_runs(suite, [240_000 + 500 * (at % 5) for at in range(40)] + [300_000] * 12)
    add_runs(make_suite(suite.project, "quick"), [1_000] * 45)
    first = suite.runs.get(number=41)
    values = {"last_run_at": NOW, "judged_at": NOW, "p50_ms": 4300, "p95_ms": 7000}
    CaseDuration.objects.create(
        case=make_case(suite, "test_pay"),
        before_ms=4300,
        after_ms=6400,
        p_value=1e-6,
        is_slower=True,
        changed_run=first,
        recent_ms=[4300] * 20 + [6400] * 20,
        **values,
    )

    page = text_of(client)

    assert "checkout</bdi> became slower</strong>: 4m 01s until" in page
    assert "5m 00s since. 1 test became slower;" in page
    assert "by <strong>2.1 s</strong>" in page
    assert "+48.8%" in page
    assert "4.3 s → 6.4 s" in page
    assert ">#41</a> <code><bdi>0000040a" in page
    narrowed = text_of(client, "/p/shop/durations/?suite=quick")
    assert "Nothing became slower" in narrowed
    assert "test_pay" not in narrowed
    assert "Suites" in text_of(client, "/p/shop/durations/?suite=%00unknown")


def test_a_tests_page_draws_its_passes_and_names_the_change(client: Client) -> None:
    suite = shop()
    add_runs(suite, [60_000] * 45)
    for run in suite.runs.order_by("number"):
        [result] = add_results(
            run, {"test_pay": Outcome.PASSED}, duration_ms=4000 + run.number if run.number <= 30 else 6400
        )

    page = text_of(client, f"/p/shop/tests/{result.case_id}/")

    assert page.count('r="2.25"') == 45
    # The middle of 4001 … 4030 is 4015.5, shown as 4.0 s; the step is 2.4 s.
    assert ">+2.4 s at 0000030a</text>" in page
    assert "One step up: the median went from 4.0 s to 6.4 s at 0000030a" in page
    assert '<strong class="up-bad">Slower</strong> since' in page
    assert "style=" not in page


def test_a_test_without_a_pass_has_no_chart(client: Client) -> None:
    [result] = add_results(
        make_run(shop(), status=RunStatus.FAILED), {"test_pay": Outcome.FAILED}, duration_ms=9000
    )

    page = text_of(client, f"/p/shop/tests/{result.case_id}/")

    assert "No pass with a duration on this branch" in page
    assert 'data-controller="chart"' not in page
