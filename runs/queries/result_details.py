"""What is kept of one test in one run: its attempts, and all that the reports tell besides."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db.models import F

from runs.ingestion.attachments import Attachment, found_among
from runs.ingestion.details import SuiteDetails, SuitesTold, unpacked, unpacked_suites
from runs.ingestion.report import Properties
from runs.models import Artifact, Attempt, Report, Result, ResultDetails, Run, TestCase
from runs.vocabulary import FAILING

#: Files of a run among which those are looked for that its reports name.
FILE_LIMIT = 5_000
#: Characters of a text that a page has room for when it shows a few, and when it shows more.
TEXT_LIMIT = 200_000
TEXT_LIMIT_OF_MANY = 20_000
_FEW = 4
#: Reports of a run whose suites' properties are read.
REPORT_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that a report names."""

    name: str
    #: As the report has it; empty when the content stands in the report.
    path: str
    content_type: str
    #: The run's file of that path; None when it was not sent.
    artifact: Artifact | None

    @property
    def is_kept(self) -> bool:
        """Whether it can be downloaded."""
        return self.artifact is not None and bool(self.artifact.storage_name)


@dataclass(frozen=True, slots=True)
class Told:
    """What one place in the reports tells of a test."""

    shard: int
    properties: Properties
    files: list[NamedFile]
    #: Of a test that did not fail; what failed has its output with its attempt.
    output: str
    #: Why it was skipped, or what it warns of.
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ResultPage:
    """A test's result in a run."""

    run: Run
    case: TestCase
    #: None when the test was not in the run, or its results are not kept any more.
    result: Result | None
    #: Empty for a test that passed or was skipped at once: its result says it all.
    attempts: list[Attempt]
    told: list[Told]

    @property
    def failed_count(self) -> int:
        """Attempts that did not pass, of those that are kept."""
        return sum(attempt.outcome in FAILING for attempt in self.attempts)

    @property
    def text_limit(self) -> int:
        """Characters shown of each text: all that is kept, unless there are many."""
        return TEXT_LIMIT if len(self.attempts) + len(self.outputs) <= _FEW else TEXT_LIMIT_OF_MANY

    @property
    def property_count(self) -> int:
        """Properties told."""
        return sum(len(one.properties) for one in self.told)

    @property
    def reasons(self) -> list[str]:
        """Why it was skipped, or what it warns of, each once."""
        return list(dict.fromkeys(one.reason for one in self.told if one.reason))

    @property
    def files(self) -> list[NamedFile]:
        """Every file that is named, once."""
        return list(dict.fromkeys(file for one in self.told for file in one.files))

    @property
    def outputs(self) -> list[Told]:
        """Where something was printed by an attempt that did not fail."""
        return [one for one in self.told if one.output]


def result_page(run: Run, case: TestCase) -> ResultPage:
    """Three queries, and one more when files are named."""
    # `+ 0`, lest PostgreSQL reads all of the run's results to find this one.
    results = Result.objects.alias(of_run=F("run_id") + 0).filter(case=case, run_at=run.run_at, of_run=run.pk)
    result = results.select_related("failure").first()
    if result is None:
        return ResultPage(run, case, None, [], [])
    attempts = Attempt.objects.filter(run_at=run.run_at, run=run, case=case).select_related("failure")
    return ResultPage(run, case, result, list(attempts.order_by("number")), details_of(run, case))


def newest_told(case: TestCase, result: Result | None) -> ResultPage | None:
    """What the reports told of a test last, without attempts; None where nothing was kept."""
    told = details_of(result.run, case) if result is not None else []
    return ResultPage(result.run, case, result, [], told) if result is not None and told else None


def details_of(run: Run, case: TestCase) -> list[Told]:
    """What the reports of a run tell of a test, in their order; one query, two when files are named."""
    rows = ResultDetails.objects.filter(case=case, run_at=run.run_at, run=run).order_by("number")
    found = [(row.shard, unpacked(row.body)) for row in rows]
    sent = _sent(run) if any(details.attachments for _, details in found) else {}
    return [
        Told(
            shard,
            details.properties,
            list(_named(details.attachments, shard, sent)),
            details.output,
            details.reason,
        )
        for shard, details in found
    ]


def suite_properties(reports: Iterable[Report]) -> list[SuiteDetails]:
    """What these reports tell of suites, those put together that are alike."""
    told = SuitesTold()
    for report in reports:
        for one in unpacked_suites(report.suite_properties):
            told.add(one)
    return told.suites


def suite_properties_of(run: Run) -> list[SuiteDetails]:
    """What the reports of a run tell of suites."""
    reports = Report.objects.filter(run=run, suite_properties__isnull=False).order_by("shard", "name")
    return suite_properties(reports.only("suite_properties")[:REPORT_LIMIT])


def _sent(run: Run) -> dict[int, dict[str, Artifact]]:
    """The run's files by shard and path."""
    sent: dict[int, dict[str, Artifact]] = {}
    for file in Artifact.objects.filter(run=run).order_by("pk")[:FILE_LIMIT]:
        sent.setdefault(file.shard, {})[file.path] = file
    return sent


def _named(
    attachments: Sequence[Attachment], shard: int, sent: dict[int, dict[str, Artifact]]
) -> Iterable[NamedFile]:
    own = sent.get(shard, {})
    for one in attachments:
        path = found_among(one.path, list(own)) if one.path else None
        file = own[path] if path is not None else None
        kind = one.content_type or (file.content_type if file else mimetypes.guess_type(one.path)[0] or "")
        yield NamedFile(one.name, one.path, kind, file)
