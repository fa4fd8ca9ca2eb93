"""The way from a new channel to a commit status at the host, by the keyboard alone, in a browser."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from playwright.sync_api import Page, expect
from pytest_django import Settings

from runs.actions.runs import Ending, claim_run, finish_run, queue_run
from runs.actions.sending import send_delivery
from runs.models import Channel, Delivery
from runs.vocabulary import Role, RunStatus, Trigger
from tests.browser.conftest import SignIn
from tests.factories import make_member, make_project
from tests.standins import REPOSITORY, TOKEN, Gitea

pytestmark = pytest.mark.browser

COMMIT = "9c1f0e2b6d5a4c3f8e7d6c5b4a39281706f5e4d3"


def send_all() -> None:
    for delivery in Delivery.objects.filter(direction="sent", status="queued"):
        send_delivery(delivery.pk)


def test_statuses_are_set_up_tried_sent_and_ended_with_the_keyboard(
    page: Page, sign_in: SignIn, settings: Settings
) -> None:
    settings.ALLOWED_NETWORKS = (ip_network("127.0.0.0/8"),)
    project = make_project("shop", repository_url="https://git.example.org/acme/shop.git")
    sign_in(make_member(project, Role.ADMIN))
    page.goto("/p/shop/settings/")
    with Gitea().running() as host:
        assert isinstance(host, Gitea)
        page.get_by_text("Commit statuses on GitHub").press("Enter")
        expect(page.get_by_label("Repository", exact=True)).to_have_value(REPOSITORY)
        page.get_by_label("Its address").fill(host.url)
        page.get_by_label("Token", exact=True).fill(TOKEN)
        page.get_by_label("Token", exact=True).press("Enter")
        expect(page.get_by_role("heading", name="Gitea or Forgejo")).to_be_visible()
        assert TOKEN not in page.content()

        page.get_by_role("button", name="Send a test to Gitea").press("Enter")
        expect(page.get_by_text("It waits to be sent.")).to_be_visible()
        send_all()
        page.reload()
        expect(page.get_by_text("Gitea or Forgejo knows the repository and the token.")).to_be_visible()

        run = queue_run(project=project, suite="checkout", trigger=Trigger.API, commit=COMMIT, branch="main")
        send_all()
        claim = claim_run(run.pk, owner="w1")
        assert claim is not None
        finish_run(claim, Ending(RunStatus.FAILED))
        send_all()
        assert host.states() == ["pending", "failure"]

    page.goto("/p/shop/webhooks/?view=sent")
    page.get_by_role("link", name="Commit status").press("Enter")
    expect(page.locator("#payload")).to_contain_text('"state": "failure"')
    page.get_by_role("button", name="Send again").press("Enter")
    expect(page.get_by_text("Queued")).to_be_visible()

    page.goto("/p/shop/settings/")
    page.get_by_role("button", name="Pause Gitea").press("Enter")
    expect(page.get_by_text("Paused")).to_be_visible()
    page.get_by_role("button", name="Remove Gitea").press("Enter")
    page.get_by_role("button", name="Remove the channel").press("Enter")
    expect(page.get_by_text("The channel is removed, and its secret forgotten.")).to_be_visible()
    assert not Channel.objects.exists()


def test_a_refused_channel_keeps_its_form_open_with_what_was_typed(page: Page, sign_in: SignIn) -> None:
    sign_in(make_member(make_project("shop"), Role.ADMIN))
    page.goto("/p/shop/settings/")
    page.get_by_text("Anything else, by a signed webhook").click()
    page.get_by_label("Address", exact=True).fill("ftp://example.org/")
    page.get_by_role("button", name="Add the webhook").click()

    expect(page.get_by_text("Give an address that begins with https://")).to_be_visible()
    expect(page.get_by_label("Address", exact=True)).to_have_value("ftp://example.org/")
    page.get_by_label("Address", exact=True).fill("https://example.org/hook")
    page.get_by_role("button", name="Add the webhook").click()
    expect(page.get_by_label("Secret of the new webhook, shown once")).to_have_value(
        Channel.objects.get().secret
    )


def test_the_words_of_a_badge_fit_their_fields_in_a_browser(page: Page, site: str) -> None:
    project = make_project("shop", visibility="public")
    for name in ("checkout", "WWW MMM @@@", "illi 1.5", "Prüfung 界界"):
        project.suites.create(name=name)
        page.goto(f"/badges/shop/{name}.svg")
        measured = page.evaluate(
            "[...document.querySelectorAll('text')].map(text => {"
            " const wanted = Number(text.getAttribute('textLength'));"
            " const drawn = text.getComputedTextLength();"
            " text.removeAttribute('textLength');"
            " return [wanted, drawn, text.getComputedTextLength()]; })"
        )
        for wanted, drawn, natural in measured:
            assert abs(drawn - wanted) < 1, name
            # The letters are not squeezed: their own width is not far from what was reckoned.
            assert abs(natural - wanted) / wanted < 0.15, name
