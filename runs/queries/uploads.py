"""Uploads of a project: the list of them, and one whole with its files and what could not be taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import Count, Sum

from runs.models import Project, Report, Run, Upload
from runs.vocabulary import UploadStatus

PAGE_LENGTH: Final = 50
VIEWS: Final = {
    "": "All",
    "received": "Waiting",
    "stored": "Stored",
    "partial": "Partial",
    "rejected": "Rejected",
}


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
class UploadList:
    """A page of uploads, newest first."""

    rows: Sequence[UploadRow]
    view: str
    #: The run whose uploads alone are listed; None for all.
    run: Run | None
    #: The id to go on from; None on the last page.
    older: int | None

    @property
    def label(self) -> str:
        """What the view is called."""
        return VIEWS[self.view]


@dataclass(frozen=True, slots=True)
class UploadFacts:
    """One upload whole."""

    row: UploadRow
    reports: Sequence[Report]
    #: What the sender said, as names and values; `env.` and `tag.` fields by their own names.
    fields: Sequence[tuple[str, str]]


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
    found = uploads_before(project, status=view, run=run, before=before, limit=PAGE_LENGTH + 1)
    rows = rows_of(found[:PAGE_LENGTH])
    return UploadList(
        rows=rows, view=view, run=run, older=rows[-1].upload.pk if len(found) > PAGE_LENGTH else None
    )


def uploads_before(
    project: Project, *, status: str = "", run: Run | None = None, before: int | None, limit: int
) -> list[Upload]:
    """Uploads with their runs, newest first, from before an id when there is one."""
    uploads = Upload.objects.filter(project=project).select_related("run__suite")
    if status:
        uploads = uploads.filter(status=status)
    if status in {UploadStatus.PARTIAL, UploadStatus.REJECTED}:
        # In the words of the index of those with losses.
        uploads = uploads.filter(status__in=["partial", "rejected"])
    if run is not None:
        uploads = uploads.filter(run=run)
    if before is not None:
        uploads = uploads.filter(pk__lt=before)
    return list(uploads.order_by("-pk")[:limit])


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
    for name, value in fields.items():
        if isinstance(value, Mapping):
            kind = {"environment": "env", "tags": "tag"}.get(name, name)
            said.extend((f"{kind}.{own}", str(text)) for own, text in value.items())
        else:
            said.append((name, str(value)))
    return said
