"""What a new run needs before its row is written: its number, its key, and values that fit."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import connection

from runs.actions.errors import InvalidValueError, TakenError
from runs.models import Project, Run


def next_number(project: Project) -> int:
    """Lock the project and return the number its next run gets."""
    return (
        Project.objects.select_for_update(no_key=True)
        .values_list("next_run_number", flat=True)
        .get(pk=project.pk)
    )


def take_number(project: Project) -> int:
    """Lock the project until the transaction ends, and return the number of the run that is made now."""
    take = """
        UPDATE runs_project SET next_run_number = next_run_number + 1 WHERE id = %s
        RETURNING next_run_number - 1
    """
    with connection.cursor() as cursor:
        cursor.execute(take, [project.pk])
        [number] = cursor.fetchone()
    return int(number)


def known_run(project: Project, key: str | None, *, suite: str, ref: str, commit: str) -> Run | None:
    """The run that was asked for under the key before, or None.

    Raises:
        TakenError: that run is of something else than is asked for now.
    """
    run = Run.objects.filter(project=project, idempotency_key=key).first() if key else None
    if run is None:
        return None
    asked_before = (run.suite.name, run.ref)
    same_commit = not commit or commit == run.commit
    if asked_before != (suite, ref) or not same_commit:
        message = f"This idempotency key was used for run {run} of something else. Use a new key."
        raise TakenError(message)
    return run


def fitting(field: str, value: str) -> str:
    """The value, when a run can keep it; raises `InvalidValueError`."""
    limit = 250
    if len(value) > limit or not value.isprintable():
        message = f"A {field} has up to {limit} printable characters."
        raise InvalidValueError(field, message)
    return value


def moments(run_at: datetime | None = None) -> dict[str, datetime]:
    """When a run that is made now was queued, and rung for; `run_at` is that of a report."""
    now = datetime.now(tz=UTC)
    return {"run_at": run_at or now, "queued_at": run_at or now, "rung_at": now}
