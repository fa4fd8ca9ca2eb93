"""The way from the settings to a token that uploads, and its end, in a browser."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Page, expect

from runs.models import Project, Run
from runs.vocabulary import Role
from tests.browser.conftest import SignIn
from tests.factories import make_member, make_project

pytestmark = pytest.mark.browser

REPORT = b'<testsuite name="s"><testcase classname="c" name="t" time="0.1"/></testsuite>'


def test_a_token_is_made_used_and_revoked_with_the_keyboard(page: Page, site: str, sign_in: SignIn) -> None:
    project = make_project("shop")
    sign_in(make_member(project, Role.ADMIN))
    page.goto("/p/shop/start/")
    page.get_by_role("link", name="Settings").press("Enter")
    page.get_by_label("What it is for").fill("Jenkins")
    page.get_by_label("What it is for").press("Enter")
    secret = page.get_by_label("Secret of Jenkins").input_value()
    expect(page.locator("#made-curl")).to_contain_text(f"Bearer {secret}")

    assert upload(site, secret) == 202
    assert Run.objects.filter(project=project).count() == 1
    page.goto("/p/shop/settings/")
    assert secret not in page.content()
    page.get_by_role("button", name="Revoke Jenkins").press("Enter")
    page.get_by_role("button", name="Revoke the token").press("Enter")
    expect(page.get_by_role("cell", name="Revoked")).to_be_visible()
    assert upload(site, secret) == 401


def test_a_refused_change_keeps_what_was_typed(page: Page, sign_in: SignIn) -> None:
    sign_in(make_member(make_project("shop"), Role.ADMIN))
    page.goto("/p/shop/settings/")
    page.get_by_label("Run variables").fill("SHOP_REGION")
    page.get_by_role("button", name="Save changes").click()

    expect(page.get_by_text("Line 1 is no variable: write KEY=value.")).to_be_visible()
    expect(page.get_by_label("Run variables")).to_have_value("SHOP_REGION")
    page.get_by_label("Run variables").fill("SHOP_REGION=eu")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_role("status").filter(has_text="Saved.")).to_be_visible()
    assert Project.objects.get().variables == {"SHOP_REGION": "eu"}


def upload(site: str, secret: str) -> int:
    answer = httpx.post(
        f"{site}/api/v1/projects/shop/uploads",
        headers={"Authorization": f"Bearer {secret}"},
        data={"suite": "integration", "branch": "main", "commit": "0" * 40},
        files={"files": ("junit.xml", REPORT)},
    )
    return answer.status_code
