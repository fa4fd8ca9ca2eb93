"""Services that truly fail while real tests run, and which of them is blamed for what: on each engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from runs.actions.runs import claim_run, queue_run
from runs.execution.executor import execute
from runs.models import Blame, Event, Run, Service
from runs.tasks import judge_run
from runs.vocabulary import RunStatus, Trigger
from tests.conftest import ROOT
from tests.factories import make_project
from tests.repositories import git

pytestmark = pytest.mark.django_db(transaction=True)

#: Base images that are on this machine, where the public ones may not be.
VARIABLES = {"PYTHON_IMAGE": "itdash-lab/python:3.13", "POSTGRES_IMAGE": "itdash-lab/postgres:17"}


def executed(tmp_path: Path, settings: Settings, engine: str) -> Run:
    settings.DATA_DIR, settings.MEDIA_ROOT, settings.ENGINE = tmp_path / "data", tmp_path / "files", engine
    repository = tmp_path / "ailing"
    shutil.copytree(ROOT / "tests" / "samples" / "ailing", repository)
    git(repository, "init", "--quiet", "--initial-branch", "main")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "Fail in known ways")
    project = make_project(
        "ailing",
        repository_url=str(repository),
        allow_local_engine=True,
        default_branch="main",
        variables=VARIABLES,
    )
    run = queue_run(project=project, suite="ailing", trigger=Trigger.PERSON)
    claim = claim_run(run.pk, owner="worker-a")
    assert claim is not None
    execute(claim)
    judge_run(run.pk)
    run.refresh_from_db()
    return run


@pytest.mark.parametrize("engine", ["local", pytest.param("docker", marks=pytest.mark.engine)])
def test_the_service_that_failed_is_blamed_with_its_evidence_and_no_other(
    tmp_path: Path, settings: Settings, engine: str
) -> None:
    run = executed(tmp_path, settings, engine)

    assert (run.status, run.error_message) == (RunStatus.FAILED, "5 tests failed.")
    found = {blame.case.name: blame for blame in Blame.objects.filter(run=run).select_related("case")}
    told = "\n".join(
        f"{event.at.time()} {event.kind} {event.service} {event.data}" for event in run.events.order_by("at")
    )
    assert {name: blame.services for name, blame in found.items()} == {
        "test_wrong_sum": [],
        # The test stopped it itself: neither its end nor its refusal speaks against it.
        "test_without_users": [],
        "test_server_error": ["user-service"],
        "test_unknown_protocol": ["postgres"],
        "test_crash": ["user-service"],
    }, told
    fault = {one["service"]: one["reasons"] for one in found["test_without_users"].ruled_out}
    assert fault["user-service"][0] == "disturbed on purpose"
    assert fault["postgres"][0] == "up and well throughout"
    [server_error] = found["test_server_error"].suspects[0]["evidence"]
    assert server_error["detail"] == ("3 error lines in its log, first: ERROR users: the table is gone")
    [protocol] = found["test_unknown_protocol"].suspects[0]["evidence"]
    assert protocol["kind"] == "error_lines"
    assert "unsupported frontend protocol 99.0" in protocol["detail"]
    crash = found["test_crash"].suspects[0]
    assert crash["strength"] == "strong"
    assert "died, exit code 3" in [one["detail"] for one in crash["evidence"]]
    # The tests' own container is no service of the system under test.
    services = Service.objects.filter(project=run.project)
    assert set(services.values_list("name", flat=True)) == {"postgres", "user-service"}
    assert services.get(name="user-service").image
    assert run.environment_facts["services"]["user-service"]["depends_on"] == ["postgres"]
    event = Event.objects.get(run=run, kind="blamed")
    assert event.message == "Looked for the service at fault in 5 failures: found for 3."
