"""Schedules: made, changed, paused, taken from the suite file; and queued when they are due.

Any number of beats may ask what is due, at any time. A due moment is taken by moving `due_at` on under the
condition that it is still the one that was read, together with the run of that moment: exactly once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from django.db import IntegrityError, transaction

from runs.actions.audit import note_change
from runs.actions.errors import ActionError, InvalidValueError, NotPossibleError, TakenError
from runs.actions.runs import queue_run
from runs.cron import CronError, Due, due_now, next_due
from runs.models import Run, Schedule, Suite, User
from runs.suitefile.model import ScheduleSpec
from runs.vocabulary import Trigger

logger = logging.getLogger(__name__)

#: Of one suite, so that nobody fills the queue by mistake.
SCHEDULE_LIMIT = 20
_CRON_LIMIT, _ZONE_LIMIT, _BRANCH_LIMIT = 120, 60, 250


def create_schedule(
    *, suite: Suite, wanted: ScheduleSpec, by: User | None = None, now: datetime | None = None
) -> Schedule:
    """Run the suite whenever the cron line is due.

    Raises:
        InvalidValueError: no such cron line, time zone or branch, or nothing to run from.
        TakenError: the suite has this schedule already.
        NotPossibleError: the suite has as many schedules as it may.
    """
    if not suite.project.repository_url:
        message = "The project has no repository to run from. Set its address in the project's settings."
        raise InvalidValueError("project", message)
    due_at = _first_due(wanted, now or _now())
    with transaction.atomic():
        Suite.objects.select_for_update(no_key=True).get(pk=suite.pk)
        if suite.schedules.count() >= SCHEDULE_LIMIT:
            message = f"A suite has at most {SCHEDULE_LIMIT} schedules. Delete one first."
            raise NotPossibleError(message)
        made = _once(lambda: Schedule.objects.create(suite=suite, due_at=due_at, **_values(wanted)))
        _note(made, "schedule.made", by)
    return made


def change_schedule(
    *, schedule_id: int, wanted: ScheduleSpec, by: User | None = None, now: datetime | None = None
) -> Schedule:
    """Give a person's schedule other values; what its old line missed is not caught up.

    Raises:
        InvalidValueError: as `create_schedule`.
        TakenError: the suite has such a schedule already.
        NotPossibleError: the suite file decides about it.
    """
    due_at = _first_due(wanted, now or _now())
    with transaction.atomic():
        schedule = _own(schedule_id)
        before = _values(_spec(schedule))
        schedule.cron, schedule.timezone, schedule.branch = wanted.cron, wanted.timezone, wanted.branch
        schedule.due_at = None if schedule.is_paused else due_at
        _once(schedule.save)
        _note(schedule, "schedule.changed", by, before=before)
    return schedule


def pause_schedule(*, schedule_id: int, by: User | None = None) -> None:
    """Let it be due no more until it is resumed; nothing happens when it is paused."""
    with transaction.atomic():
        if Schedule.objects.filter(pk=schedule_id, is_paused=False).update(is_paused=True, due_at=None):
            _note(Schedule.objects.get(pk=schedule_id), "schedule.paused", by)


def resume_schedule(*, schedule_id: int, by: User | None = None, now: datetime | None = None) -> None:
    """Let a paused schedule be due again, from now on: what came while it was paused is not caught up."""
    with transaction.atomic():
        schedule = Schedule.objects.select_for_update().get(pk=schedule_id)
        if schedule.is_paused:
            schedule.is_paused = False
            schedule.due_at = _first_due(_spec(schedule), now or _now())
            schedule.save(update_fields=["is_paused", "due_at"])
            _note(schedule, "schedule.resumed", by)


def delete_schedule(*, schedule_id: int, by: User | None = None) -> None:
    """Remove a person's schedule; its runs stay.

    Raises:
        NotPossibleError: the suite file decides about it.
    """
    with transaction.atomic():
        schedule = _own(schedule_id)
        _note(schedule, "schedule.deleted", by)
        schedule.delete()


def sync_schedules(suite: Suite, wanted: Iterable[ScheduleSpec], now: datetime | None = None) -> None:
    """Make the suite's schedules from its file the ones that the file names.

    One that stays keeps its pause and its due moment; one that a person had made becomes the file's.
    """
    moment = now or _now()
    specs = list(dict.fromkeys(wanted))[:SCHEDULE_LIMIT]
    with transaction.atomic():
        # Two runs of the suite may read their files at once.
        Suite.objects.select_for_update(no_key=True).get(pk=suite.pk)
        known = {_spec(schedule): schedule for schedule in suite.schedules.all()}
        for spec, schedule in known.items():
            if schedule.is_from_suite_file and spec not in specs:
                schedule.delete()
            elif spec in specs and not schedule.is_from_suite_file:
                Schedule.objects.filter(pk=schedule.pk).update(is_from_suite_file=True)
        for spec in specs:
            if spec not in known:
                _create_from_file(suite, spec, moment)


def enqueue_due(now: datetime | None = None) -> list[Run]:
    """Queue a run for each schedule that is due; of moments that were missed, for the latest alone."""
    moment = now or _now()
    due = Schedule.objects.filter(is_paused=False, due_at__lte=moment).select_related("suite__project")
    runs = (_take(schedule, moment) for schedule in due.order_by("due_at", "pk"))
    return [run for run in runs if run is not None]


def _take(schedule: Schedule, now: datetime) -> Run | None:
    """Queue the run of the due moment; None when another beat took it or there is nothing to run."""
    if schedule.due_at is None:  # pragma: no cover - the question asks for those that have one
        return None
    try:
        due = due_now(schedule.cron, schedule.timezone, since=schedule.due_at, now=now)
    except CronError as error:
        # The time zone was dropped from the database of zones since: never due, and the page says so.
        logger.warning("Schedule %s cannot be due any more: %s", schedule.pk, error)
        Schedule.objects.filter(pk=schedule.pk, due_at=schedule.due_at).update(due_at=None)
        return None
    if due is None:
        return None
    with transaction.atomic():
        taken = Schedule.objects.filter(pk=schedule.pk, due_at=schedule.due_at, is_paused=False).update(
            due_at=due.following, last_due_at=due.moment
        )
        return _queue(schedule, due) if taken else None


def _queue(schedule: Schedule, due: Due) -> Run | None:
    project = schedule.suite.project
    branch = schedule.branch or project.default_branch
    try:
        return queue_run(
            project=project,
            suite=schedule.suite.name,
            trigger=Trigger.SCHEDULE,
            ref=branch,
            branch=branch,
            idempotency_key=f"schedule:{schedule.pk}:{due.moment.isoformat()}",
        )
    except ActionError as error:
        logger.warning("Schedule %s was due at %s in vain: %s", schedule.pk, due.moment, error)
        return None


def _create_from_file(suite: Suite, spec: ScheduleSpec, now: datetime) -> None:
    try:
        due_at = _first_due(spec, now)
    except InvalidValueError as error:
        # The file was read, so it is a line that is never due, such as 30 February.
        logger.warning("Suite %s has a schedule that cannot be: %s", suite.pk, error)
        return
    Schedule.objects.create(suite=suite, due_at=due_at, is_from_suite_file=True, **_values(spec))


def _note(schedule: Schedule, action: str, by: User | None, before: dict[str, str] | None = None) -> None:
    now = _values(_spec(schedule))
    data = {name: [before[name], now[name]] for name in now if before[name] != now[name]} if before else now
    suite = schedule.suite
    note_change(suite.project, by=by, action=action, subject=f"{suite.name}: {schedule.cron}", data=data)


def _own(schedule_id: int) -> Schedule:
    schedule = Schedule.objects.select_for_update().select_related(None).get(pk=schedule_id)
    if schedule.is_from_suite_file:
        message = "This schedule is written in the suite file. Change it there, or pause it here."
        raise NotPossibleError(message)
    return schedule


def _first_due(wanted: ScheduleSpec, now: datetime) -> datetime:
    """The first due moment of values that can be."""
    for field, value, limit in (
        ("cron", wanted.cron, _CRON_LIMIT),
        ("timezone", wanted.timezone, _ZONE_LIMIT),
        ("branch", wanted.branch, _BRANCH_LIMIT),
    ):
        if len(value) > limit or not value.isprintable():
            message = f"A {field} has up to {limit} printable characters."
            raise InvalidValueError(field, message)
    try:
        return next_due(wanted.cron, wanted.timezone, now)
    except CronError as error:
        raise InvalidValueError("timezone" if "time zone" in str(error) else "cron", str(error)) from error


def _once[Made](write: Callable[[], Made]) -> Made:
    try:
        with transaction.atomic():
            return write()
    except IntegrityError as error:
        message = "The suite has this schedule already."
        raise TakenError(message) from error


def _spec(schedule: Schedule) -> ScheduleSpec:
    return ScheduleSpec(cron=schedule.cron, timezone=schedule.timezone, branch=schedule.branch)


def _values(wanted: ScheduleSpec) -> dict[str, str]:
    return {"cron": wanted.cron, "timezone": wanted.timezone, "branch": wanted.branch}


def _now() -> datetime:
    return datetime.now(tz=UTC)
