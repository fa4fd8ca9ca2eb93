"""Looking around, in Chromium: branch and period, words and chips, and sample data that comes and goes."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from runs.models import Run
from runs.vocabulary import Role, RunStatus
from tests.browser.conftest import SignIn
from tests.factories import make_member, make_project, make_run, make_suite

pytestmark = pytest.mark.browser


def test_branch_and_period_are_chosen_and_the_address_says_them(page: Page) -> None:
    suite = make_suite(make_project("shop", visibility="public", next_run_number=3), "checkout")
    make_run(suite, status=RunStatus.PASSED, branch="main")
    make_run(suite, status=RunStatus.FAILED, branch="feat/coupons")
    page.goto("/p/shop/?days=30")
    expect(page.locator(".verdict")).to_contain_text("main is green")

    page.get_by_label("Branch").select_option("feat/coupons")

    expect(page.locator(".verdict")).to_contain_text("feat/coupons is red")
    expect(page).to_have_url(re.compile(r"days=30&branch=feat%2Fcoupons"))
    page.get_by_role("link", name="7 days").press("Enter")
    expect(page).to_have_url(re.compile(r"branch=feat%2Fcoupons&days=7"))
    expect(page.locator(".verdict")).to_contain_text("feat/coupons is red")
    page.reload()
    expect(page.get_by_label("Branch")).to_have_value("feat/coupons")


def test_a_chip_writes_into_the_text_and_the_text_into_the_chip(page: Page) -> None:
    suite = make_suite(make_project("shop", visibility="public"), "checkout")
    make_run(suite, status=RunStatus.PASSED, branch="main")
    make_run(suite, status=RunStatus.FAILED, branch="feat/coupons")
    page.goto("/p/shop/runs/")
    rows = page.locator("#runs tbody tr")

    page.get_by_label("Status").select_option("failed")

    expect(rows).to_have_count(1)
    expect(page.get_by_label("Search runs")).to_have_value("status:failed")
    expect(page).to_have_url(re.compile(r"/runs/\?q=status%3Afailed$"))
    page.get_by_label("Search runs").fill("branch:main")
    expect(page.get_by_label("Branch")).to_have_value("main")
    expect(page.get_by_label("Status")).to_have_value("")
    expect(page.get_by_role("link", name="#1 checkout")).to_be_visible()
    page.get_by_label("Branch").select_option("")
    expect(rows).to_have_count(2)
    expect(page.get_by_label("Search runs")).to_have_value("")
    # The field that lost its focus may have asked once more: nothing of that is a step in the history.
    expect(page).to_have_url(re.compile(r"/runs/$"))
    expect(page.locator(".htmx-request, .htmx-swapping, .htmx-settling, .htmx-added")).to_have_count(0)
    page.go_back()
    expect(rows).to_have_count(1)
    expect(page.get_by_label("Search runs")).to_have_value("branch:main")


def test_sample_data_is_asked_for_and_removed_by_the_keyboard_alone(page: Page, sign_in: SignIn) -> None:
    project = make_project("shop")
    sign_in(make_member(project, Role.ADMIN))
    page.goto("/p/shop/start/")
    page.get_by_role("button", name="Look around with sample data").press("Enter")
    expect(page.locator("#waiting")).to_contain_text("Sample data is on its way")

    make_run(
        make_suite(project, "checkout"),
        status=RunStatus.PASSED,
        branch="main",
        tags={"sample": "1 of 1", "sample_until": "2026-11-21T08:00:00+00:00"},
    )

    expect(page.locator(".verdict")).to_contain_text("main is green")
    expect(page.get_by_role("note", name="Sample data")).to_be_visible()
    page.get_by_role("button", name="Remove it").press("Enter")
    page.get_by_role("button", name="Remove the sample data").press("Enter")
    expect(page.get_by_text("The sample data is gone: 1 run")).to_be_visible()
    expect(page.get_by_role("button", name="Look around with sample data")).to_be_visible()
    assert not Run.objects.exists()
