"""A process that is killed at any point of an environment's life leaves nothing behind once it is reaped."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.conf import settings
from django.db import connection
from django.db.models import Max, Min

from environments.docker_engine import DockerEngine
from environments.engine import Engine
from environments.lifecycle.records import LEASE
from environments.local_engine import LocalEngine
from environments.models import Environment, EnvironmentState
from environments.probes import steadily, wait_until
from environments.reaper import reap
from tests.chaos.kill_points import Moment, Point, drawn, in_words
from tests.chaos.private_engine import PrivateEngine
from tests.chaos.worker import processes_of
from tests.conftest import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.chaos, pytest.mark.django_db(transaction=True)]

#: More points, elsewhere: ITDASH_KILL_POINTS=500 ITDASH_KILL_SEED=random.
POINTS = int(os.environ.get("ITDASH_KILL_POINTS", "50"))
LOCAL_POINTS = max(12, POINTS // 5)
_SEED = os.environ.get("ITDASH_KILL_SEED", "4")
SEED = secrets.randbelow(10**6) if _SEED == "random" else int(_SEED)
#: After this everything has to be gone.
PROMISED_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Life:
    """How one process ended."""

    owner: str
    code: int
    #: When its end was seen, in seconds since the epoch.
    at: float
    #: Of one that lived to its end: how often it did what.
    counts: dict[str, int]


class Nursery:
    """Lets processes live and die on one engine, with this test's database."""

    def __init__(self, address: str, folder: Path) -> None:
        self._address = address
        self._folder = folder

    def lives(self, owner: str, points: Sequence[Point] = (), **variables: str) -> list[Life]:
        """One life for each point; one to its end without."""
        parts = urlsplit(os.environ["DATABASE_URL"])
        url = urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}"))
        words = [json.dumps([asdict(point) for point in points])] if points else []
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.chaos.environment_victim",
                self._address,
                self._folder,
                owner,
                *words,
            ],
            cwd=ROOT,
            env={**os.environ, **variables, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "itdash.settings"},
            capture_output=True,
            text=True,
            timeout=120 + 20 * len(points),
            check=False,
        )
        assert done.returncode == 0, done.stderr
        lives = [json.loads(line) for line in done.stdout.splitlines()]
        wrong = [life for life in lives if life["code"] not in {0, -9}]
        assert not wrong, done.stderr
        return [Life(**{"counts": {}, **life}) for life in lives]


def live(life: Life) -> bool:
    return life.code == 0


def say(*lines: str) -> None:
    """Into the output that a failed test shows, and `-s`."""
    sys.stdout.write("\n  ".join(lines) + "\n")


@pytest.fixture
def containers(own_engine: PrivateEngine, tmp_path: Path) -> Nursery:
    return Nursery(own_engine.url, tmp_path)


@pytest.fixture
def engine(own_engine: PrivateEngine) -> Iterator[DockerEngine]:
    engine = own_engine.client()
    yield engine
    for ref in engine.environments(settings.INSTANCE):
        engine.remove_environment(ref)
    engine.close()


def reap_after_the_leases(engine: Engine) -> float:
    """Reap before and after the leases of all that died lapse; return how long the second round took."""
    leases: dict[str, Any] = Environment.objects.live().aggregate(
        first=Min("lease_expires_at"), last=Max("lease_expires_at")
    )
    if leases["first"] is not None:
        held = reap([engine], now=leases["first"] - timedelta(seconds=1))
        assert held.removed == (), "the leases still hold"
    began = time.monotonic()
    reaped = reap([engine], now=leases["last"] or datetime.now(tz=UTC))
    assert reaped.left == ()
    return time.monotonic() - began


def assert_all_in_time(reaped_seconds: float) -> None:
    """Whenever a process died: its lease, the longest until the next round, and the round itself."""
    seconds = LEASE.total_seconds() + settings.REAP_INTERVAL_SECONDS + reaped_seconds
    say(f"all gone {seconds:.1f} s after the last one died at the latest; reaped in {reaped_seconds:.1f} s")
    assert seconds <= PROMISED_SECONDS


def test_processes_killed_at_fifty_random_points_leave_nothing_once_reaped(
    own_engine: PrivateEngine, containers: Nursery, engine: DockerEngine
) -> None:
    before = own_engine.objects()
    [whole] = containers.lives("whole")
    assert live(whole)
    assert own_engine.objects() == before
    assert Environment.objects.get().state == EnvironmentState.REMOVED
    points = drawn(whole.counts, POINTS, SEED)
    say(f"seed {SEED}:", *in_words(points))

    killed = containers.lives("kill", points)

    assert [life.owner for life in killed if live(life)] == [], "these were not killed"
    assert len(killed) == POINTS
    assert_all_in_time(reap_after_the_leases(engine))
    assert own_engine.objects() == before
    states = Environment.objects.values_list("state", flat=True)
    assert set(states) == {EnvironmentState.REMOVED}


def test_processes_killed_over_a_local_engine_leave_no_process_and_no_folder(tmp_path: Path) -> None:
    root = tmp_path / "environments"
    nursery = Nursery(str(root), tmp_path)
    [whole] = nursery.lives("whole")
    assert live(whole)
    points = drawn(whole.counts, LOCAL_POINTS, SEED)
    say(f"seed {SEED}:", *in_words(points))

    killed = nursery.lives("kill", points)

    assert [life.owner for life in killed if live(life)] == [], "these were not killed"
    assert_all_in_time(reap_after_the_leases(LocalEngine(root)))
    assert processes_of(root) == []
    assert [entry.name for entry in root.iterdir() if entry.name.startswith("itd-")] == []


def test_what_a_killed_process_left_goes_by_itself_as_time_passes(
    containers: Nursery, engine: DockerEngine, own_engine: PrivateEngine
) -> None:
    # In real time, with a lease of 3 s and a round a second; the rest of the promise is arithmetic.
    before = own_engine.objects()
    lease_seconds, round_seconds = 3.0, 1.0
    while_it_runs = [Point("collect", 1, Moment.BEFORE), Point("start", 2, Moment.AFTER)]

    killed = containers.lives("time", while_it_runs, ITDASH_ENVIRONMENT_LEASE_SECONDS="3")
    assert own_engine.objects() > before

    def is_gone() -> bool:
        assert reap([engine], now=datetime.now(tz=UTC)).left == ()
        return own_engine.objects() == before

    wait_until(is_gone, deadline_seconds=PROMISED_SECONDS, pauses=steadily(round_seconds))
    seconds = time.time() - min(life.at for life in killed)
    usual = seconds - lease_seconds - round_seconds + LEASE.total_seconds() + settings.REAP_INTERVAL_SECONDS
    say(f"gone {seconds:.1f} s after the first died; with the usual lease and rounds {usual:.1f} s")
    assert usual <= PROMISED_SECONDS


def test_the_next_try_removes_what_the_killed_one_left_without_waiting_for_the_reaper(
    containers: Nursery, engine: DockerEngine
) -> None:
    [killed] = containers.lives("again", [Point("start", 2, Moment.AFTER)])
    assert not live(killed)
    assert len(engine.environments(settings.INSTANCE)) == 1

    [whole] = containers.lives("again")
    assert live(whole)

    assert engine.environments(settings.INSTANCE) == []
    states = Environment.objects.order_by("fence").values_list("fence", "state")
    assert list(states) == [(1, EnvironmentState.REMOVED), (2, EnvironmentState.REMOVED)]
