"""The way from a new hook to a run, and a fork's pull request to its approval, in a browser."""

from __future__ import annotations

import json

import httpx
import pytest
from playwright.sync_api import Page, expect

from runs.actions.webhooks import create_hook, handle_delivery, receive_delivery
from runs.models import Delivery, Project, Run
from runs.vocabulary import Role
from tests.browser.conftest import SignIn
from tests.factories import make_member, make_project, make_suite
from tests.hooks import headers_for, sample

pytestmark = pytest.mark.browser


def shop() -> Project:
    project = make_project("shop", repository_url="https://git.example.org/shop.git")
    make_suite(project, "checkout", definition={"on": {"push": None, "pull_request": None}})
    return project


def test_a_hook_is_added_a_push_arrives_and_its_run_is_found(page: Page, site: str, sign_in: SignIn) -> None:
    project = shop()
    sign_in(make_member(project, Role.ADMIN))
    page.goto("/p/shop/")
    page.get_by_role("link", name="Webhooks").click()
    page.get_by_label("Git host").select_option("gitea")
    page.get_by_role("button", name="Add a hook").click()
    address = page.get_by_label("Address", exact=True).input_value()
    secret = page.get_by_label("Secret", exact=True).input_value()
    assert address.startswith(f"{site}/api/v1/webhooks/gitea/")

    body = json.dumps(sample("gitea_push")).encode()
    answer = httpx.post(address, content=body, headers=headers_for("gitea", body, secret=secret))

    assert answer.status_code == 202
    handle_delivery(answer.json()["delivery"])
    page.goto("/p/shop/webhooks/")
    assert secret not in page.content()
    expect(page.get_by_role("cell", name="checkout: queued as run #1.")).to_be_visible()
    page.get_by_role("link", name="push").click()
    expect(page.locator("#payload")).to_contain_text("Refund in one transaction")
    page.get_by_role("link", name="checkout #1").click()
    expect(page.get_by_role("heading", name="checkout #1")).to_be_visible()


def test_a_forks_pull_request_is_approved_with_the_keyboard(page: Page, sign_in: SignIn) -> None:
    project = shop()
    hook = create_hook(project=project, provider="github")
    payload = sample("github_pull_request_fork")
    handle_delivery(receive_delivery(hook=hook, key="d-1", event="pull_request", payload=payload).pk)
    member = sign_in(make_member(project, Role.MEMBER))

    page.goto("/p/shop/webhooks/?view=waiting")
    page.get_by_role("link", name="pull_request").press("Enter")
    expect(page.get_by_text("It would run code from a fork")).to_be_visible()
    page.get_by_role("button", name="Approve and run").press("Enter")

    expect(page.get_by_text(f"Approved by {member.display_name}", exact=True)).to_be_visible()
    assert Run.objects.get().requested_by == member
    assert Delivery.objects.get().approved_by == member
