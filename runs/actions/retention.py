"""Remove what has outlived its term: results by the month, everything else in small steps.

Each kind has a term of its own. Whoever is interrupted goes on the next night; again changes nothing. A
pinned run keeps all that it has. Files go before the rows let go of them: who dies between the two does it
again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.db.models import Q, QuerySet

from runs.actions.locks import Lock, alone_with
from runs.actions.partitions import STAYS, kept_since, month_of, months_before, remove_month
from runs.actions.result_rows import hold_back_merges
from runs.models import Artifact, Report
from runs.vocabulary import UploadStatus

logger = logging.getLogger(__name__)

type _Value = int | date | datetime
#: Rows of one transaction, and transactions of one kind in one night.
ROWS_AT_ONCE = 5_000
TEXTS_AT_ONCE = 500
FILES_AT_ONCE = 100
STEP_LIMIT = 2_000


class Kind(StrEnum):
    """What is kept for a term of its own, in the order in which it goes."""

    RESULTS = "results"
    #: What was judged of tests that none of the kept results speaks of, and of failures whose results went.
    VERDICTS = "verdicts"
    TEXTS = "failure texts"
    ARTIFACTS = "artifacts"
    REPORTS = "reports"
    LOGS = "log lines and events"
    COUNTS = "counts by day"


@dataclass(frozen=True, slots=True)
class Terms:
    """Days that each kind is kept; 0 is for ever."""

    results: int = 0
    #: From when a text was first seen. It stays for as long as a result speaks of it.
    texts: int = 0
    artifacts: int = 0
    reports: int = 0
    logs: int = 0
    counts: int = 0

    @classmethod
    def set(cls) -> Terms:
        """As the installation's settings say."""
        return cls(
            results=settings.KEEP_RESULTS_DAYS,
            texts=settings.KEEP_TEXTS_DAYS,
            artifacts=settings.KEEP_ARTIFACTS_DAYS,
            reports=settings.KEEP_REPORTS_DAYS,
            logs=settings.KEEP_LOGS_DAYS,
            counts=settings.KEEP_COUNTS_DAYS,
        )


@dataclass(frozen=True, slots=True)
class Outlived:
    """What went, or with `dry_run` would go, of one kind."""

    kind: Kind
    count: int
    #: Of files; None of rows, whose room PostgreSQL uses again.
    size: int | None = None
    #: What could not be done now and why; empty when nothing is left.
    left: str = ""


def remove_outlived(*, now: datetime, terms: Terms, dry_run: bool = False) -> list[Outlived]:
    """Remove what has outlived its term, kind by kind; nothing, and an empty list, while another worker does.

    Kinds without a term are left out. With `dry_run` it only counts. What results hold on to, such as texts,
    is counted as of now: more of it goes once the results have gone.
    """
    with alone_with(Lock.RETENTION) as is_alone:
        return _remove_all(now, terms, dry_run=dry_run) if is_alone else []


def _remove_all(now: datetime, terms: Terms, *, dry_run: bool) -> list[Outlived]:
    done: list[Outlived] = []
    oldest = kept_since(now, days=terms.results)
    if oldest is not None:
        done += [_results(oldest, now, dry_run=dry_run), _verdicts(oldest, dry_run=dry_run)]
    if terms.texts:
        done.append(_texts(now - timedelta(days=terms.texts), dry_run=dry_run))
    if terms.artifacts:
        artifacts = Artifact.objects.filter(created_at__lt=now - timedelta(days=terms.artifacts))
        done.append(_files(Kind.ARTIFACTS, artifacts, dry_run=dry_run))
    if terms.reports:
        reports = Report.objects.filter(created_at__lt=now - timedelta(days=terms.reports))
        # Of an upload that waits, and of a run that goes on, they are still to be read.
        was_never_read = Q(upload=None, run__finished_at__isnull=False)
        is_read = reports.filter(~Q(status=UploadStatus.RECEIVED) | was_never_read)
        done.append(_files(Kind.REPORTS, is_read, dry_run=dry_run, suite_properties=None))
    if terms.logs:
        done.append(_logs(now - timedelta(days=terms.logs), dry_run=dry_run))
    if terms.counts:
        done.append(_counts(now - timedelta(days=terms.counts), dry_run=dry_run))
    for each in done:
        if (each.count or each.left) and not dry_run:
            logger.info("Removed %s %s. %s", each.count, each.kind, each.left)
    return done


# --- results --------------------------------------------------------------------------------------

_RESULTS_OF_MONTH = f"""
SELECT coalesce(sum(test_count), 0) FROM runs_run r
WHERE run_at >= %s AND run_at < %s AND NOT {STAYS} AND results_removed_at IS NULL
"""  # noqa: S608 - of constants
_STATES = "runs_casestate WHERE case_id IN (SELECT id FROM runs_testcase WHERE last_seen_at < %(before)s)"
_PACES = "runs_caseduration WHERE case_id IN (SELECT id FROM runs_testcase WHERE last_seen_at < %(before)s)"
_BLAMES = "runs_blame WHERE run_id IN (SELECT id FROM runs_run WHERE results_removed_at IS NOT NULL)"


def _results(oldest: datetime, now: datetime, *, dry_run: bool) -> Outlived:
    count = 0
    held = []
    for month in months_before(oldest):
        if dry_run:
            count += _number(_RESULTS_OF_MONTH, *month_of(month))
            continue
        removed = remove_month(month, now=now)
        if removed is None:
            held.append(f"{month:%Y-%m}")
        else:
            count += removed.result_count
    left = f"{', '.join(held)}: somebody writes to it; the next night will do." if held else ""
    return Outlived(Kind.RESULTS, count, left=left)


def _verdicts(oldest: datetime, *, dry_run: bool) -> Outlived:
    """Tests themselves stay: by their identity one that comes back finds its counts, and its quarantine."""
    # When a test was last seen is noted once a day.
    before = oldest - timedelta(days=1)
    return _rows(Kind.VERDICTS, [_STATES, _PACES, _BLAMES], dry_run=dry_run, before=before)


# --- texts ----------------------------------------------------------------------------------------

_ALONE = """
first_seen_at < %(before)s AND NOT EXISTS (SELECT FROM runs_result r WHERE r.failure_id = f.id)
AND NOT EXISTS (SELECT FROM runs_attempt a WHERE a.failure_id = f.id)
"""
_FIND_TEXTS = f"""
SELECT f.id, f.project_id FROM runs_failure f WHERE f.id > %(after)s AND {_ALONE}
ORDER BY f.id LIMIT %(limit)s
"""  # noqa: S608 - of constants
_DELETE_TEXTS = f"DELETE FROM runs_failure f WHERE f.id = ANY(%(ids)s) AND {_ALONE}"  # noqa: S608 - of constants


def _texts(before: datetime, *, dry_run: bool) -> Outlived:
    if dry_run:
        count = _number(f"SELECT count(*) FROM runs_failure f WHERE {_ALONE}", before=before)  # noqa: S608 - of constants
        return Outlived(Kind.TEXTS, count)
    count = after = 0
    for _ in range(STEP_LIMIT):
        values: dict[str, _Value] = {"before": before, "after": after, "limit": TEXTS_AT_ONCE}
        with connection.cursor() as cursor:
            cursor.execute(_FIND_TEXTS, values)
            found = cursor.fetchall()
        if not found:
            return Outlived(Kind.TEXTS, count)
        after = found[-1][0]
        for project_id in sorted({project for _, project in found}):
            ids = [text for text, project in found if project == project_id]
            # Whoever stores reports may be about to refer to one of them: not while we look and delete.
            with transaction.atomic(), connection.cursor() as cursor:
                hold_back_merges(project_id)
                cursor.execute(_DELETE_TEXTS, {"before": before, "ids": ids})
                count += cursor.rowcount
    return Outlived(Kind.TEXTS, count, left=_MORE)


# --- files ----------------------------------------------------------------------------------------

_MORE = "There is more; the next night goes on."


def _files[File: (Artifact, Report)](
    kind: Kind, old: QuerySet[File], *, dry_run: bool, **emptied: None
) -> Outlived:
    """The row stays, with what the file was; it names no place any more. What is `emptied` goes with it."""
    due = old.filter(run__pinned_at=None).exclude(storage_name="")
    if dry_run:
        sizes = list(due.values_list("size", flat=True))
        return Outlived(kind, len(sizes), size=sum(sizes))
    count = size = 0
    for _ in range(STEP_LIMIT):
        with transaction.atomic():
            # The run is locked: nobody pins it while its files go.
            locked = due.select_for_update(of=("self", "run"), no_key=True, skip_locked=True)
            files = list(locked.select_related("run").order_by("pk")[:FILES_AT_ONCE])
            gone, trouble = _removed(files)
            old.filter(pk__in=[file.pk for file in gone]).update(storage_name="", **emptied)
        count += len(gone)
        size += sum(file.size for file in gone)
        if trouble:
            return Outlived(kind, count, size=size, left=trouble)
        if len(files) < FILES_AT_ONCE:
            return Outlived(kind, count, size=size)
    return Outlived(kind, count, size=size, left=_MORE)


def _removed[File: (Artifact, Report)](files: list[File]) -> tuple[list[File], str]:
    """Those that went, and what kept the next one; empty when all went."""
    for index, file in enumerate(files):
        try:
            default_storage.delete(file.storage_name)
        except OSError as error:
            return files[:index], f"The next night goes on; storage refused: {error}"
    return files, ""


# --- rows -----------------------------------------------------------------------------------------

_UNPINNED = "run_id NOT IN (SELECT id FROM runs_run WHERE pinned_at IS NOT NULL)"
_LINES = f"runs_logchunk WHERE last_at < %(before)s AND {_UNPINNED}"
_EVENTS = f"runs_event WHERE at < %(before)s AND {_UNPINNED}"
_CASE_MONTHS = "runs_casemonth WHERE month < %(month)s"
_SUITE_DAYS = "runs_suiteday WHERE day < %(day)s"
_SERVICE_DAYS = "runs_serviceday WHERE day < %(day)s"


def _logs(before: datetime, *, dry_run: bool) -> Outlived:
    return _rows(Kind.LOGS, [_LINES, _EVENTS], dry_run=dry_run, before=before)


def _counts(before: datetime, *, dry_run: bool) -> Outlived:
    """A test's month goes once all of it is older."""
    day, month = before.date(), before.date().replace(day=1)
    which = [_CASE_MONTHS, _SUITE_DAYS, _SERVICE_DAYS]
    return _rows(Kind.COUNTS, which, dry_run=dry_run, day=day, month=month)


def _rows(kind: Kind, which: list[str], *, dry_run: bool, **values: _Value) -> Outlived:
    """Delete rows, each of `which` a table with a condition."""
    count = 0
    left = ""
    for rows in which:
        if dry_run:
            count += _number(f"SELECT count(*) FROM {rows}", **values)  # noqa: S608 - of constants
            continue
        gone, is_more = _in_steps(rows, values)
        count += gone
        left = _MORE if is_more else left
    return Outlived(kind, count, left=left)


def _in_steps(rows: str, values: dict[str, _Value]) -> tuple[int, bool]:
    """How many rows went, and whether there may be more."""
    table = rows.partition(" ")[0]
    delete = f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {rows} LIMIT {ROWS_AT_ONCE}))"  # noqa: S608 - of constants
    count = 0
    for _ in range(STEP_LIMIT):
        with connection.cursor() as cursor:
            cursor.execute(delete, values)
            count += cursor.rowcount
            if cursor.rowcount < ROWS_AT_ONCE:
                return count, False
    return count, True


def _number(question: str, *places: _Value, **values: _Value) -> int:
    with connection.cursor() as cursor:
        cursor.execute(question, places or values)
        [number] = cursor.fetchone()
    return int(number)
