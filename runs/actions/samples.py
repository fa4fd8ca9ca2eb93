"""Give a project a past to look around in, and take it away again.

The reports are made up; everything else is real: they are received, stored and judged like anybody's. Runs
made of them carry the tag `sample`, by which they are found when they are to go.
"""

from __future__ import annotations

import io
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.db.models import Max, Min

from runs.actions.audit import note_change
from runs.actions.errors import NotPossibleError
from runs.actions.locks import Lock, alone_with
from runs.actions.projects import ensure_suite
from runs.actions.quarantine import lift_quarantine, quarantine_case
from runs.actions.result_rows import hold_back_merges
from runs.actions.results import ReportFile
from runs.actions.rollups import hold_blames, take_blames_out, take_run_out
from runs.actions.uploads import UploadFields, receive_upload
from runs.dispatch import Work, after_commit, answering
from runs.models import (
    Artifact,
    CaseDuration,
    CaseState,
    Project,
    Quarantine,
    Report,
    Run,
    Service,
    Suite,
    TestCase,
    Upload,
    User,
)
from runs.queries.samples import PLACE_TAG, UNTIL_TAG, sample_runs
from runs.sample import Lifted, Quarantined, SampleReport, Step, history
from runs.vocabulary import FINISHED, Level

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Removed:
    """What went."""

    run_count: int
    result_count: int


# --- in -------------------------------------------------------------------------------------------


def request_samples(*, project: Project, by: User | None) -> None:
    """Mark the project as one of sample data and have its past made in the background.

    Raises:
        NotPossibleError: it has runs of its own.
    """
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        if _has_own_runs_alone(project):
            message = "The project has runs of its own. Sample data is for one that has none."
            raise NotPossibleError(message)
        if Project.objects.filter(pk=project.pk, is_sample=False).update(is_sample=True):
            note_change(project, by=by, action="sample.loaded")
        after_commit(Work.LOAD_SAMPLES, project.pk)


def load_samples(project_id: int, *, answer: Callable[[Work, int], None], now: datetime | None = None) -> int:
    """Send the project's past, up to `now`, and return how many reports that took; those there are kept.

    Nothing is sent to a project that has runs of its own. `answer` does the work that each report asks for,
    here and in order: what is judged of a day must not depend on which worker was quicker.
    """
    with alone_with(Lock.SAMPLE, project_id) as is_alone:
        project = Project.objects.filter(pk=project_id, is_sample=True).first()
        if not is_alone or project is None:
            return 0
        if _has_own_runs_alone(project):  # they came while this waited
            Project.objects.filter(pk=project_id).update(is_sample=False)
            return 0
        sent = set(sample_runs(project).values_list("run_key", flat=True))
        until = _until(project) or now or datetime.now(tz=UTC)
        steps = history(now=until)
        total = sum(isinstance(step, SampleReport) for step in steps)
        count = place = 0
        asked: deque[tuple[Work, int]] = deque()
        with answering(lambda work, row_id: asked.append((work, row_id))), _unhurried_disk():
            for step in steps:
                place += isinstance(step, SampleReport)
                if _is_new(project, step, sent):
                    _take(project, step, {PLACE_TAG: f"{place} of {total}", UNTIL_TAG: until.isoformat()})
                    _answer(asked, answer)
                    count += isinstance(step, SampleReport)
        return count


def _answer(asked: deque[tuple[Work, int]], answer: Callable[[Work, int], None]) -> None:
    """Do what was asked for, and what that asks for: sample data is stored and judged, and nobody told."""
    while asked:
        work, row_id = asked.popleft()
        if work in {Work.INGEST_UPLOAD, Work.JUDGE_RUN}:
            answer(work, row_id)


def _is_new(project: Project, step: Step, sent: set[str | None]) -> bool:
    if isinstance(step, SampleReport):
        return step.key not in sent
    known = Quarantine.objects.filter(case__suite__project=project, case__name=step.test)
    if isinstance(step, Quarantined):
        return not known.filter(created_at=step.at).exists()
    return known.filter(lifted_at=None).exists()


def _take(project: Project, step: Step, tags: dict[str, str]) -> None:
    if isinstance(step, SampleReport):
        ensure_suite(project=project, name=step.suite, level=Level(step.level))
        fields = UploadFields(
            suite=step.suite,
            branch=step.branch,
            commit=step.commit,
            run_key=step.key,
            pull_request=step.pull_request,
            started_at=step.at,
            environment=dict(step.environment),
            tags=tags,
        )
        file = ReportFile(f"{step.suite}.xml", open=partial(io.BytesIO, step.content))
        receive_upload(project=project, fields=fields, files=[file])
        return
    case = TestCase.objects.filter(suite__project=project, suite__name=step.suite, name=step.test).first()
    if case is None:
        return
    if isinstance(step, Lifted):
        lift_quarantine(case=case, now=step.at)
    else:
        quarantine_case(case=case, reason=step.reason, days=step.days, owner=step.owner, now=step.at)


def _until(project: Project) -> datetime | None:
    tags = sample_runs(project).values_list("tags", flat=True).first()
    return datetime.fromisoformat(tags[UNTIL_TAG]) if tags else None


def _has_own_runs_alone(project: Project) -> bool:
    """Whether there is something to look at already: runs that nobody made up, and none that somebody did."""
    return Run.objects.for_project(project).exists() and not sample_runs(project).exists()


# --- out ------------------------------------------------------------------------------------------

_DELETE_ROWS = "DELETE FROM {} WHERE run_at BETWEEN %(since)s AND %(until)s AND run_id = ANY(%(runs)s)"
_CASES_OF_RUNS = """
SELECT DISTINCT case_id FROM runs_result
WHERE run_at BETWEEN %(since)s AND %(until)s AND run_id = ANY(%(runs)s)
"""
#: Asked of the runs that stay, so that a large installation's other results are not read.
_CASES_LEFT_ALONE = """
SELECT c.id FROM runs_testcase c JOIN runs_suite s ON s.id = c.suite_id
WHERE s.project_id = %(project)s AND c.id = ANY(%(cases)s) AND NOT EXISTS (
    SELECT FROM runs_run run JOIN runs_result r ON r.run_at = run.run_at AND r.run_id = run.id
    WHERE run.project_id = %(project)s AND run.suite_id = s.id AND r.case_id = c.id)
"""
_SERVICES_NAMED = """
SELECT unnest(a.services) FROM runs_run run
JOIN runs_attempt a ON a.run_at = run.run_at AND a.run_id = run.id
WHERE run.project_id = %(project)s AND a.services <> '{}'
UNION SELECT unnest(services) FROM runs_blame WHERE project_id = %(project)s
"""
_DELETE_TEXTS_LEFT_ALONE = """
DELETE FROM runs_failure f WHERE f.project_id = %(project)s AND f.id NOT IN (
    SELECT r.failure_id FROM runs_run run JOIN runs_result r ON r.run_at = run.run_at AND r.run_id = run.id
    WHERE run.project_id = %(project)s AND r.failure_id IS NOT NULL
    UNION ALL
    SELECT a.failure_id FROM runs_run run JOIN runs_attempt a ON a.run_at = run.run_at AND a.run_id = run.id
    WHERE run.project_id = %(project)s AND a.failure_id IS NOT NULL)
"""
_SEEN_SINCE = """
UPDATE runs_testcase c SET first_seen_at = seen.at FROM (
    SELECT r.case_id, min(r.run_at) AS at
    FROM runs_run run JOIN runs_result r ON r.run_at = run.run_at AND r.run_id = run.id
    WHERE run.project_id = %(project)s AND r.case_id = ANY(%(cases)s) GROUP BY r.case_id
) seen WHERE c.id = seen.case_id
"""


def remove_samples(*, project: Project, by: User | None) -> Removed:
    """Take every made-up run away with all that was concluded from it. The project's own runs stay, and what
    is said of their tests is judged anew by them alone; so do suites that they or a suite file name.

    Raises:
        NotPossibleError: there is none, or it is being made at this moment.
    """
    with alone_with(Lock.SAMPLE, project.pk) as is_alone:
        if not is_alone:
            message = "The sample data is being made right now. Remove it when it is there."
            raise NotPossibleError(message)
        with transaction.atomic():
            # Reports of the project's own that are stored at this moment refer to tests that look left alone.
            hold_back_merges(project.pk)
            if not Project.objects.filter(pk=project.pk, is_sample=True).update(is_sample=False):
                message = "The project holds no sample data."
                raise NotPossibleError(message)
            made_up = _made_up(project)
            removed = _remove_runs(project, made_up)
            _remove_what_is_left_alone(project, made_up)
            _judge_anew(project)
            note_change(project, by=by, action="sample.removed", data={"runs": removed.run_count})
    return removed


@dataclass(frozen=True, slots=True)
class _MadeUp:
    """The made-up runs, and the tests and suites they speak of; of no others is anything removed."""

    runs: list[int]
    suites: list[int]
    cases: list[int]
    #: When the first and the last of the runs were.
    moments: Mapping[str, datetime | None]


def _made_up(project: Project) -> _MadeUp:
    own = sample_runs(project)
    moments = own.aggregate(since=Min("run_at"), until=Max("run_at"))
    pairs = list(own.values_list("pk", "suite"))
    runs = [run for run, _ in pairs]
    with connection.cursor() as cursor:
        cursor.execute(_CASES_OF_RUNS, moments | {"runs": runs})
        cases = [case for (case,) in cursor.fetchall()]
    return _MadeUp(runs=runs, suites=sorted({suite for _, suite in pairs}), cases=cases, moments=moments)


def _remove_runs(project: Project, made_up: _MadeUp) -> Removed:
    runs = made_up.runs
    began_at = Upload.objects.filter(run__in=runs).aggregate(at=Min("received_at"))["at"]
    if not runs:
        return Removed(0, 0)
    if began_at is not None:
        # Before there was sample data there was no test: nobody else can have put one into quarantine.
        Quarantine.objects.filter(case__suite__project=project, created_at__lt=began_at).delete()
    for run_id in runs:
        hold_blames(run_id)
    for run_id in runs:
        take_run_out(run_id)
        take_blames_out(run_id, project.pk)
    names: list[str] = []
    for model in (Report, Artifact):
        kept = model.objects.filter(run__in=runs).exclude(storage_name="")
        names += kept.values_list("storage_name", flat=True)
    transaction.on_commit(partial(_delete_files, names))
    with connection.cursor() as cursor:
        cursor.execute(_DELETE_ROWS.format("runs_resultdetails"), {**made_up.moments, "runs": runs})
        cursor.execute(_DELETE_ROWS.format("runs_attempt"), {**made_up.moments, "runs": runs})
        cursor.execute(_DELETE_ROWS.format("runs_result"), {**made_up.moments, "runs": runs})
        result_count = cursor.rowcount
    Run.objects.filter(pk__in=runs).delete()
    return Removed(len(runs), result_count)


def _remove_what_is_left_alone(project: Project, made_up: _MadeUp) -> None:
    """Tests, texts, services and suites that no run speaks of any more, and verdicts: they rest on both."""
    CaseState.objects.filter(case__in=made_up.cases).delete()
    CaseDuration.objects.filter(case__in=made_up.cases).delete()
    own: dict[str, Any] = {"project": project.pk, "cases": made_up.cases}
    with connection.cursor() as cursor:
        cursor.execute(_CASES_LEFT_ALONE, own)
        alone = [case for (case,) in cursor.fetchall()]
        TestCase.objects.filter(pk__in=alone).delete()
        cursor.execute(_DELETE_TEXTS_LEFT_ALONE, own)
        cursor.execute(_SEEN_SINCE, own)
        cursor.execute(_SERVICES_NAMED, own)
        named = [name for (name,) in cursor.fetchall()]
    # What ran here has an image.
    Service.objects.filter(project=project, image="").exclude(name__in=named).delete()
    Suite.objects.filter(pk__in=made_up.suites, runs=None, schedules=None, definition={}).delete()


def _judge_anew(project: Project) -> None:
    finished = Run.objects.for_project(project).filter(status__in=sorted(FINISHED))
    newest = finished.order_by("suite", "-number").distinct("suite")
    for run_id in newest.values_list("pk", flat=True):
        after_commit(Work.JUDGE_RUN, run_id)


def _delete_files(names: Sequence[str]) -> None:
    for name in names:
        try:
            default_storage.delete(name)
        except OSError as error:  # left behind: nothing refers to it
            logger.warning("%s was left in storage: %s", name, error)


@contextmanager
def _unhurried_disk() -> Iterator[None]:
    """Commit without waiting for the disk each time: what a crash takes of made-up runs is made up again."""
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
    try:
        yield
    finally:
        with suppress(Exception), connection.cursor() as cursor:
            cursor.execute("RESET synchronous_commit")
