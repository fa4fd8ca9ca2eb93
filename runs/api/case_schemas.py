"""What the API answers of test cases: what they are, what is known of them, how they went."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.conf import settings
from django.urls import reverse
from ninja import Field

from runs.api.answers import Answer
from runs.api.schemas import FailureOut, Paging, failure_of, seconds
from runs.models import CaseDuration, CaseState, Project, Result, TestCase
from runs.queries.addresses import address
from runs.queries.case_evidence import SeenRun, Why
from runs.queries.case_list import Sort, State


class TestState(Answer):
    """What is said of a test. A test of which nothing is known is healthy."""

    __test__ = False

    flakiness: str = Field(description="healthy, suspect, likely_flaky or flaky.")
    is_broken: bool = Field(description="Every attempt failed on its last commits; a test can be both.")
    evidence: float = Field(
        description="Share of commits with evidence, 0 to 1, a failure alone counting half."
    )
    evidence_low: float = Field(description="Lower bound of its 95 % interval.")
    evidence_high: float
    direct: int = Field(description="Commits on which it both passed and failed.")
    isolated: int = Field(description="Commits on which it failed, between two on which it passed.")
    commits: int = Field(description="Commits looked at.")
    masked_runs: int = Field(description="Runs set aside because the environment failed.")
    lost_seconds_per_week: float
    since: datetime | None = Field(
        description="When it came into this state; null when it was always healthy."
    )

    @classmethod
    def of(cls, state: CaseState | None) -> TestState:
        """Shape a state; the one of a test without any."""
        state = state or CaseState()
        return cls(
            flakiness=state.flakiness,
            is_broken=state.is_broken,
            evidence=state.evidence,
            evidence_low=state.evidence_low,
            evidence_high=state.evidence_high,
            direct=state.direct_count,
            isolated=state.isolated_count,
            commits=state.commit_count,
            masked_runs=state.masked_count,
            lost_seconds_per_week=state.lost_ms_per_week / 1000,
            since=state.changed_at,
        )


class TestPace(Answer):
    """How long its newest passes took on the default branch."""

    __test__ = False

    p50_seconds: float
    p95_seconds: float
    is_slower: bool = Field(description="Whether its newest passes take clearly longer than those before.")
    before_seconds: float | None
    after_seconds: float | None

    @classmethod
    def of(cls, pace: CaseDuration) -> TestPace:
        """Shape a pace."""
        return cls(
            p50_seconds=pace.p50_ms / 1000,
            p95_seconds=pace.p95_ms / 1000,
            is_slower=pace.is_slower,
            before_seconds=seconds(pace.before_ms),
            after_seconds=seconds(pace.after_ms),
        )


class TestOut(Answer):
    """A test case."""

    __test__ = False

    id: int
    suite: str
    path: str
    class_name: str
    name: str
    parameters: str
    variant: str
    file: str
    line: int | None
    first_seen_at: datetime
    last_seen_at: datetime = Field(description="Precise to a day: it may have run up to a day later.")
    state: TestState
    pace: TestPace | None = Field(description="null until a pass with a duration was judged.")

    @classmethod
    def of(cls, case: TestCase) -> TestOut:
        """Shape a case whose suite, state and pace are loaded."""
        return cls(**fields_of(case))


def fields_of(case: TestCase) -> dict[str, Any]:
    """What every shape of a case says of it."""
    pace: CaseDuration | None = getattr(case, "pace", None)
    return {
        "id": case.pk,
        "suite": case.suite.name,
        "path": case.path,
        "class_name": case.class_name,
        "name": case.name,
        "parameters": case.parameters,
        "variant": case.variant,
        "file": case.file,
        "line": case.line,
        "first_seen_at": case.first_seen_at,
        "last_seen_at": case.last_seen_at,
        "state": TestState.of(getattr(case, "state", None)),
        "pace": TestPace.of(pace) if pace else None,
    }


class EvidenceRun(Answer):
    """One run that a verdict rests on."""

    run_number: int
    run_url: str
    at: datetime
    commit: str | None
    branch: str | None
    outcome: str = Field(description="passed, failed, or flaky: failed, then passed on a retry.")

    @classmethod
    def of(cls, seen: SeenRun, slug: str) -> EvidenceRun:
        """Shape an execution of the project with this slug."""
        both = seen.passed_count and seen.failed_count
        return cls(
            run_number=seen.number,
            run_url=f"{settings.PUBLIC_URL}{reverse('run', args=[slug, seen.number])}",
            at=seen.at,
            commit=seen.commit or None,
            branch=seen.branch or None,
            outcome="flaky" if both else "failed" if seen.failed_count else "passed",
        )


class DirectEvidenceOut(Answer):
    """A commit on which it both passed and failed."""

    commit: str | None
    runs: list[EvidenceRun]


class IsolatedEvidenceOut(Answer):
    """A commit on which it failed, and the passes right before and after."""

    before: EvidenceRun
    failed: list[EvidenceRun]
    after: EvidenceRun


class MaskedEvidenceOut(Answer):
    """A run in which it failed that was set aside."""

    run: EvidenceRun
    reason: str = Field(description="mostly_failed or shared_failure.")


class EvidenceOut(Answer):
    """Why a test is judged as it is; the newest ten of each kind."""

    judged_at: datetime | None = Field(description="null: nothing is known of it.")
    algorithm_version: int | None
    thresholds: dict[str, float]
    executions: int
    changes_hit: int = Field(description="Pull requests, or commits where there is none, on which it failed.")
    failing_streak: int
    passing_executions: int
    last_evidence_at: datetime | None
    direct: list[DirectEvidenceOut]
    isolated: list[IsolatedEvidenceOut]
    masked: list[MaskedEvidenceOut]

    @classmethod
    def of(cls, why: Why, project: Project) -> EvidenceOut:
        """Shape the evidence of one of the project's tests."""
        state, slug = why.state, project.slug

        def run(seen: SeenRun) -> EvidenceRun:
            return EvidenceRun.of(seen, slug)

        return cls(
            judged_at=state.judged_at if state else None,
            algorithm_version=state.algorithm_version if state else None,
            thresholds=asdict(why.thresholds),
            executions=why.executions,
            changes_hit=why.changes_hit,
            failing_streak=why.failing_streak,
            passing_executions=why.passing_executions,
            last_evidence_at=why.last_evidence_at,
            direct=[
                DirectEvidenceOut(commit=one.commit or None, runs=[run(seen) for seen in one.runs])
                for one in why.direct
            ],
            isolated=[
                IsolatedEvidenceOut(
                    before=run(one.before), failed=[run(seen) for seen in one.failing], after=run(one.after)
                )
                for one in why.isolated
            ],
            masked=[MaskedEvidenceOut(run=run(one.run), reason=one.reason) for one in why.masked],
        )


class TestDetail(TestOut):
    """A test case with the evidence that its state rests on."""

    __test__ = False

    why: EvidenceOut

    @classmethod
    def with_evidence(cls, case: TestCase, why: Why) -> TestDetail:
        """Shape a case whose suite, state and pace are loaded."""
        return cls(**fields_of(case), why=EvidenceOut.of(why, case.suite.project))


class TestQuery(Paging):
    """What a list of tests is narrowed to."""

    __test__ = False

    suite: str = ""
    q: str = Field("", description="Part of a name, class, file or suite.")
    flaky: State | None = Field(None, description="unhealthy means suspect or worse, or broken.")
    sort: Sort | None = Field(
        None,
        description="In the order they were first seen when left out. flaky, slow and slower leave out "
        "tests of which that is not known.",
    )


class TestPage(Answer):
    """Test cases."""

    __test__ = False

    items: list[TestOut]
    next: str | None


class HistoryItem(Answer):
    """A test's result in one run."""

    run_id: int
    run_number: int
    run_url: str
    branch: str | None
    commit: str | None
    at: datetime
    outcome: str
    duration_seconds: float | None
    attempts: int
    failure: FailureOut | None

    @classmethod
    def of(cls, result: Result, slug: str) -> HistoryItem:
        """Shape a result whose run and failure are loaded, of the project with this slug."""
        run = result.run
        return cls(
            run_id=run.pk,
            run_number=run.number,
            run_url=f"{settings.PUBLIC_URL}{address('run', slug, run.number)}",
            branch=run.branch or None,
            commit=run.commit or None,
            at=result.run_at,
            outcome=result.outcome,
            duration_seconds=seconds(result.duration_ms),
            attempts=result.attempt_count,
            failure=failure_of(result),
        )


class HistoryQuery(Paging):
    """What a test's history is narrowed to."""

    branch: str = ""


class HistoryPage(Answer):
    """A test's results, newest first."""

    items: list[HistoryItem]
    next: str | None
