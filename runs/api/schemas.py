"""What the API answers, field by field."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from django.conf import settings
from ninja import Field, Schema

from runs.analytics.comparison import Difference, Place
from runs.api.answers import Answer
from runs.models import Attempt, Event, Quarantine, Result, Run, TestCase
from runs.queries.addresses import address
from runs.queries.comparison import CaseNames, ToldComparison
from runs.queries.quarantine import NAME_LIMIT, Gate
from runs.queries.run_records import ToldResult, ToldRun
from runs.vocabulary import Outcome, RunStatus, Trigger


class Totals(Answer):
    """Results of a run by outcome; `flaky` ones passed after a failed attempt and are not in `passed`."""

    tests: int
    passed: int
    failed: int
    errored: int
    skipped: int
    flaky: int


class ShardsIn(Answer):
    """How many shards of an uploaded run are in."""

    expected: int
    received: int


class RunOut(Answer):
    """A run."""

    id: int
    number: int = Field(description="Counts up in the project.")
    project: str
    suite: str
    status: str = Field(
        description="queued, preparing, running or ingesting; at the end passed, failed, errored, cancelled "
        "or timed_out."
    )
    error_reason: str | None = Field(description="Why it errored, as a word; null otherwise.")
    error_message: str | None = Field(description="The same as a sentence for people.")
    trigger: str
    branch: str | None
    commit: str | None
    pull_request: str | None
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None
    totals: Totals
    shards: ShardsIn | None = Field(
        None, description="Where uploads said how many there are; until all are in, the run is ingesting."
    )
    verdict: str = Field(description="pass, fail, or none while it is not known.")
    verdict_reasons: list[str] = Field(description="What each of the suite's gates said, as a sentence.")
    is_pinned: bool = Field(description="Whether it is kept whole, whatever the installation's terms.")
    results_removed_at: datetime | None = Field(
        description="Since when its results are gone, their term being over; null while they are there."
    )
    url: str = Field(description="Its page.")

    @classmethod
    def of(cls, run: Run) -> RunOut:
        """Shape a run whose project and suite are loaded."""
        return cls.of_told(ToldRun.of(run))

    @classmethod
    def of_told(cls, run: ToldRun) -> RunOut:
        """Shape what was read of a run."""
        return cls(
            id=run.pk,
            number=run.number,
            project=run.project,
            suite=run.suite,
            status=run.status,
            error_reason=run.error_reason or None,
            error_message=run.error_message or None,
            trigger=run.trigger,
            branch=run.branch or None,
            commit=run.commit or None,
            pull_request=run.pull_request or None,
            queued_at=run.queued_at,
            started_at=run.started_at,
            finished_at=run.finished_at,
            duration_seconds=seconds(run.duration_ms),
            totals=Totals(
                tests=run.test_count,
                passed=run.passed_count,
                failed=run.failed_count,
                errored=run.errored_count,
                skipped=run.skipped_count,
                flaky=run.flaky_count,
            ),
            shards=ShardsIn(expected=run.shards_expected, received=run.shards_received)
            if run.shards_expected is not None
            else None,
            verdict=run.verdict,
            verdict_reasons=[str(reason) for reason in run.verdict_reasons],
            is_pinned=run.pinned_at is not None,
            results_removed_at=run.results_removed_at,
            url=f"{settings.PUBLIC_URL}{address('run', run.project, run.number)}",
        )


class FailingTest(Answer):
    """A test that failed in a run."""

    id: int
    name: str


class SparedTest(FailingTest):
    """One that failed in quarantine."""

    reason: str
    owner: str | None
    until: datetime


class Gating(Answer):
    """Failures that decide."""

    count: int
    tests: list[FailingTest] = Field(description="The first hundred.")


class Spared(Answer):
    """Failures in quarantine at the run's moment."""

    count: int
    tests: list[SparedTest] = Field(description="The first hundred.")


class VerdictBase(Answer):
    """The run that the gates compared this one with."""

    id: int
    number: int


class VerdictOut(Answer):
    """A run's verdict and what it rests on."""

    verdict: str = Field(description="pass, fail, or none while it is not known.")
    status: str
    why: str
    gates: list[str] = Field(description="What each of the suite's gates said, as a sentence.")
    base: VerdictBase | None
    gating: Gating
    quarantined: Spared

    @classmethod
    def of(cls, gate: Gate, gating: list[TestCase]) -> VerdictOut:
        """Shape a gate with the cases that decide."""
        spared = list(gate.spared.values())[:NAME_LIMIT]
        return cls(
            verdict=gate.run.verdict,
            status=gate.run.status,
            why=gate.why,
            gates=gate.reasons,
            base=VerdictBase(id=base.pk, number=base.number) if (base := gate.run.verdict_base) else None,
            gating=Gating(
                count=gate.gating_count, tests=[FailingTest(id=case.pk, name=case.name) for case in gating]
            ),
            quarantined=Spared(
                count=len(gate.spared),
                tests=[
                    SparedTest(
                        id=held.case_id,
                        name=held.case.name,
                        reason=held.reason,
                        owner=held.owner or None,
                        until=held.until,
                    )
                    for held in spared
                ],
            ),
        )


class CompareQuery(Schema):
    """What a run is compared with."""

    with_: int | None = Field(None, alias="with", description="Another run's id.")


class ComparedRun(Answer):
    """One of two runs compared."""

    id: int
    number: int
    status: str
    branch: str | None
    commit: str | None
    url: str

    @classmethod
    def of(cls, run: Run) -> ComparedRun:
        """Shape a run whose project is loaded."""
        return cls(
            id=run.pk,
            number=run.number,
            status=run.status,
            branch=run.branch or None,
            commit=run.commit or None,
            url=f"{settings.PUBLIC_URL}{run.get_absolute_url()}",
        )


class DifferenceOut(Answer):
    """One test that differs."""

    test_id: int
    class_name: str
    name: str
    parameters: str
    change: str = Field(
        description="broke, still_failing, flaky, fixed, new_test, removed or slower: the first that is true."
    )
    base: str | None = Field(description="Its outcome there; null where it did not run.")
    head: str | None
    base_seconds: float | None
    head_seconds: float | None
    also_on_default_branch: bool | None = Field(
        description="Whether it fails in the default branch's newest run too; null unless it fails here on "
        "another branch."
    )
    fingerprint: str | None = Field(description="Of the failure in this run.")


class ComparisonOut(Answer):
    """What differs between two runs of a suite."""

    base: ComparedRun
    head: ComparedRun
    counts: dict[str, int] = Field(description="Tests by category; each is in one.")
    new_failures: int = Field(description="What broke, and new tests that fail.")
    unchanged: int | None = Field(description="Tests in no category; null when not all were compared.")
    is_partial: bool = Field(
        description="Too many tests to compare all: only those that did not pass in one of the two were."
    )
    selected: int | None = Field(
        description="Tests compared when one of the runs ran selected ones only; null otherwise."
    )
    differences: list[DifferenceOut] = Field(description="The first thousand, by category.")

    @classmethod
    def of(cls, told: ToldComparison) -> ComparisonOut:
        """Shape a comparison with the names of its tests."""
        found = told.comparison
        return cls(
            base=ComparedRun.of(found.base),
            head=ComparedRun.of(found.head),
            counts={str(change): count for change, count in found.result.counts.items()},
            new_failures=len(found.result.new_failures),
            unchanged=None if found.is_partial else found.result.unchanged_count,
            is_partial=found.is_partial,
            selected=found.selected_count,
            differences=[cls._difference(told, names, one) for names, one in told.named],
        )

    @staticmethod
    def _difference(told: ToldComparison, names: CaseNames, one: Difference) -> DifferenceOut:
        before = told.comparison.base_rows.get(one.case)
        after = told.comparison.head_rows.get(one.case)
        return DifferenceOut(
            test_id=one.case,
            class_name=names.class_name,
            name=names.name,
            parameters=names.parameters,
            change=one.change,
            base=one.base,
            head=one.head,
            base_seconds=seconds(before.duration_ms) if before else None,
            head_seconds=seconds(after.duration_ms) if after else None,
            also_on_default_branch=None if one.place is None else one.place is Place.ALSO_ON_BASE,
            fingerprint=told.fingerprints.get(after.failure or 0) if after and one.is_failing else None,
        )


class QuarantineIn(Schema):
    """Why a test is put into quarantine, and for how long."""

    reason: str
    days: int = Field(description="1 to 90.")
    owner: str = Field("", description="Who mends it.")


class QuarantineOut(Answer):
    """A test's quarantine."""

    test: int
    reason: str
    owner: str | None
    created_at: datetime
    until: datetime

    @classmethod
    def of(cls, held: Quarantine) -> QuarantineOut:
        """Shape a quarantine."""
        return cls(
            test=held.case_id,
            reason=held.reason,
            owner=held.owner or None,
            created_at=held.created_at,
            until=held.until,
        )


class Paging(Schema):
    """Which page of a list."""

    cursor: str = Field("", description="From `next` of the page before.")
    limit: int = Field(100, ge=1, le=1000, description="Rows on a page.")


class RunQuery(Paging):
    """What a list of runs is narrowed to."""

    suite: str = ""
    branch: str = ""
    commit: str = Field("", description="The beginning of a commit's hash.")
    status: RunStatus | None = None
    trigger: Trigger | None = None


class RunPage(Answer):
    """Runs, newest first."""

    items: list[RunOut]
    next: str | None


class RunIn(Schema):
    """What to run."""

    suite: str
    ref: str = Field("", description="A branch or tag; the default branch when neither is given.")
    commit: str = Field("", description="A commit, instead of `ref`.")


class RerunIn(Schema):
    """What to run again."""

    failed_only: bool = Field(False, description="Only the tests that failed.")  # noqa: FBT003 - a default


class FailureOut(Answer):
    """What failed, in the tool's words."""

    kind: str
    message: str
    text: str
    fingerprint: str = Field(description="Failures that share it are one group.")


class ResultOut(Answer):
    """The verdict on a test in a run."""

    test_id: int
    class_name: str
    name: str
    parameters: str
    outcome: str = Field(description="passed, failed, errored, skipped or flaky.")
    duration_seconds: float | None
    attempts: int
    shard: int
    failure: FailureOut | None

    @classmethod
    def of(cls, result: ToldResult, **more: Any) -> Self:  # noqa: ANN401 - named by who has more
        """Shape a result; `more` is what a kind of result has besides."""
        return cls(
            test_id=result.case_id,
            class_name=result.class_name,
            name=result.name,
            parameters=result.parameters,
            outcome=result.outcome,
            duration_seconds=seconds(result.duration_ms),
            attempts=result.attempt_count,
            shard=result.shard,
            failure=failure_of(result),
            **more,
        )


class ResultQuery(Paging):
    """What a run's results are narrowed to."""

    outcome: Outcome | None = None
    q: str = Field("", description="Part of a name.")


class FailureQuery(Paging):
    """Which page of a run's failures: a thousand unless told, as many as were ever told at once."""

    limit: int = Field(1000, ge=1, le=1000, description="Rows on a page.")


class ResultPage(Answer):
    """Results in the report's order."""

    items: list[ResultOut]
    next: str | None


class EventOut(Answer):
    """Something that happened in a run."""

    id: int
    at: datetime
    shard: int
    kind: str
    service: str | None
    message: str
    data: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> EventOut:
        """Shape an event."""
        return cls(
            id=event.pk,
            at=event.at,
            shard=event.shard,
            kind=event.kind,
            service=event.service or None,
            message=event.message,
            data=event.data,
        )


class EventPage(Answer):
    """Events in order."""

    items: list[EventOut]
    next: str | None


def seconds(milliseconds: int | None) -> float | None:
    """Milliseconds as seconds."""
    return None if milliseconds is None else milliseconds / 1000


def failure_of(result: Result | ToldResult | Attempt) -> FailureOut | None:
    """The failure's text; None when nothing failed."""
    if result.failure is None:
        return None
    return FailureOut(
        kind=result.failure.kind,
        message=result.failure.message,
        text=result.failure.text,
        fingerprint=bytes(result.failure.fingerprint).hex(),
    )
