"""Two runs compared, a filtered list shared, an environment watched to its end, shortcuts turned off."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from environments.models import Environment
from runs.models import Run, Suite
from runs.vocabulary import Outcome, RunStatus
from tests.browser.conftest import SignIn, watch
from tests.browser.hands import HANDS
from tests.factories import make_project, make_run, make_suite, make_user
from tests.rows import add_results
from tests.storms import add_storm, end_environment

pytestmark = pytest.mark.browser


def shop() -> Suite:
    return make_suite(make_project("shop", visibility="public"), "checkout")


def finished(suite: Suite, *, refund: Outcome, **values: str) -> Run:
    status = RunStatus.FAILED if refund is Outcome.FAILED else RunStatus.PASSED
    run = make_run(suite, status=status, queued_at=timezone.now() - timedelta(hours=1), **values)
    add_results(run, {"test_create": Outcome.PASSED, "test_refund": refund})
    return run


@pytest.mark.parametrize("hand", HANDS)
def test_what_broke_is_read_from_two_runs_beside_each_other(page: Page, hand: str) -> None:
    person = HANDS[hand](page)
    suite = shop()
    finished(suite, refund=Outcome.PASSED, commit="a" * 40)
    finished(suite, refund=Outcome.FAILED, commit="b" * 40, branch="feat/split")
    page.goto("/p/shop/runs/2/")

    person.press(page.locator("#run-head").get_by_role("link", name="Compare"))

    expect(page.get_by_role("heading", name="Compare runs")).to_be_visible()
    expect(page.locator(".verdict")).to_contain_text("1 test broke")
    broke = page.get_by_role("region", name="Broke")
    expect(broke).to_contain_text("new on this branch")
    person.choose(page.get_by_label(re.compile("^Head")), "1")
    person.choose(page.get_by_label(re.compile("^Base")), "2")
    person.press(page.get_by_role("button", name="Compare", exact=True))
    expect(page.locator(".verdict")).to_contain_text("1 was fixed")
    expect(page).to_have_url(re.compile(r"base=2&head=1"))


@pytest.mark.parametrize("hand", HANDS)
def test_a_filtered_list_is_shared_by_its_address(page: Page, browser: Browser, site: str, hand: str) -> None:
    person = HANDS[hand](page)
    suite = shop()
    for branch in ("main", "feat/coupons", "feat/coupons"):
        finished(suite, refund=Outcome.PASSED, branch=branch)
    finished(suite, refund=Outcome.FAILED, branch="feat/coupons")
    page.goto("/p/shop/runs/")

    person.write(page.get_by_label(re.compile("^Search runs")), "coupons")
    expect(page.locator("#runs tbody tr")).to_have_count(3)
    person.choose(page.get_by_label("Status"), "passed")
    expect(page.locator("#runs tbody tr")).to_have_count(2)
    expect(page).to_have_url(re.compile(r"q=coupons.*passed"))
    # Their text as it is written: an answer to the last key pressed may draw them anew while they are read.
    rows = page.locator("#runs tbody tr").all_text_contents()

    other = browser.new_context(base_url=site)
    colleague = other.new_page()
    complaints = watch(colleague)
    colleague.goto(page.url)

    expect(colleague.locator("#runs tbody tr")).to_have_text(rows)
    expect(colleague.get_by_label("Status")).to_have_value("passed")
    expect(colleague.get_by_label(re.compile("^Search runs"))).to_have_value(re.compile("^coupons"))
    assert complaints == []
    colleague.close()
    other.close()


@pytest.mark.parametrize("hand", HANDS)
def test_an_environment_is_watched_and_torn_down(page: Page, sign_in: SignIn, hand: str) -> None:
    person = HANDS[hand](page)
    now = timezone.now()
    run = make_run(shop(), status=RunStatus.RUNNING, queued_at=now, started_at=now - timedelta(seconds=40))
    environment = add_storm(run, is_gone=False)
    Environment.objects.update(lease_expires_at=now + timedelta(hours=1), expires_at=now + timedelta(hours=1))
    sign_in(make_user(is_superuser=True))
    page.goto("/p/shop/environments/")
    person.press(page.get_by_role("link", name=environment.name))
    expect(page.locator(".title-row")).to_contain_text("Up")
    expect(page.locator("#env-services")).to_contain_text("Running the tests")

    person.press(page.get_by_role("button", name="Tear down now"))
    person.press(page.get_by_role("dialog").get_by_role("button", name="Tear it down"))
    expect(page.get_by_text("The run was asked to end")).to_be_visible()
    run.refresh_from_db()
    assert run.cancel_requested_at is not None
    environment.refresh_from_db()
    end_environment(environment, timezone.now())

    # The page asks every three seconds; nobody loads it again.
    expect(page.locator(".title-row")).to_contain_text("Removed")
    expect(page.locator("#env-services")).to_contain_text("Ended")
    expect(page.locator("#now")).not_to_have_attribute("hx-trigger", "every 3s")


@pytest.mark.parametrize("hand", HANDS)
def test_single_keys_are_listed_and_may_be_turned_off(page: Page, sign_in: SignIn, hand: str) -> None:
    person = HANDS[hand](page)
    shop()
    sign_in(make_user(is_superuser=True))
    page.goto("/p/shop/runs/")
    keys = page.get_by_role("dialog", name="Keyboard shortcuts")
    page.keyboard.press("?")
    expect(keys).to_be_visible()
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("e")
    expect(page).to_have_url(re.compile("/environments/$"))

    page.goto("/account/")
    person.tick(page.get_by_label("Single-key shortcuts"))
    person.press(page.get_by_role("button", name="Save the preferences"))
    expect(page.locator("html")).to_have_attribute("data-shortcuts", "off")
    page.goto("/p/shop/runs/")
    page.keyboard.press("?")
    page.keyboard.press("g")
    page.keyboard.press("e")
    expect(keys).to_be_hidden()
    expect(page).to_have_url(re.compile("/runs/$"))
    # The list is still there for whoever asks for it with a button.
    person.press(page.get_by_role("button", name="Keyboard shortcuts"))
    expect(keys).to_be_visible()
