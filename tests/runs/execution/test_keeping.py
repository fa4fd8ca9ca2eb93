"""Runs whose suite says `keep_on_failure`: which leave an environment to look at, and for how long."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from environments import engines
from environments.engine import ServiceStatus
from environments.models import Environment, EnvironmentState
from environments.probes import wait_until
from environments.reaper import reap
from runs.actions.runs import cancel_run, claim_run, queue_run, rerun_run
from runs.execution.executor import execute
from runs.models import Project, Run
from runs.vocabulary import RunStatus, Trigger
from tests.factories import make_project
from tests.repositories import commit, make_repository

pytestmark = pytest.mark.django_db(transaction=True)

SUITE_FILE = """
version: 1
suites:
  checkout:
    compose: docker-compose.test.yml
    tests: integration-tests
    results: [/results/**/*.xml]
    timeout: 1m
    keep_on_failure: 30m
"""
COMPOSE = """
services:
  api:
    image: itdash-lab/python:3.13
    command: ["python3", "-c", "print('up', flush=True); import time; time.sleep(600)"]
  integration-tests:
    image: itdash-lab/python:3.13
    command: ["python3", "/src/suite.py", "/results"]
    volumes: [".:/src"]
    depends_on: [api]
"""
PASSED = '<testsuite><testcase classname="orders" name="create"/></testsuite>'
FAILED = (
    '<testsuite><testcase classname="orders" name="conflict"><failure message="409"/></testcase></testsuite>'
)


def writing(report: str, *, then: str = "") -> str:
    """A suite that writes a report and does something more."""
    return (
        "import pathlib, sys, time\n"
        "results = pathlib.Path(sys.argv[1])\n"
        "results.mkdir(exist_ok=True)\n"
        f"(results / 'junit.xml').write_text({report!r})\n"
        f"{then}\n"
    )


@pytest.fixture(params=["local"])
def project(request: pytest.FixtureRequest, tmp_path: Path, settings: Settings) -> Iterator[Project]:
    settings.DATA_DIR = tmp_path / "data"
    settings.MEDIA_ROOT = tmp_path / "files"
    settings.ENGINE = request.param
    settings.INSTANCE = f"keeping-{os.getpid()}"
    files = {"itdash.yml": SUITE_FILE, "docker-compose.test.yml": COMPOSE, "suite.py": writing(FAILED)}
    make_repository(tmp_path / "repository", files)
    yield make_project(
        "shop", repository_url=str(tmp_path / "repository"), allow_local_engine=True, default_branch="main"
    )
    for row in Environment.objects.all():
        assert engines.engine_named(row.engine).remove_environment(row.ref) == []


def executed(project: Project, **values: str) -> Run:
    run = queue_run(project=project, suite="checkout", trigger=Trigger.PERSON, **values)  # type: ignore[arg-type]  # the test's own words
    return carried_out(run)


def carried_out(run: Run) -> Run:
    claim = claim_run(run.pk, owner="worker-a")
    assert claim is not None
    execute(claim)
    run.refresh_from_db()
    return run


def change(project: Project, name: str, text: str) -> None:
    commit(Path(project.repository_url), {name: text})


def environment_of(run: Run) -> Environment:
    return Environment.objects.get(owner=f"run:{run.pk}")


def kinds(run: Run) -> list[str]:
    return list(run.events.order_by("at", "pk").values_list("kind", flat=True))


@pytest.mark.parametrize(
    "project", [pytest.param("docker", marks=pytest.mark.engine), "local"], indirect=True
)
def test_a_run_whose_tests_failed_is_finished_and_leaves_its_environment_up(project: Project) -> None:
    run = executed(project)

    assert (run.status, run.verdict) == (RunStatus.FAILED, "fail")
    row = environment_of(run)
    assert (row.state, row.held_because, row.held_for) == (
        EnvironmentState.HELD,
        "1 test failed.",
        f"project:{project.pk}",
    )
    assert row.held_at is not None
    assert row.held_until == row.held_at + timedelta(minutes=30)
    engine = engines.engine_named(row.engine)
    assert engine.inspect_service(row.ref, "api").status is ServiceStatus.RUNNING
    assert engine.inspect_service(row.ref, "integration-tests").status is ServiceStatus.EXITED
    told = kinds(run)
    # Whoever hears of the run's end hears that it is held.
    assert told.index("environment_held") < told.index("finished")
    assert "environment_removed" not in told


def test_the_end_on_its_labels_allows_for_the_longest_hold(project: Project, settings: Settings) -> None:
    settings.HELD_LONGEST_SECONDS = 7200

    row = environment_of(executed(project))

    assert row.held_at is not None
    assert row.expires_at > row.held_at + timedelta(seconds=7200)
    assert row.ref.expires == int(row.expires_at.timestamp())


def test_a_wish_beyond_the_longest_is_cut_and_the_run_says_so(project: Project, settings: Settings) -> None:
    settings.HELD_LONGEST_SECONDS = 600

    run = executed(project)

    row = environment_of(run)
    assert row.held_at is not None
    assert row.held_until == row.held_at + timedelta(minutes=10)
    assert run.events.filter(
        kind="notice",
        message="`keep_on_failure` asks for 30 min; an environment is held for 10 min at most "
        "(ITDASH_HELD_LONGEST_SECONDS).",
    ).exists()


def test_a_run_whose_tests_passed_leaves_nothing(project: Project) -> None:
    change(project, "suite.py", writing(PASSED))

    run = executed(project)

    assert run.status == RunStatus.PASSED
    assert environment_of(run).state == EnvironmentState.REMOVED


def test_tests_that_ran_out_of_time_are_still_where_they_hang(project: Project) -> None:
    change(project, "itdash.yml", SUITE_FILE.replace("timeout: 1m", "timeout: 1s"))
    change(project, "suite.py", writing(PASSED, then="time.sleep(600)"))

    run = executed(project)

    assert run.status == RunStatus.TIMED_OUT
    row = environment_of(run)
    assert row.state == EnvironmentState.HELD
    tests = engines.engine_named("local").inspect_service(row.ref, "integration-tests")
    assert tests.status is ServiceStatus.RUNNING


def test_one_that_does_not_come_up_is_held_with_the_reason(project: Project) -> None:
    broken = COMPOSE.replace("depends_on: [api]", "depends_on: {api: {condition: service_healthy}}").replace(
        '    image: itdash-lab/python:3.13\n    command: ["python3", "-c", "print(\'up\'',
        "    image: itdash-lab/python:3.13\n    healthcheck: {test: [CMD, 'false']}\n"
        '    command: ["python3", "-c", "raise SystemExit(3); print(\'up\'',
        1,
    )
    change(project, "docker-compose.test.yml", broken)

    run = executed(project)

    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "service_exited")
    row = environment_of(run)
    assert row.state == EnvironmentState.HELD
    assert "api" in row.held_because
    assert row.ready_at is None


def test_one_whose_before_command_failed_is_held(project: Project) -> None:
    change(project, "itdash.yml", f"{SUITE_FILE}    before: [{{service: api, run: 'exit 7'}}]\n")

    run = executed(project)

    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "hook")
    row = environment_of(run)
    assert row.state == EnvironmentState.HELD
    assert row.held_because.startswith("The `before` command `exit 7` in api ended with 7.")


def test_a_cancelled_run_leaves_nothing(project: Project) -> None:
    change(project, "suite.py", writing(FAILED, then="time.sleep(600)"))
    run = queue_run(project=project, suite="checkout", trigger=Trigger.PERSON)

    def cancel() -> None:
        wait_until(
            lambda: Run.objects.filter(pk=run.pk, status=RunStatus.RUNNING).exists(), deadline_seconds=60
        )
        cancel_run(run_id=run.pk, by=None)
        connection.close()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    carried_out(run)
    canceller.join(60)

    assert run.status == RunStatus.CANCELLED
    assert environment_of(run).state == EnvironmentState.REMOVED


def test_a_run_that_is_cancelled_lets_go_of_what_its_failed_shard_left(project: Project) -> None:
    change(project, "itdash.yml", SUITE_FILE.replace("timeout: 1m", "timeout: 1m\n    shards: 2"))
    waits = "import os\nif os.environ['ITDASH_SHARD'] == '2':\n    time.sleep(600)"
    change(project, "suite.py", writing(FAILED, then=waits))
    run = queue_run(project=project, suite="checkout", trigger=Trigger.PERSON)

    def cancel() -> None:
        wait_until(
            lambda: Environment.objects.filter(shard=1, state=EnvironmentState.HELD).exists(),
            deadline_seconds=60,
        )
        cancel_run(run_id=run.pk, by=None)
        connection.close()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    carried_out(run)
    canceller.join(60)

    assert run.status == RunStatus.CANCELLED
    first = Environment.objects.get(shard=1)
    assert (first.state, first.held_until) == (EnvironmentState.HELD, first.lease_expires_at)
    assert first.name in reap([engines.engine_named("local")], now=datetime.now(tz=UTC)).removed


def test_a_rerun_has_an_environment_of_its_own_beside_the_held_one(project: Project) -> None:
    first = executed(project)

    second = carried_out(rerun_run(run_id=first.pk, by=None))

    assert [environment_of(run).state for run in (first, second)] == [EnvironmentState.HELD] * 2
    assert environment_of(first).name != environment_of(second).name


def test_without_room_the_run_says_why_its_environment_is_gone(project: Project, settings: Settings) -> None:
    settings.HELD_PER_PROJECT = 1
    first = executed(project)

    second = executed(project)

    assert environment_of(first).state == EnvironmentState.HELD
    assert environment_of(second).state == EnvironmentState.REMOVED
    assert second.events.filter(
        message__startswith="The environment is not held for a look: 1 of this"
    ).exists()
