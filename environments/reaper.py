"""Remove what nobody holds any more: found by labels on the engines, judged by leases in the database.

Never touches what does not carry our instance's label, never prunes. Two reapers, or a reaper and an owner,
may meet over the same objects: every removal is idempotent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import batched

from django.conf import settings
from django.db import connection

from environments.engine import Engine
from environments.errors import EnvironmentFailedError
from environments.labels import EnvironmentRef
from environments.lifecycle.records import mark_removed
from environments.models import Environment

logger = logging.getLogger(__name__)

#: Key of the advisory lock that lets one reaper work at a time; any number that nobody else uses.
LOCK_KEY = 0x17DA5_0001
#: Environments removed at once; the engine does most of it one after the other.
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Reaped:
    """What one round came to: environments by name, and what could not be removed."""

    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    #: Rows closed because nothing of them exists.
    closed_count: int = 0
    #: Another reaper was at work; nothing was done.
    is_skipped: bool = False


def reap(engines: Sequence[Engine], *, now: datetime, instance: str | None = None) -> Reaped:
    """Remove every environment of ours that is not held, or past its end, and close dead rows."""
    instance = settings.INSTANCE if instance is None else instance
    with _alone() as is_alone:
        if not is_alone:
            return Reaped(is_skipped=True)
        removed: list[str] = []
        left: list[str] = []
        for engine in engines:
            try:
                _reap_engine(engine, instance, now, removed, left)
            except EnvironmentFailedError as error:
                logger.warning("The reaper could not look at the %s engine: %s", engine.name, error)
                left.append(f"{engine.name}: {error}")
        closed = _close_dead_rows(engines, instance, now, left)
    return Reaped(tuple(removed), tuple(left), closed)


def reap_expired(engines: Sequence[Engine], *, now: datetime, instance: str) -> Reaped:
    """The same from labels alone, without a database: what is past its end, whatever the rows say."""
    removed: list[str] = []
    left: list[str] = []
    for engine in engines:
        expired = [ref for ref in engine.environments(instance) if ref.expires <= now.timestamp()]
        for some in batched(expired, AT_ONCE, strict=False):
            _remove(engine, some, removed, left)
    return Reaped(tuple(removed), tuple(left))


def _reap_engine(engine: Engine, instance: str, now: datetime, removed: list[str], left: list[str]) -> None:
    # Looked at before the rows are: an environment whose row is written in between is not on this list.
    unheld = _unheld(engine.environments(instance), instance, now)
    for some in batched(unheld, AT_ONCE, strict=False):
        # And again right before: an owner that was cut off from the database may hold it anew by now.
        _remove(engine, _unheld(some, instance, now), removed, left)


def _unheld(refs: Sequence[EnvironmentRef], instance: str, now: datetime) -> list[EnvironmentRef]:
    rows = Environment.objects.held(now).filter(instance=instance, name__in=[ref.name for ref in refs])
    held = set(rows.values_list("name", flat=True))
    return [ref for ref in refs if ref.name not in held]


def _remove(engine: Engine, refs: Sequence[EnvironmentRef], removed: list[str], left: list[str]) -> None:
    """Remove some at once, so that one that takes long does not hold up the rest."""

    def remaining(ref: EnvironmentRef) -> list[str]:
        try:
            return engine.remove_environment(ref)
        except EnvironmentFailedError as error:
            return [str(error)]

    with ThreadPoolExecutor(AT_ONCE, "reaper") as pool:
        answers = list(pool.map(remaining, refs))
    for ref, still_there in zip(refs, answers, strict=True):
        if still_there:
            logger.warning("The reaper could not remove all of %s: %s", ref.name, ", ".join(still_there))
            left.extend(f"{ref.name}: {what}" for what in still_there)
        else:
            logger.info("The reaper removed %s (%s, fence %s)", ref.name, ref.owner, ref.fence)
            removed.append(ref.name)


def _close_dead_rows(engines: Sequence[Engine], instance: str, now: datetime, left: Sequence[str]) -> int:
    """Close rows that nobody holds and of which nothing is left on the engine that answered just now."""
    answered = [
        engine.name for engine in engines if not any(one.startswith(f"{engine.name}:") for one in left)
    ]
    dead = (
        Environment.objects.live()
        .filter(instance=instance, engine__in=answered)
        .exclude(pk__in=Environment.objects.held(now).values("pk"))
    )
    names_left = {one.partition(":")[0] for one in left}
    return mark_removed([row.pk for row in dead if row.name not in names_left], now)


@contextmanager
def _alone() -> Iterator[bool]:
    """Hold the reaper's lock, which ends with the connection at the latest; False when another has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY])
        row = cursor.fetchone()
    is_alone = bool(row and row[0])
    try:
        yield is_alone
    finally:
        if is_alone:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])
