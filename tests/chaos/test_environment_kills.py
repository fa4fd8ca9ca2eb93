"""A worker killed at any step of an environment's life leaves nothing behind once it is reaped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.conf import settings
from django.db import connection

from environments.docker_engine import DockerEngine
from environments.lifecycle.records import LEASE
from environments.models import Environment, EnvironmentState
from environments.reaper import reap, reap_expired
from tests.conftest import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.chaos, pytest.mark.django_db(transaction=True)]

#: A whole life makes about seventy requests to the engine. Every seventh is a kill point by default;
#: ITDASH_KILL_EVERY=1 dies after each of them.
STEP = int(os.environ.get("ITDASH_KILL_EVERY", "7"))
LAST = 75


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    engine = DockerEngine()
    yield engine
    for ref in engine.environments(settings.INSTANCE):
        engine.remove_environment(ref)
    engine.close()


def live(owner: str, last: int) -> subprocess.CompletedProcess[str]:
    """Let a process of its own live an environment's life, and die after a number of requests."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    name = connection.settings_dict["NAME"]
    url = urlunsplit(parts._replace(path=f"/{name}"))
    return subprocess.run(
        [sys.executable, "-m", "tests.chaos.environment_victim", owner, str(last)],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "itdash.settings"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_life_that_is_not_cut_short_leaves_nothing(engine: DockerEngine) -> None:
    victim = live("kill:whole", 0)

    assert victim.returncode == 0, victim.stderr
    assert engine.environments(settings.INSTANCE) == []
    assert Environment.objects.get().state == EnvironmentState.REMOVED


@pytest.mark.parametrize("last", range(1, LAST, STEP))
def test_a_worker_killed_after_any_request_leaves_nothing_once_reaped(
    engine: DockerEngine, last: int
) -> None:
    victim = live(f"kill:{last}", last)
    assert victim.returncode in {-signal.SIGKILL, 0}, victim.stderr

    held = reap([engine], now=datetime.now(tz=UTC))
    assert held.removed == (), "the lease still holds"

    reaped = reap([engine], now=datetime.now(tz=UTC) + LEASE)

    assert reaped.left == ()
    assert engine.environments(settings.INSTANCE) == []
    assert [row.state for row in Environment.objects.all()] == [EnvironmentState.REMOVED]


def test_the_next_try_removes_what_the_killed_one_left_without_waiting_for_the_reaper(
    engine: DockerEngine,
) -> None:
    assert live("kill:again", 40).returncode == -signal.SIGKILL
    assert len(engine.environments(settings.INSTANCE)) == 1

    assert live("kill:again", 0).returncode == 0

    assert engine.environments(settings.INSTANCE) == []
    states = Environment.objects.order_by("fence").values_list("fence", "state")
    assert list(states) == [(1, EnvironmentState.REMOVED), (2, EnvironmentState.REMOVED)]


def test_without_a_database_the_labels_are_enough(engine: DockerEngine) -> None:
    assert live("kill:labels", 40).returncode == -signal.SIGKILL
    Environment.objects.all().delete()

    early = reap_expired([engine], now=datetime.now(tz=UTC), instance=settings.INSTANCE)
    assert early.removed == ()
    late = reap_expired(
        [engine], now=datetime.now(tz=UTC) + timedelta(minutes=11), instance=settings.INSTANCE
    )

    assert len(late.removed) == 1
    assert engine.environments(settings.INSTANCE) == []
