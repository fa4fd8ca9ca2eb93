"""SIGKILL at every step of a run: it ends by itself, once, and leaves nothing.

A gate holds the run at the step that is wanted: a lock that git or a table waits for, a file that a health
check or the tests look for. The worker is killed there, the gate opened, and a worker started again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from pytest_django import DjangoDbBlocker

from environments.docker_engine import DockerEngine
from environments.models import Environment
from environments.probes import wait_until
from runs.actions.runs import queue_run
from runs.execution.git import Remote
from runs.models import Project, Result, Run
from runs.vocabulary import FINISHED, RunStatus, Trigger
from tests.chaos.worker import Worker, processes_of
from tests.factories import make_project
from tests.repositories import make_repository

pytestmark = [pytest.mark.chaos, pytest.mark.django_db(transaction=True)]

SUITE_FILE = """
version: 1
suites:
  checkout:
    compose: docker-compose.test.yml
    tests: integration-tests
    results: [/results/**/*.xml]
    artifacts: [/results/*.txt]
    timeout: 1m
"""
COMPOSE = """
services:
  store:
    image: python:3.13
    command: ["python3", "-c", "import time; time.sleep(600)"]
    healthcheck: {test: ["CMD", "test", "-e", "$GATES/store"], interval: 1s, retries: 600}
  integration-tests:
    image: python:3.13
    command: ["python3", "/src/suite.py", "$GATES/tests", "/results"]
    volumes: [".:/src"]
    depends_on:
      store: {condition: service_healthy}
"""
SUITE = """
import pathlib, sys, time
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.05)
pathlib.Path(sys.argv[2], 'junit.xml').write_text(
    '<testsuite>' + ''.join(f'<testcase classname="orders" name="t{i}"/>' for i in range(5)) + '</testsuite>'
)
pathlib.Path(sys.argv[2], 'notes.txt').write_text('all well')
"""


#: In containers nobody can open a gate from here, so each step takes its time.
SLOW_COMPOSE = """
services:
  store:
    image: itdash-lab/python:3.13
    command: ["sh", "-c", "sleep 3; touch /ready; sleep 600"]
    healthcheck: {test: ["CMD", "test", "-e", "/ready"], interval: 1s, retries: 600}
  integration-tests:
    image: itdash-lab/python:3.13
    command:
      - sh
      - -c
      - |
        sleep 3
        mkdir -p /results
        echo '<testsuite><testcase name="a"/><testcase name="b"/></testsuite>' > /results/junit.xml
    depends_on:
      store: {condition: service_healthy}
"""
INSTANCE = f"chaos-{os.getpid()}"


@dataclass
class Site:
    """One installation: its project, its worker, its gates."""

    project: Project
    worker: Worker
    gates: Path
    data: Path

    def open(self, *names: str) -> None:
        for name in names:
            (self.gates / name).touch()

    def queue(self) -> Run:
        return queue_run(project=self.project, suite="checkout", trigger=Trigger.PERSON)

    def executor_of(self, run: Run) -> int:
        """The process that has the run."""
        return int(Run.objects.values_list("lease_owner", flat=True).get(pk=run.pk).rpartition(":")[2])


@pytest.fixture(scope="module")
def workers(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Worker]]:
    """A worker for each engine: what a test killed is started again, the next one finds it running."""
    with django_db_blocker.unblock():
        url = database_url()
    workers = {}
    for engine in ("local", "docker"):
        folder = tmp_path_factory.mktemp(engine)
        variables = {
            "DATABASE_URL": url,
            "BROKER_URL": settings.BROKER_URL,
            "ITDASH_DATA_DIR": str(folder / "data"),
            "ITDASH_ENGINE": engine,
            "ITDASH_INSTANCE": INSTANCE,
        }
        workers[engine] = Worker(folder, variables)
    yield workers
    for one in workers.values():
        one.end()


@pytest.fixture
def site(workers: dict[str, Worker], tmp_path: Path) -> Iterator[Site]:
    workers["docker"].end()
    files = {"itdash.yml": SUITE_FILE, "docker-compose.test.yml": COMPOSE, "suite.py": SUITE}
    with site_of(workers["local"], files, tmp_path) as one:
        yield one


@pytest.fixture
def container_site(workers: dict[str, Worker], tmp_path: Path) -> Iterator[Site]:
    workers["local"].end()
    files = {"itdash.yml": SUITE_FILE, "docker-compose.test.yml": SLOW_COMPOSE}
    with site_of(workers["docker"], files, tmp_path) as one:
        yield one


@contextmanager
def site_of(own_worker: Worker, files: dict[str, str], folder: Path) -> Iterator[Site]:
    if not own_worker.is_alive:
        own_worker.start()
    # Outside of /tmp, which the local engine keeps services' own.
    gates = Path(tempfile.mkdtemp(prefix="itdash-gates-", dir="/var/tmp"))
    project = make_project(
        "shop",
        repository_url=str(make_repository(folder / "repository", files)),
        allow_local_engine=True,
        variables={"GATES": str(gates)},
    )
    try:
        yield Site(project, own_worker, gates, own_worker.folder / "data")
    finally:
        for run in Run.objects.order_by("pk"):
            told = [f"{event.at.time()} {event.kind} {event.message}" for event in run.events.order_by("pk")]
            sys.stdout.write("\n".join([run.status, run.error_message, *told, own_worker.log[-20_000:]]))
        if Run.objects.unfinished().exists():
            own_worker.kill()
        shutil.rmtree(gates)


def database_url() -> str:
    """The tests' own database, as a worker is told of it."""
    known = connection.settings_dict
    place = {
        "host": known["HOST"],
        "port": known["PORT"],
        "user": known["USER"],
        "password": known["PASSWORD"],
    }
    words = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in place.items() if value)
    return f"postgresql:///{known['NAME']}?{words}"


# --- where a run can be held ----------------------------------------------------------------------


@contextmanager
def git_locked(site: Site) -> Iterator[None]:
    """Another run seems to be fetching."""
    mirrors = site.data / "mirrors"
    mirrors.mkdir(parents=True, exist_ok=True)
    with (mirrors / f"{Remote.parse(site.project.repository_url).key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def table_locked(site: Site, name: str) -> Iterator[None]:
    """Nobody can write into the table."""
    with psycopg.connect(database_url()) as other:
        other.execute(f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE")
        yield
        other.rollback()


@contextmanager
def verdict_held(site: Site) -> Iterator[None]:
    """Results are stored, and whoever wants to write how a shard ended waits."""
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute(HOLD_VERDICTS)
        other.execute("SELECT pg_advisory_lock(4711)")
        yield
        other.execute("SELECT pg_advisory_unlock(4711)")
        other.execute("DROP FUNCTION hold_verdict CASCADE")


HOLD_VERDICTS = """
CREATE FUNCTION hold_verdict() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END $$;
CREATE TRIGGER hold_verdict BEFORE UPDATE OF finished_at ON runs_shard FOR EACH ROW
WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL) EXECUTE FUNCTION hold_verdict();
"""


@contextmanager
def gate_closed(site: Site, name: str) -> Iterator[None]:
    """A file that is waited for is not there."""
    (site.gates / name).unlink(missing_ok=True)
    yield
    site.open(name)


def has_event(run: Run, kind: str, **facts: str) -> bool:
    return run.events.filter(kind=kind, **facts).exists()


def has_events(run: Run, kind: str, count: int) -> bool:
    return run.events.filter(kind=kind).count() == count


STEPS: dict[str, tuple[Callable[[Site], object], Callable[[Run], bool]]] = {
    "checkout": (git_locked, lambda run: has_event(run, "checkout_started")),
    "provisioning": (
        lambda site: gate_closed(site, "store"),
        lambda run: has_event(run, "service_started", service="store"),
    ),
    "tests": (lambda site: gate_closed(site, "tests"), lambda run: has_event(run, "tests_started")),
    "collecting": (
        lambda site: table_locked(site, "runs_artifact"),
        lambda run: has_event(run, "reports_collected"),
    ),
    "ingesting": (lambda site: table_locked(site, "runs_testcase"), lambda run: run.reports.exists()),
    "judging": (verdict_held, lambda run: has_event(run, "ingested")),
    "tearing down": (
        lambda site: gate_closed(site, "nothing"),
        lambda run: Run.objects.get(pk=run.pk).status in FINISHED,
    ),
}


@pytest.mark.parametrize(
    ("step", "victim"),
    [
        *((step, "worker") for step in STEPS),
        *((step, "child") for step in ("provisioning", "tests", "ingesting", "judging")),
    ],
)
def test_a_run_survives_the_death_of_its_worker(site: Site, step: str, victim: str) -> None:
    gate, is_there = STEPS[step]
    site.open("store", "tests", "nothing")

    with ExitStack() as gates:
        gates.enter_context(gate(site))  # type: ignore[arg-type]  # each is a context manager
        run = site.queue()
        wait_until(lambda: is_there(run), deadline_seconds=30)
        kill(site, run, victim)
    if victim == "worker":
        site.worker.start()

    wait_until(lambda: Run.objects.get(pk=run.pk).status in FINISHED, deadline_seconds=30)
    run.refresh_from_db()
    assert run.status == RunStatus.PASSED, run.error_message
    assert Result.objects.filter(run=run).count() == 5
    assert run.test_count == 5
    assert run.events.filter(kind="finished").count() == 1
    nothing_is_left(site)


def kill(site: Site, run: Run, victim: str) -> None:
    if victim == "worker":
        site.worker.kill()
    elif (pid := executor_or_none(site, run)) is not None:
        site.worker.kill_child(pid)


def executor_or_none(site: Site, run: Run) -> int | None:
    """A finished run is nobody's; the process that tears it down had claimed it."""
    owner = run.events.filter(kind="claimed").values_list("data__owner", flat=True).first()
    return int(str(owner).rpartition(":")[2]) if owner else None


def nothing_is_left(site: Site) -> None:
    """What remains of lost runs is gone in far less than 90 seconds."""
    wait_until(
        lambda: not Environment.objects.live().exists() and not processes_of(site.data), deadline_seconds=30
    )
    folder = site.data / "checkouts"
    wait_until(lambda: not list(folder.iterdir()) if folder.is_dir() else True, deadline_seconds=10)


@pytest.mark.engine
@pytest.mark.parametrize(("step", "victim"), [("environment_creating", "worker"), ("tests_started", "child")])
def test_containers_of_a_dead_worker_are_removed_and_its_run_goes_on(
    container_site: Site, step: str, victim: str
) -> None:
    site = container_site
    run = site.queue()
    wait_until(lambda: has_event(run, step), deadline_seconds=30)

    kill(site, run, victim)
    if victim == "worker":
        site.worker.start()

    wait_until(lambda: Run.objects.get(pk=run.pk).status in FINISHED, deadline_seconds=60)
    run.refresh_from_db()
    assert run.status == RunStatus.PASSED, run.error_message
    assert Result.objects.filter(run=run).count() == 2
    docker = DockerEngine()
    wait_until(lambda: not docker.environments(INSTANCE), deadline_seconds=60)
    nothing_is_left(site)


def test_a_worker_that_is_stopped_gives_its_run_to_the_next(site: Site) -> None:
    site.open("store")
    run = site.queue()
    wait_until(lambda: has_event(run, "tests_started"), deadline_seconds=30)

    site.worker.ask_to_stop()

    wait_until(lambda: Run.objects.get(pk=run.pk).status == RunStatus.QUEUED, deadline_seconds=10)
    wait_until(lambda: processes_of(site.data) == [], deadline_seconds=10)
    site.worker.wait()
    run.refresh_from_db()
    assert (run.status, run.try_count) == (RunStatus.QUEUED, 0)
    assert processes_of(site.data) == []
    site.open("tests")
    site.worker.start()
    wait_until(lambda: Run.objects.get(pk=run.pk).status in FINISHED, deadline_seconds=30)
    run.refresh_from_db()
    assert run.status == RunStatus.PASSED
    nothing_is_left(site)


def test_a_run_whose_workers_keep_dying_is_given_up_after_two(site: Site) -> None:
    site.open("store")
    run = site.queue()
    for attempt in (1, 2):
        wait_until(partial(has_events, run, "tests_started", attempt), deadline_seconds=30)
        site.worker.kill_child(site.executor_of(run))

    wait_until(lambda: Run.objects.get(pk=run.pk).status in FINISHED, deadline_seconds=30)

    run.refresh_from_db()
    assert (run.status, run.error_reason, run.try_count) == (RunStatus.ERRORED, "worker_lost", 2)
    nothing_is_left(site)
