"""Channels in the settings, and what was sent on the page of webhooks."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings

from runs.actions.channels import add_channel, try_channel
from runs.models import AuditEntry, Channel, Delivery, Project
from runs.vocabulary import Role
from tests.factories import make_member, make_project, make_user

pytestmark = pytest.mark.django_db

SLACK = "https://hooks.slack.com/services/T0/B0/s3cret"
STATUS = {"kind": "gitea", "address": "https://git.example.org", "repository": "acme/shop", "secret": "t0ken"}


@pytest.fixture
def project() -> Project:
    return make_project("shop", repository_url="git@git.example.org:acme/shop.git")


@pytest.fixture
def admin(client: Client, project: Project) -> Client:
    client.force_login(make_member(project, Role.ADMIN))
    return client


def add(client: Client, **values: str) -> int:
    return client.post("/p/shop/settings/channels/", values).status_code


def page(client: Client) -> str:
    return client.get("/p/shop/settings/").content.decode()


def test_a_channel_is_added_and_its_secrets_are_not_shown(admin: Client) -> None:
    assert add(admin, kind="slack", address=SLACK, branches="main, release/*\n") == 302
    assert add(admin, **STATUS) == 302

    shown = page(admin)
    assert "hooks.slack.com" in shown
    assert "s3cret" not in shown
    assert "acme/shop at git.example.org" in shown
    assert "t0ken" not in shown
    assert list(Channel.objects.order_by("pk").values_list("kind", "branches")) == [
        ("slack", ["main", "release/*"]),
        ("gitea", []),
    ]
    entries = AuditEntry.objects.filter(action="channel.added").order_by("pk")
    assert [entry.subject for entry in entries] == [
        "Slack, hooks.slack.com",
        "Gitea or Forgejo, acme/shop at git.example.org",
    ]
    assert not any("s3cret" in str(entry.data) + entry.subject for entry in entries)


REFUSED = [
    ({"kind": "slack", "address": ""}, "Give the address"),
    ({"kind": "slack", "address": "ftp://example.org/"}, "begins with https://"),
    ({"kind": "webhook", "address": "https://user:pw@example.org/"}, "without user and password"),
    ({**STATUS, "repository": "shop"}, "owner/name"),
    ({**STATUS, "repository": "acme/../etc"}, "owner/name"),
    ({**STATUS, "secret": ""}, "only with a token"),
    ({**STATUS, "secret": "tökén"}, "no token"),
    ({**STATUS, "address": ""}, "Give the address"),
    ({**STATUS, "address": "https://git.example.org/?a=b"}, "address alone"),
    ({"kind": "email", "address": "ada"}, "is no mail address"),
    ({"kind": "email", "address": ""}, "1 to 20 mail addresses"),
    ({"kind": "pigeon", "address": "x"}, "Select a valid choice"),
]


@pytest.mark.parametrize(("values", "why"), REFUSED)
def test_what_cannot_be_is_refused_beside_its_field_with_what_was_typed(
    admin: Client, settings: Settings, values: dict[str, str], why: str
) -> None:
    settings.HAS_MAIL_SERVER = True
    answer = admin.post("/p/shop/settings/channels/", values)

    assert answer.status_code == 422
    shown = answer.content.decode()
    assert why in shown
    assert 'class="disclose" open' in shown
    assert "t0ken" not in shown
    assert not Channel.objects.exists()


def test_without_a_mail_server_mail_is_not_offered(admin: Client) -> None:
    assert "ITDASH_EMAIL_URL" in page(admin)
    assert add(admin, kind="email", address="ada@example.org") == 422
    assert not Channel.objects.exists()


def test_a_webhook_without_a_secret_gets_one_that_is_shown_once(admin: Client) -> None:
    add(admin, kind="webhook", address="https://example.org/hook")
    secret = Channel.objects.get().secret

    assert len(secret) > 40
    assert secret in page(admin)
    assert secret not in page(admin)


def test_host_and_repository_are_guessed_from_where_runs_are_checked_out(admin: Client) -> None:
    shown = page(admin)

    assert 'value="acme/shop"' in shown
    assert 'value="https://git.example.org"' in shown
    assert '<option value="gitea" selected>' in shown


def test_a_channel_is_paused_resumed_and_removed(admin: Client, project: Project) -> None:
    channel = add_channel(project=project, kind="slack", address=SLACK)
    address = f"/p/shop/settings/channels/{channel.pk}"
    admin.post(f"{address}/pause/")
    assert Channel.objects.get().is_active is False
    assert "Paused" in page(admin)
    admin.post(f"{address}/resume/")
    assert Channel.objects.get().is_active is True
    admin.post(f"{address}/remove/")

    assert not Channel.objects.exists()
    actions = AuditEntry.objects.order_by("pk").values_list("action", flat=True)
    assert [*actions] == ["channel.added", "channel.paused", "channel.resumed", "channel.removed"]


def test_a_test_leads_to_its_delivery(admin: Client, project: Project) -> None:
    channel = add_channel(project=project, kind="slack", address=SLACK)
    answer = admin.post(f"/p/shop/settings/channels/{channel.pk}/test/")

    delivery = Delivery.objects.get()
    assert answer["Location"] == f"/p/shop/webhooks/{delivery.pk}/"
    assert "It waits to be sent." in admin.get(answer["Location"]).content.decode()


def test_a_channel_of_another_project_is_not_found(admin: Client) -> None:
    other = add_channel(project=make_project(), kind="slack", address=SLACK)

    for act in ("test", "pause", "resume", "remove"):
        assert admin.post(f"/p/shop/settings/channels/{other.pk}/{act}/").status_code == 404
    assert Channel.objects.filter(is_active=True).count() == 1


def test_a_project_has_up_to_twenty_channels(admin: Client, project: Project) -> None:
    for _ in range(20):
        add_channel(project=project, kind="slack", address=SLACK)

    assert add(admin, kind="slack", address=SLACK) == 422
    assert Channel.objects.count() == 20


def test_members_see_where_news_go_and_change_nothing(client: Client, project: Project) -> None:
    add_channel(project=project, kind="slack", address=SLACK)
    client.force_login(make_member(project, Role.MEMBER))

    shown = page(client)
    assert "hooks.slack.com" in shown
    assert "New channel" not in shown
    assert add(client, kind="slack", address=SLACK) == 403


def test_what_was_sent_is_for_members(client: Client) -> None:
    project = make_project("open", visibility="public")
    sent = try_channel(channel=add_channel(project=project, kind="slack", address=SLACK), by=make_user())
    Delivery.objects.update(reason="It answered 500: inside-words", status="failed")

    assert client.get(f"/p/open/webhooks/{sent.pk}/").status_code == 404
    assert "inside-words" not in client.get("/p/open/webhooks/?view=sent").content.decode()
    client.force_login(make_member(project, Role.VIEWER))
    assert "inside-words" in client.get("/p/open/webhooks/?view=sent").content.decode()
    shown = client.get(f"/p/open/webhooks/{sent.pk}/").content.decode()
    assert "inside-words" in shown
    assert "Send again" not in shown


def test_a_member_sends_again(client: Client, project: Project) -> None:
    sent = try_channel(channel=add_channel(project=project, kind="slack", address=SLACK), by=make_user())
    Delivery.objects.update(status="failed", due_at=None)
    client.force_login(make_member(project, Role.MEMBER))
    assert "Send again" in client.get(f"/p/shop/webhooks/{sent.pk}/").content.decode()
    client.post(f"/p/shop/webhooks/{sent.pk}/again/")

    sent.refresh_from_db()
    assert sent.status == "queued"
    assert sent.due_at is not None
