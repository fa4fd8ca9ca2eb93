"""Environments that failed and are held for a person: hold longer, let go, tell the run's timeline."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from environments.lifecycle.records import extend, release
from environments.models import Environment
from runs.actions.audit import note_change
from runs.actions.errors import NotPossibleError
from runs.actions.events import NewEvent, record_event
from runs.models import Event, Run, Token, User
from runs.queries.environments import run_id_of
from runs.queries.held import latest_end

#: What one press of the button adds.
EXTENSION = timedelta(minutes=30)
RELEASED = "environment_released"
EXTENDED = "environment_held_longer"
#: How long after its end it is still looked whether a timeline tells of it.
_TOLD_WITHIN = timedelta(hours=1)


def release_environment(
    environment: Environment, *, run: Run, by: User | None, token: Token | None = None
) -> Environment:
    """Let go of a held environment: the reaper removes it with its next round.

    Raises:
        NotPossibleError: it is not held, or not any more.
    """
    now = timezone.now()
    with transaction.atomic():
        if not release(environment.pk, now):
            raise _not_held(environment)
        who = _name_of(by, token)
        _tell(run.pk, environment, RELEASED, f"{who} let go of {environment.name}.", now, by=who)
        note_change(run.project, by=by, token=token, action="environment.released", subject=environment.name)
    environment.refresh_from_db()
    return environment


def hold_longer(
    environment: Environment, *, run: Run, by: User | None, token: Token | None = None
) -> Environment:
    """Hold it for half an hour more, at most for as long as the installation allows in all.

    Raises:
        NotPossibleError: it is not held any more, or cannot be held for longer.
    """
    now = timezone.now()
    with transaction.atomic():
        held = Environment.objects.select_for_update().kept(now).filter(pk=environment.pk).first()
        if held is None or held.held_until is None or held.held_at is None:
            raise _not_held(environment)
        until = min(held.held_until + EXTENSION, latest_end(held))
        if until <= held.held_until or not extend(held.pk, until, now):
            longest = settings.HELD_LONGEST_SECONDS / 60
            message = f"{held.name} is held for as long as can be: {longest:g} minutes in all."
            raise NotPossibleError(message)
        who = _name_of(by, token)
        words = f"{who} had {held.name} held until {until:%H:%M} UTC."
        _tell(run.pk, held, EXTENDED, words, now, by=who, until=until.isoformat())
        note_change(
            run.project,
            by=by,
            token=token,
            action="environment.held_longer",
            subject=held.name,
            data={"until": [held.held_until.isoformat(), until.isoformat()]},
        )
    environment.refresh_from_db()
    return environment


def release_held_of_run(run_id: int) -> int:
    """Let go of what a run holds that does not count any more; says how many that were."""
    now = timezone.now()
    kept = Environment.objects.kept(now).of_owner(f"run:{run_id}").filter(instance=settings.INSTANCE)
    return sum(release(environment_id, now) for environment_id in kept.values_list("pk", flat=True))


def tend_held(*, now: datetime) -> int:
    """Let go of what is held for runs that are no more, and put the ends of the others on their timelines.

    Two queries where nothing is held. Says how many ends were told.
    """
    ours = Environment.objects.filter(instance=settings.INSTANCE)
    held = list(ours.kept(now).only("pk", "owner"))
    known = set(Run.objects.filter(pk__in=_runs_of(held)).values_list("pk", flat=True)) if held else set()
    for environment in held:
        if run_id_of(environment.owner) not in known:
            release(environment.pk, now)
    return _tell_ends(list(ours.filter(held_until__gt=now - _TOLD_WITHIN, held_until__lte=now)), now)


def _tell_ends(ended: list[Environment], now: datetime) -> int:
    """By itself, that is: where a person let go, the timeline has it already."""
    if not ended:
        return 0
    runs = set(Run.objects.filter(pk__in=_runs_of(ended)).values_list("pk", flat=True))
    told = set(Event.objects.filter(run__in=runs, kind=RELEASED).values_list("run_id", "data__environment"))
    count = 0
    for environment in ended:
        run_id = run_id_of(environment.owner)
        if run_id not in runs or (run_id, environment.name) in told:
            continue
        words = f"The time of {environment.name} was up; it is removed."
        _tell(run_id or 0, environment, RELEASED, words, environment.held_until or now)
        count += 1
    return count


def _runs_of(environments: Iterable[Environment]) -> list[int]:
    return [run_id for each in environments if (run_id := run_id_of(each.owner)) is not None]


def _tell(run_id: int, environment: Environment, kind: str, words: str, at: datetime, **data: object) -> None:
    data = {"environment": environment.name, **data}
    record_event(run_id, NewEvent(kind, words, at=at, shard=environment.shard, data=data))


def _name_of(by: User | None, token: Token | None) -> str:
    if token is not None:
        return f"The token {token.name}"
    return by.username if by is not None else "Somebody"


def _not_held(environment: Environment) -> NotPossibleError:
    return NotPossibleError(f"Environment {environment.name} is not held any more.")
