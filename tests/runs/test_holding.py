"""Held environments and their runs: let go, hold longer, and what the timeline tells of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from pytest_django.fixtures import Settings

from environments.models import Environment
from runs.actions.errors import NotPossibleError
from runs.actions.holding import hold_longer, release_environment, release_held_of_run, tend_held
from runs.actions.sweep import sweep
from runs.models import AuditEntry, Run
from runs.queries.held import share_of
from runs.vocabulary import RunStatus
from tests.factories import make_run, make_user

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)


def now() -> datetime:
    return datetime.now(tz=UTC)


def hold(run: Run, *, since: datetime, minutes: float = 30, **facts: object) -> Environment:
    values: dict[str, object] = {
        "name": f"itd-{run.pk:08x}-1",
        "instance": settings.INSTANCE,
        "owner": f"run:{run.pk}",
        "fence": 1,
        "engine": "docker",
        "state": "held",
        "held_at": since,
        "held_until": since + minutes * MINUTE,
        "lease_expires_at": since + minutes * MINUTE,
        "held_because": "1 test failed.",
        "held_for": share_of(run.project_id),
        "expires_at": since + timedelta(hours=5),
    }
    return Environment.objects.create(**(values | facts))


def told(run: Run) -> list[str]:
    return list(run.events.order_by("pk").values_list("message", flat=True))


@pytest.fixture
def run() -> Run:
    return make_run(status=RunStatus.FAILED)


def test_whoever_lets_go_is_on_the_timeline_and_in_the_audit_log(run: Run) -> None:
    held = hold(run, since=now())
    ada = make_user("ada")

    release_environment(held, run=run, by=ada)

    assert held.held_until == held.lease_expires_at
    assert held.lease_expires_at <= now()
    assert told(run) == [f"ada let go of {held.name}."]
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor, entry.subject) == ("environment.released", "ada", held.name)


def test_letting_go_twice_is_refused_and_told_once(run: Run) -> None:
    held = hold(run, since=now())
    release_environment(held, run=run, by=None)

    with pytest.raises(NotPossibleError, match="is not held any more"):
        release_environment(held, run=run, by=None)

    assert len(told(run)) == AuditEntry.objects.count() == 1


def test_half_an_hour_more_is_added_to_its_end(run: Run) -> None:
    since = now() - 10 * MINUTE
    held = hold(run, since=since, minutes=30)

    hold_longer(held, run=run, by=make_user("ada"))

    assert held.held_until == held.lease_expires_at == since + 60 * MINUTE
    assert told(run) == [f"ada had {held.name} held until {since + 60 * MINUTE:%H:%M} UTC."]
    assert AuditEntry.objects.get().data["until"] == [
        (since + 30 * MINUTE).isoformat(),
        (since + 60 * MINUTE).isoformat(),
    ]


def test_nobody_holds_it_for_longer_than_the_installation_allows(run: Run, settings: Settings) -> None:
    settings.HELD_LONGEST_SECONDS = 50 * 60
    since = now()
    held = hold(run, since=since, minutes=30)

    hold_longer(held, run=run, by=None)
    assert held.held_until == since + 50 * MINUTE

    with pytest.raises(NotPossibleError, match="50 minutes in all"):
        hold_longer(held, run=run, by=None)


def test_nor_past_the_end_on_its_labels(run: Run) -> None:
    since = now()
    held = hold(run, since=since, minutes=30, expires_at=since + 35 * MINUTE)

    hold_longer(held, run=run, by=None)

    assert held.held_until == since + 35 * MINUTE


def test_one_whose_time_is_up_cannot_be_held_longer(run: Run) -> None:
    held = hold(run, since=now() - 40 * MINUTE, minutes=30)

    with pytest.raises(NotPossibleError, match="is not held any more"):
        hold_longer(held, run=run, by=None)

    assert told(run) == []


def test_the_sweeper_tells_once_that_its_time_was_up(run: Run) -> None:
    held = hold(run, since=now() - 31 * MINUTE, minutes=30)

    sweep()
    sweep()

    assert told(run) == [f"The time of {held.name} was up; it is removed."]
    assert run.events.get().at == held.held_until


def test_what_a_person_let_go_of_is_not_said_to_have_run_out(run: Run) -> None:
    held = hold(run, since=now() - MINUTE)
    release_environment(held, run=run, by=make_user("ada"))

    assert tend_held(now=now() + MINUTE) == 0
    assert told(run) == [f"ada let go of {held.name}."]


def test_two_shards_of_a_run_are_told_of_apart(run: Run) -> None:
    since = now() - 31 * MINUTE
    hold(run, since=since)
    hold(run, since=since, name="itd-0000000b-2", shard=2)

    assert tend_held(now=now()) == 2
    assert sorted(run.events.values_list("shard", flat=True)) == [1, 2]


def test_one_whose_run_is_gone_with_its_project_is_let_go(run: Run) -> None:
    held = hold(run, since=now())
    project = run.project
    run.delete()
    project.suites.all().delete()
    project.delete()

    tend_held(now=now())

    held.refresh_from_db()
    assert held.lease_expires_at <= now()


def test_a_run_lets_go_of_its_own_alone(run: Run) -> None:
    mine = hold(run, since=now())
    other = hold(make_run(status=RunStatus.FAILED), since=now())

    assert release_held_of_run(run.pk) == 1

    mine.refresh_from_db()
    other.refresh_from_db()
    assert mine.lease_expires_at <= now() < other.lease_expires_at
