"""The example's checkout suite, from a commit to results, on each engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from environments.models import Environment
from runs.actions.runs import claim_run, queue_run
from runs.execution.executor import execute
from runs.models import Project, Result, Run
from runs.vocabulary import RunStatus, Trigger
from tests.conftest import ROOT
from tests.factories import make_project
from tests.repositories import git

pytestmark = pytest.mark.django_db(transaction=True)

#: Base images that are on this machine, where the public ones may not be; and no test that flakes.
VARIABLES = {
    "PYTHON_IMAGE": "itdash-lab/python:3.13",
    "PYTHON_INSTALL": "",
    "POSTGRES_IMAGE": "itdash-lab/postgres:17",
    "VALKEY_IMAGE": "itdash-lab/valkey:8",
    "SHOP_FLAKE_RATE": "0",
}


@pytest.fixture
def project(tmp_path: Path, settings: Settings) -> Project:
    settings.DATA_DIR = tmp_path / "data"
    settings.MEDIA_ROOT = tmp_path / "files"
    shop = tmp_path / "shop"
    shutil.copytree(ROOT / "examples" / "shop", shop, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    git(shop, "init", "--quiet", "--initial-branch", "main")
    git(shop, "add", "--all")
    git(shop, "commit", "--quiet", "--message", "Open the shop")
    return make_project(
        "shop",
        repository_url=str(shop),
        allow_local_engine=True,
        default_branch="main",
        variables=VARIABLES,
    )


@pytest.mark.parametrize("engine", ["local", pytest.param("docker", marks=pytest.mark.engine)])
@pytest.mark.parametrize("suite", ["checkout", "database"])
def test_the_shops_suites_run_and_pass(project: Project, settings: Settings, engine: str, suite: str) -> None:
    settings.ENGINE = engine

    run = executed(project, suite)

    assert (run.status, run.error_message) == (RunStatus.PASSED, "")
    assert run.engine == engine
    assert run.test_count == Result.objects.filter(run=run).count() > 5
    assert run.failed_count == run.errored_count == 0
    assert not Environment.objects.live().exists()
    if suite == "checkout":
        controlled = run.events.filter(kind="control", service="user-service")
        assert {event.data["action"] for event in controlled} >= {"stop", "start"}
        assert run.events.filter(kind="mark").exists()
        assert project.services.filter(name="user-service").exists()


def executed(project: Project, suite: str) -> Run:
    run = queue_run(project=project, suite=suite, trigger=Trigger.PERSON)
    claim = claim_run(run.pk, owner="worker-a")
    assert claim is not None
    execute(claim)
    run.refresh_from_db()
    return run
