"""Schedules and quarantine as people use them, by mouse and by the keyboard alone."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from runs.actions.schedules import enqueue_due
from runs.actions.verdicts import decide_verdict
from runs.models import Run
from runs.vocabulary import Outcome, Role, RunStatus
from tests.browser.conftest import SignIn
from tests.factories import make_member, make_project, make_run, make_suite
from tests.rows import add_results

pytestmark = pytest.mark.browser


def test_a_schedule_is_added_with_the_keyboard_and_its_run_appears(page: Page, sign_in: SignIn) -> None:
    project = make_project("shop", repository_url="https://git.example.org/shop.git")
    make_suite(project, "checkout")
    sign_in(make_member(project, Role.MEMBER))
    page.goto("/p/shop/suites/")
    page.get_by_role("link", name="checkout").press("Enter")
    page.get_by_role("button", name="Add a schedule").press("Enter")
    page.get_by_label("Cron line").fill("* * * * *")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="every minute")).to_be_visible()
    expect(page.get_by_role("list", name="Next five moments").get_by_role("listitem")).to_have_count(5)
    enqueue_due(timezone.now() + timedelta(minutes=1))
    page.reload()

    expect(page.get_by_role("region", name="Newest runs").get_by_text("Schedule")).to_be_visible()
    page.get_by_role("button", name="Pause").press("Enter")
    expect(page.get_by_text("Paused", exact=True)).to_be_visible()


def test_a_schedule_that_cannot_be_is_refused_with_what_was_expected(page: Page, sign_in: SignIn) -> None:
    project = make_project("shop", repository_url="https://git.example.org/shop.git")
    make_suite(project, "checkout")
    sign_in(make_member(project, Role.MEMBER))
    page.goto("/p/shop/suites/checkout/")
    page.get_by_role("button", name="Add a schedule").click()
    page.get_by_label("Cron line").fill("at noon")
    page.get_by_role("button", name="Add the schedule").click()

    expect(page.get_by_text("It has five fields")).to_be_visible()


def test_a_failing_test_is_quarantined_with_the_keyboard_and_the_next_verdict_is_pass(
    page: Page, sign_in: SignIn
) -> None:
    suite = make_suite(make_project("shop"), "checkout")
    failed(make_run(suite, status=RunStatus.FAILED, verdict="fail"))
    sign_in(make_member(suite.project, Role.MEMBER))
    page.goto("/p/shop/runs/1/")
    page.get_by_role("link", name="test_refund").first.press("Enter")
    page.get_by_role("button", name="Quarantine").press("Enter")
    form = page.get_by_role("dialog", name="Quarantine this test")
    form.get_by_label("For how long").select_option("7")
    form.get_by_label("Why").fill("The stock service answers late")
    form.get_by_label("Why").press("Enter")
    expect(page.get_by_text("Quarantined", exact=True)).to_be_visible()

    now = timezone.now()
    run = make_run(suite, status=RunStatus.FAILED, verdict="fail", queued_at=now)
    failed(run)
    decide_verdict(run.pk)
    page.goto("/p/shop/runs/2/")

    expect(page.get_by_text(re.compile("The verdict is pass"))).to_be_visible()
    page.get_by_role("link", name="test_refund").first.press("Enter")
    page.get_by_role("button", name="Let it decide again").press("Enter")
    expect(page.get_by_text("Its result decides about its runs.")).to_be_visible()


def failed(run: Run) -> None:
    add_results(run, {"test_create": Outcome.PASSED, "test_refund": Outcome.FAILED})
