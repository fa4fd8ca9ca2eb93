"""What people do on the pages, in Chromium, against the real server."""

from __future__ import annotations

import re
from datetime import timedelta

import httpx
import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from runs.models import Run
from runs.vocabulary import Outcome, RunStatus
from tests.browser.conftest import SignIn
from tests.factories import make_event, make_project, make_run, make_suite, make_user
from tests.rows import add_log, add_results

pytestmark = pytest.mark.browser


def running_run() -> Run:
    now = timezone.now()
    suite = make_suite(make_project("shop", visibility="public"), "checkout")
    return make_run(suite, status=RunStatus.RUNNING, queued_at=now, started_at=now)


def finish(run: Run) -> None:
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(
        status=RunStatus.FAILED, finished_at=now, duration_ms=4000, verdict="fail"
    )


def test_a_person_signs_in_and_a_wrong_password_says_what_to_do(page: Page, sign_in: SignIn) -> None:
    user = make_user("priya")
    page.goto("/sign-in/")
    page.get_by_label("User name").fill("priya")
    page.get_by_label("Password").fill("not it")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("tries left, then a pause of 15 minutes.")

    sign_in(user)

    expect(page.get_by_role("heading", name="New project")).to_be_visible()


def test_the_first_person_makes_the_first_account_and_project(page: Page) -> None:
    page.goto("/")
    page.get_by_label("User name").fill("priya")
    page.get_by_label("E-mail").fill("priya@shop.example")
    page.get_by_label("Password", exact=True).fill("correct horse battery")
    page.get_by_label("Password once more").fill("correct horse battery")
    page.get_by_role("button", name="Make the account").click()
    page.get_by_label("Address").fill("shop")
    page.get_by_role("button", name="Make the project").click()
    page.get_by_role("button", name="Make an upload token").click()

    expect(page.get_by_label("Upload token")).to_have_value(re.compile(r"^itd_.{20,}"))


def test_the_page_that_waits_for_the_first_report_moves_on_to_it(
    page: Page, sign_in: SignIn, site: str
) -> None:
    make_project("shop")
    sign_in(make_user(is_superuser=True))
    page.goto("/p/shop/start/")
    page.get_by_role("button", name="Make an upload token").click()
    token = page.get_by_label("Upload token").input_value()

    answer = httpx.post(
        f"{site}/api/v1/projects/shop/uploads",
        headers={"Authorization": f"Bearer {token}"},
        data={"suite": "integration", "branch": "main"},
        files={"files": ("junit.xml", b"<testsuite><testcase name='test_a'/></testsuite>")},
        timeout=20,
    )

    assert answer.status_code == 202, answer.text
    expect(page).to_have_url(re.compile(r"/p/shop/runs/1/$"))
    expect(page.locator("#run-head")).to_contain_text("integration #1")


def test_static_files_are_compressed_and_kept_for_good(page: Page, site: str) -> None:
    page.goto("/sign-in/")
    address = page.locator("link[href*=components]").get_attribute("href")

    answer = httpx.get(f"{site}{address}", headers={"Accept-Encoding": "br"})

    assert answer.headers["Content-Encoding"] == "br"
    assert answer.headers["Cache-Control"] == "max-age=315360000, public, immutable"
    assert httpx.get(f"{site}{address}", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_typing_in_the_run_list_filters_it_and_the_address_can_be_shared(page: Page) -> None:
    suite = make_suite(make_project("shop", visibility="public"), "checkout")
    make_run(suite, status=RunStatus.PASSED, branch="main")
    make_run(suite, status=RunStatus.FAILED, branch="feat/coupons")
    page.goto("/p/shop/runs/")
    expect(page.locator("#runs tbody tr")).to_have_count(2)

    page.keyboard.press("f")
    page.keyboard.type("coupons")

    expect(page.locator("#runs tbody tr")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"q=coupons"))
    page.reload()
    expect(page.locator("#runs tbody tr")).to_have_count(1)
    expect(page.get_by_role("link", name="#2 checkout")).to_be_visible()
    page.go_back()
    expect(page.locator("#runs tbody tr")).to_have_count(2)


def test_a_run_page_follows_its_run_to_the_end(page: Page) -> None:
    run = running_run()
    page.goto(f"/p/shop/runs/{run.number}/")
    expect(page.locator("[data-transport=stream]")).to_be_attached()
    expect(page.locator("#progress")).to_contain_text("Running for")

    add_log(run, "order-service", "ERROR no stock left")
    make_event(run, "service_ready", service="postgres", message="postgres is ready", at=timezone.now())
    expect(page.locator("#log-lines")).to_contain_text("no stock left")
    expect(page.locator("#events")).to_contain_text("postgres is ready")

    add_results(run, {"test_create": Outcome.PASSED, "test_refund": Outcome.FAILED})
    expect(page.locator("#results")).to_contain_text("test_refund")
    expect(page.locator("#failures")).to_contain_text("expected 201, got 503")

    finish(run)
    expect(page.locator("#run-head")).to_contain_text("Failed")
    expect(page.locator("#progress")).to_contain_text("1 of 2 tests failed in 1 group")


def test_what_was_opened_stays_open_while_the_page_changes(page: Page) -> None:
    run = running_run()
    add_results(run, {"test_create": Outcome.FAILED})
    page.goto(f"/p/shop/runs/{run.number}/")
    expect(page.locator("[data-transport=stream]")).to_be_attached()
    group = page.locator("#failures details")
    group.locator("summary").click()
    expect(group).not_to_have_attribute("open", "")
    page.locator("h1").click()

    finish(run)

    expect(page.locator("#run-head")).to_contain_text("Failed")
    expect(group).not_to_have_attribute("open", "")


def test_where_streams_do_not_get_through_the_page_asks_again(page: Page) -> None:
    run = running_run()
    page.route("**/stream/**", lambda route: route.abort())
    page.goto(f"/p/shop/runs/{run.number}/")
    expect(page.locator("[data-transport=poll]")).to_be_attached()

    add_log(run, "order-service", "the outbox is empty")
    expect(page.locator("#log-lines")).to_contain_text("the outbox is empty")
    finish(run)

    expect(page.locator("#run-head")).to_contain_text("Failed")


def test_a_lost_server_is_said_with_the_time_of_what_is_shown_and_found_again(page: Page) -> None:
    run = running_run()
    page.route("**/stream/**", lambda route: route.abort())
    page.goto(f"/p/shop/runs/{run.number}/")
    expect(page.locator("[data-transport=poll]")).to_be_attached()
    notice = page.locator("[data-live-notice]")
    expect(notice).to_be_hidden()

    page.route("**/live/**", lambda route: route.abort())
    expect(notice).to_contain_text("Live updates stopped at")

    page.unroute("**/live/**")
    expect(notice).to_be_hidden()


def test_a_run_is_cancelled_by_a_member_with_the_keyboard(page: Page, sign_in: SignIn) -> None:
    run = make_run(make_suite(make_project("shop"), "checkout"))
    user = make_user(is_superuser=True)
    sign_in(user)
    page.goto(f"/p/shop/runs/{run.number}/")

    page.get_by_role("button", name="Cancel run").focus()
    page.keyboard.press("Enter")

    expect(page.locator("#run-head")).to_contain_text("Cancelled")
    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED


def test_a_tests_history_is_walked_with_the_arrow_keys_into_its_run(page: Page) -> None:
    now = timezone.now()
    suite = make_suite(make_project("shop", visibility="public"), "checkout")
    for day, outcome in enumerate([Outcome.PASSED, Outcome.FLAKY, Outcome.PASSED]):
        run = make_run(suite, status=RunStatus.PASSED, queued_at=now - timedelta(days=3 - day))
        results = add_results(run, {"test_refund": outcome})
    page.goto(f"/p/shop/tests/{results[0].case_id}/")
    expect(page.locator(".verdict")).to_contain_text("It passed only after a retry")

    expect(page.locator("[data-controller=scrub][data-ready]")).to_be_attached()
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".readouts li:not([hidden])")).to_contain_text("Flaky")
    page.keyboard.press("Enter")

    expect(page).to_have_url(re.compile(r"/p/shop/runs/2/$"))


def test_the_jump_box_finds_a_run_by_its_number(page: Page) -> None:
    run = running_run()
    page.goto("/p/shop/suites/")
    page.keyboard.press("/")
    page.keyboard.type(str(run.number))

    page.locator("#jump-results").get_by_role("link", name=f"#{run.number}").click()

    expect(page).to_have_url(re.compile(rf"/p/shop/runs/{run.number}/$"))


def test_the_theme_is_kept_and_works_without_script(page: Page, browser: Browser, site: str) -> None:
    make_project("shop", visibility="public")
    page.goto("/")
    page.get_by_role("button", name="Switch colour theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")

    without = browser.new_context(java_script_enabled=False, base_url=site)
    plain = without.new_page()
    plain.goto("/")
    plain.get_by_role("button", name="Switch colour theme").click()

    expect(plain.locator("html")).to_have_attribute("data-theme", "dark")
    without.close()
