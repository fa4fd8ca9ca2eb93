"""Errors of the API: problem documents, whatever went wrong."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.test import Client, RequestFactory

from runs.api.middleware import HeadMiddleware, ProblemsMiddleware
from runs.vocabulary import Scope
from tests.factories import make_project, make_run, make_suite
from tests.runs.api.test_access import bearer

pytestmark = pytest.mark.django_db


def told(answer: Any, status: int) -> Any:
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    return problem


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/runs/abc", "/api/v1/", "/api/v2/runs/1"])
def test_an_address_that_is_no_call_is_a_problem_and_not_a_page(client: Client, path: str) -> None:
    assert told(client.get(path), 404)["detail"].startswith("There is no such call.")


def test_another_method_is_told_those_that_are_taken(client: Client) -> None:
    answer = client.put("/api/v1/runs/1")

    assert told(answer, 405)["detail"] == "This address does not take PUT; it takes GET."
    assert answer.headers["Allow"] == "GET"


def test_head_asks_what_get_asks_and_is_answered_without_a_body(client: Client) -> None:
    run = make_run(make_suite(make_project("shop", visibility="public")))
    path = f"/api/v1/runs/{run.pk}"

    read, asked = client.get(path), client.head(path)

    assert (asked.status_code, asked.content) == (200, b"")
    assert dict(asked.headers) == dict(read.headers)
    assert client.head("/api/v1/runs/0").status_code == 404


def test_head_of_an_address_that_cannot_be_read_is_told_so_under_its_own_name() -> None:
    def refuse(request: HttpRequest) -> HttpResponse:
        return HttpResponseNotAllowed(["POST"])

    request = RequestFactory().head("/api/v1/projects/shop/uploads")
    answer = ProblemsMiddleware(HeadMiddleware(refuse))(request)

    assert b"This address does not take HEAD; it takes POST." in answer.content


def test_a_form_that_cannot_be_read_is_malformed(client: Client) -> None:
    answer = client.post(
        "/api/v1/projects/shop/uploads",
        b"no form",
        content_type="multipart/form-data",
        headers=bearer(make_project("shop"), Scope.UPLOAD),
    )

    assert "malformed" in told(answer, 400)["detail"]


def test_what_is_no_json_is_malformed_and_told_what_to_send(client: Client) -> None:
    answer = client.post(
        "/api/v1/projects/shop/runs",
        "{",
        content_type="application/json",
        headers=bearer(make_project("shop"), Scope.TRIGGER),
    )

    assert "send one JSON object" in told(answer, 400)["detail"]


def test_a_missing_value_is_named_as_the_sender_knows_it(client: Client) -> None:
    answer = client.post(
        "/api/v1/projects/shop/runs",
        {},
        content_type="application/json",
        headers=bearer(make_project("shop"), Scope.TRIGGER),
    )

    assert told(answer, 422)["problems"] == [{"where": "body.suite", "what": "Field required"}]


def test_what_breaks_is_a_problem_too(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("runs.api.runs.run_for", breaks)
    client.raise_request_exception = False

    assert "Something broke here" in told(client.get("/api/v1/runs/1"), 500)["detail"]


def test_pages_keep_their_own_errors(client: Client) -> None:
    answer = client.get("/nothing")

    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/html")
