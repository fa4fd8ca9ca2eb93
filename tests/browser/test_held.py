"""An environment that failed is looked into: its commands copied, held for longer, let go; script or not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, ViewportSize, expect

from environments.models import Environment
from runs.models import Run
from runs.vocabulary import Role, RunStatus
from tests.browser.conftest import PASSWORD, SignIn
from tests.factories import make_member, make_project, make_run, make_suite
from tests.rows import add_environment, hold_environment

pytestmark = pytest.mark.browser

NARROW = ViewportSize(width=390, height=844)


def held_environment() -> tuple[Run, Environment]:
    run = make_run(make_suite(make_project("shop"), "checkout"), status=RunStatus.FAILED)
    environment = add_environment(run, {"db": (0, 0.1, 1)}, ready_after=1)
    return run, hold_environment(environment, run=run)


def test_a_command_is_copied_as_it_is_shown_and_the_environment_let_go(page: Page, sign_in: SignIn) -> None:
    run, held = held_environment()
    sign_in(make_member(run.project, Role.MEMBER))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"/p/shop/runs/{run.number}/")
    page.get_by_label("Held for a look").get_by_role("link", name=held.name).click()

    page.get_by_role("button", name="Copy: A shell in it, db").click()

    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"docker exec -it {held.name}-db sh"
    page.get_by_role("button", name="Let go now").click()
    page.get_by_role("dialog").get_by_role("button", name="Let go now").click()
    expect(page.get_by_text("is held no longer; it is removed within seconds.")).to_be_visible()
    held.refresh_from_db()
    assert held.lease_expires_at <= timezone.now()


def test_without_script_it_is_held_for_longer_and_let_go_from_the_list(
    browser: Browser, site: str, transactional_db: None
) -> None:
    run, held = held_environment()
    before = held.held_until
    assert before is not None
    ada = make_member(run.project, Role.MEMBER)
    context = browser.new_context(base_url=site, java_script_enabled=False, viewport=NARROW)
    page = context.new_page()
    page.goto(f"/sign-in/?next=/p/shop/environments/{held.name}/")
    page.get_by_label("User name").fill(ada.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()

    page.get_by_role("button", name="30 more minutes").click()

    held.refresh_from_db()
    assert held.held_until == before + timedelta(minutes=30)
    expect(page.get_by_text(f"is held until {held.held_until:%H:%M} UTC.")).to_be_visible()
    page.goto("/p/shop/environments/")
    page.get_by_role("button", name=f"Let go of {held.name}").click()
    expect(page.get_by_text("is held no longer; it is removed within seconds.")).to_be_visible()
    context.close()
