"""What the API answers of one result: its attempts, and what reports tell besides."""

from __future__ import annotations

from django.conf import settings
from django.urls import reverse
from ninja import Field

from runs.api.answers import Answer
from runs.api.schemas import FailureOut, ResultOut, failure_of, seconds
from runs.ingestion.details import SuiteDetails
from runs.models import Attempt, Run
from runs.queries.result_details import NamedFile, ResultPage, Told
from runs.queries.run_records import ToldResult


class PropertyOut(Answer):
    """A property; a name may come several times."""

    name: str
    value: str


class AttachmentOut(Answer):
    """A file that a report names."""

    name: str
    path: str | None = Field(description="As the report has it; null when the content is in the report.")
    content_type: str | None
    size: int | None = Field(description="Bytes; null when the file was not sent.")
    url: str | None = Field(description="The file, for whoever may see the run; null when it is not here.")

    @classmethod
    def of(cls, file: NamedFile, run: Run) -> AttachmentOut:
        """Shape a file of a run whose project is loaded."""
        url = None
        if file.artifact is not None and file.is_kept:
            parts = [run.project.slug, run.number, "artifact", file.artifact.pk]
            url = settings.PUBLIC_URL + reverse("run-file", args=parts)
        return cls(
            name=file.name,
            path=file.path or None,
            content_type=file.content_type or None,
            size=file.artifact.size if file.artifact else None,
            url=url,
        )


class ToldOut(Answer):
    """What one place in the reports tells of a test."""

    shard: int
    properties: list[PropertyOut]
    attachments: list[AttachmentOut]
    output: str = Field(description="Of a test that did not fail: beginning and end, 16,000 characters.")
    reason: str = Field(description="Why it was skipped, or what it warns of; empty where nothing says so.")

    @classmethod
    def of(cls, told: Told, run: Run) -> ToldOut:
        """Shape it for a run whose project is loaded."""
        return cls(
            shard=told.shard,
            properties=[PropertyOut(name=name, value=value) for name, value in told.properties],
            attachments=[AttachmentOut.of(file, run) for file in told.files],
            output=told.output,
            reason=told.reason,
        )


class AttemptOut(Answer):
    """One try of a test in a run."""

    number: int
    outcome: str = Field(description="passed, failed, errored or skipped.")
    duration_seconds: float | None
    failure: FailureOut | None
    output: str = Field(description="Beginning and end, 64,000 characters.")
    services: list[str] = Field(description="That the report names for it.")

    @classmethod
    def of(cls, attempt: Attempt) -> AttemptOut:
        """Shape an attempt whose failure is loaded."""
        return cls(
            number=attempt.number,
            outcome=attempt.outcome,
            duration_seconds=seconds(attempt.duration_ms),
            failure=failure_of(attempt),
            output=attempt.output,
            services=attempt.services,
        )


class ResultDetailsOut(ResultOut):
    """The verdict on a test in a run with all that is kept of it."""

    tries: list[AttemptOut] = Field(
        description="Empty for a test that passed or was skipped at the first try; the first 200 otherwise."
    )
    told: list[ToldOut] = Field(description="Empty where the reports tell nothing besides the outcome.")

    @classmethod
    def of_page(cls, page: ResultPage) -> ResultDetailsOut | None:
        """Shape a result of a run whose project is loaded; None without a result."""
        if page.result is None:
            return None
        page.result.case = page.case
        return cls.of(
            ToldResult.of(page.result),
            tries=[AttemptOut.of(attempt) for attempt in page.attempts],
            told=[ToldOut.of(one, page.run) for one in page.told],
        )


class SuitePropertiesOut(Answer):
    """Properties that one suite has, or several have alike."""

    suites: list[str] = Field(description="The first twenty; an empty name is the whole report.")
    suite_count: int
    properties: list[PropertyOut]

    @classmethod
    def of(cls, told: SuiteDetails) -> SuitePropertiesOut:
        """Shape what reports tell."""
        properties = [PropertyOut(name=name, value=value) for name, value in told.properties]
        return cls(suites=list(told.suites), suite_count=told.suite_count, properties=properties)
