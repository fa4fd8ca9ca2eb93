"""Uploads: send reports, ask what became of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial, wraps
from http import HTTPStatus
from typing import BinaryIO, cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from ninja import Field, File, Form, Query, Router, Schema, Status
from ninja.decorators import decorate_view
from ninja.files import UploadedFile

from environments.errors import DeadlineExceededError
from environments.probes import wait_until
from runs.actions.results import ReportFile
from runs.actions.uploads import UploadFields, receive_upload
from runs.api.answers import Answer
from runs.api.auth import Caller, TokenAuth, project_for, upload_for
from runs.api.description import IDEMPOTENCY_KEY
from runs.api.paging import page, read_cursor
from runs.api.problems import ProblemError, problem
from runs.api.schemas import Paging, RunOut, seconds
from runs.ingestion.formats import describe_bytes, may_be_report
from runs.ingestion.report import clean
from runs.models import Project, Run, Upload
from runs.queries.samples import UNTIL_TAG
from runs.queries.uploads import UploadRow, rows_of, upload_facts, uploads_before
from runs.vocabulary import Scope, UploadStatus

router = Router(tags=["uploads"])

WAIT_LIMIT_SECONDS = 60
#: Fields and files left out that are named.
_LEFT_OUT_LIMIT = 20
_SHARD = re.compile(r"([0-9]{1,9})(?:/([0-9]{1,9}))?")
_EXTRA = re.compile(r"(env|tag)\.(.{1,200})", re.DOTALL)


class UploadForm(Schema):
    """What the sender says of the reports. Further fields: `env.NAME` and `tag.NAME`."""

    suite: str = Field(description="The suite's name; made when it is new.")
    branch: str = ""
    commit: str = Field("", description="7 to 64 hexadecimal digits.")
    run_key: str = Field("", description="Uploads that share it are one run: the pipeline's id, say.")
    shard: str = Field("1", description="Which parallel slice this is, from 1: `2`, or `2/8` of eight.")
    shards: int | None = Field(
        None, description="How many slices there are: the run ends when all are in. Needs `run_key`."
    )
    attempt: int = Field(1, description="Which try of the CI's job this is, from 1.")
    ci_url: str = Field("", description="Where people find the CI's job.")
    pull_request: str = ""
    started_at: datetime | None = Field(None, description="When the tests began, with a time zone.")


class ProblemOut(Answer):
    """Something that could not be taken, or was taken in a way worth knowing."""

    file: str
    line: int | None = None
    reason: str
    kept_count: int | None = Field(
        None, description="For a report that breaks off: the test cases before the fault, which are kept."
    )


class ReportOut(Answer):
    """One file of an upload."""

    name: str
    size: int = Field(description="Bytes.")
    sha256: str
    status: str
    test_cases: int
    problems: list[ProblemOut]
    url: str = Field(description="The file as it came, for whoever may see the run.")


class UploadCounts(Answer):
    """What was found in an upload."""

    files: int
    size: int = Field(description="Bytes, as sent.")
    test_cases: int
    problems: int


class UploadOut(Answer):
    """An upload and what became of it."""

    id: int
    status: str = Field(
        description="received, then stored (all of it), partial (some) or rejected (nothing could be read)."
    )
    shard: int
    received_at: datetime
    stored_at: datetime | None
    delay_seconds: float | None = Field(description="From received to stored; null while it waits.")
    url: str = Field(description="Its page.")
    fields: dict[str, object] = Field(description="The form as it was sent.")
    counts: UploadCounts
    files: list[ReportOut]
    problems: list[ProblemOut] = Field(description="Of all files; nothing is left out in silence.")
    run: RunOut

    @classmethod
    def of(cls, upload: Upload) -> UploadOut:
        """Shape an upload."""
        facts = upload_facts(upload)
        return cls(
            id=upload.pk,
            status=upload.status,
            shard=upload.shard,
            received_at=upload.received_at,
            stored_at=upload.stored_at,
            delay_seconds=seconds(facts.row.delay_ms),
            url=_page("upload", upload, upload.pk),
            fields=upload.fields,
            counts=_counts(facts.row),
            files=[
                ReportOut(
                    name=one.name,
                    size=one.size,
                    sha256=one.sha256,
                    status=one.status,
                    test_cases=one.case_count,
                    problems=[ProblemOut(**own) for own in one.problems],
                    url=_page("run-file", upload, upload.run.number, "report", one.pk),
                )
                for one in facts.reports
            ],
            problems=[ProblemOut(**own) for own in upload.problems],
            run=RunOut.of(upload.run),
        )


class RunBrief(Answer):
    """The run that an upload belongs to."""

    id: int
    number: int
    url: str

    @classmethod
    def of(cls, run: Run) -> RunBrief:
        """Shape a run whose project is loaded."""
        return cls(id=run.pk, number=run.number, url=f"{settings.PUBLIC_URL}{run.get_absolute_url()}")


class UploadSummary(Answer):
    """An upload in a list."""

    id: int
    status: str
    shard: int
    received_at: datetime
    stored_at: datetime | None
    delay_seconds: float | None = Field(description="From received to stored; null while it waits.")
    counts: UploadCounts
    run: RunBrief
    url: str = Field(description="Its page.")

    @classmethod
    def of(cls, row: UploadRow, project: Project) -> UploadSummary:
        """Shape a row of a project's list."""
        upload = row.upload
        upload.project = upload.run.project = project
        return cls(
            id=upload.pk,
            status=upload.status,
            shard=upload.shard,
            received_at=upload.received_at,
            stored_at=upload.stored_at,
            delay_seconds=seconds(row.delay_ms),
            counts=_counts(row),
            run=RunBrief.of(upload.run),
            url=_page("upload", upload, upload.pk),
        )


class UploadPage(Answer):
    """Uploads, newest first."""

    items: list[UploadSummary]
    next: str | None


class UploadQuery(Paging):
    """What a list of uploads is narrowed to."""

    status: UploadStatus | None = None
    run: int | None = Field(None, description="The run's id.")


class UploadBrief(Answer):
    """An upload's name and state."""

    id: int
    status: str


class UploadAccepted(Answer):
    """What is told at once."""

    upload: UploadBrief
    run: RunBrief

    @classmethod
    def of(cls, upload: Upload) -> UploadAccepted:
        """Shape an upload whose run and project are loaded."""
        return cls(upload=UploadBrief(id=upload.pk, status=upload.status), run=RunBrief.of(upload.run))


class WaitQuery(Schema):
    """How long to wait."""

    wait: float = Field(
        0, ge=0, le=WAIT_LIMIT_SECONDS, description="Wait up to so many seconds until it is stored."
    )


class OwnUploads(TokenAuth):
    """The door of those who may read, and of tokens that may only upload: they follow what they sent."""

    def __call__(self, request: HttpRequest) -> Caller:
        """Name the caller."""
        try:
            return super().__call__(request)
        except ProblemError as refusal:
            if refusal.status != HTTPStatus.FORBIDDEN:
                raise
            return TokenAuth(Scope.UPLOAD)(request)


type View = Callable[..., HttpResponse]


def bounded(view: View) -> View:
    """Refuse what is no form or too large before a byte of it is read."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if request.content_type != "multipart/form-data":
            detail = "Send the reports as multipart/form-data, in the field “files”."
            return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
        length = request.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > settings.UPLOAD_LIMIT_BYTES:
            return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large())
        return view(request, *args, **kwargs)

    return guarded


@router.post(
    "/projects/{project}/uploads",
    auth=TokenAuth(Scope.UPLOAD),
    response={202: UploadAccepted, 200: UploadAccepted},
    summary="Upload reports",
    openapi_extra=IDEMPOTENCY_KEY,
)
@decorate_view(bounded)
def post_upload(
    request: HttpRequest,
    project: str,
    form: Form[UploadForm],
    files: File[list[UploadedFile]],
    query: Query[WaitQuery],
) -> Status[UploadAccepted]:
    """Send JUnit XML, as it is or as .gz, .zip or .tar.gz, up to 250 MiB and 500,000 test cases.

    The files are safe once this answers 202; their results are stored soon after, or within `wait`
    seconds: then it answers 200. With an `Idempotency-Key` header the same upload twice is one upload.
    Fields called `env.NAME` and `tag.NAME` are kept with the run.
    """
    owner = project_for(request, project)
    _refuse_bad_files(files)
    tags = _extra(request, "tag")
    if UNTIL_TAG in tags:  # it would go with the sample data, and nobody would be told of it before
        detail = f"The tag {UNTIL_TAG} marks sample data that itdash made up. Call yours something else."
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    received = receive_upload(
        project=owner,
        fields=UploadFields(**form.dict() | _shards(form), environment=_extra(request, "env"), tags=tags),
        files=[ReportFile(file.name or "report.xml", open=partial(_from_start, file)) for file in files],
        idempotency_key=request.headers.get("Idempotency-Key", ""),
        notes=_left_out(request),
    )
    upload = _awaited(received.upload.pk, seconds=query.wait) if query.wait else received.upload
    is_done = upload.status != UploadStatus.RECEIVED
    return Status(HTTPStatus.OK if is_done else HTTPStatus.ACCEPTED, UploadAccepted.of(upload))


@router.get(
    "/projects/{project}/uploads",
    auth=OwnUploads(Scope.READ),
    response=UploadPage,
    summary="A project's uploads",
)
def list_uploads(request: HttpRequest, project: str, query: Query[UploadQuery]) -> dict[str, object]:
    """Newest first: what was sent, how much was in it, how long it took. A token with the scope `upload` may
    ask too."""
    key = read_cursor(query.cursor, int)
    owner = project_for(request, project)
    run = Run.objects.filter(project=owner, pk=query.run).first() if query.run is not None else None
    if query.run is not None and run is None:
        return page(request, [], [], limit=query.limit, key=[])
    before = key[0] if key else None
    found = uploads_before(owner, status=query.status or "", run=run, before=before, limit=query.limit)
    items = [UploadSummary.of(row, owner) for row in rows_of(found)]
    return page(request, found, items, limit=query.limit, key=[found[-1].pk] if found else [])


@router.get("/uploads/{int:upload_id}", auth=OwnUploads(Scope.READ), response=UploadOut, summary="An upload")
def get_upload(request: HttpRequest, upload_id: int, query: Query[WaitQuery]) -> UploadOut:
    """What became of an upload: counts, and every problem with file, line and reason.

    A token with the scope `upload` may ask too.
    """
    upload = upload_for(request, upload_id)
    return UploadOut.of(_awaited(upload.pk, seconds=query.wait))


def _counts(row: UploadRow) -> UploadCounts:
    counts = row.counts
    return UploadCounts(
        files=counts.files, size=counts.size, test_cases=counts.test_cases, problems=len(row.problems)
    )


def _page(name: str, upload: Upload, *parts: object) -> str:
    return settings.PUBLIC_URL + reverse(name, args=[upload.project.slug, *parts])


def _awaited(upload_id: int, *, seconds: float) -> Upload:
    """The upload once it is no longer waiting to be stored, or as it is when the time is up."""
    uploads = Upload.objects.select_related("run__project", "run__suite", "project")

    def done() -> Upload | None:
        return uploads.exclude(status=UploadStatus.RECEIVED).filter(pk=upload_id).first()

    if seconds:
        try:
            return wait_until(done, deadline_seconds=seconds)
        except DeadlineExceededError:
            pass
    return uploads.get(pk=upload_id)


def _shards(form: UploadForm) -> dict[str, int | None]:
    """`shard` and `shards` as numbers, where `shard` may say both, as in `2/8`."""
    match = _SHARD.fullmatch(form.shard.strip())
    said = int(match[2]) if match and match[2] else form.shards
    if match is None or (form.shards is not None and said != form.shards):
        detail = (
            "shard: a number from 1, as in 2, or 2/8 for the second of eight; shards says the same eight."
        )
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    return {"shard": int(match[1]), "shards": said}


def _refuse_bad_files(files: list[UploadedFile]) -> None:
    if sum(file.size or 0 for file in files) > settings.UPLOAD_LIMIT_BYTES:
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large())
    beginnings = [file.read(512) for file in files]
    # One report among other files is enough: the others are then told as problems of the upload.
    if not any(map(may_be_report, beginnings)):
        looks = describe_bytes(beginnings[0]) or "This is no report and no archive."
        detail = f"{files[0].name}: {looks} Send .xml, .trx, .json (CTRF), .xml.gz, .zip or .tar.gz."
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)


def _too_large() -> str:
    limit = settings.UPLOAD_LIMIT_BYTES // 2**20
    mend = "Compress the reports, or send them in several uploads with one run_key."
    return f"An upload has up to {limit} MiB. {mend}"


def _from_start(file: UploadedFile) -> BinaryIO:
    """The file again from its beginning; it is closed with the request, not with the reader."""
    file.seek(0)
    return cast("BinaryIO", _Unclosed(file))


class _Unclosed:
    """A file that leaving a `with` block does not close."""

    def __init__(self, file: UploadedFile) -> None:
        self._file = file

    def __enter__(self) -> UploadedFile:
        return self._file

    def __exit__(self, *_: object) -> None:
        """Leave it open."""


def _left_out(request: HttpRequest) -> list[str]:
    """Say of the form's fields that nobody asks for that they are left out: a name may be misspelt."""
    fields = [
        name for name in request.POST if name not in UploadForm.model_fields and not _EXTRA.fullmatch(name)
    ]
    told = [f"The field “{name[:100]}” of the form is not known; it was left out." for name in fields]
    for name in request.FILES:
        if name != "files":
            sent = ", ".join(str(file.name)[:100] for file in request.FILES.getlist(name)[:_LEFT_OUT_LIMIT])
            told.append(f"Reports go into the field “files”; what “{name[:100]}” held was left out: {sent}.")
    for name, values in request.POST.lists():
        if len(values) > 1:
            told.append(f"The field “{name[:100]}” came {len(values)} times; the last one holds.")
    return [clean(one) for one in told[:_LEFT_OUT_LIMIT]]


def _extra(request: HttpRequest, kind: str) -> dict[str, str]:
    """The form's `env.NAME` or `tag.NAME` fields by name."""
    matches = [(_EXTRA.fullmatch(name), value) for name, value in request.POST.items()]
    return {clean(match[2]): clean(str(value)) for match, value in matches if match and match[1] == kind}
