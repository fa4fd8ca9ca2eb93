"""An engine that goes away, and a database that is lost: what was made is gone soon after they are back."""

from __future__ import annotations

import gc
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from pytest_django.fixtures import Settings

from environments.docker_engine import DockerEngine
from environments.errors import EnvironmentFailedError, FailureKind
from environments.labels import EnvironmentRef
from environments.lifecycle import Happening, HappeningKind
from environments.models import Environment, EnvironmentState
from environments.probes import SYSTEM_CLOCK, wait_until
from environments.reaper import reap
from environments.spec import Mount, MountKind
from runs.actions.projects import create_project
from runs.actions.runs import claim_run, queue_run
from runs.execution.executor import execute
from runs.models import Run
from runs.vocabulary import RunStatus, Trigger
from tests.chaos.private_engine import PrivateEngine
from tests.conftest import ROOT
from tests.contract.services import needs, service, slow_service, spec_of
from tests.environments.lab import Lab
from tests.executing import kinds, tell
from tests.repositories import make_repository

pytestmark = [
    pytest.mark.engine,
    pytest.mark.chaos,
    pytest.mark.django_db(transaction=True),
    # The SDK leaves a socket to the collector when nobody listens at the other end.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

#: Somebody else's: without labels, with another's labels, with half of ours.
STRANGERS = (
    ["network", "create", "--subnet", "10.214.255.0/26", "stranger"],
    ["network", "create", "--subnet", "10.214.255.64/26", "--label", "itdash.instance=another", "another"],
    ["volume", "create", "stranger"],
    ["volume", "create", "--label", "itdash.instance=another", "--label", "itdash.expires=1", "another"],
    ["volume", "create", "--label", "itdash.environment=itd-00000000-1", "half"],
    ["container", "create", "--name", "stranger", "--network", "none", "itdash-lab/python:3.13", "true"],
)
#: After the engine's return: a round of the reaper comes within its interval.
PROMISED_SECONDS = 90.0


@pytest.fixture(autouse=True)
def _nothing_unclosed_for_others() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def strangers(own_engine: PrivateEngine) -> Iterator[set[str]]:
    """Everything on the engine that has to be there in the end: what is not ours."""
    assert own_engine.objects() == set()
    for words in STRANGERS:
        own_engine.command(*words)
    yield own_engine.objects()
    own_engine.ensure_running()
    own_engine.command("container", "rm", "stranger")
    own_engine.command("network", "rm", "stranger", "another")
    own_engine.command("volume", "rm", "stranger", "another", "half")


@pytest.fixture
def engine(own_engine: PrivateEngine) -> Iterator[DockerEngine]:
    engine = own_engine.client()
    yield engine
    own_engine.ensure_running()
    for ref in engine.environments(settings.INSTANCE):
        engine.remove_environment(ref)
    engine.close()


def goes_away_with(own_engine: PrivateEngine, lab: Lab, moment: HappeningKind, *, at_once: bool) -> None:
    """Live an environment's life on an engine that stops when something happens."""
    happened = threading.Event()

    def watch() -> None:
        happened.wait(60)
        own_engine.stop(at_once=at_once)

    def hear(happening: Happening) -> None:
        lab.happenings.append(happening)
        if happening.kind is moment:
            happened.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    # As most do, it does nothing about SIGTERM.
    program = "import time; time.sleep(600)"
    named = Mount(MountKind.VOLUME, "/named", "named")
    tests = service("tests", program, depends_on=needs("db"), mounts=(named,))
    spec = spec_of(slow_service("db", ready_after=1.0), tests, volumes=("named",))
    try:
        with lab.provisioned(spec, hear=hear) as environment:
            environment.start_tests()
            if moment is HappeningKind.TESTS_STARTED:
                environment.wait_for_tests(deadline_seconds=60)
    finally:
        happened.set()
        watcher.join(60)


@pytest.mark.parametrize(
    ("moment", "at_once"),
    [
        (HappeningKind.SERVICE_STARTED, True),
        (HappeningKind.TESTS_STARTED, True),
        (HappeningKind.TESTS_STARTED, False),
        (HappeningKind.REMOVING, False),
    ],
)
def test_what_an_engine_took_along_is_gone_soon_after_its_return(
    own_engine: PrivateEngine, engine: DockerEngine, strangers: set[str], moment: HappeningKind, at_once: bool
) -> None:
    lab = Lab(engine)
    if moment is HappeningKind.REMOVING:
        goes_away_with(own_engine, lab, moment, at_once=at_once)
    else:
        with pytest.raises(EnvironmentFailedError) as caught:
            goes_away_with(own_engine, lab, moment, at_once=at_once)
        assert caught.value.kind is FailureKind.ENGINE_UNAVAILABLE
        assert Environment.objects.get().failure_kind == "engine_unavailable"
    own_engine.ensure_running()

    began = time.monotonic()
    # The owner has given its lease up or the lapse of it is waited for: a round of the reaper is enough.
    reaped = reap([engine], now=Environment.objects.get().lease_expires_at)
    seconds = time.monotonic() - began

    assert reaped.left == ()
    assert own_engine.objects() == strangers
    assert Environment.objects.get().state == EnvironmentState.REMOVED
    assert settings.ENVIRONMENT_LEASE_SECONDS + settings.REAP_INTERVAL_SECONDS + seconds <= PROMISED_SECONDS


def test_a_run_whose_engine_goes_away_is_tried_once_more_when_it_is_back(
    own_engine: PrivateEngine,
    engine: DockerEngine,
    strangers: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", own_engine.url)
    settings.DATA_DIR = tmp_path / "data"
    settings.ENGINE = "docker"
    run = queued(tmp_path)
    claim = claim_run(run.pk, owner="worker-a")
    assert claim is not None

    watcher = threading.Thread(target=_stop_with_the_tests, args=(own_engine, run.pk))
    watcher.start()
    execute(claim)
    watcher.join(60)

    run.refresh_from_db()
    tell(run)
    assert (run.status, run.error_reason, run.try_count) == (RunStatus.QUEUED, "", 1)
    assert kinds(run).count("requeued") == 1

    second = claim_run(run.pk, owner="worker-b")
    assert second is not None
    # It comes back while the second try waits for it.
    back = threading.Timer(0.5, own_engine.ensure_running)
    back.start()
    execute(second)
    back.join()

    run.refresh_from_db()
    tell(run)
    assert (run.status, run.try_count, run.passed_count) == (RunStatus.PASSED, 2, 1)
    assert reap([engine], now=SYSTEM_CLOCK.now()).left == ()
    assert own_engine.objects() == strangers


def queued(folder: Path) -> Run:
    """A run whose tests take their time at the first try alone."""
    suite = {
        "itdash.yml": """
version: 1
suites:
  checkout: {compose: compose.yml, tests: tests, results: [/results/*.xml], timeout: 2m}
""",
        "compose.yml": """
services:
  tests:
    image: itdash-lab/python:3.13
    command: ["python3", "/src/suite.py"]
    volumes: [".:/src"]
""",
        "suite.py": """
import pathlib, time
time.sleep(3)
pathlib.Path('/results').mkdir()
pathlib.Path('/results/junit.xml').write_text('<testsuite><testcase name="a"/></testsuite>')
""",
    }
    repository = make_repository(folder / "repository", suite)
    project = create_project(slug=f"engine-{secrets.token_hex(4)}", repository_url=str(repository))
    return queue_run(project=project, suite="checkout", trigger=Trigger.API)


def _stop_with_the_tests(own_engine: PrivateEngine, run_id: int) -> None:
    try:
        running = Run.objects.filter(pk=run_id, status=RunStatus.RUNNING)
        wait_until(running.exists, deadline_seconds=60)
        own_engine.stop(at_once=True)
    finally:
        connection.close()


def test_without_a_database_a_timer_on_the_engines_machine_removes_what_is_past_its_end(
    own_engine: PrivateEngine, engine: DockerEngine, strangers: set[str]
) -> None:
    now = int(time.time())
    expired, fresh = (
        EnvironmentRef(f"itd-{secrets.token_hex(4)}-1", settings.INSTANCE, "run:1", 1, expires)
        for expires in (now - 1, now + 600)
    )
    other = EnvironmentRef(f"itd-{secrets.token_hex(4)}-1", "another", "run:1", 1, now - 1)
    anonymous = Mount(MountKind.VOLUME, "/anonymous")
    spec = spec_of(service("db", mounts=(anonymous,)), volumes=("named",))
    for ref in (expired, fresh, other):
        engine.create_environment(ref, spec)
    for ref in (expired, fresh):
        engine.create_service(ref, spec, spec.services["db"])
        engine.start_service(ref, "db")
    # The machine lost power: containers are there and do not run.
    own_engine.stop(at_once=True)
    own_engine.ensure_running()

    done = subprocess.run(
        [sys.executable, "manage.py", "reap_environments", "--expired", "--instance", settings.INSTANCE],
        cwd=ROOT,
        env={
            **os.environ,
            "DOCKER_HOST": own_engine.url,
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.splitlines() == [f"removed {expired.name}", "1 removed, 0 left"]
    assert engine.environments(settings.INSTANCE) == [fresh]
    assert engine.environments("another") == [other]
    assert engine.remove_environment(fresh) == []
    assert engine.remove_environment(other) == []
    assert own_engine.objects() == strangers
