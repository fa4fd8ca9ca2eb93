"""The reaper: what nobody holds goes, what somebody holds stays, what is not ours is never touched."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from environments import engines
from environments.engine import Engine
from environments.labels import EnvironmentRef
from environments.local_engine import LocalEngine
from environments.models import Environment, EnvironmentState
from environments.reaper import LOCK_KEY, Reaped, reap, reap_expired
from environments.spec import EnvironmentSpec
from environments.tasks import reap_environments

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
_numbers = itertools.count(1)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return LocalEngine(tmp_path / "environments")


def make_environment(engine: Engine, **facts: object) -> Environment:
    number = next(_numbers)
    defaults: dict[str, object] = {
        "name": f"itd-{number:08x}-1",
        "instance": settings.INSTANCE,
        "owner": f"run:{number}",
        "fence": 1,
        "engine": engine.name,
        "lease_expires_at": NOW + timedelta(seconds=20),
        "expires_at": NOW + timedelta(hours=1),
    }
    row = Environment.objects.create(**(defaults | facts))
    engine.create_environment(row.ref, EnvironmentSpec({}))
    return row


def names(engine: Engine) -> list[str]:
    return [ref.name for ref in engine.environments(settings.INSTANCE)]


def test_a_held_environment_is_left_alone(engine: Engine) -> None:
    row = make_environment(engine)

    assert reap([engine], now=NOW) == Reaped()

    assert names(engine) == [row.name]
    row.refresh_from_db()
    assert row.state == EnvironmentState.CREATING


def test_an_environment_whose_lease_has_passed_is_removed_and_its_row_closed(engine: Engine) -> None:
    row = make_environment(engine, lease_expires_at=NOW - timedelta(seconds=1))

    assert reap([engine], now=NOW) == Reaped(removed=(row.name,), closed_count=1)

    assert names(engine) == []
    row.refresh_from_db()
    assert (row.state, row.removed_at) == (EnvironmentState.REMOVED, NOW)


def test_an_environment_past_its_end_is_removed_though_its_lease_holds(engine: Engine) -> None:
    row = make_environment(engine, expires_at=NOW - timedelta(seconds=1))

    assert reap([engine], now=NOW).removed == (row.name,)


def test_an_environment_without_a_row_is_removed(engine: Engine) -> None:
    row = make_environment(engine)
    Environment.objects.all().delete()

    assert reap([engine], now=NOW).removed == (row.name,)


def test_what_appears_again_after_its_row_was_closed_is_removed(engine: Engine) -> None:
    # A process that was frozen for an hour goes on creating things nobody waits for.
    row = make_environment(engine, lease_expires_at=NOW - timedelta(seconds=1))
    reap([engine], now=NOW)
    engine.create_environment(row.ref, EnvironmentSpec({}))

    assert reap([engine], now=NOW).removed == (row.name,)


def test_a_row_of_which_nothing_exists_is_closed(engine: Engine) -> None:
    row = make_environment(engine, lease_expires_at=NOW - timedelta(seconds=1))
    engine.remove_environment(row.ref)

    assert reap([engine], now=NOW) == Reaped(closed_count=1)


def test_a_row_on_an_engine_that_does_not_answer_stays_open(engine: Engine) -> None:
    row = make_environment(engine, lease_expires_at=NOW - timedelta(seconds=1))
    Environment.objects.update(engine="docker")
    engine.remove_environment(row.ref)

    assert reap([engine], now=NOW).closed_count == 0


def test_an_environment_that_is_held_anew_during_the_round_is_left_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its owner was cut off from the database, and is back while the reaper removes others.
    lapsed = [make_environment(engine, lease_expires_at=NOW - timedelta(seconds=1)) for _ in range(5)]
    last = names(engine)[-1]
    remove = engine.remove_environment
    removed: list[str] = []

    def removing(ref: EnvironmentRef) -> list[str]:
        removed.append(ref.name)
        with psycopg.connect(**dsn()) as other:
            other.execute(
                "UPDATE environments_environment SET lease_expires_at = %s WHERE name = %s",
                [NOW + timedelta(seconds=30), last],
            )
        return remove(ref)

    monkeypatch.setattr(engine, "remove_environment", removing)

    result = reap([engine], now=NOW)

    assert len(lapsed) == 5
    assert sorted(result.removed) == sorted(removed)
    assert last not in removed
    assert names(engine) == [last]


def test_another_installations_environments_are_never_touched(engine: Engine) -> None:
    foreign = EnvironmentRef("itd-ffffffff-1", "somebody-else", "run:1", 1, int(NOW.timestamp()) - 9999)
    engine.create_environment(foreign, EnvironmentSpec({}))

    assert reap([engine], now=NOW) == Reaped()
    assert reap_expired([engine], now=NOW, instance=settings.INSTANCE) == Reaped()

    assert engine.environments("somebody-else") == [foreign]
    engine.remove_environment(foreign)


def test_labels_alone_remove_only_what_is_past_its_end(engine: Engine) -> None:
    fresh = make_environment(engine, lease_expires_at=NOW - timedelta(hours=1))
    expired = make_environment(engine, expires_at=NOW - timedelta(seconds=1))
    Environment.objects.all().delete()

    assert reap_expired([engine], now=NOW, instance=settings.INSTANCE).removed == (expired.name,)

    assert names(engine) == [fresh.name]
    engine.remove_environment(fresh.ref)


def test_what_cannot_be_removed_is_said_and_its_row_stays_open(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = make_environment(engine, lease_expires_at=NOW - timedelta(seconds=1))
    monkeypatch.setattr(engine, "remove_environment", lambda _: ["volume stuck"])

    result = reap([engine], now=NOW)

    assert result == Reaped(left=(f"{row.name}: volume stuck",))
    row.refresh_from_db()
    assert row.state == EnvironmentState.CREATING


def dsn() -> dict[str, Any]:
    """How another process reaches this test's database."""
    known = connection.settings_dict
    return {"host": known["HOST"], "port": known["PORT"], "user": known["USER"], "dbname": known["NAME"]}


def test_one_reaper_works_at_a_time(engine: Engine) -> None:
    make_environment(engine, lease_expires_at=NOW - timedelta(seconds=1))
    with psycopg.connect(**dsn()) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])

        assert reap([engine], now=NOW) == Reaped(is_skipped=True)
        other.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])

    assert len(reap([engine], now=NOW).removed) == 1


def test_the_lock_is_given_back_when_the_reaper_breaks(engine: Engine) -> None:
    class Broken(LocalEngine):
        def environments(self, instance: str) -> list[EnvironmentRef]:
            raise MemoryError(instance)

    with pytest.raises(MemoryError):
        reap([Broken(Path("/nowhere"))], now=NOW)

    assert reap([engine], now=NOW) == Reaped()


@pytest.fixture
def only(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Engine]]:
    """The engines that the task and the command find."""
    found = lambda: [engine]  # noqa: E731 - one expression
    monkeypatch.setattr("environments.tasks.available_engines", found)
    monkeypatch.setattr("environments.management.commands.reap_environments.available_engines", found)
    return found


def test_the_task_reaps_every_engine_that_answers(engine: Engine, only: object) -> None:
    make_environment(engine, lease_expires_at=datetime.now(tz=UTC) - timedelta(seconds=1))

    reap_environments()

    assert names(engine) == []


def test_the_command_says_what_it_removed(engine: Engine, only: object) -> None:
    row = make_environment(engine, expires_at=datetime.now(tz=UTC) - timedelta(seconds=1))
    said = StringIO()

    call_command("reap_environments", "--expired", stdout=said)

    assert said.getvalue().splitlines() == [f"removed {row.name}", "1 removed, 0 left"]


def test_the_command_fails_when_something_is_left(
    engine: Engine, only: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_environment(engine, lease_expires_at=datetime.now(tz=UTC) - timedelta(seconds=1))
    monkeypatch.setattr(engine, "remove_environment", lambda _: ["volume stuck"])

    with pytest.raises(CommandError, match="volume stuck"):
        call_command("reap_environments", stdout=StringIO())


def test_the_local_engine_always_answers() -> None:
    assert "local" in [engine.name for engine in engines.available_engines()]
