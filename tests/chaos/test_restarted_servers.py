"""Broker and database go away and come back in the middle of runs: no run is lost, none is run twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from environments.probes import wait_until
from tests.chaos.worker import Worker, processes_of, worker
from tests.conftest import ROOT
from tests.repositories import make_repository
from tests.start_servers import FAST, Started, start_postgres, start_valkey

pytestmark = pytest.mark.chaos

SUITE_FILE = """
version: 1
suites:
  checkout: {compose: compose.yml, tests: tests, results: [/results/*.xml], timeout: 1m}
"""
COMPOSE = """
services:
  tests:
    image: python:3.13
    command: ["python3", "/src/suite.py", "$GATE", "/results/junit.xml"]
    volumes: [".:/src"]
"""
SUITE = """
import pathlib, sys, time
while not pathlib.Path(sys.argv[1]).exists():
    print('waiting', flush=True)
    time.sleep(0.05)
pathlib.Path(sys.argv[2]).write_text('<testsuite><testcase name="a"/><testcase name="b"/></testsuite>')
print('done', flush=True)
"""
MAKE_PROJECT = """
import sys
from runs.actions.projects import create_project
slug, repository, gate = sys.argv[1:]
create_project(
    slug=slug, repository_url=repository, allow_local_engine=True, variables={"GATE": gate}
)
"""
QUEUE = """
import sys
from runs.actions.runs import queue_run
from runs.models import Project
from runs.vocabulary import Trigger
print(queue_run(project=Project.objects.get(slug=sys.argv[1]), suite="checkout", trigger=Trigger.API).pk)
"""


def start_keeping(folder: Path) -> Started:
    """A server that keeps what it committed though it is stopped at once: that is what is tested here."""
    return start_postgres(folder, settings=FAST | {"synchronous_commit": "on"})


@dataclass
class Servers:
    """PostgreSQL and Valkey that can be stopped and started again on what they had."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    _stops: dict[str, Callable[[], None]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        start = {"postgres": start_keeping, "valkey": start_valkey}[name]
        url, self._stops[name] = start(self.folder / name)
        self.variables[{"postgres": "DATABASE_URL", "valkey": "BROKER_URL"}[name]] = url

    def stop(self, name: str) -> None:
        self._stops.pop(name, lambda: None)()


@dataclass
class Site:
    """An installation with servers of its own."""

    servers: Servers
    folder: Path
    gate: Path
    worker: Worker
    project: str

    def queue(self) -> int:
        """Queue a run as the web process does; return its id."""
        return int(self.run(QUEUE, self.project))

    def run(self, code: str, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", f"import django; django.setup()\n{code}", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.servers.variables, "DJANGO_SETTINGS_MODULE": "itdash.settings"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def ask(self, query: str) -> object:
        """The first column of the first row; None while the server is away."""
        with (
            suppress(psycopg.OperationalError),
            psycopg.connect(self.servers.variables["DATABASE_URL"]) as database,
        ):
            row = database.execute(query.encode()).fetchone()
            return row[0] if row else None
        return None

    def wait_for(self, query: str, *, seconds: float = 90) -> None:
        wait_until(lambda: self.ask(query), deadline_seconds=seconds)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("servers"))
    try:
        servers.start("valkey")
        servers.start("postgres")
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            cwd=ROOT,
            env={**os.environ, **servers.variables},
            check=True,
        )
        yield servers
    finally:
        servers.stop("postgres")
        servers.stop("valkey")


@pytest.fixture
def site(servers: Servers, tmp_path: Path) -> Iterator[Site]:
    gates = Path(tempfile.mkdtemp(prefix="itdash-gates-", dir="/var/tmp"))
    repository = make_repository(
        tmp_path / "repository", {"itdash.yml": SUITE_FILE, "compose.yml": COMPOSE, "suite.py": SUITE}
    )
    servers.variables |= {
        "ITDASH_DATA_DIR": str(tmp_path / "data"),
        "ITDASH_ENGINE": "local",
        "ITDASH_INSTANCE": f"restart-{os.getpid()}",
    }
    try:
        with worker(tmp_path / "logs", servers.variables) as one:
            site = Site(servers, tmp_path, gates / "gate", one, project=gates.name.lower())
            site.run(MAKE_PROJECT, site.project, str(repository), str(site.gate))
            yield site
    finally:
        shutil.rmtree(gates)


def test_a_run_survives_a_restart_of_the_database_while_its_tests_run(site: Site) -> None:
    run_id = site.queue()
    site.wait_for(f"SELECT 1 FROM runs_event WHERE run_id = {run_id} AND kind = 'tests_started'")

    site.servers.stop("postgres")
    site.gate.touch()
    # Long enough for the worker to want to write, shorter than it waits.
    wait_until(lambda: "wait for the database" in site.worker.log, deadline_seconds=15)
    site.servers.start("postgres")

    site.wait_for(f"SELECT 1 FROM runs_run WHERE id = {run_id} AND finished_at IS NOT NULL")
    assert site.ask(f"SELECT status FROM runs_run WHERE id = {run_id}") == "passed"
    assert site.ask(f"SELECT count(*) FROM runs_result WHERE run_id = {run_id}") == 2
    assert site.ask(f"SELECT count(*) FROM runs_event WHERE run_id = {run_id} AND kind = 'finished'") == 1
    log = site.ask(f"SELECT string_agg(text, '' ORDER BY id) FROM runs_logchunk WHERE run_id = {run_id}")
    assert str(log).count(" done\n") == 1
    wait_until(lambda: not processes_of(site.folder / "data"), deadline_seconds=30)


def test_a_run_queued_while_the_broker_is_away_is_run_when_it_is_back(site: Site) -> None:
    site.gate.touch()
    site.servers.stop("valkey")

    began = time.monotonic()
    run_id = site.queue()
    assert time.monotonic() - began < 15
    assert site.ask(f"SELECT status FROM runs_run WHERE id = {run_id}") == "queued"
    site.servers.start("valkey")

    site.wait_for(f"SELECT 1 FROM runs_run WHERE id = {run_id} AND status = 'passed'", seconds=60)
    assert site.ask(f"SELECT count(*) FROM runs_result WHERE run_id = {run_id}") == 2
    assert site.ask(f"SELECT try_count FROM runs_run WHERE id = {run_id}") == 1


def test_a_run_goes_on_while_the_broker_is_away(site: Site) -> None:
    run_id = site.queue()
    site.wait_for(f"SELECT 1 FROM runs_event WHERE run_id = {run_id} AND kind = 'tests_started'")

    site.servers.stop("valkey")
    site.gate.touch()

    site.wait_for(f"SELECT 1 FROM runs_run WHERE id = {run_id} AND status = 'passed'")
    site.servers.start("valkey")
    # The bell is rung again for whoever did not hear it; nobody runs the run again.
    again = site.queue()
    site.wait_for(f"SELECT 1 FROM runs_run WHERE id = {again} AND status = 'passed'", seconds=60)
    both = f"{run_id}, {again}"
    assert site.ask(f"SELECT count(*) FROM runs_result WHERE run_id IN ({both})") == 4
    assert site.ask(f"SELECT max(try_count) FROM runs_run WHERE id IN ({both})") == 1
