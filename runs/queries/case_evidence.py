"""Why a test is judged as it is: the numbers of its verdict, and the very runs that a person can check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from runs.analytics.flakiness import (
    CaseRun,
    CommitOutcome,
    Findings,
    FlakeThresholds,
    IsolatedFailure,
    OutageReason,
    findings,
)
from runs.models import CaseState, Project, TestCase
from runs.queries.evidence import SuiteEvidence, evidence_of_suite
from runs.vocabulary import Flakiness

#: Pieces of evidence of one kind that are listed, newest first; all are counted.
LISTED = 10
#: Runs of one commit that are named.
RUNS_NAMED = 6


@dataclass(frozen=True, slots=True)
class SeenRun:
    """A test's execution in one run."""

    number: int
    at: datetime
    commit: str
    branch: str
    passed_count: int
    failed_count: int

    @property
    def words(self) -> str:
        """What came of it."""
        if self.passed_count and self.failed_count:
            return "failed, then passed on a retry"
        return "failed" if self.failed_count else "passed"


@dataclass(frozen=True, slots=True)
class DirectEvidence:
    """A commit on which the test both passed and failed."""

    commit: str
    #: In order of time; at least one of each outcome, however many there were.
    runs: list[SeenRun]
    run_count: int


@dataclass(frozen=True, slots=True)
class IsolatedEvidence:
    """A commit on which it failed, and the passes right before and right after."""

    before: SeenRun
    failing: list[SeenRun]
    after: SeenRun


@dataclass(frozen=True, slots=True)
class MaskedEvidence:
    """Its execution in a run that was set aside, and why."""

    run: SeenRun
    reason: OutageReason
    #: Tests of that run.
    failed: int
    executed: int

    @property
    def words(self) -> str:
        """Why the run was set aside."""
        if self.reason is OutageReason.MOSTLY_FAILED:
            return f"{self.failed} of {self.executed} tests failed: the environment, not the tests"
        return "many tests failed for one and the same reason: their failures do not count"


@dataclass(frozen=True, slots=True)
class Why:
    """The verdict on a test, in numbers and in runs; without a state nothing is known of it."""

    state: CaseState | None = None
    direct: list[DirectEvidence] = field(default_factory=list)
    isolated: list[IsolatedEvidence] = field(default_factory=list)
    masked: list[MaskedEvidence] = field(default_factory=list)
    #: Of the runs set aside, by database id.
    masked_runs: frozenset[int] = frozenset()

    @property
    def flakiness(self) -> Flakiness:
        """Healthy unless something else is known."""
        return Flakiness(self.state.flakiness) if self.state else Flakiness.HEALTHY

    @property
    def is_broken(self) -> bool:
        """Whether its last commits all failed."""
        return self.state is not None and self.state.is_broken

    @property
    def thresholds(self) -> FlakeThresholds:
        """What the verdict was measured by."""
        return FlakeThresholds(**(self.state.inputs.get("thresholds", {}) if self.state else {}))

    def _input(self, name: str) -> int:
        return int(self.state.inputs.get(name) or 0) if self.state else 0

    @property
    def direct_recent(self) -> int:
        """Of the commits that both passed and failed, those within the window's days."""
        return self._input("direct_recent")

    @property
    def executions(self) -> int:
        """Executions on the commits looked at."""
        return self._input("executions")

    @property
    def failing_streak(self) -> int:
        """Commits of the default branch that failed, up to now."""
        return self._input("failing_streak")

    @property
    def passing_executions(self) -> int:
        """Passes in a row, up to now."""
        return self._input("passing_executions")

    @property
    def changes_hit(self) -> int:
        """Distinct pull requests, or commits where there is none, on which it failed."""
        return self._input("changes_hit")

    @property
    def last_evidence_at(self) -> datetime | None:
        """When it last failed in a way that counts."""
        known = self.state.inputs.get("last_evidence_at") if self.state else None
        return datetime.fromisoformat(known) if known else None


def why(project: Project, case: TestCase, *, has_failed: bool = True) -> Why:
    """Two queries, runs and results; none for a test without state or failure. One more for the state where
    it did not come with the test.

    A test that failed in outages alone has no state either: they are named all the same.
    """
    state: CaseState | None = getattr(case, "state", None)
    if state is None and not has_failed:
        return Why()
    evidence = evidence_of_suite(case.suite_id, default_branch=project.default_branch)
    if not evidence.runs:
        return Why(state=state)
    rows = evidence.rows_of([case.pk])[case.pk]
    found = findings(rows, evidence.outages, now=evidence.now)
    return Why(
        state=state,
        direct=[_direct(commit, evidence) for commit in found.direct[:LISTED]],
        isolated=[_isolated(one, evidence) for one in found.isolated[:LISTED]],
        masked=_masked(found, evidence),
        masked_runs=frozenset(row.run for row in found.masked),
    )


def _direct(commit: CommitOutcome, evidence: SuiteEvidence) -> DirectEvidence:
    """At most so many runs, evenly of those that failed and those that passed."""
    failed = [row for row in commit.rows if row.failed_count]
    passed = [row for row in commit.rows if not row.failed_count]
    shown = [*failed[: RUNS_NAMED // 2], *passed[: RUNS_NAMED // 2]]
    return DirectEvidence(
        commit=commit.rows[0].commit,
        runs=[_seen(row, evidence) for row in sorted(shown, key=lambda row: (row.at, row.run))],
        run_count=len(commit.rows),
    )


def _isolated(one: IsolatedFailure, evidence: SuiteEvidence) -> IsolatedEvidence:
    return IsolatedEvidence(
        before=_seen(_pass_of(one.before.rows[::-1]), evidence),
        failing=[_seen(row, evidence) for row in one.failing.rows[:RUNS_NAMED]],
        after=_seen(_pass_of(one.after.rows), evidence),
    )


def _pass_of(rows: Sequence[CaseRun]) -> CaseRun:
    """The first that passed; each commit beside an isolated failure has one."""
    return next(row for row in rows if row.passed_count)


def _masked(found: Findings, evidence: SuiteEvidence) -> list[MaskedEvidence]:
    """Runs set aside in which it failed: a pass there needs no explaining."""
    return [
        MaskedEvidence(
            run=_seen(row, evidence),
            reason=evidence.outages[row.run],
            failed=evidence.runs[row.run].failed,
            executed=evidence.runs[row.run].executed,
        )
        for row in found.masked
        if row.failed_count
    ][:LISTED]


def _seen(row: CaseRun, evidence: SuiteEvidence) -> SeenRun:
    run = evidence.runs[row.run]
    return SeenRun(
        number=run.number,
        at=row.at,
        commit=row.commit,
        branch=run.branch,
        passed_count=row.passed_count,
        failed_count=row.failed_count,
    )
