"""A comparison is asked for, read and handed on by the keyboard alone."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from runs.models import Blame, Result, Run, Suite
from runs.vocabulary import Outcome, Role, RunStatus, Verdict
from tests.browser.conftest import SignIn
from tests.factories import make_member, make_project, make_run, make_suite
from tests.rows import add_results

pytestmark = pytest.mark.browser

TESTS = ("emits_event", "is_idempotent", "guest_checkout", "with_gift_card", "sends_receipt")
GREEN = ("cart_survives_login", "refund_after_capture", "coupon_survives_cart_merge")


def history(project_name: str = "shop") -> Suite:
    """A green run on the default branch, a red one on it, and one of a branch on which more broke."""
    suite = make_suite(make_project(project_name, repository_url="/srv/shop.git"), "checkout-e2e")
    now = timezone.now()
    passed = dict.fromkeys([f"test_confirm_{name}" for name in TESTS], Outcome.PASSED)
    passed |= dict.fromkeys([f"test_{name}" for name in GREEN], Outcome.PASSED)
    base = _run(
        suite, passed | {"test_old": Outcome.FAILED}, verdict=Verdict.PASS, at=now - timedelta(hours=5)
    )
    _run(suite, passed | {"test_old": Outcome.FAILED}, at=now - timedelta(hours=4))
    broke = dict.fromkeys(list(passed)[:5], Outcome.FAILED)
    head = _run(
        suite,
        passed | broke | {"test_split_totals": Outcome.PASSED},
        at=now - timedelta(hours=2),
        branch="feat/split-shipments",
        commit="e93f118" + "0" * 33,
        commit_message="Split shipments per warehouse",
        environment_facts={
            "engine": "docker",
            "images": {"order-service": "order:a81f3c2", "db": "postgres:17"},
        },
        gates={"new_failures": 0},
        verdict_base=base,
        verdict_reasons=["Fails: 5 new failures against #1 on main, at most 0 allowed."],
        duration_ms=111_000,
    )
    Result.objects.filter(run=head, case__name="test_refund_after_capture").update(duration_ms=8_200)
    for result in Result.objects.filter(run=head, outcome=Outcome.FAILED):
        Blame.objects.create(
            project=suite.project, run=head, case=result.case, run_at=head.run_at, services=["order-service"]
        )
    return suite


def _run(suite: Suite, outcomes: dict[str, Outcome], *, at: object, **values: object) -> Run:
    facts = {"engine": "docker", "images": {"order-service": "order:5d20b9e", "db": "postgres:17"}}
    is_bad = Outcome.FAILED in outcomes.values()
    run = make_run(
        suite,
        status=RunStatus.FAILED if is_bad else RunStatus.PASSED,
        queued_at=at,
        **({"environment_facts": facts, "commit_author": "Maya Okafor"} | values),
    )
    add_results(run, outcomes, message="POST /orders/7c1e9a02/confirm did not answer within 5 s")
    return run


def test_a_comparison_is_asked_for_and_handed_on_by_the_keyboard(page: Page, sign_in: SignIn) -> None:
    suite = history()
    sign_in(make_member(suite.project, Role.MEMBER))
    page.goto("/p/shop/runs/3/")
    expect(page.get_by_role("heading", name="Against #1")).to_be_visible()
    page.get_by_role("link", name="Compare the two runs").press("Enter")
    expect(page).to_have_url(re.compile(r"base=1&head=3"))
    expect(page.get_by_text("5 tests broke", exact=True)).to_be_visible()

    page.get_by_label("Base", exact=False).first.select_option("2")
    page.get_by_role("button", name="Compare", exact=True).press("Enter")
    expect(page).to_have_url(re.compile(r"base=2&head=3"))
    expect(page.get_by_role("heading", name="Compare runs")).to_be_visible()

    page.get_by_role("link", name="Swap").press("Enter")
    expect(page).to_have_url(re.compile(r"base=3&head=2"))
    expect(page.locator("p.verdict")).to_contain_text("Nothing broke")
    page.go_back()

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy summary").press("Enter")
    expect(page.get_by_text("Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("### #2 against #3")
    assert copied == page.get_by_label("The summary as Markdown").input_value()

    page.get_by_role("link", name=re.compile("POST .*did not answer")).press("Enter")
    expect(page.get_by_text("Never on main in that time.")).not_to_be_visible()
    expect(page.get_by_text(re.compile("in 3 runs and 6 tests"))).to_be_visible()


def test_the_failed_tests_are_run_again_from_the_runs_page(page: Page, sign_in: SignIn) -> None:
    suite = history()
    sign_in(make_member(suite.project, Role.MEMBER))
    page.goto("/p/shop/runs/3/")

    page.get_by_role("button", name="Run the failed tests again").press("Enter")

    expect(page).to_have_url(re.compile(r"/runs/4/"))
    expect(page.get_by_text("Only 5 selected tests were to run.")).to_be_visible()
