"""Who may call what: tokens, scopes, members, public and private projects."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from runs.actions.sign_ins import begin_attempt, token_limits
from runs.actions.tokens import create_token
from runs.api.auth import TokenAuth
from runs.api.root import api
from runs.api.webhooks import SignatureAuth
from runs.models import Project, Token
from runs.vocabulary import Scope
from tests.factories import make_member, make_project, make_run, make_suite, make_user

pytestmark = pytest.mark.django_db


def bearer(project: Project, *scopes: Scope) -> dict[str, str]:
    secret = create_token(project=project, scopes=scopes or [Scope.READ]).secret
    return {"Authorization": f"Bearer {secret}"}


def test_every_endpoint_has_a_door() -> None:
    doors = [
        (path, operation.auth_callbacks)
        for _, router in api._routers
        for path, view in router.path_operations.items()
        for operation in view.operations
    ]

    assert len(doors) >= 10
    assert [
        path
        for path, auth in doors
        if not all(isinstance(one, TokenAuth | SignatureAuth) for one in auth) or not auth
    ] == []


def test_a_private_project_looks_like_none_to_a_stranger(client: Client) -> None:
    make_project("shop")

    private = client.get("/api/v1/projects/shop/runs")
    absent = client.get("/api/v1/projects/none/runs")

    assert private.status_code == absent.status_code == 404
    assert private.json()["detail"].replace("shop", "none") == absent.json()["detail"]
    assert private["Content-Type"] == "application/problem+json"


def test_a_public_project_is_read_by_anyone(client: Client) -> None:
    make_project("shop", visibility="public")

    assert client.get("/api/v1/projects/shop/runs").json() == {"items": [], "next": None}


def test_a_member_reads_with_the_browsers_session_and_another_person_does_not(client: Client) -> None:
    project = make_project("shop")
    client.force_login(make_member(project))
    assert client.get("/api/v1/projects/shop/runs").status_code == 200

    client.force_login(make_user())
    assert client.get("/api/v1/projects/shop/runs").status_code == 404


def test_a_session_alone_changes_nothing(client: Client) -> None:
    project = make_project("shop", repository_url="/somewhere")
    client.force_login(make_member(project))

    answer = client.post("/api/v1/projects/shop/runs", {"suite": "checkout"}, content_type="application/json")

    assert answer.status_code == 401
    assert "scope “trigger”" in answer.json()["detail"]
    assert not project.runs.exists()


def test_a_tokens_project_is_the_only_one_it_opens(client: Client) -> None:
    mine, other = make_project("mine"), make_project("other")
    run = make_run(make_suite(other))

    assert client.get("/api/v1/projects/mine/runs", headers=bearer(mine)).status_code == 200
    assert client.get("/api/v1/projects/other/runs", headers=bearer(mine)).status_code == 404
    assert client.get(f"/api/v1/runs/{run.pk}", headers=bearer(mine)).status_code == 404


@pytest.mark.parametrize(
    "header", ["Bearer itd_unknown", "Bearer ", "Basic dTpw", "itd_unknown", "Bearer \u00e9"]
)
def test_an_unknown_token_is_told_so_even_for_a_public_project(client: Client, header: str) -> None:
    make_project("shop", visibility="public")

    answer = client.get("/api/v1/projects/shop/runs", headers={"Authorization": header})

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert "itdash token create" in answer.json()["detail"]


def test_a_token_without_the_scope_is_told_which_it_lacks(client: Client) -> None:
    project = make_project("shop")

    answer = client.post(
        "/api/v1/projects/shop/runs",
        {"suite": "checkout"},
        content_type="application/json",
        headers=bearer(project, Scope.READ, Scope.UPLOAD),
    )

    assert answer.status_code == 403
    assert answer.json()["detail"].endswith("has the scopes read, upload; this needs “trigger”.")


def test_an_expired_token_is_unknown(client: Client) -> None:
    project = make_project("shop")
    headers = bearer(project)
    Token.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert client.get("/api/v1/projects/shop/runs", headers=headers).status_code == 401


def test_unknown_tokens_from_one_address_are_told_to_wait_and_known_ones_are_not(client: Client) -> None:
    known = bearer(make_project("shop"))
    for _ in range(59):
        begin_attempt(token_limits("127.0.0.1"))

    answers = [
        client.get("/api/v1/projects/shop/runs", headers={"Authorization": "Bearer itd_guess"})
        for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [401, 429]
    assert 0 < int(answers[1]["Retry-After"]) <= 60
    assert answers[1]["Content-Type"] == "application/problem+json"
    assert client.get("/api/v1/projects/shop/runs", headers=known).status_code == 200
