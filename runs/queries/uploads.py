"""Uploads of a project: the list of them, and one whole with its files and what could not be taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import Count, F, Func, IntegerField, QuerySet, Sum

from runs.models import Project, Report, Run, Upload
from runs.vocabulary import UploadStatus

PAGE_LENGTH: Final = 50
#: Problems and files of one upload that its page opens with, and lists at all; the API has each.
OPEN_ROWS: Final = 30
LISTED_ROWS: Final = 1_000
VIEWS: Final = {
    "": "All",
    "received": "Waiting",
    "stored": "Stored",
    "partial": "Partial",
    "rejected": "Rejected",
}
_LOSSES: Final = (UploadStatus.REJECTED, UploadStatus.PARTIAL)
_ORDER: Final = [*_LOSSES, UploadStatus.RECEIVED, UploadStatus.STORED]
#: A form's fields as people ask for them; the database keeps them in no order.
_FIELDS: Final = (
    "suite",
    "branch",
    "commit",
    "pull_request",
    "run_key",
    "shard",
    "shards",
    "attempt",
    "ci_url",
    "started_at",
)


@dataclass(frozen=True, slots=True)
class UploadCounts:
    """What was found in an upload."""

    files: int = 0
    #: Bytes, as sent.
    size: int = 0
    test_cases: int = 0


@dataclass(frozen=True, slots=True)
class UploadRow:
    """An upload with its run, its counts and its delay."""

    upload: Upload
    counts: UploadCounts

    @property
    def delay_ms(self) -> int | None:
        """From received to stored; None while it waits."""
        return delay_ms(self.upload)

    @property
    def problems(self) -> Sequence[Mapping[str, object]]:
        """Everything that could not be taken, or was taken in a way worth knowing."""
        return list(self.upload.problems)


@dataclass(frozen=True, slots=True)
class UploadLine:
    """An upload in the list: how many problems it has, and the first of them."""

    upload: Upload
    counts: UploadCounts
    problem_count: int
    #: Of one that lost something; None where nothing was.
    first_problem: Mapping[str, object] | None

    @property
    def delay_ms(self) -> int | None:
        """From received to stored; None while it waits."""
        return delay_ms(self.upload)


@dataclass(frozen=True, slots=True)
class UploadList:
    """A page of uploads, newest first."""

    rows: Sequence[UploadLine]
    view: str
    #: The run whose uploads alone are listed; None for all.
    run: Run | None
    #: The id to go on from; None on the last page.
    older: int | None

    @property
    def label(self) -> str:
        """What the view is called."""
        return VIEWS[self.view]

    @property
    def told(self) -> Sequence[tuple[UploadStatus, int]]:
        """How many of these uploads lost something, or wait: only what there is, the worst first."""
        statuses = [row.upload.status for row in self.rows]
        worst = (UploadStatus.REJECTED, UploadStatus.PARTIAL, UploadStatus.RECEIVED)
        return [(one, statuses.count(one)) for one in worst if one in statuses]


@dataclass(frozen=True, slots=True)
class UploadFacts:
    """One upload whole."""

    row: UploadRow
    reports: Sequence[Report]
    #: What the sender said, as names and values; `env.` and `tag.` fields by their own names.
    fields: Sequence[tuple[str, str]]

    @property
    def problem_rows(self) -> Rows[Mapping[str, object]]:
        """Its problems, for a table."""
        return rows_shown(self.row.problems)

    @property
    def report_rows(self) -> Rows[Report]:
        """Its files, for a table: those that lost something first."""
        return rows_shown(sorted(self.reports, key=lambda report: _ORDER.index(UploadStatus(report.status))))


@dataclass(frozen=True, slots=True)
class Rows[T]:
    """A long table: what is open, what may be opened, and how many rows are in neither."""

    open: Sequence[T]
    folded: Sequence[T]
    left_count: int


def rows_shown[T](rows: Sequence[T]) -> Rows[T]:
    """Divide them; a few more than are opened are not worth folding."""
    cut = OPEN_ROWS if len(rows) > OPEN_ROWS + 10 else len(rows)
    return Rows(rows[:cut], rows[cut:LISTED_ROWS], max(0, len(rows) - LISTED_ROWS))


def delay_ms(upload: Upload) -> int | None:
    """Milliseconds from received to stored; None while it waits."""
    if upload.stored_at is None:
        return None
    return round((upload.stored_at - upload.received_at).total_seconds() * 1000)


def upload_list(
    project: Project, *, view: str = "", run: Run | None = None, before: int | None
) -> UploadList:
    """Two queries: the newest uploads, or those before an id, and what was in them."""
    view = view if view in VIEWS else ""
    uploads = _uploads_before(project, status=view, run=run, before=before)
    # An upload may have thousands of problems: here they are only counted.
    count = Func(F("problems"), function="jsonb_array_length", output_field=IntegerField())
    counted = uploads.defer("problems").annotate(problem_count=count, first_problem=F("problems__0"))
    found = list(counted[: PAGE_LENGTH + 1])
    shown = found[:PAGE_LENGTH]
    rows = [
        UploadLine(
            upload=row.upload,
            counts=row.counts,
            problem_count=one.problem_count,
            first_problem=one.first_problem if one.status in _LOSSES else None,
        )
        for one, row in zip(shown, rows_of(shown), strict=True)
    ]
    return UploadList(
        rows=rows, view=view, run=run, older=rows[-1].upload.pk if len(found) > PAGE_LENGTH else None
    )


def uploads_before(
    project: Project, *, status: str = "", run: Run | None = None, before: int | None, limit: int
) -> list[Upload]:
    """Uploads with their runs, newest first, from before an id when there is one."""
    return list(_uploads_before(project, status=status, run=run, before=before)[:limit])


def _uploads_before(
    project: Project, *, status: str, run: Run | None, before: int | None
) -> QuerySet[Upload]:
    uploads = Upload.objects.filter(project=project).select_related("run__suite")
    if status:
        uploads = uploads.filter(status=status)
    if status in _LOSSES:
        # In the words of the index of those with losses.
        uploads = uploads.filter(status__in=["partial", "rejected"])
    if run is not None:
        uploads = uploads.filter(run=run)
    if before is not None:
        uploads = uploads.filter(pk__lt=before)
    return uploads.order_by("-pk")


def rows_of(uploads: Sequence[Upload]) -> list[UploadRow]:
    """The uploads with what was in them: one query."""
    found = Report.objects.filter(upload__in=[upload.pk for upload in uploads]).values_list("upload")
    counted = found.annotate(Count("pk"), Sum("size"), Sum("case_count")).order_by("upload")
    counts = {key: UploadCounts(files, size, cases) for key, files, size, cases in counted}
    return [UploadRow(upload, counts.get(upload.pk, UploadCounts())) for upload in uploads]


def upload_facts(upload: Upload) -> UploadFacts:
    """What there is to say of one: its files in the order in which they were sent."""
    reports = list(Report.objects.filter(upload=upload).order_by("pk"))
    counts = UploadCounts(
        files=len(reports),
        size=sum(one.size for one in reports),
        test_cases=sum(one.case_count for one in reports),
    )
    return UploadFacts(row=UploadRow(upload, counts), reports=reports, fields=list(_said(upload.fields)))


def _said(fields: Mapping[str, object]) -> list[tuple[str, str]]:
    said: list[tuple[str, str]] = []
    known = {name: place for place, name in enumerate(_FIELDS)}
    for name, value in sorted(fields.items(), key=lambda field: (known.get(field[0], len(known)), field[0])):
        if isinstance(value, Mapping):
            kind = {"environment": "env", "tags": "tag"}.get(name, name)
            said.extend((f"{kind}.{own}", str(text)) for own, text in value.items())
        else:
            said.append((name, str(value)))
    return said
