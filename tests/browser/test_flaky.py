"""The flaky board and the grid in Chromium: by mouse, by the keyboard alone, and without scripts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from runs.models import CaseState, Quarantine, Suite, TestCase
from runs.vocabulary import Outcome, Role, RunStatus
from tests.browser.conftest import PASSWORD, SignIn
from tests.browser.test_accessibility import until_mounted
from tests.factories import NOW, make_case, make_member, make_project, make_run, make_suite
from tests.rows import add_results

pytestmark = pytest.mark.browser


@pytest.fixture
def suite(transactional_db: None) -> Suite:
    return make_suite(make_project("shop"), "checkout")


def make_flaky(suite: Suite, name: str, lost_ms: int) -> TestCase:
    case = make_case(suite, name)
    moment = timezone.now() - timedelta(days=10)
    CaseState.objects.create(
        case=case,
        flakiness="flaky",
        lost_ms_per_week=lost_ms,
        direct_count=1,
        commit_count=20,
        evidence=0.05,
        evidence_high=0.2,
        changed_at=moment,
        judged_at=moment,
    )
    return case


def tell(suite: Suite) -> None:
    """Three runs, the newest of which breaks a test."""
    for index, outcome in enumerate((Outcome.PASSED, Outcome.PASSED, Outcome.FAILED)):
        run = make_run(
            suite,
            status=RunStatus.PASSED,
            queued_at=NOW - timedelta(minutes=3 - index),
            commit=f"{index + 1}" * 40,
        )
        add_results(run, {"test_a": Outcome.PASSED, "test_b": outcome, "test_c": Outcome.PASSED})


def test_a_test_is_quarantined_and_released_from_the_board_by_the_keyboard_alone(
    page: Page, sign_in: SignIn, suite: Suite
) -> None:
    make_flaky(suite, "test_race", 60_000)
    make_flaky(suite, "test_other", 50_000)
    sign_in(make_member(suite.project, Role.MEMBER))
    page.goto("/p/shop/flaky/")

    page.get_by_role("button", name="Quarantine test_race").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Quarantine test_race")).to_be_visible()
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.get_by_role("dialog", name="Quarantine test_race").get_by_label("Why")).to_be_focused()
    page.keyboard.type("SHOP-231")
    page.keyboard.press("Enter")

    row = page.get_by_role("row").filter(has_text="test_race")
    expect(row).to_contain_text("In quarantine now.")
    # The focus is where the next step is, and the page was not left.
    expect(page.get_by_role("button", name="Release test_race")).to_be_focused()
    assert Quarantine.objects.get().reason == "SHOP-231"

    until_mounted(page)
    page.keyboard.press("Enter")

    expect(row).to_contain_text("It decides again.")
    expect(page.get_by_role("button", name="Quarantine test_race")).to_be_focused()
    assert Quarantine.objects.get().lifted_at is not None
    expect(page.get_by_role("row").filter(has_text="test_other")).to_be_visible()


def test_a_test_is_quarantined_and_released_without_scripts(
    browser: Browser, site: str, suite: Suite
) -> None:
    make_flaky(suite, "test_race", 60_000)
    user = make_member(suite.project, Role.MEMBER)
    context = browser.new_context(base_url=site, java_script_enabled=False)
    page = context.new_page()
    page.goto("/sign-in/?next=/p/shop/flaky/")
    page.get_by_label("User name").fill(user.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()

    page.get_by_role("button", name="Quarantine test_race").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why").fill("SHOP-231")
    dialog.get_by_role("button", name="Quarantine", exact=True).click()

    expect(page).to_have_url(f"{site}/p/shop/flaky/")
    page.get_by_role("button", name="Release test_race").click()
    expect(page.get_by_role("button", name="Quarantine test_race")).to_be_visible()
    assert Quarantine.objects.get().lifted_at is not None
    context.close()


def test_filters_of_the_board_are_in_the_address(page: Page, sign_in: SignIn, suite: Suite) -> None:
    make_flaky(suite, "test_race", 60_000)
    make_flaky(suite, "test_other", 50_000)
    sign_in(make_member(suite.project, Role.VIEWER))
    page.goto("/p/shop/flaky/")

    page.keyboard.press("f")
    page.keyboard.type("race")

    expect(page.get_by_role("row").filter(has_text="test_other")).to_have_count(0)
    expect(page).to_have_url(f"{page.url.partition('?')[0]}?q=race&state=&suite=")
    page.get_by_role("link", name="Active 1").click()
    expect(page.get_by_role("row").filter(has_text="test_race")).to_be_visible()
    assert "q=race" in page.url
    assert "stage=active" in page.url
    # Who only reads has nothing to press.
    expect(page.get_by_role("button", name="Quarantine test_race")).to_have_count(0)


def test_the_grid_is_walked_with_arrows_and_opens_results_and_commits(
    page: Page, sign_in: SignIn, suite: Suite
) -> None:
    tell(suite)
    sign_in(make_member(suite.project, Role.VIEWER))
    page.goto("/p/shop/")
    page.keyboard.press("g")
    page.keyboard.press("m")
    page.wait_for_url("**/p/shop/grid/")
    expect(page.locator("[data-dock]")).to_be_visible()
    assert page.locator(".cells[tabindex='0']").count() == 1

    page.locator(".cells[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")

    said = page.locator("[data-dock]")
    expect(said).to_contain_text("Failed")
    expect(said).to_contain_text("test_b")
    expect(said).to_contain_text("#3")
    expect(page.locator(".cells:focus")).to_have_attribute("aria-label", "Failed in #3 33333333")
    page.keyboard.press("ArrowLeft")
    expect(said).to_contain_text("Passed")
    page.keyboard.press("Home")
    expect(said).to_contain_text("#1")
    page.keyboard.press("End")
    page.keyboard.press("Enter")

    page.wait_for_url("**/p/shop/runs/3/?show=all&q=test_b")
    page.go_back()
    page.locator(".cells[tabindex='0']").focus()
    page.keyboard.press("c")
    page.wait_for_url("**/p/shop/runs/?q=33333333")
    expect(page.get_by_role("link", name="#3 checkout")).to_be_visible()


def test_the_grid_narrows_in_place_and_can_still_be_walked(page: Page, sign_in: SignIn, suite: Suite) -> None:
    tell(suite)
    sign_in(make_member(suite.project, Role.VIEWER))
    page.goto("/p/shop/grid/")

    page.get_by_label("Find tests").fill("test_b")

    expect(page.locator(".cells")).to_have_count(1)
    until_mounted(page)
    page.locator(".cells[tabindex='0']").focus()
    page.keyboard.press("Home")
    expect(page.locator("[data-dock]")).to_contain_text("#1")
    page.get_by_role("link", name="Failing now 1").click()
    expect(page.locator(".cells")).to_have_count(1)
    assert "rows=now" in page.url
