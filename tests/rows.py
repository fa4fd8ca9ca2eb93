"""Rows that pages show, built on the factories: results, failures, logs, environments."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from environments.models import Environment, EnvironmentService, EnvironmentState
from runs.actions.partitions import ensure_partition
from runs.actions.rollups import count_blames, count_groups, take_blames_out
from runs.models import Blame, Delivery, Failure, Hook, LogChunk, Result, Run, Service, Shard, TestCase
from runs.queries.held import share_of
from runs.vocabulary import Outcome
from tests.factories import make_case

NOTABLE = {Outcome.FAILED, Outcome.ERRORED, Outcome.FLAKY}


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]


def make_failure(run: Run, message: str, text: str = "", kind: str = "AssertionError") -> Failure:
    failure, _ = Failure.objects.get_or_create(
        project=run.project,
        digest=digest(kind + message + text),
        defaults={
            "fingerprint": digest(kind + message),
            "kind": kind,
            "message": message,
            "text": text or f"tests/test_shop.py:12: in test\n{kind}: {message}",
            "first_seen_at": run.run_at,
        },
    )
    return failure


def add_results(
    run: Run,
    outcomes: Mapping[str, Outcome],
    *,
    message: str = "expected 201, got 503",
    text: str = "",
    duration_ms: int = 1200,
) -> list[Result]:
    """One result per test name, and the run's counts; the run's partition is made if needed."""
    ensure_partition(run.run_at)
    results = []
    for position, (name, outcome) in enumerate(outcomes.items()):
        case = TestCase.objects.filter(suite=run.suite, name=name).first() or make_case(
            run.suite, name, path="tests.test_shop", first_seen_at=run.run_at
        )
        failure = make_failure(run, message, text) if outcome in NOTABLE else None
        results.append(
            Result(
                run_at=run.run_at,
                run=run,
                case=case,
                failure=failure,
                outcome=outcome,
                duration_ms=duration_ms + 37 * position,
                position=position,
                attempt_count=2 if outcome == Outcome.FLAKY else 1,
            )
        )
    Result.objects.bulk_create(results)
    values = list(outcomes.values())
    Run.objects.filter(pk=run.pk).update(
        test_count=len(values), **{f"{each}_count": values.count(each) for each in Outcome}
    )
    run.refresh_from_db()
    count_groups(run.pk, run.run_at)
    return results


def add_log(run: Run, service: str, *lines: str, at: datetime | None = None) -> LogChunk:
    first = at or run.queued_at
    stamped = [f"{stamp(first + timedelta(milliseconds=index))} {line}" for index, line in enumerate(lines)]
    return LogChunk.objects.create(
        run=run,
        service=service,
        first_at=first,
        last_at=first + timedelta(milliseconds=len(lines) - 1),
        line_count=len(lines),
        text="".join(f"{line}\n" for line in stamped),
    )


def stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def add_delivery(run: Run) -> Delivery:
    """A webhook that started the run, with the run's own words in it."""
    project = run.project
    hook, _ = Hook.objects.get_or_create(project=project, provider="github", key="k" * 32, secret="s")
    delivery = Delivery.objects.create(
        project=project,
        hook=hook,
        direction="received",
        provider="github",
        key=f"{run.number}{run.branch}"[:250],
        event=run.branch[:60],
        status="accepted",
        reason=f"{run.commit_message}\n{run.branch}",
        payload={run.branch: [run.commit_message]},
    )
    delivery.runs.add(run)
    return delivery


def add_environment(
    run: Run, services: Mapping[str, tuple[float, float, float | None]], *, ready_after: float | None = None
) -> Environment:
    """`services`: name → seconds after the start at which it was created, started and ready."""
    start = run.started_at or run.queued_at

    def after(seconds: float | None) -> datetime | None:
        return None if seconds is None else start + timedelta(seconds=seconds)

    environment = Environment.objects.create(
        name=f"itd-{run.pk:08x}-1",
        instance=settings.INSTANCE,
        owner=f"run:{run.pk}",
        fence=1,
        engine="docker",
        state=EnvironmentState.CREATING if ready_after is None else EnvironmentState.READY,
        created_at=start,
        ready_at=after(ready_after),
        lease_expires_at=start + timedelta(minutes=1),
        expires_at=start + timedelta(hours=1),
    )
    Shard.objects.create(run=run, number=1, status=run.status, environment_name=environment.name)
    for position, (name, (created, started, ready)) in enumerate(services.items()):
        EnvironmentService.objects.create(
            environment=environment,
            name=name,
            position=position,
            image=f"{name}:1.0",
            status="running",
            created_at=after(created),
            started_at=after(started),
            ready_at=after(ready),
        )
    return environment


def add_blame(
    result: Result, *services: str, kind: str = "died", detail: str = "died, exit code 137"
) -> Blame:
    """A failure held against services, with one observation against each; without any, nobody is blamed."""
    run = result.run
    for name in services:
        Service.objects.get_or_create(project=run.project, name=name)
    # Counted by day as the action does.
    with transaction.atomic():
        take_blames_out(run.pk, run.project_id)
        blame = _blame(result, *services, kind=kind, detail=detail)
        count_blames(run.pk, run.project_id)
    return blame


def _blame(result: Result, *services: str, kind: str, detail: str) -> Blame:
    run = result.run
    return Blame.objects.create(
        project=run.project,
        run=run,
        case=result.case,
        run_at=run.run_at,
        services=list(services),
        suspects=[
            {
                "service": name,
                "rank": 1,
                "strength": "strong",
                "evidence": [
                    {"kind": kind, "strength": "strong", "detail": detail, "at": run.run_at.isoformat()}
                ],
            }
            for name in services
        ],
        ruled_out=[{"service": "calm", "reasons": ["up and well throughout"]}],
        unwatched=["elsewhere"],
    )


def hold_environment(
    environment: Environment, *, run: Run, minutes: float = 30, words: str = "1 test failed."
) -> Environment:
    """Have it failed and held for a person since now."""
    now = timezone.now()
    until = now + timedelta(minutes=minutes)
    Environment.objects.filter(pk=environment.pk).update(
        state=EnvironmentState.HELD,
        held_at=now,
        held_until=until,
        lease_expires_at=until,
        expires_at=now + timedelta(hours=8),
        held_because=words,
        held_for=share_of(run.project_id),
    )
    name = environment.name
    for service in environment.services.all():
        service.memory_limit_bytes, service.cpu_limit = 512 * 1024**2, 1.0
        service.addresses = ["10.213.4.2:5432"]
        service.commands = [
            ["A shell in it", f"docker exec -it {name}-{service.name} sh"],
            ["What it printed", f"docker logs --timestamps --tail 200 {name}-{service.name}"],
        ]
        service.save()
    environment.refresh_from_db()
    return environment
