"""What a new run needs before its row is written: its number, its key, and values that fit."""

from __future__ import annotations

from datetime import UTC, datetime

from runs.actions.errors import InvalidValueError, TakenError
from runs.models import Project, Run


def next_number(project: Project) -> int:
    """Lock the project and return the number its next run gets."""
    return (
        Project.objects.select_for_update(no_key=True)
        .values_list("next_run_number", flat=True)
        .get(pk=project.pk)
    )


def run_of_key(project: Project, key: str | None) -> Run | None:
    """The run that was asked for under the key before."""
    return Run.objects.filter(project=project, idempotency_key=key).first() if key else None


def refuse_other_content(run: Run, *, suite: str, ref: str, commit: str) -> None:
    """Raise `TakenError` when the run of a key is of something else than is asked for now."""
    asked_before = (run.suite.name, run.ref)
    same_commit = not commit or commit == run.commit
    if asked_before != (suite, ref) or not same_commit:
        message = f"This idempotency key was used for run {run} of something else. Use a new key."
        raise TakenError(message)


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
