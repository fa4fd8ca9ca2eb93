"""Channels in the settings, and what was sent on the page of webhooks."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from runs.actions.channels import add_channel, change_channel, try_channel
from runs.actions.errors import NotPossibleError
from runs.models import AuditEntry, Channel, Delivery, Project
from runs.vocabulary import Role
from tests.factories import make_member, make_project, make_user

pytestmark = pytest.mark.django_db

SLACK = "https://hooks.slack.com/services/T0/B0/s3cret"
STATUS: dict[str, Any] = {
    "kind": "gitea",
    "address": "https://git.example.org",
    "repository": "acme/shop",
    "secret": "t0ken",
}


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


def change(client: Client, channel: Channel, **values: str) -> Any:
    answer = client.post(f"/p/shop/settings/channels/{channel.pk}/change/", values)
    channel.refresh_from_db()
    return answer


def test_a_channel_is_changed_and_what_is_left_empty_stays(admin: Client, project: Project) -> None:
    slack = add_channel(project=project, kind="slack", address=SLACK, branches=["main"])
    hook = add_channel(project=project, kind="webhook", address="https://example.org/hook", secret="old")
    status = add_channel(project=project, **STATUS)

    assert change(admin, slack, branches="main, release/*").status_code == 302
    assert change(admin, hook, address="https://example.net/h", branches="").status_code == 302
    values = {"address": "https://git.example.org", "repository": "acme/shop2"}
    assert change(admin, status, **values).status_code == 302

    assert (slack.address, slack.branches) == (SLACK, ["main", "release/*"])
    assert (hook.address, hook.secret) == ("https://example.net/h", "old")
    assert (status.repository, status.secret) == ("acme/shop2", "t0ken")
    entries = AuditEntry.objects.filter(action="channel.changed").order_by("pk")
    assert [(entry.subject, entry.data) for entry in entries] == [
        ("Slack, hooks.slack.com", {"branches": ["main", "main, release/*"]}),
        ("Webhook, example.net", {"place": ["example.org", "example.net"]}),
        (
            "Gitea or Forgejo, acme/shop2 at git.example.org",
            {"place": ["acme/shop at git.example.org", "acme/shop2 at git.example.org"]},
        ),
    ]


def test_another_secret_is_kept_and_shown_nowhere(admin: Client, project: Project) -> None:
    hook = add_channel(project=project, kind="webhook", address="https://example.org/t0p", secret="0ld")
    change(admin, hook, address="https://example.org/n3w", secret="s3cond")

    assert (hook.address, hook.secret) == ("https://example.org/n3w", "s3cond")
    assert AuditEntry.objects.get(action="channel.changed").data == {
        "address": "another",
        "secret": "another",
    }
    for shown in (page(admin), admin.get("/p/shop/audit/").content.decode()):
        assert not [word for word in ("t0p", "0ld", "n3w", "s3cond") if word in shown]


def test_a_token_goes_to_no_other_server_unless_it_is_given_again(admin: Client, project: Project) -> None:
    status = add_channel(project=project, **STATUS)
    elsewhere = {"address": "https://evil.example.org", "repository": "acme/shop"}

    answer = change(admin, status, **elsewhere)

    assert answer.status_code == 422
    shown = answer.content.decode()
    assert "The token is not sent to another server: give it again." in shown
    assert 'value="https://evil.example.org"' in shown
    assert "t0ken" not in shown
    assert (status.address, status.secret) == ("https://git.example.org", "t0ken")
    assert change(admin, status, **elsewhere, secret="another").status_code == 302
    assert (status.address, status.secret) == ("https://evil.example.org", "another")


def test_what_a_channel_cannot_become_is_refused_at_its_own_form(admin: Client, project: Project) -> None:
    first, second = (add_channel(project=project, kind="slack", address=SLACK) for _ in range(2))

    answer = change(admin, second, address="ftp://example.org/")

    assert answer.status_code == 422
    shown = answer.content.decode()
    assert "begins with https://" in shown
    assert shown.count('class="disclose" open') == 1
    assert shown.index(f"channels/{first.pk}/change/") < shown.index("begins with https://")
    assert second.address == SLACK
    assert not AuditEntry.objects.filter(action="channel.changed").exists()


def test_saving_what_is_there_changes_nothing(admin: Client, project: Project) -> None:
    channel = add_channel(project=project, kind="slack", address=SLACK, branches=["main"])

    assert change(admin, channel, branches="main").status_code == 302
    assert not AuditEntry.objects.filter(action="channel.changed").exists()


def test_a_channel_that_was_removed_meanwhile_cannot_be_changed(project: Project) -> None:
    channel = add_channel(project=project, kind="slack", address=SLACK)
    Channel.objects.all().delete()

    with pytest.raises(NotPossibleError, match="was removed"):
        change_channel(channel=channel, branches=["main"])


def test_a_test_leads_to_its_delivery(admin: Client, project: Project) -> None:
    channel = add_channel(project=project, kind="slack", address=SLACK)
    answer = admin.post(f"/p/shop/settings/channels/{channel.pk}/test/")

    delivery = Delivery.objects.get()
    assert answer["Location"] == f"/p/shop/webhooks/{delivery.pk}/"
    assert "It waits to be sent." in admin.get(answer["Location"]).content.decode()


def test_a_channel_of_another_project_is_not_found(admin: Client) -> None:
    other = add_channel(project=make_project(), kind="slack", address=SLACK)

    for act in ("change", "test", "pause", "resume", "remove"):
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
