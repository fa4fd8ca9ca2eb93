"""The pages of webhooks: who sees what, and what their buttons do."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from runs.actions.webhooks import create_hook, handle_delivery, receive_delivery, refuse_delivery
from runs.models import Delivery, Hook, Project
from runs.queries.deliveries import PAGE_LENGTH
from runs.vocabulary import Role
from tests.factories import make_member, make_project, make_suite
from tests.hooks import sample

pytestmark = pytest.mark.django_db


def shop(visibility: str = "private") -> Project:
    project = make_project("shop", repository_url="https://git.example.org/shop.git", visibility=visibility)
    make_suite(project, "checkout", definition={"on": {"push": None, "pull_request": None}})
    return project


def handled(project: Project, name: str, event: str, key: str = "d-1") -> Delivery:
    hook = Hook.objects.first() or create_hook(project=project, provider="github")
    delivery = receive_delivery(hook=hook, key=key, event=event, payload=sample(name))
    handle_delivery(delivery.pk)
    delivery.refresh_from_db()
    return delivery


def text_of(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_a_hooks_secret_is_shown_once_and_its_address_to_administrators(client: Client) -> None:
    project = shop()
    client.force_login(make_member(project, Role.ADMIN))

    made = client.post("/p/shop/webhooks/add/", {"provider": "gitea"}, follow=True)

    hook = Hook.objects.get()
    assert hook.secret in made.content.decode()
    assert "no-store" in made["Cache-Control"]
    again = text_of(client, "/p/shop/webhooks/")
    assert hook.secret not in again
    assert f"http://testserver/api/v1/webhooks/gitea/{hook.key}" in again
    client.force_login(make_member(project, Role.MEMBER))
    assert hook.key not in text_of(client, "/p/shop/webhooks/")


def test_an_unknown_host_gets_no_hook(client: Client) -> None:
    client.force_login(make_member(shop(), Role.ADMIN))

    client.post("/p/shop/webhooks/add/", {"provider": "svn"})

    assert not Hook.objects.exists()
    assert "A hook is for one of github" in text_of(client, "/p/shop/webhooks/")


def test_a_removed_hook_is_gone_and_its_deliveries_stay(client: Client) -> None:
    project = shop()
    handled(project, "github_push", "push")
    hook = Hook.objects.get()
    client.force_login(make_member(project, Role.ADMIN))

    client.post(reverse("hook-remove", args=["shop", hook.pk]))

    page = text_of(client, "/p/shop/webhooks/")
    assert hook.key not in page
    assert "checkout: queued as run #1." in page


def test_a_hook_of_another_project_is_not_removed(client: Client) -> None:
    other = create_hook(project=make_project(), provider="github")
    client.force_login(make_member(shop(), Role.ADMIN))

    client.post(reverse("hook-remove", args=["shop", other.pk]))

    assert Hook.objects.get().is_active


def test_what_a_delivery_held_is_for_members(client: Client) -> None:
    project = shop(visibility="public")
    address = f"/p/shop/webhooks/{handled(project, 'github_push', 'push').pk}/"

    public = text_of(client, address)
    assert "checkout: queued as run #1." in public
    assert "ada@example.org" not in public
    assert "Redeliver" not in public
    client.force_login(make_member(project, Role.MEMBER))
    member = text_of(client, address)
    assert "ada@example.org" in member
    assert "Redeliver" in member


def test_a_delivery_of_another_project_is_not_found(client: Client) -> None:
    delivery = handled(shop(visibility="public"), "github_push", "push")
    make_project("other", visibility="public")

    assert client.get(f"/p/other/webhooks/{delivery.pk}/").status_code == 404


def test_a_waiting_fork_says_what_would_run_and_is_approved(client: Client) -> None:
    project = shop()
    delivery = handled(project, "github_pull_request_fork", "pull_request")
    member = make_member(project, Role.MEMBER)
    client.force_login(member)

    assert "Waiting for approval" in text_of(client, "/p/shop/webhooks/?view=waiting")
    page = text_of(client, f"/p/shop/webhooks/{delivery.pk}/")
    assert "#7, feat/refund → main" in page
    assert "Approve and run" in page
    answer = client.post(f"/p/shop/webhooks/{delivery.pk}/approve/")

    assert answer["Location"] == f"/p/shop/webhooks/{delivery.pk}/"
    after = text_of(client, answer["Location"])
    assert "Approved by" in after
    assert "Approve and run" not in after
    assert project.runs.get().requested_by == member


def test_refused_deliveries_have_a_view_of_their_own_and_nothing_to_show(client: Client) -> None:
    project = shop()
    hook = create_hook(project=project, provider="github")
    refuse_delivery(hook=hook, event="push", reason="The signature is wrong.")
    client.force_login(make_member(project, Role.MEMBER))

    assert "The signature is wrong." in text_of(client, "/p/shop/webhooks/?view=refused")
    page = text_of(client, f"/p/shop/webhooks/{Delivery.objects.get().pk}/")
    assert "Nothing of it was kept." in page
    assert "Redeliver" not in page


def test_older_deliveries_are_a_page_away(client: Client) -> None:
    project = shop()
    for number in range(PAGE_LENGTH + 1):
        handled(project, "github_ping", "ping", key=f"d-{number}")
    client.force_login(make_member(project))
    oldest, second = Delivery.objects.order_by("pk")[:2]

    first = text_of(client, "/p/shop/webhooks/")
    assert f"before={second.pk}" in first
    assert f"/webhooks/{oldest.pk}/" not in first
    assert f"/webhooks/{oldest.pk}/" in text_of(client, f"/p/shop/webhooks/?before={second.pk}")
    for odd in ("x", "9" * 40, "-1", ""):
        assert client.get("/p/shop/webhooks/", {"before": odd, "view": odd}).status_code == 200
