"""A worker that is killed around the moment at which an environment is held leaks nothing and holds nothing
beyond its time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from environments.lifecycle.records import LEASE
from environments.local_engine import LocalEngine
from environments.models import Environment, EnvironmentState
from environments.reaper import reap
from tests.conftest import ROOT

pytestmark = [pytest.mark.chaos, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def engine(tmp_path: Path, settings: Settings) -> Iterator[LocalEngine]:
    settings.INSTANCE = f"held-{os.getpid()}"
    engine = LocalEngine(tmp_path / "environments")
    yield engine
    for ref in engine.environments(settings.INSTANCE):
        engine.remove_environment(ref)


def killed(folder: Path, instance: str, point: str) -> Environment:
    """The environment of a process that was killed there."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    url = urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.holding_victim", str(folder), instance, point],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "itdash.settings"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    return Environment.objects.get(owner=f"run:{point}")


def test_one_that_is_killed_before_it_is_held_goes_with_its_lease(
    engine: LocalEngine, tmp_path: Path, settings: Settings
) -> None:
    row = killed(tmp_path / "environments", settings.INSTANCE, "before")

    assert row.state == EnvironmentState.READY
    reaped = reap([engine], now=datetime.now(tz=UTC) + LEASE + timedelta(seconds=1))

    assert reaped.removed == (row.name,)
    assert engine.environments(settings.INSTANCE) == []


@pytest.mark.parametrize("point", ["held", "left"])
def test_one_that_is_killed_once_it_is_held_stays_until_its_time_is_up(
    engine: LocalEngine, tmp_path: Path, settings: Settings, point: str
) -> None:
    row = killed(tmp_path / "environments", settings.INSTANCE, point)

    assert row.state == EnvironmentState.HELD
    assert row.held_until is not None
    early = reap([engine], now=row.held_until - timedelta(seconds=1))
    late = reap([engine], now=row.held_until + timedelta(seconds=1))

    assert early.removed == ()
    assert late.removed == (row.name,)
    assert engine.environments(settings.INSTANCE) == []
    row.refresh_from_db()
    assert row.state == EnvironmentState.REMOVED
