"""From an invitation to a second administrator, with the keyboard alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from runs.models import AuditEntry, Membership
from runs.vocabulary import Role
from tests.browser.conftest import SignIn, watch
from tests.factories import make_member, make_project

pytestmark = pytest.mark.browser


def test_someone_is_invited_joins_and_is_in_the_audit_log(
    page: Page, browser: Browser, site: str, sign_in: SignIn
) -> None:
    project = make_project("shop", name="Shop")
    sign_in(make_member(project, Role.ADMIN, username="ada"))
    page.goto("/p/shop/settings/")
    invite = page.locator("form").filter(has=page.get_by_role("button", name="Make the link"))
    invite.get_by_label("Role").select_option("admin")
    invite.get_by_label("E-mail, as a reminder").fill("bo@shop.example")
    invite.get_by_label("E-mail, as a reminder").press("Enter")
    link = page.get_by_label("Link of the invitation").input_value()

    context = browser.new_context(base_url=site)
    other = context.new_page()
    complaints = watch(other)
    other.goto(link)
    assert other.url == f"{site}/join/"
    expect(other.get_by_role("heading", level=1)).to_have_text("Join Shop")
    expect(other.get_by_label("E-mail")).to_have_value("bo@shop.example")
    other.get_by_label("User name").fill("bo")
    other.get_by_label("Password", exact=True).fill("staple battery horse")
    other.get_by_label("Password once more").fill("staple battery horse")
    other.get_by_label("Password once more").press("Enter")
    other.wait_for_url("**/p/shop/**")
    assert Membership.objects.get(user__username="bo").role == Role.ADMIN
    other.goto("/p/shop/audit/")
    other.get_by_label("Who").select_option("bo")
    other.wait_for_url("**actor=bo**")
    expect(other.get_by_role("row", name="invitation.accepted")).to_be_visible()
    expect(other.get_by_role("row", name="invitation.made")).to_have_count(0)
    context.close()

    assert complaints == []
    actions = list(AuditEntry.objects.order_by("pk").values_list("action", "actor"))
    assert actions == [("invitation.made", "ada"), ("invitation.accepted", "bo")]


def test_shortcuts_are_switched_off_on_the_account_page(page: Page, sign_in: SignIn) -> None:
    sign_in(make_member(make_project("shop"), Role.MEMBER))
    page.goto("/p/shop/suites/")
    page.get_by_role("button", name="Account of").press("Enter")
    page.get_by_role("link", name="Your account").press("Enter")
    page.get_by_label("Single-key shortcuts").press("Space")
    page.get_by_role("button", name="Save the preferences").press("Enter")
    expect(page.get_by_text("Saved.")).to_be_visible()

    page.goto("/p/shop/suites/")
    page.keyboard.press("?")

    expect(page.locator("#keys")).to_be_hidden()
