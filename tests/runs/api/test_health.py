"""Alive, ready, and counted."""

from __future__ import annotations

import json
import re

import pytest
from django.db import OperationalError, connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from runs.api import health
from runs.vocabulary import RunStatus
from tests.factories import make_run

pytestmark = pytest.mark.django_db


def test_alive_asks_nothing_of_anyone(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        answer = client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_ready_when_database_schema_and_broker_are_there(client: Client) -> None:
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "checks": {"database": "ok", "broker": "ok"}}


def test_not_ready_without_a_broker_and_it_says_what_to_do(client: Client, settings: Settings) -> None:
    settings.BROKER_URL = "redis://127.0.0.1:1/0"

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert "Check BROKER_URL" in answer.json()["checks"]["broker"]


def test_what_is_not_ready_is_named_to_strangers_and_why_only_to_the_log(
    client: Client, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.BROKER_URL = "redis://127.0.0.1:1/0"
    why = 'connection to server at "10.1.2.3", port 5432 failed: no password for user "itdash"'

    def refuse(*_: object) -> None:
        raise OperationalError(why)

    with connection.execute_wrapper(refuse):
        answer = client.get("/readyz")

    assert (answer.status_code, answer.json()) == (
        503,
        {
            "status": "not ready",
            "checks": {
                "database": "no answer. Check DATABASE_URL and the server; the log says more.",
                "broker": "no answer. Check BROKER_URL and the server; the log says more.",
            },
        },
    )
    database, broker = [record.getMessage() for record in caplog.records if record.name == health.__name__]
    assert why in database
    assert "127.0.0.1:1" in broker


def test_metrics_count_runs_by_status(client: Client) -> None:
    make_run(status=RunStatus.FAILED)
    make_run(status=RunStatus.FAILED)

    lines = client.get("/metrics").content.decode().splitlines()

    assert 'itdash_runs{status="failed"} 2' in lines
    assert 'itdash_runs{status="queued"} 0' in lines
    assert "itdash_uploads_waiting 0" in lines


def test_the_api_describes_itself(client: Client) -> None:
    schema = client.get("/api/v1/openapi.json").json()
    page = client.get("/api/v1/docs").content.decode()

    assert "/api/v1/projects/{project}/runs" in schema["paths"]
    for path in schema["paths"]:
        assert path in page


def test_the_description_says_which_token_opens_a_call_and_how_it_fails(client: Client) -> None:
    schema = client.get("/api/v1/openapi.json").json()
    queue = schema["paths"]["/api/v1/projects/{project}/runs"]["post"]
    hook = schema["paths"]["/api/v1/webhooks/{provider}/{hook}"]["post"]

    assert schema["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert queue["security"] == [{"token": ["trigger"]}]
    assert "security" not in hook
    assert "application/problem+json" in queue["responses"]["default"]["content"]
    for call in (queue, schema["paths"]["/api/v1/projects/{project}/uploads"]["post"]):
        assert "Idempotency-Key" in [one["name"] for one in call["parameters"]]


def test_every_reference_and_path_parameter_of_the_description_is_defined(client: Client) -> None:
    text = client.get("/api/v1/openapi.json").content.decode()
    schema = json.loads(text)
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', text))

    assert named <= set(schema["components"]["schemas"])
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            told = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
            assert told == set(re.findall(r"{(\w+)}", path)), path
