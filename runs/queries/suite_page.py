"""One suite's page: how it does and how long it takes, its runs and schedules, what its file says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from runs.cron import CronError, in_words, next_dues
from runs.models import Run, Schedule, Suite, Token
from runs.queries.durations import DurationTrend, suite_trends
from runs.queries.suite_definition import DefinitionRow, definition_rows
from runs.queries.suites import SuiteRow, suite_rows
from runs.vocabulary import Scope

RUN_LIMIT = 10
#: Moments that are shown of each schedule.
MOMENT_COUNT = 5
TOKEN_LIMIT = 5
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
    trend: DurationTrend
    recent: list[Run]
    schedules: list[ScheduleRow]
    #: The definition as YAML; empty before the suite file was read.
    definition: str
    definition_rows: list[DefinitionRow]
    #: The newest that may upload to the project.
    tokens: list[Token]


def suite_page(suite: Suite, *, now: datetime) -> SuitePage:
    """Five queries: the strip, the durations, the newest runs of any branch, the schedules, upload tokens."""
    [row] = suite_rows(suite.project, suite_id=suite.pk)
    [measured] = suite_trends(suite.project, suite_id=suite.pk, with_levels=True)
    schedules = Schedule.objects.filter(suite=suite).order_by("is_paused", "due_at", "pk")
    return SuitePage(
        row=row,
        trend=measured.trend,
        recent=list(
            Run.objects.filter(suite=suite).select_related("suite", "requested_by").newest_first()[:RUN_LIMIT]
        ),
        schedules=[schedule_row(schedule, suite.project.default_branch, now) for schedule in schedules],
        definition=as_yaml(suite.definition),
        definition_rows=definition_rows(suite.definition),
        tokens=list(
            Token.objects.usable()
            .filter(project=suite.project, scopes__contains=[Scope.UPLOAD])
            .order_by("-pk")[:TOKEN_LIMIT]
        ),
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
