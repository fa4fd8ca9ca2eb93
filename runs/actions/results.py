"""Store reports: the only writer of results, attempts, failures and test cases."""

from __future__ import annotations

import gc
import hashlib
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Exists, OuterRef

from runs.actions.attachments import keep_attachments
from runs.actions.errors import RunLostError
from runs.actions.partitions import are_results_kept, ensure_partition
from runs.actions.result_rows import Place, Staging
from runs.ingestion.archive import (
    NOTHING_TO_READ,
    Budget,
    Member,
    members_of,
    place_in_order,
    without_kept,
)
from runs.ingestion.attachments import ATTACHMENT_COUNT_LIMIT, ATTACHMENT_LIMIT
from runs.ingestion.details import SuiteDetails, SuitesTold, packed_suites
from runs.ingestion.errors import MalformedReportError, NotAReportError, ReportError
from runs.ingestion.feeding import ReportReader
from runs.ingestion.formats import REPORT_ENDINGS, describe_text, may_be_report
from runs.ingestion.readers import report_reader
from runs.ingestion.report import CaseRead, ReportSummary, clean, cut
from runs.models import Report, Run
from runs.vocabulary import UploadStatus

#: Test cases taken in one go.
CASE_LIMIT = 500_000
#: Problems kept of one report; one more says how many are left out.
PROBLEM_LIMIT = 200
#: What is said of reports of a run whose results went, or go with the next night.
TERM_IS_OVER = (
    "The results of this run's month are not kept any more: their term is over (ITDASH_KEEP_RESULTS_DAYS)."
)
#: Of files that are sent beside reports, unless a report names them.
_NO_REPORT = "It is no report and was left out: no report of the run names it."
#: Characters of a file's name, its end.
_NAME_LIMIT = 1000
_READ_BYTES = 1024 * 1024
_BEGINNING_BYTES = 512
_USUAL_BYTES_OF_A_CASE = 150
_USUAL_PACKING = 10


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A result file to be stored.

    Either it lies in Django's default storage already (`storage_name`), or `open` gives its bytes, from
    the start, each time it is called: `ReportFile("junit.xml", open=lambda: path.open("rb"))`.
    """

    #: As people know it: its path in the tests' container or in the upload.
    name: str
    open: Callable[[], BinaryIO] | None = None
    storage_name: str = ""


@dataclass(frozen=True, slots=True)
class StoredProblem:
    """What could not be taken, for people: which file, which line (if known), why."""

    file: str
    reason: str
    line: int | None = None
    #: For a report that breaks off: test cases before the fault, which are kept; 0 when there were none.
    kept_count: int | None = None


@dataclass(frozen=True, slots=True)
class StoredCounts:
    """What the run holds now, all shards together. The outcomes add up to `tests`."""

    tests: int = 0
    passed: int = 0
    failed: int = 0
    errored: int = 0
    skipped: int = 0
    flaky: int = 0


@dataclass(frozen=True, slots=True)
class StoredReports:
    """What came of some reports."""

    #: Of the run, after these reports.
    counts: StoredCounts = field(default_factory=StoredCounts)
    #: Test cases read from these reports.
    case_count: int = 0
    problems: list[StoredProblem] = field(default_factory=list)
    #: `stored`: all were taken; `partial`: some; `rejected`: none could be read.
    status: UploadStatus = UploadStatus.STORED


def store_reports(
    *,
    run_id: int,
    shard: int = 1,
    files: Sequence[ReportFile],
    upload_id: int | None = None,
    is_ours: Callable[[], bool] | None = None,
) -> StoredReports:
    """Keep the files as they are, and what they say as results of the run.

    Unreadable reports raise nothing: they come back as problems with file, line and reason, and are kept
    for a person to look at. Of one that breaks off, the test cases before the fault are stored. The same
    report stored twice is stored once. Archives are opened.

    Raises:
        RunLostError: `is_ours`, asked while nobody else can change the run, says that it is not any more.
            The files are kept, and nothing of them is a result.
    """
    reports = [keep_report(run_id=run_id, shard=shard, file=file, upload_id=upload_id) for file in files]
    report_ids = [report.pk for report in reports]
    return ingest_reports(run_id=run_id, shard=shard, report_ids=report_ids, is_ours=is_ours)


def keep_report(*, run_id: int, shard: int, file: ReportFile, upload_id: int | None = None) -> Report:
    """Put a file into storage, with a row that says so, whatever is in it; once for the same content."""
    digested = KeptFile.digested(file)
    values = {"run_id": run_id, "shard": shard, "name": digested.name, "sha256": digested.sha256}
    known = Report.objects.filter(**values).first()
    if known is not None:
        return known
    kept = save_file(file, digested, f"reports/{run_id}/{shard}/{uuid.uuid4().hex}")
    defaults = {"upload_id": upload_id, "size": kept.size, "storage_name": kept.storage_name}
    report, is_new = Report.objects.get_or_create(**values, defaults=defaults)
    if not is_new and not file.storage_name:
        default_storage.delete(kept.storage_name)  # another worker kept the same content meanwhile
    return report


def ingest_reports(
    *, run_id: int, shard: int, report_ids: Sequence[int], is_ours: Callable[[], bool] | None = None
) -> StoredReports:
    """Read kept reports into results, all in one transaction; those read before are left as they are.

    Raises:
        RunLostError: see `store_reports`.
    """
    run = Run.objects.only("run_at", "suite_id", "project_id", "results_removed_at").get(pk=run_id)
    is_kept = run.results_removed_at is None and are_results_kept(run.run_at)
    if is_kept:
        ensure_partition(run.run_at)
    place = Place(run.pk, run.run_at, run.suite_id, run.project_id, shard)
    with transaction.atomic():
        # Locked, so that a doorbell that rang twice does the work once; by key, so that two never wait
        # for each other.
        waiting = Report.objects.filter(pk__in=report_ids, status=UploadStatus.RECEIVED)
        reports = list(waiting.order_by("pk").select_for_update())
        if reports and is_kept:
            _ingest(reports, place)
            # Now that the run's row is locked: a run that ended meanwhile was counted without these.
            if is_ours is not None and not is_ours():
                message = "The run has ended or is another worker's: its reports are kept and not counted."
                raise RunLostError(message)
        elif reports:
            _refuse_late(reports)
    if len(reports) < len(report_ids):
        reports = list(Report.objects.filter(pk__in=report_ids).order_by("pk"))
    if is_kept:
        _keep_attachments(run, shard, reports)
    return _stored(run_id, reports)


def _keep_attachments(run: Run, shard: int, reports: Sequence[Report]) -> None:
    """Look for what the reports name among what could not be read as reports."""
    doubtful = [report for report in reports if report.problems and report.storage_name]
    for kept in keep_attachments(run, shard=shard, reports=doubtful) if doubtful else ():
        report = kept.report
        problems = [StoredProblem(**problem) for problem in report.problems]
        if kept.is_whole:
            reason = "It is no report: it is kept as an attachment that a report of the run names."
            problems = [StoredProblem(report.name, reason)]
            report.status = UploadStatus.STORED
        elif kept.names:
            count = f"{len(kept.names):,}"
            reason = f"Of the archive, {count} that reports of the run name are kept as attachments."
            others = [one for one in problems if one.reason != NOTHING_TO_READ]
            was_empty = others != problems
            problems = list(_without_kept(others, kept.names))
            if was_empty and not problems:
                report.status = UploadStatus.STORED
            problems.append(StoredProblem(report.name, reason))
        if kept.problem:
            problems.append(StoredProblem(report.name, kept.problem))
        report.problems = [asdict(problem) for problem in problems]
        report.save(update_fields=["status", "problems"])


def _without_kept(problems: Sequence[StoredProblem], names: Collection[str]) -> Iterator[StoredProblem]:
    """Count files no more as left out that are kept as attachments."""
    for one in problems:
        note = without_kept(one.reason, names)
        if note is None:
            yield one
        elif note:
            yield replace(one, reason=note)


def _ingest(reports: Sequence[Report], place: Place) -> None:
    staging = Staging(place, expected_count=sum(map(_expected_count, reports)))
    case_count = 0
    for report in sorted(reports, key=lambda report: place_in_order(report.name)):
        reading = _Reading(report, staging, CASE_LIMIT - case_count)
        reading.read()
        case_count += reading.case_count
        report.status = reading.status
        report.case_count = reading.case_count
        report.problems = [asdict(problem) for problem in reading.problems]
        report.suite_properties = packed_suites(reading.suites.suites)
        report.save(update_fields=["status", "case_count", "problems", "suite_properties"])
    staging.merge()


def _refuse_late(reports: Sequence[Report]) -> None:
    for report in reports:
        report.status = UploadStatus.REJECTED
        report.problems = [asdict(StoredProblem(report.name, TERM_IS_OVER))]
        report.save(update_fields=["status", "problems"])


def _expected_count(report: Report) -> int:
    """About how many cases a report holds, by its size."""
    packing = 1 if report.name.lower().endswith(".xml") else _USUAL_PACKING
    return report.size * packing // _USUAL_BYTES_OF_A_CASE


class _Reading:
    """One kept file on its way into the staging table: itself, or the members of an archive."""

    def __init__(self, report: Report, staging: Staging, case_limit: int) -> None:
        self.report = report
        self.staging = staging
        self.case_limit = case_limit
        self.case_count = 0
        self.problems: list[StoredProblem] = []
        self._left_out_count = 0
        #: What its members tell of suites.
        self.suites = SuitesTold()
        self._taken_count = 0
        #: Members of which something is missing: refused, or broken off.
        self._faulty_count = 0

    @property
    def status(self) -> UploadStatus:
        """All, some or nothing of it could be taken."""
        if not self._faulty_count:
            return UploadStatus.STORED
        return UploadStatus.PARTIAL if self._taken_count else UploadStatus.REJECTED

    def read(self) -> None:
        budget = Budget(packed_bytes=self.report.size)
        with default_storage.open(self.report.storage_name, "rb") as stream:
            if self._is_beside(stream.read(_BEGINNING_BYTES)):
                self._add(StoredProblem(self.report.name, _NO_REPORT))
                return
            stream.seek(0)
            try:
                for member in members_of(self.report.name, cast("BinaryIO", stream), budget):
                    self._read_member(member, budget)
            except ReportError as error:
                self._refuse(self.report.name, error)
        if budget.left_out_count:
            if not self._taken_count and not self._faulty_count:  # JSON, none of which is a report
                self._refuse(self.report.name, NotAReportError(NOTHING_TO_READ))
            self._add(StoredProblem(self.report.name, budget.left_out_note()))

    def _is_beside(self, beginning: bytes) -> bool:
        """Whether this came beside the reports of an upload and is none, by its name as by its content.

        What is named like a report and is none has lost something: that is for the reader to say.
        """
        is_named_so = self.report.name.lower().endswith(REPORT_ENDINGS)
        is_other = not may_be_report(beginning) and bool(describe_text(beginning))
        return self.report.upload_id is not None and not is_named_so and is_other

    def _read_member(self, member: Member, budget: Budget) -> None:
        try:
            reader = report_reader(member.stream, case_limit=self.case_limit - self.case_count)
            readable = _Readable(reader)
            # A savepoint: nothing of a report that is refused half-way stays.
            with transaction.atomic(), _without_collecting():
                self.staging.add(readable.batches())
        except NotAReportError as error:
            if member.is_certain:
                self._refuse(member.name, error)
            else:
                budget.leave_out(member.name.removeprefix(f"{self.report.name}/"))
            return
        except ReportError as error:
            self._refuse(member.name, error)
            return
        self._taken_count += 1
        self.case_count += reader.summary.case_count
        if readable.fault is not None:
            self._break_off(member.name, readable.fault, reader.summary.case_count)
        self._note(member.name, reader.summary)

    def _refuse(self, name: str, error: ReportError) -> None:
        self._faulty_count += 1
        kept_count = 0 if isinstance(error, MalformedReportError) else None
        self._add(StoredProblem(name, error.reason, error.line, kept_count))

    def _break_off(self, name: str, error: ReportError, kept_count: int) -> None:
        self._faulty_count += 1
        kept = (
            "The test case before it is"
            if kept_count == 1
            else f"The {kept_count:,} test cases before it are"
        )
        reason = f"{error.reason} {kept} kept; what else the report was to hold is not known."
        self._add(StoredProblem(name, reason, error.line, kept_count))

    def _note(self, name: str, summary: ReportSummary) -> None:
        if summary.suite_properties:
            self._keep_suites(name, summary)
        for note in (*summary.notes, *self.staging.budget.notes()):
            self._add(StoredProblem(name, note))
        for one in summary.suite_errors:
            said = cut(one.failure.message or one.failure.kind or "no reason given", 1_000)
            suite = cut(one.suite, 1_000)
            self._add(StoredProblem(name, f"The suite “{suite}” failed outside of its tests: {said}"))
        more_count = summary.suite_error_count - len(summary.suite_errors)
        if more_count > 0:
            reason = f"{more_count:,} more failures outside of tests are only in the raw report."
            self._add(StoredProblem(name, reason))
        left_count = summary.attachment_left_count
        if left_count:
            # Of one output no more are told apart.
            least = "at least " if left_count >= ATTACHMENT_COUNT_LIMIT else ""
            beyond = f"Attachments beyond {ATTACHMENT_LIMIT} of a test case, {least}{left_count:,},"
            self._add(StoredProblem(name, f"{beyond} are only named in the raw report."))

    def _keep_suites(self, name: str, summary: ReportSummary) -> None:
        left_count = summary.suite_property_left_count
        for one in summary.suite_properties:
            left_count += 0 if self.suites.add(SuiteDetails.of(one)) else len(one.properties)
        if left_count:
            reason = f"{left_count:,} properties of suites are too many to be kept: the raw report has them."
            self._add(StoredProblem(name, reason))

    def _add(self, problem: StoredProblem) -> None:
        if len(self.problems) < PROBLEM_LIMIT:
            # As a row can hold it: a name in an archive is any bytes.
            stored = replace(problem, file=clean(problem.file)[-_NAME_LIMIT:], reason=clean(problem.reason))
            self.problems.append(stored)
            return
        self._left_out_count += 1
        left_out = "1 more problem is" if self._left_out_count == 1 else f"{self._left_out_count:,} more are"
        self.problems[PROBLEM_LIMIT:] = [StoredProblem(self.report.name, f"{left_out} left out here.")]


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Let Python not look for circles among the tuples that a report becomes, which have none.

    It would take a fifth of reading a large one. What lies in circles goes after it.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Readable:
    """A report's cases as far as it is well-formed; `fault` says where that ended, when there were some."""

    def __init__(self, reader: ReportReader) -> None:
        self._reader = reader
        self.fault: MalformedReportError | None = None

    def batches(self) -> Iterator[list[CaseRead]]:
        try:
            yield from self._reader.batches()
        except MalformedReportError as error:
            if not self._reader.summary.case_count:
                raise
            self.fault = error


def _stored(run_id: int, reports: Sequence[Report]) -> StoredReports:
    counts = Run.objects.values_list(
        "test_count", "passed_count", "failed_count", "errored_count", "skipped_count", "flaky_count"
    )
    return StoredReports(
        counts=StoredCounts(*counts.get(pk=run_id)),
        case_count=sum(report.case_count for report in reports),
        problems=[StoredProblem(**problem) for report in reports for problem in report.problems],
        status=joint_status([UploadStatus(report.status) for report in reports]),
    )


def broken_off(run_id: int) -> str:
    """Say which of the run's reports breaks off; empty when none does.

    The rest of it may have told of failures. A whole report of the same name in a later upload makes it good.
    """
    later = Report.objects.filter(
        run=run_id,
        shard=OuterRef("shard"),
        name=OuterRef("name"),
        upload__gt=OuterRef("upload"),
        status=UploadStatus.STORED,
    )
    statuses = [UploadStatus.PARTIAL, UploadStatus.REJECTED]
    faulty = Report.objects.filter(~Exists(later), run=run_id, status__in=statuses).order_by("pk")
    for problems in faulty.values_list("problems", flat=True):
        for problem in problems:
            one = StoredProblem(**problem)
            if one.kept_count is not None:
                return f"{one.file}{f', line {one.line}' if one.line else ''}: {one.reason}"
    return ""


def joint_status(statuses: Sequence[UploadStatus]) -> UploadStatus:
    """Tell many files' statuses as one: stored or rejected when all are, else partial."""
    distinct = set(statuses)
    if len(distinct) <= 1:
        return distinct.pop() if distinct else UploadStatus.STORED
    return UploadStatus.PARTIAL


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file's name for people, its content's digest, and where it lies in storage once it does."""

    name: str
    sha256: str
    size: int
    storage_name: str = ""

    @classmethod
    def digested(cls, file: ReportFile) -> KeptFile:
        """Read the file to its end."""
        digest = hashlib.sha256()
        size = 0
        with _opened(file) as stream:
            while chunk := stream.read(_READ_BYTES):
                digest.update(chunk)
                size += len(chunk)
        return cls(clean(file.name)[-_NAME_LIMIT:], digest.hexdigest(), size, file.storage_name)


def save_file(file: ReportFile, digested: KeptFile, folder: str) -> KeptFile:
    """Put a file into storage below `folder`, unless it lies in storage already."""
    if digested.storage_name:
        return digested
    ending = PurePosixPath(digested.name.replace("\\", "/")).name[-60:]
    with _opened(file) as stream:
        content = stream if isinstance(stream, File) else File(stream)
        name = default_storage.save(f"{folder}/{ending or 'report'}", content)
    return replace(digested, storage_name=name)


@contextmanager
def _opened(file: ReportFile) -> Iterator[BinaryIO | File[Any]]:
    with file.open() if file.open is not None else default_storage.open(file.storage_name, "rb") as stream:
        yield stream
