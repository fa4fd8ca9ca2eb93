"""Webhooks as Git hosts send them: what is let in, what is refused, and that once is once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client

from runs.actions.webhooks import REFUSED_KEPT, create_hook, handle_delivery
from runs.api.webhooks import LIMIT_BYTES
from runs.models import Delivery, Hook, Run
from runs.providers import PROVIDERS
from runs.vocabulary import DeliveryStatus
from tests.factories import make_project, make_suite
from tests.hooks import COMMIT, address_of, headers_for, sample

pytestmark = pytest.mark.django_db

EVENTS = {
    "github": ("push", "github_push"),
    "gitlab": ("push", "gitlab_push"),
    "gitea": ("push", "gitea_push"),
    "bitbucket": ("repo:push", "bitbucket_push"),
    "generic": ("push", "generic_push"),
}


def hook_of(provider: str = "github") -> Hook:
    project = make_project(repository_url="https://git.example.org/shop.git")
    make_suite(project, "checkout", definition={"on": {"push": {"branches": ["main"]}}})
    return create_hook(project=project, provider=provider)


def send(hook: Hook, body: bytes, headers: dict[str, str], kind: str = "application/json") -> HttpResponse:
    return cast("HttpResponse", Client().post(address_of(hook), body, content_type=kind, headers=headers))


def sent(hook: Hook, payload: dict[str, Any], event: str = "push", key: str = "") -> HttpResponse:
    body = json.dumps(payload).encode()
    return send(hook, body, headers_for(hook.provider, body, event=event, key=key, secret=hook.secret))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_signed_push_of_each_host_is_taken_and_runs_the_suite(provider: str) -> None:
    hook = hook_of(provider)
    event, name = EVENTS[provider]

    answer = sent(hook, sample(name), event, key="d-1")

    delivery = Delivery.objects.get()
    assert (answer.status_code, json.loads(answer.content)) == (202, {"delivery": delivery.pk})
    assert (delivery.status, delivery.key, delivery.event) == (DeliveryStatus.RECEIVED, "d-1", event)
    assert not Run.objects.exists()
    handle_delivery(delivery.pk)
    run = Run.objects.get()
    assert (run.trigger, run.branch, run.commit, run.status) == ("push", "main", COMMIT, "queued")
    assert list(delivery.runs.all()) == [run]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_wrong_signature_is_401_and_queues_nothing(provider: str) -> None:
    hook = hook_of(provider)
    event, name = EVENTS[provider]
    body = json.dumps(sample(name)).encode()

    answer = send(hook, body, headers_for(provider, body, event=event, secret="another"))

    assert answer.status_code == HTTPStatus.UNAUTHORIZED
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["WWW-Authenticate"] == "HMAC-SHA256"
    refused = Delivery.objects.get()
    assert (refused.status, refused.payload) == (DeliveryStatus.REFUSED, {})
    assert "is wrong" in refused.reason
    handle_delivery(refused.pk)
    assert not Run.objects.exists()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_unsigned_delivery_is_401(provider: str) -> None:
    answer = send(hook_of(provider), b"{}", {})

    assert answer.status_code == HTTPStatus.UNAUTHORIZED
    assert "is missing" in json.loads(answer.content)["detail"]


def test_of_refused_deliveries_the_newest_few_are_kept() -> None:
    hook = hook_of()
    for _ in range(REFUSED_KEPT + 5):
        send(hook, b"{}", {"X-Hub-Signature-256": "sha256=no"})

    assert Delivery.objects.count() == REFUSED_KEPT


def test_an_unknown_address_a_removed_hook_and_another_hosts_address_look_alike() -> None:
    hook = hook_of()
    other = Client().post(f"/api/v1/webhooks/gitlab/{hook.key}", b"{}", content_type="application/json")
    unknown = Client().post("/api/v1/webhooks/github/none", b"{}", content_type="application/json")
    Hook.objects.update(is_active=False)
    removed = sent(hook, sample("github_push"))

    assert {answer.status_code for answer in (other, unknown, removed)} == {404}
    assert other.content == unknown.content == removed.content
    assert not Delivery.objects.exists()


def test_the_same_delivery_again_is_answered_the_same_and_runs_once() -> None:
    hook = hook_of()
    first = sent(hook, sample("github_push"), key="d-1")
    handle_delivery(Delivery.objects.get().pk)
    second = sent(hook, sample("github_push"), key="d-1")

    assert (first.status_code, first.content) == (second.status_code, second.content)
    handle_delivery(Delivery.objects.get().pk)
    assert Run.objects.count() == 1


@pytest.mark.parametrize("provider", ["github", "gitea", "bitbucket"])
def test_a_body_that_was_listened_to_runs_nothing_under_another_id(provider: str) -> None:
    hook = hook_of(provider)
    event, name = EVENTS[provider]
    for key in ("d-1", "d-2"):
        sent(hook, sample(name), event, key=key)
    for delivery in Delivery.objects.order_by("pk"):
        handle_delivery(delivery.pk)

    assert Run.objects.count() == 1
    assert "queued before, as run #1" in Delivery.objects.get(key="d-2").reason


@pytest.mark.django_db(transaction=True)
def test_one_delivery_five_times_at_once_is_one_run() -> None:
    hook = hook_of()

    def one(_: int) -> tuple[int, bytes]:
        try:
            answer = sent(hook, sample("github_push"), key="d-1")
            handle_delivery(json.loads(answer.content)["delivery"])
            return answer.status_code, answer.content
        finally:
            connection.close()

    with ThreadPoolExecutor(5) as pool:
        answers = set(pool.map(one, range(5)))

    delivery = Delivery.objects.get()
    assert answers == {(202, json.dumps({"delivery": delivery.pk}).encode())}
    assert Run.objects.count() == 1
    assert (delivery.status, delivery.reason) == ("accepted", "checkout: queued as run #1.")


def test_a_form_with_the_payload_is_taken_as_github_sends_it() -> None:
    hook = hook_of()
    body = urlencode({"payload": json.dumps(sample("github_push"))}).encode()
    headers = headers_for("github", body, secret=hook.secret)

    answer = send(hook, body, headers, kind="application/x-www-form-urlencoded")

    assert answer.status_code == HTTPStatus.ACCEPTED
    assert Delivery.objects.get().payload == sample("github_push")


@pytest.mark.parametrize("key", ["", "x" * 300, "\x07bell"])
def test_a_delivery_without_a_usable_id_is_known_by_its_body(key: str) -> None:
    hook = hook_of()
    body = json.dumps(sample("github_push")).encode()
    headers = headers_for("github", body, secret=hook.secret) | {"X-GitHub-Delivery": key}

    assert [send(hook, body, headers).status_code for _ in range(2)] == [202, 202]
    assert Delivery.objects.get().key.startswith("sha256:")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"\xff", 400),
        (b'{"ref":' * 50_000, 400),
        (b'{"ref": NaN}', 400),
        (b"{}", 422),
        (b'{"ref": 7}', 422),
        (b'{"ref": "refs/heads/--upload-pack=x", "after": "abc"}', 422),
        (b'{"ref": "refs/heads/main", "after": "no commit"}', 422),
        (b'{"ref": "refs/heads/main\\u0000", "after": "' + b"a" * 40 + b'", "commits": {"a": 1}}', 422),
        (b" " * (LIMIT_BYTES + 1), 413),
    ],
)
def test_hostile_bodies_are_refused_though_rightly_signed(body: bytes, status: int) -> None:
    hook = hook_of()

    answer = send(hook, body, headers_for("github", body, secret=hook.secret))

    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"
    assert not Delivery.objects.exists()


def test_what_no_database_stores_does_not_stop_a_delivery() -> None:
    hook = hook_of()
    body = json.dumps(sample("github_push") | {"note": "a\x00b"}).replace("Keep a", "\\ud800").encode()

    answer = send(hook, body, headers_for("github", body, secret=hook.secret))

    assert answer.status_code == HTTPStatus.ACCEPTED
    assert Delivery.objects.get().payload["note"] == "a\ufffdb"


def test_only_a_post_is_taken() -> None:
    assert Client().get(address_of(hook_of())).status_code == HTTPStatus.METHOD_NOT_ALLOWED
