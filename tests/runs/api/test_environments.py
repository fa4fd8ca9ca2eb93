"""Environments over HTTP: what a run had, and letting go of what is held."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from environments.models import Environment
from runs.actions.tokens import create_token
from runs.models import AuditEntry, Project, Run
from runs.vocabulary import RunStatus, Scope
from tests.factories import make_project, make_run, make_suite
from tests.rows import add_environment, hold_environment

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return make_project("shop")


@pytest.fixture
def run(project: Project) -> Run:
    return make_run(make_suite(project, "checkout"), status=RunStatus.FAILED)


@pytest.fixture
def held(run: Run) -> Environment:
    return hold_environment(add_environment(run, {"db": (0, 0, 1)}, ready_after=1), run=run)


def bearer(project: Project, scope: Scope) -> dict[str, str]:
    return {"Authorization": f"Bearer {create_token(project=project, name='ci', scopes=[scope]).secret}"}


def test_a_runs_environments_say_until_when_they_are_held(
    client: Client, run: Run, held: Environment
) -> None:
    answer = client.get(f"/api/v1/runs/{run.pk}/environments", headers=bearer(run.project, Scope.READ))

    (one,) = answer.json()
    assert (one["name"], one["run"], one["shard"], one["state"]) == (held.name, run.pk, 1, "held")
    assert one["held_because"] == "1 test failed."
    assert one["held_until"].startswith(f"{held.held_until:%Y-%m-%dT%H:%M:%S}")


def test_a_token_that_may_trigger_lets_go(client: Client, run: Run, held: Environment) -> None:
    answer = client.post(
        f"/api/v1/environments/{held.name}/release", headers=bearer(run.project, Scope.TRIGGER)
    )

    assert answer.status_code == 202
    held.refresh_from_db()
    assert held.lease_expires_at <= timezone.now()
    assert AuditEntry.objects.get(action="environment.released").actor == "token ci"
    assert run.events.get(kind="environment_released").message == f"The token ci let go of {held.name}."


def test_what_is_not_held_is_not_let_go_of(client: Client, run: Run) -> None:
    environment = add_environment(run, {}, ready_after=1)

    answer = client.post(
        f"/api/v1/environments/{environment.name}/release", headers=bearer(run.project, Scope.TRIGGER)
    )

    assert answer.status_code == 409
    assert answer.json()["detail"] == f"Environment {environment.name} is not held any more."


def test_it_is_held_for_half_an_hour_more(client: Client, run: Run, held: Environment) -> None:
    before = held.held_until
    assert before is not None

    answer = client.post(f"/api/v1/environments/{held.name}/hold", headers=bearer(run.project, Scope.TRIGGER))

    assert answer.status_code == 200
    held.refresh_from_db()
    assert held.held_until == before + timedelta(minutes=30)


@pytest.mark.parametrize("call", ["release", "hold"])
def test_another_projects_token_finds_nothing_and_a_reading_one_may_not(
    client: Client, run: Run, held: Environment, call: str
) -> None:
    address = f"/api/v1/environments/{held.name}/{call}"

    stranger = client.post(address, headers=bearer(make_project("bank"), Scope.TRIGGER))
    reader = client.post(address, headers=bearer(run.project, Scope.READ))
    nobody = client.post(address)

    assert [stranger.status_code, reader.status_code, nobody.status_code] == [404, 403, 401]
    assert client.post("/api/v1/environments/itd-none-1/release").status_code == 401
    held.refresh_from_db()
    assert held.lease_expires_at > timezone.now()
