"""Take uploads in and turn them into results. An upload is safe once it is received: its files lie in
storage and its row says so; storing results may take its time, fail, and be done again."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, Sum
from django.db.models.functions import Now

from runs.actions.commits import refuse_bad_commit
from runs.actions.errors import InvalidValueError, StorageAwayError, TakenError
from runs.actions.locks import Lock, alone_with
from runs.actions.new_runs import next_number
from runs.actions.partitions import are_results_kept
from runs.actions.results import (
    TERM_IS_OVER,
    KeptFile,
    ReportFile,
    ingest_reports,
    joint_status,
    save_file,
)
from runs.actions.runs import open_uploaded_run, settle_uploaded_run
from runs.actions.uploaded_facts import add_facts
from runs.dispatch import Work, after_commit
from runs.ingestion.report import clean
from runs.models import Project, Report, Result, Run, Upload
from runs.vocabulary import RunStatus, Trigger, UploadStatus

logger = logging.getLogger(__name__)

#: An upload that failed this often for reasons of ours is rejected, so that it is not tried for ever.
TRY_LIMIT = 8
SHARD_LIMIT = 10_000
TAG_LIMIT = 100
_OLDEST = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class UploadFields:
    """What the sender says of the reports."""

    suite: str
    branch: str = ""
    commit: str = ""
    #: Uploads that share it are one run.
    run_key: str = ""
    shard: int = 1
    #: How many shards its run waits for; None: it ends with each upload.
    shards: int | None = None
    attempt: int = 1
    ci_url: str = ""
    pull_request: str = ""
    started_at: datetime | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Received:
    """An upload, and whether this call made it."""

    upload: Upload
    is_new: bool


def receive_upload(
    *,
    project: Project,
    fields: UploadFields,
    files: Sequence[ReportFile],
    idempotency_key: str = "",
    notes: Sequence[str] = (),
) -> Received:
    """Put the files into storage and ask for their results to be stored.

    The same upload again, by key or by run and content, is the first one. `notes` are told with its problems.

    Raises:
        InvalidValueError: a value that cannot be.
        TakenError: the key was used for an upload of other content.
        StorageAwayError: the files could not be put into storage.
    """
    _refuse_bad_values(fields, files, idempotency_key)
    digests = [KeptFile.digested(file) for file in files]
    content = _content_digest(fields, digests)
    known = _known(project, fields, content, idempotency_key)
    if known is not None:
        return Received(known, is_new=False)
    folder = f"uploads/{project.pk}/{datetime.now(tz=UTC):%Y-%m-%d}/{uuid.uuid4().hex}"
    kept = _saved(files, digests, folder)
    upload = None
    try:
        with transaction.atomic():
            if idempotency_key or fields.run_key:
                # Locks the project: the same upload beside this one is known now, or waits.
                next_number(project)
                known = _known(project, fields, content, idempotency_key)
            if known is None:
                upload = _create(project, fields, kept, content, idempotency_key, notes)
                return Received(upload, is_new=True)
    except BaseException:
        # Whether what broke while it was committed is committed, nobody knows: then the files stay.
        if upload is None:
            _forget(kept)
        raise
    _forget(kept)
    return Received(known, is_new=False)


def _saved(files: Sequence[ReportFile], digests: Sequence[KeptFile], folder: str) -> list[KeptFile]:
    """Put all of the files into storage for good, or none."""
    kept: list[KeptFile] = []
    try:
        for index, (file, digest) in enumerate(zip(files, digests, strict=True)):
            kept.append(save_file(file, digest, f"{folder}/{index}"))
            _sync(kept[-1].storage_name)
    except OSError as error:
        logger.exception("An upload could not be put into storage.")
        _forget(kept)
        message = (
            "The files could not be stored: the storage does not take them at the moment. Send them again. "
            "If it stays so, `itdash doctor` on the server says why."
        )
        raise StorageAwayError(message) from error
    return kept


def _forget(kept: Sequence[KeptFile]) -> None:
    """Remove files that no row speaks of. Where that fails they are left behind: nothing refers to them."""
    for one in kept:
        try:
            default_storage.delete(one.storage_name)
        except OSError as error:
            logger.warning("%s was left in storage: %s", one.storage_name, error)


def ingest_upload(upload_id: int) -> UploadStatus | None:
    """Store an upload's results; None when it is stored already or another worker is at it."""
    with alone_with(Lock.UPLOAD, upload_id) as is_alone:
        if not is_alone or not _count_try(upload_id):
            return None
        own = Report.objects.filter(upload=OuterRef("pk")).order_by("pk").values("pk")
        upload = Upload.objects.select_related("run").annotate(own=ArraySubquery(own)).get(pk=upload_id)
        if upload.try_count > TRY_LIMIT:
            return _give_up(
                upload,
                f"It could not be stored {TRY_LIMIT} times, for a reason on the server's side: see the "
                "worker's log. The files are kept.",
            )
        try:
            stored = ingest_reports(run_id=upload.run_id, shard=upload.shard, report_ids=upload.own)
        except (ConnectionError, PermissionError):
            # Storage is away, or lets nobody in: as long as that lasts the upload waits, and loses nothing.
            Upload.objects.filter(pk=upload_id).update(try_count=F("try_count") - 1)
            raise
        problems = [asdict(problem) for problem in stored.problems]
        return _finish(upload, stored.status, upload.problems + problems)


def _count_try(upload_id: int) -> bool:
    """Count a try before it begins: a worker that dies of the upload has tried, too. False when it is stored.

    Nobody waits for the disk here: should the database's server die at this moment, one try less is counted.
    """
    count = """
        UPDATE runs_upload SET try_count = try_count + 1 WHERE id = %s AND status = 'received'
        RETURNING set_config('synchronous_commit', 'off', true)
    """
    with connection.cursor() as cursor:
        cursor.execute(count, [upload_id])
        return bool(cursor.rowcount)


def _create(
    project: Project,
    fields: UploadFields,
    kept: Sequence[KeptFile],
    content: str,
    idempotency_key: str,
    notes: Sequence[str],
) -> Upload:
    told = {
        "branch": fields.branch,
        "commit": fields.commit.lower(),
        "pull_request": fields.pull_request,
        "ci_url": fields.ci_url,
    }
    tags, environment = dict(fields.tags), dict(fields.environment)
    run, is_new_run = open_uploaded_run(
        project=project,
        suite=fields.suite,
        run_key=fields.run_key or None,
        shards=fields.shards,
        # PostgreSQL knows no zones as far off as Python does.
        started_at=fields.started_at.astimezone(UTC) if fields.started_at else None,
        tags=tags,
        environment_facts=environment,
        **told,
    )
    if run.results_removed_at is not None or not are_results_kept(run.run_at):
        message = (
            f"Run {run} of that run_key is from {run.run_at:%Y-%m-%d}. {TERM_IS_OVER} Use another run_key."
        )
        raise InvalidValueError("run_key", message)
    upload = Upload.objects.create(
        project=project,
        run=run,
        shard=fields.shard,
        idempotency_key=idempotency_key or None,
        content_digest=content,
        fields=_told(fields),
    )
    for one in kept:
        values = {"upload": upload, "size": one.size, "storage_name": one.storage_name}
        own = {"run": run, "shard": fields.shard, "name": one.name, "sha256": one.sha256}
        if is_new_run and len(kept) == 1:
            Report.objects.create(**own, **values)
            break
        report, is_new = Report.objects.get_or_create(**own, defaults=values)
        if not is_new:
            _forget([one])
            reason = f"The same file came before, with upload {report.upload_id}; it is counted once."
            upload.problems.append({"file": one.name, "line": None, "reason": reason})
    if fields.shards is not None and fields.shards != run.shards_expected:
        reason = f"It says that there are {fields.shards} shards; another upload said {run.shards_expected}."
        upload.problems.append({"file": "", "line": None, "reason": reason})
    said = [] if is_new_run else add_facts(run, told=told, tags=tags, environment=environment)
    upload.problems += [{"file": "", "line": None, "reason": clean(one)} for one in (*notes, *said)]
    if upload.problems:
        upload.save(update_fields=["problems"])
    after_commit(Work.INGEST_UPLOAD, upload.pk)
    return upload


def _known(project: Project, fields: UploadFields, content: str, idempotency_key: str) -> Upload | None:
    """The upload that this one is again.

    Raises:
        TakenError: its key was used for something else.
    """
    uploads = Upload.objects.filter(project=project).select_related("run__suite", "run__project")
    if idempotency_key:
        known = uploads.filter(idempotency_key=idempotency_key).first()
        if known is not None and known.content_digest != content:
            message = f"This idempotency key was used for upload {known.pk} of other content. Use a new key."
            raise TakenError(message)
        if known is not None:
            return known
    if not fields.run_key:
        return None
    of_run = uploads.filter(run__suite__name=fields.suite, run__run_key=fields.run_key)
    return of_run.filter(content_digest=content).first()


def _finish(upload: Upload, status: UploadStatus, problems: list[dict[str, object]]) -> UploadStatus:
    """Write what came of it. Its results were committed before: doing this again changes nothing."""
    with transaction.atomic():
        Upload.objects.filter(pk=upload.pk).update(status=status, problems=problems, stored_at=Now())
        first = problems[0] if problems else None
        told = f"{first['file']}: {first['reason']}" if first else ""
        _settle(upload.run_id, problem=told)
    return status


def _settle(run_id: int, *, problem: str = "", is_over: bool = False) -> None:
    """Within a transaction. A run whose results went was settled while they were there."""
    # Locked before its results are read: whoever settles last says what all of them come to.
    run = Run.objects.select_for_update(no_key=True).get(pk=run_id)
    if run.results_removed_at is None:
        tested = Result.objects.filter(run_at=run.run_at, run_id=run_id)
        spent = tested.aggregate(spent=Sum("duration_ms"))["spent"]
        settle_uploaded_run(run_id, problem=problem, duration_ms=spent, is_over=is_over)


def settle_overdue() -> Iterator[int]:
    """End the runs whose missing shards are waited for no longer, or that somebody wants to end.

    The time counts from the newest upload; one that is not read yet is waited for in any case.
    """
    waited_since = Now() - timedelta(seconds=settings.SHARDS_WAIT_SECONDS)
    uploads = Upload.objects.filter(run=OuterRef("pk"))
    is_fresh = Exists(uploads.filter(received_at__gt=waited_since))
    overdue = (
        Run.objects.filter(status=RunStatus.INGESTING, trigger=Trigger.UPLOAD, shards_expected__isnull=False)
        .filter(Q(cancel_requested_at__isnull=False) | ~is_fresh)
        .exclude(Exists(uploads.filter(status=UploadStatus.RECEIVED)))
    )
    for run_id in list(overdue.order_by("pk").values_list("pk", flat=True)):
        with transaction.atomic():
            _settle(run_id, is_over=True)
        yield run_id


def give_up_upload(upload_id: int, *, minutes: int) -> None:
    """Reject an upload that took longer than that, unless it is stored after all."""
    with alone_with(Lock.UPLOAD, upload_id) as is_alone:
        upload = Upload.objects.select_related("run").get(pk=upload_id)
        if is_alone and upload.status == UploadStatus.RECEIVED:
            reason = f"It could not be read within {minutes} minutes. The files are kept: send them in parts."
            _give_up(upload, reason)


def _give_up(upload: Upload, reason: str) -> UploadStatus:
    problem: dict[str, object] = {"file": "", "line": None, "reason": reason}
    Report.objects.filter(upload=upload, status=UploadStatus.RECEIVED).update(status=UploadStatus.REJECTED)
    statuses = Report.objects.filter(upload=upload).values_list("status", flat=True)
    return _finish(upload, joint_status([UploadStatus(one) for one in statuses]), [*upload.problems, problem])


def _refuse_bad_values(fields: UploadFields, files: Sequence[ReportFile], idempotency_key: str) -> None:
    if not files:
        raise InvalidValueError("files", "Send at least one report, in the form field “files”.")
    limits = {"branch": 250, "run_key": 250, "pull_request": 60, "ci_url": 2000}
    values = {name: getattr(fields, name) for name in limits} | {"Idempotency-Key": idempotency_key}
    for name, value in values.items():
        limit = limits.get(name, 250)
        if len(value) > limit or not value.isprintable():
            message = f"{name} has up to {limit} printable characters."
            raise InvalidValueError(name, message)
    refuse_bad_commit(fields.commit)
    for name, number in (("shard", fields.shard), ("attempt", fields.attempt)):
        if not 1 <= number <= SHARD_LIMIT:
            message = f"{name} counts from 1 to {SHARD_LIMIT}."
            raise InvalidValueError(name, message)
    if fields.shards is not None and not fields.shard <= fields.shards <= SHARD_LIMIT:
        message = (
            f"There is no shard {fields.shard} of {fields.shards}: shards count from 1 to {SHARD_LIMIT}."
        )
        raise InvalidValueError("shards", message)
    if fields.shards is not None and not fields.run_key:
        message = "shards needs a run_key: it tells which uploads are one run."
        raise InvalidValueError("shards", message)
    if fields.ci_url and not fields.ci_url.startswith(("http://", "https://")):
        raise InvalidValueError("ci_url", "ci_url begins with http:// or https://.")
    _refuse_bad_moment(fields.started_at)
    if len(fields.tags) > TAG_LIMIT or len(fields.environment) > TAG_LIMIT:
        message = f"Up to {TAG_LIMIT} tag.* and {TAG_LIMIT} env.* fields are taken."
        raise InvalidValueError("tag", message)


def _refuse_bad_moment(moment: datetime | None) -> None:
    if moment is None:
        return
    if moment.tzinfo is None:
        message = "started_at needs a time zone, as in 2026-11-21T08:00:00Z."
        raise InvalidValueError("started_at", message)
    if not _OLDEST < moment < datetime.now(tz=UTC) + timedelta(days=1):
        message = "started_at lies between the year 2000 and now."
        raise InvalidValueError("started_at", message)
    if not are_results_kept(moment):
        days = settings.KEEP_RESULTS_DAYS
        message = (
            f"started_at lies before the oldest results that are kept here: those of {days} days "
            "(ITDASH_KEEP_RESULTS_DAYS)."
        )
        raise InvalidValueError("started_at", message)


def _told(fields: UploadFields) -> dict[str, object]:
    """The fields as JSON holds them, without those that were not sent."""
    values = {name: value for name, value in asdict(fields).items() if value not in ("", None, {})}
    if fields.started_at is not None:
        values["started_at"] = fields.started_at.isoformat()
    return {name: _storable(value) for name, value in values.items()}


def _storable(value: object) -> object:
    if isinstance(value, Mapping):
        return {clean(str(key))[:200]: clean(str(own))[:2_000] for key, own in value.items()}
    return clean(value) if isinstance(value, str) else value


def _content_digest(fields: UploadFields, files: Sequence[KeptFile]) -> str:
    whole = {"fields": _told(fields), "files": sorted([one.name, one.sha256] for one in files)}
    return sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _sync(storage_name: str) -> None:
    """Have the file on disk, where storage is a disk, before anybody is told that it is safe."""
    with suppress(NotImplementedError):
        path = Path(default_storage.path(storage_name))
        with path.open("rb") as file:
            os.fsync(file.fileno())
