"""From an upload to a verdict: a failure is seen, suspected to be flaky, quarantined, and no longer decides.

The site, its database, its broker and its worker are real; the reports go through the real API.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignIn
from tests.browser.hands import HANDS
from tests.factories import make_project, make_user

pytestmark = pytest.mark.browser

type Upload = Callable[..., int]


def report(*, refund: str) -> bytes:
    failure = (
        "" if refund == "passes" else '<failure message="expected 201, got 503">at refund.py:12</failure>'
    )
    cases = "".join(f'<testcase classname="tests.orders" name="test_{name}" time="0.4"/>' for name in "abc")
    refunded = f'<testcase classname="tests.orders" name="test_refund" time="1.2">{failure}</testcase>'
    return f"<testsuite>{cases}{refunded}</testsuite>".encode()


@pytest.fixture
def upload(site: str, worker: None) -> Upload:
    """Send a report as a CI does; returns the run's number once it is read and judged."""

    def send(token: str, *, commit: str, refund: str) -> int:
        sent = httpx.post(
            f"{site}/api/v1/projects/shop/uploads",
            headers={"Authorization": f"Bearer {token}"},
            data={"suite": "checkout", "branch": "main", "commit": commit * 40},
            files={"files": ("junit.xml", report(refund=refund))},
            timeout=20,
        )
        assert sent.status_code == 202, sent.text
        number: int = sent.json()["run"]["number"]
        return number

    return send


@pytest.mark.parametrize("hand", HANDS)
def test_a_flaky_failure_is_seen_suspected_and_quarantined_and_the_next_verdict_is_pass(
    page: Page, sign_in: SignIn, upload: Upload, hand: str
) -> None:
    person = HANDS[hand](page)
    make_project("shop")
    sign_in(make_user(is_superuser=True))
    page.goto("/p/shop/start/")
    person.press(page.get_by_role("button", name="Make an upload token"))
    token = page.get_by_label("Upload token").input_value()

    first = upload(token, commit="a", refund="passes")
    expect(page).to_have_url(re.compile(rf"/p/shop/runs/{first}/$"))
    second = upload(token, commit="b", refund="fails")
    seen(page, f"/p/shop/runs/{second}/", "#run-head", "Failed")
    expect(page.locator("#failures")).to_contain_text("expected 201, got 503")

    # A single failing commit between two that pass: the test is suspected, not the change.
    upload(token, commit="c", refund="passes")
    person.press(page.locator("#failures").get_by_role("link", name="test_refund").first)
    expect(page).to_have_url(re.compile(r"/tests/\d+/$"))
    seen(page, page.url, ".title-row", "Suspect")

    person.press(page.get_by_role("button", name="Quarantine").first)
    form = page.get_by_role("dialog", name="Quarantine this test")
    person.choose(form.get_by_label("For how long"), "7")
    person.write(form.get_by_label("Why"), "The stock service answers late")
    person.press(form.get_by_role("button", name="Quarantine"))
    expect(page.locator(".title-row")).to_contain_text("Quarantined")

    last = upload(token, commit="d", refund="fails")
    seen(page, f"/p/shop/runs/{last}/", "#progress", "The verdict is pass")


def seen(page: Page, address: str, where: str, what: str) -> None:
    """Load a page until it says so: reading a report and judging it takes a worker a moment."""
    for _ in range(40):
        page.goto(address)
        if what in page.locator(where).first.inner_text():
            return
        page.wait_for_timeout(250)
    expect(page.locator(where).first).to_contain_text(what)
