"""The rows behind an environment: written before anything exists, leased while it lives."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Max, Value
from django.db.models.functions import Least

from environments.engine import WayIn
from environments.errors import EnvironmentFailedError
from environments.lifecycle.board import Seen
from environments.lifecycle.metering import Sample, Stretch
from environments.lifecycle.requests import EnvironmentRequest, Keep
from environments.models import Environment, EnvironmentService, EnvironmentState, ServiceUsage

#: How long a process may be silent before the reaper removes its environments; renewed at a third of it.
LEASE = timedelta(seconds=settings.ENVIRONMENT_LEASE_SECONDS)
#: Key of the advisory lock under which places for held ones are given out; any number nobody else uses.
HOLD_LOCK_KEY = 0x17DA5_0002
#: Two processes that try for the same owner at once take the next fence after each other.
MOST_FENCE_TRIES = 5


def open_environment(request: EnvironmentRequest, *, engine: str, now: datetime) -> Environment:
    """Write the rows of a new try, fenced above all earlier ones of the owner's shard."""
    for attempt in range(MOST_FENCE_TRIES):
        try:
            return _open(request, engine, now)
        except IntegrityError:
            if attempt == MOST_FENCE_TRIES - 1:
                raise
    raise AssertionError


def _open(request: EnvironmentRequest, engine: str, now: datetime) -> Environment:
    with transaction.atomic():
        tries = Environment.objects.filter(
            instance=settings.INSTANCE, owner=request.owner, shard=request.shard
        )
        last = tries.aggregate(last=Max("fence"))["last"] or 0
        record = Environment.objects.create(
            name=f"itd-{secrets.token_hex(4)}-{request.shard}",
            instance=settings.INSTANCE,
            owner=request.owner,
            shard=request.shard,
            fence=last + 1,
            engine=engine,
            lease_expires_at=now + LEASE,
            expires_at=request.expires_at,
        )
        EnvironmentService.objects.bulk_create(
            EnvironmentService(
                environment=record,
                name=name,
                position=position,
                is_tests=name == request.tests,
                image=service.image or "",
            )
            for position, (name, service) in enumerate(request.spec.services.items())
        )
    return record


def earlier_tries(record: Environment) -> list[Environment]:
    """Environments of the same owner's shard that this one has fenced off and that may still exist."""
    return list(
        Environment.objects.live()
        .filter(instance=record.instance, owner=record.owner, shard=record.shard, fence__lt=record.fence)
        .order_by("pk")
    )


def renew(environment_id: int, until: datetime) -> bool:
    """Hold the environment until then; False when it is no longer ours to hold (removed, or given up).

    One that is held for a person has its lease already.
    """
    ours = Environment.objects.live().exclude(state=EnvironmentState.HELD)
    return ours.filter(pk=environment_id).update(lease_expires_at=until) == 1


def mark_ready(record: Environment, now: datetime) -> None:
    """Everything that the tests depend on is ready."""
    Environment.objects.filter(pk=record.pk, state=EnvironmentState.CREATING).update(
        state=EnvironmentState.READY, ready_at=now
    )
    record.refresh_from_db()


def mark_removing(record: Environment) -> None:
    """It is being taken down by its owner."""
    Environment.objects.live().filter(pk=record.pk).update(state=EnvironmentState.REMOVING)


def mark_removed(environment_ids: Sequence[int], now: datetime) -> int:
    """Nothing of them exists any more; says how many were not known to be removed."""
    return (
        Environment.objects.live()
        .filter(pk__in=environment_ids)
        .update(state=EnvironmentState.REMOVED, removed_at=now)
    )


def mark_failed(record: Environment, error: EnvironmentFailedError) -> None:
    """Keep why it failed with the row; what exists of it is removed all the same."""
    Environment.objects.filter(pk=record.pk).update(failure_kind=error.kind, error=str(error))


def give_up_lease(record: Environment, now: datetime) -> None:
    """Leave the rest to the reaper: something could not be removed."""
    Environment.objects.live().filter(pk=record.pk).update(lease_expires_at=now)


def hold(record: Environment, wish: Keep, *, until: datetime, because: str, now: datetime) -> str:
    """Hold it for a person, its lease included; else say in a sentence why not.

    One at a time, so that two that fail at once do not both take the last place.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [HOLD_LOCK_KEY])
        held = Environment.objects.kept(now).filter(instance=record.instance)
        if held.filter(held_for=wish.share).count() >= wish.most_of_share:
            return _full(wish.most_of_share, "of this project")
        if held.count() >= wish.most:
            return _full(wish.most, "of this installation")
        ours = Environment.objects.live().filter(pk=record.pk, lease_expires_at__gt=now)
        count = ours.exclude(state=EnvironmentState.REMOVING).update(
            state=EnvironmentState.HELD,
            lease_expires_at=until,
            held_at=now,
            held_until=until,
            held_because=because,
            held_for=wish.share,
        )
    if count == 0:
        return "somebody else is removing it already."
    record.refresh_from_db()
    return ""


def _full(most: int, whose: str) -> str:
    if most == 0:
        return f"no environment {whose} may be."
    return (
        f"{most} {whose} {'is' if most == 1 else 'are'} held already, and no more may be at once. "
        "Let go of one on the Environments page, then run it again."
    )


def extend(environment_id: int, until: datetime, now: datetime) -> bool:
    """Hold it until then instead, at the longest until its end; False when it is held no more."""
    kept = Environment.objects.kept(now).filter(pk=environment_id)
    bounded = Least(Value(until), F("expires_at"))
    return kept.update(held_until=bounded, lease_expires_at=bounded) == 1


def release(environment_id: int, now: datetime) -> bool:
    """Hold it no longer: the reaper removes it with its next round. False when it is held no more."""
    kept = Environment.objects.kept(now).filter(pk=environment_id)
    return kept.update(held_until=now, lease_expires_at=now) == 1


def save_ways_in(record: Environment, ways: Mapping[str, WayIn]) -> None:
    """Write how a person gets inside its services, and what they may use."""
    rows = EnvironmentService.objects.filter(environment=record)
    for name, way in ways.items():
        rows.filter(name=name).update(
            memory_limit_bytes=way.memory_limit_bytes,
            cpu_limit=way.cpu_limit,
            addresses=list(way.addresses),
            commands=[[what, line] for what, line in way.commands],
        )


def save_services(record: Environment, seen: Iterable[Seen]) -> None:
    """Write what is known of these services, each with one small statement.

    A `bulk_update` of a few rows costs twenty times the processor time: it builds a case per row and column.
    """
    rows = EnvironmentService.objects.filter(environment=record)
    for facts in seen:
        rows.filter(name=facts.service).update(**_columns(facts))


def save_usage(record: Environment, stretches: Sequence[Stretch]) -> None:
    """Write what services used: two statements, whatever their number."""
    if not stretches:
        return
    ids = dict(EnvironmentService.objects.filter(environment=record).values_list("name", "pk"))
    ServiceUsage.objects.bulk_create(
        [_usage(ids[stretch.service], stretch.samples) for stretch in stretches if stretch.service in ids]
    )


def _usage(service_id: int, samples: Sequence[Sample]) -> ServiceUsage:
    began_at = samples[0].at
    return ServiceUsage(
        service_id=service_id,
        began_at=began_at,
        offsets_ms=[round((one.at - began_at).total_seconds() * 1000) for one in samples],
        memory_kib=[one.memory_bytes // 1024 for one in samples],
        cpu_millis=[one.cpu_millis for one in samples],
        throttled_ms=[one.throttled_ms for one in samples],
        memory_limit_bytes=samples[0].memory_limit_bytes,
    )


def _columns(facts: Seen) -> dict[str, Any]:
    finished_at = facts.finished_at
    # The engine's clock may step back between the two; a row that cannot be written would hide the rest.
    if facts.started_at and finished_at:
        finished_at = max(facts.started_at, finished_at)
    columns = {
        "image_digest": facts.image_digest,
        "status": facts.status,
        "health": facts.health,
        "exit_code": facts.exit_code,
        "out_of_memory": facts.out_of_memory,
        "restart_count": facts.restart_count,
        "published": dict(facts.published),
        "created_at": facts.created_at,
        "started_at": facts.started_at,
        "ready_at": facts.ready_at,
        "finished_at": finished_at,
    }
    return columns | ({"image": facts.image} if facts.image else {})
