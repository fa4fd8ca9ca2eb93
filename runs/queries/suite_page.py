"""One suite's page: how it does, its newest runs, when it runs by itself, what its file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from runs.cron import CronError, in_words, next_dues
from runs.models import Run, Schedule, Suite
from runs.queries.suites import SuiteRow, suite_rows

RUN_LIMIT = 10
#: Moments that are shown of each schedule.
MOMENT_COUNT = 5
#: The database forgets the order of keys: as docs/suite-file.md lists them, others last.
_KEYS = (
    "level",
    "compose",
    "tests",
    "results",
    "artifacts",
    "timeout",
    "shards",
    "matrix",
    "before",
    "data",
    "on",
    "gates",
    "keep_on_failure",
)


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A schedule as people read it."""

    schedule: Schedule
    words: str
    branch: str
    #: The next moments it is due at; none while it is paused or when it can never be due.
    moments: list[datetime]


@dataclass(frozen=True, slots=True)
class SuitePage:
    """A suite's page."""

    row: SuiteRow
    recent: list[Run]
    schedules: list[ScheduleRow]
    #: The definition as YAML; empty before the suite file was read.
    definition: str


def suite_page(suite: Suite, *, now: datetime) -> SuitePage:
    """Three queries: the strip, the newest runs of any branch, the schedules."""
    [row] = suite_rows(suite.project, suite_id=suite.pk)
    schedules = Schedule.objects.filter(suite=suite).order_by("is_paused", "due_at", "pk")
    return SuitePage(
        row=row,
        recent=list(
            Run.objects.filter(suite=suite).select_related("suite", "requested_by").newest_first()[:RUN_LIMIT]
        ),
        schedules=[schedule_row(schedule, suite.project.default_branch, now) for schedule in schedules],
        definition=as_yaml(suite.definition),
    )


def schedule_row(schedule: Schedule, default_branch: str, now: datetime) -> ScheduleRow:
    """Say when a schedule is due."""
    try:
        moments = next_dues(schedule.cron, schedule.timezone, now, MOMENT_COUNT)
    except CronError:  # the zone was dropped from the database of zones since
        moments = []
    return ScheduleRow(
        schedule=schedule,
        words=in_words(schedule.cron, schedule.timezone),
        branch=schedule.branch or default_branch,
        moments=[] if schedule.is_paused else moments,
    )


def as_yaml(definition: Mapping[str, Any]) -> str:
    """The definition in the suite file's own notation."""
    if not definition:
        return ""
    known = {key: definition[key] for key in _KEYS if key in definition}
    return yaml.safe_dump(known | dict(definition), sort_keys=False, allow_unicode=True)
