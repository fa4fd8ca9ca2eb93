"""Which tests are flaky, by proof: passes and failures on one commit, and failures that came and went alone.

Rows of results in, one verdict out. Runs in which the surroundings failed are set aside first: without that,
an outage and its rerun look like a thousand flaky tests.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from itertools import takewhile

from runs.analytics.samples import median, wilson

#: Raised whenever the same rows could give another verdict.
ALGORITHM_VERSION = 1


class FlakeState(IntEnum):
    """How sure it is that a test is flaky, in rising order."""

    HEALTHY = 0
    SUSPECT = 1
    LIKELY_FLAKY = 2
    FLAKY = 3


class OutageReason(StrEnum):
    """Why a run says nothing, or less, of its tests."""

    #: Most of the run failed: none of its results counts.
    MOSTLY_FAILED = "mostly_failed"
    #: Several tests of one service or suite failed for the same reason: the run's failures do not count.
    SHARED_FAILURE = "shared_failure"


@dataclass(frozen=True, slots=True)
class FlakeThresholds:
    """What counts as evidence, and how much of it is needed. Defaults are the measured ones."""

    #: A pass and a failure of one commit count for this many days.
    window_days: int = 14
    #: Failures that came and went alone count within this many commits of the default branch.
    window_commits: int = 100
    suspect_isolated: int = 1
    likely_isolated: int = 2
    flaky_isolated: int = 3
    flaky_direct: int = 1
    #: Failing on at least this many commits, to the last.
    broken_commits: int = 3
    #: Healthy again after this many passing executions in a row …
    recovery_passes: int = 30
    #: … or after this many days without evidence, with at least so many executions in them.
    recovery_days: int = 14
    recovery_executions: int = 20
    #: A run of at least `outage_executed` tests is an outage when this share of it failed …
    outage_share: float = 0.5
    outage_executed: int = 10
    #: … a smaller one when this share did.
    outage_share_small: float = 0.8
    #: This many tests of one service or suite with one fingerprint are one cause outside of them.
    outage_shared: int = 5


DEFAULTS = FlakeThresholds()


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known of a run as a whole."""

    run: int
    executed: int
    failed: int
    #: The most tests of one service (or suite, where no service is known) failing with one fingerprint.
    largest_shared_failure: int = 0


@dataclass(frozen=True, slots=True)
class CaseRun:
    """One test in one run: how many attempts passed and failed there (skipped ones are not counted)."""

    commit: str
    at: datetime
    run: int
    passed_count: int
    failed_count: int
    on_default_branch: bool
    #: The pull request or branch; the commit where there is none.
    change: str = ""
    #: Of the result, where measured.
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class FlakeVerdict:
    """What is said of a test, with everything it was concluded from."""

    state: FlakeState
    is_broken: bool
    #: Commits with both a pass and a failure: within the days of the window, and in all that was looked at.
    direct_recent: int
    direct: int
    #: Failures alone between passing commits of the default branch.
    isolated: int
    #: Commits looked at, and the executions in them.
    commits: int
    executions: int
    #: Runs set aside as outages in which the test was.
    masked_runs: int
    #: Failing commits of the default branch up to now.
    failing_streak: int
    passing_executions: int
    last_evidence_at: datetime | None
    #: Distinct changes on which it failed.
    changes_hit: int
    #: Share of commits with evidence, an isolated failure counting half; with its 95 % interval.
    score: float
    score_low: float
    score_high: float
    runs_per_week: float
    lost_seconds_per_week: float
    thresholds: FlakeThresholds
    algorithm_version: int = ALGORITHM_VERSION


def judge_case(
    rows: Iterable[CaseRun],
    outages: Mapping[int, OutageReason],
    *,
    now: datetime,
    previous: FlakeVerdict | None = None,
    rerun_seconds: float = 0.0,
    thresholds: FlakeThresholds = DEFAULTS,
) -> FlakeVerdict:
    """Judge one test by its history up to `now`, in any order.

    `rows` should reach back `window_days`, and `window_commits` commits of the default branch; those after
    `now` are ignored. `outages` names the runs that cannot be believed, and why; see `outages_among`.
    `previous` is the last verdict: a state is left by recovery, not because its evidence grows old.
    `rerun_seconds` is what it costs to run again because of it, beside the test's own time.
    """
    past = sorted((row for row in rows if row.at <= now), key=lambda row: (row.at, row.run))
    believed = [kept for row in past if (kept := _believed(row, outages.get(row.run)))]
    window = _look(believed, now, thresholds)
    remembered = _remembered(previous, past, window)
    last_evidence_at = window.last_evidence_at or (remembered.last_evidence_at if remembered else None)
    streak = _failing_streak(past, outages, thresholds)
    passing = _trailing_passes(believed)
    if _is_settled(remembered, last_evidence_at, thresholds) or (
        last_evidence_at and _is_recovered(believed, passing, last_evidence_at, now, thresholds)
    ):
        state = FlakeState.HEALTHY
    else:
        state = max(_state_of(window, thresholds), remembered.state if remembered else FlakeState.HEALTHY)
    score, (low, high) = window.share, wilson(window.weight, len(window.commits))
    runs_per_week = _runs_per_week(past, now, thresholds)
    return FlakeVerdict(
        state=state,
        is_broken=streak >= thresholds.broken_commits and not window.direct_recent,
        direct_recent=window.direct_recent,
        direct=len(window.direct),
        isolated=len(window.isolated),
        commits=len(window.commits),
        executions=sum(len(commit.rows) for commit in window.commits),
        masked_runs=len({row.run for row in past} & outages.keys()),
        failing_streak=streak,
        passing_executions=passing,
        last_evidence_at=last_evidence_at,
        changes_hit=window.changes_hit,
        score=score,
        score_low=low,
        score_high=high,
        runs_per_week=runs_per_week,
        lost_seconds_per_week=score * runs_per_week * (window.median_seconds + rerun_seconds),
        thresholds=thresholds,
    )


def outages_among(
    runs: Iterable[RunFacts], thresholds: FlakeThresholds = DEFAULTS
) -> dict[int, OutageReason]:
    """The runs that cannot be believed, by number."""
    return {facts.run: reason for facts in runs if (reason := outage(facts, thresholds))}


def outage(facts: RunFacts, thresholds: FlakeThresholds = DEFAULTS) -> OutageReason | None:
    """Why the run is to be shown as a failure of its surroundings; None when it is not."""
    if facts.failed and facts.executed:
        large = facts.executed >= thresholds.outage_executed
        share = thresholds.outage_share if large else thresholds.outage_share_small
        # One test alone that fails is a test that fails: there is nothing to compare it with.
        if facts.executed > 1 and facts.failed >= share * facts.executed:
            return OutageReason.MOSTLY_FAILED
    if facts.largest_shared_failure >= thresholds.outage_shared:
        return OutageReason.SHARED_FAILURE
    return None


def findings(
    rows: Iterable[CaseRun],
    outages: Mapping[int, OutageReason],
    *,
    now: datetime,
    thresholds: FlakeThresholds = DEFAULTS,
) -> Findings:
    """The very executions that `judge_case` counts for the same rows, so that a person can check them."""
    past = sorted((row for row in rows if row.at <= now), key=lambda row: (row.at, row.run))
    believed = [kept for row in past if (kept := _believed(row, outages.get(row.run)))]
    window = _look(believed, now, thresholds)
    main = _by_commit([row for row in believed if row.on_default_branch])
    places = {commit.key: place for place, commit in enumerate(main)}
    return Findings(
        direct=window.direct[::-1],
        isolated=[
            IsolatedFailure(main[place - 1], main[place], main[place + 1])
            for place in sorted((places[commit.key] for commit in window.isolated), reverse=True)
        ],
        masked=[row for row in reversed(past) if row.run in outages],
    )


def isolated_failures(commits: Sequence[CommitOutcome]) -> list[CommitOutcome]:
    """Commits on which every attempt failed, with a commit that has a pass right before and right after."""
    return [
        commit
        for before, commit, after in zip(commits, commits[1:], commits[2:], strict=False)
        if commit.is_failing and not before.is_failing and not after.is_failing
    ]


def chance_flaky(flaky: int, judged: int) -> float:
    """How likely a failure is to be flaky, when `flaky` of `judged` ones like it turned out to be.

    The mean of a Beta(1, 1) prior's posterior (Laplace's rule of succession): one half as long as nothing is
    known.
    """
    if not 0 <= flaky <= judged:
        raise ValueError(f"{flaky} of {judged} is no share.")
    return (flaky + 1) / (judged + 2)


@dataclass(frozen=True, slots=True)
class CommitOutcome:
    """A test's executions on one commit, in order of time, and the attempts in them."""

    key: str
    rows: tuple[CaseRun, ...]
    passed_count: int
    failed_count: int

    @property
    def is_failing(self) -> bool:
        """Whether every attempt failed."""
        return self.passed_count == 0

    @property
    def is_mixed(self) -> bool:
        """Whether it both passed and failed: the proof of a flaky test."""
        return self.passed_count > 0 and self.failed_count > 0

    @property
    def last_at(self) -> datetime:
        """When it was last executed."""
        return self.rows[-1].at

    @property
    def last_failure_at(self) -> datetime:
        """When it last failed; ValueError when it never did."""
        return max(row.at for row in self.rows if row.failed_count)


@dataclass(frozen=True, slots=True)
class IsolatedFailure:
    """A commit on which every attempt failed, and those on which the test passed right before and after."""

    before: CommitOutcome
    failing: CommitOutcome
    after: CommitOutcome


@dataclass(frozen=True, slots=True)
class Findings:
    """What a verdict rests on, newest first."""

    #: Commits on which it both passed and failed.
    direct: list[CommitOutcome]
    isolated: list[IsolatedFailure]
    #: Its executions in runs that were set aside as outages.
    masked: list[CaseRun]


@dataclass(frozen=True, slots=True)
class _Window:
    """What was looked at, and what was found in it."""

    commits: list[CommitOutcome]
    direct: list[CommitOutcome]
    isolated: list[CommitOutcome]
    direct_recent: int
    #: Of everything given, also from before the window.
    last_evidence_at: datetime | None

    @property
    def weight(self) -> float:
        """Commits with evidence, an isolated failure counting half."""
        return len(self.direct) + len(self.isolated) / 2

    @property
    def share(self) -> float:
        """Of the commits looked at."""
        return self.weight / len(self.commits) if self.commits else 0.0

    @property
    def changes_hit(self) -> int:
        """Distinct changes with a failure."""
        rows = (row for commit in self.commits if commit.failed_count for row in commit.rows)
        return len({row.change or _key(row) for row in rows if row.failed_count})

    @property
    def median_seconds(self) -> float:
        """What the test takes; 0 where it was never measured."""
        seconds = [row.seconds for commit in self.commits for row in commit.rows if row.seconds is not None]
        return median(seconds) if seconds else 0.0


def _look(believed: Sequence[CaseRun], now: datetime, thresholds: FlakeThresholds) -> _Window:
    start = now - timedelta(days=thresholds.window_days)
    commits = _by_commit(believed)
    main_rows = [row for row in believed if row.on_default_branch]
    main = commits if len(main_rows) == len(believed) else _by_commit(main_rows)
    recent_main = {commit.key for commit in main[-thresholds.window_commits :]}
    seen = {c.key for c in commits if c.last_at >= start} | recent_main
    direct = [commit for commit in commits if commit.is_mixed]
    # A commit that passed on another branch is proof already, and counts once.
    proven = {commit.key for commit in direct}
    isolated = [commit for commit in isolated_failures(main) if commit.key not in proven]
    return _Window(
        commits=[commit for commit in commits if commit.key in seen],
        direct=[commit for commit in direct if commit.key in seen],
        isolated=[commit for commit in isolated if commit.key in recent_main],
        direct_recent=sum(1 for commit in direct if commit.last_at >= start),
        last_evidence_at=max((commit.last_failure_at for commit in (*direct, *isolated)), default=None),
    )


def _remembered(
    previous: FlakeVerdict | None, past: Sequence[CaseRun], window: _Window
) -> FlakeVerdict | None:
    """The last verdict, unless the rows know better: its evidence may have turned out to be an outage."""
    if previous is None or previous.last_evidence_at is None:
        return None
    out_of_sight = not past or previous.last_evidence_at < past[0].at
    confirmed = window.last_evidence_at is not None and window.last_evidence_at >= previous.last_evidence_at
    return previous if out_of_sight or confirmed else None


def _believed(row: CaseRun, reason: OutageReason | None) -> CaseRun | None:
    """The row as far as its run can be believed; None when nothing of it is left."""
    if reason is OutageReason.MOSTLY_FAILED or not row.passed_count + row.failed_count:
        return None
    if reason is OutageReason.SHARED_FAILURE and row.failed_count:
        return replace(row, failed_count=0) if row.passed_count else None
    return row


def _by_commit(rows: Iterable[CaseRun]) -> list[CommitOutcome]:
    """Rows in order of time, gathered by commit, commits in the order in which they were first seen."""
    gathered: defaultdict[str, list[CaseRun]] = defaultdict(list)
    for row in rows:
        gathered[_key(row)].append(row)
    return [_outcome(key, found) for key, found in gathered.items()]


def _outcome(key: str, rows: list[CaseRun]) -> CommitOutcome:
    passed = failed = 0
    for row in rows:
        passed += row.passed_count
        failed += row.failed_count
    return CommitOutcome(key, tuple(rows), passed, failed)


def _key(row: CaseRun) -> str:
    """A run without a commit is compared with itself only."""
    return row.commit or f"run {row.run}"


def _failing_streak(
    past: Sequence[CaseRun],
    reasons: Mapping[int, OutageReason],
    thresholds: FlakeThresholds,
) -> int:
    """How many commits of the default branch failed up to now.

    A cause that tests share may be the code: it is no evidence of flakiness, but of breakage. A run that
    mostly failed is an outage; on commit after commit it is none.
    """
    mostly = {run for run, reason in reasons.items() if reason is OutageReason.MOSTLY_FAILED}
    main = [row for row in past if row.on_default_branch and row.passed_count + row.failed_count]
    plain = [row for row in main if row.run not in mostly]
    everything, believed = _trailing_failures(main), _trailing_failures(plain)
    doubtful = everything - {_key(row) for row in plain}
    return len(everything) if len(doubtful) >= thresholds.broken_commits else len(believed)


def _trailing_failures(rows: Sequence[CaseRun]) -> set[str]:
    """The last commits, in the order in which they were first seen, on which nothing passed."""
    passed: dict[str, bool] = {}
    for row in rows:
        key = _key(row)
        passed[key] = passed.get(key, False) or row.passed_count > 0
    return set(takewhile(lambda key: not passed[key], reversed(passed)))


def _trailing_passes(rows: Sequence[CaseRun]) -> int:
    passes = 0
    for row in reversed(rows):
        if row.failed_count:
            break
        passes += 1
    return passes


def _runs_per_week(rows: Sequence[CaseRun], now: datetime, thresholds: FlakeThresholds) -> float:
    start = now - timedelta(days=thresholds.window_days)
    return len({row.run for row in rows if row.at >= start}) * 7 / thresholds.window_days


def _state_of(window: _Window, thresholds: FlakeThresholds) -> FlakeState:
    isolated = len(window.isolated)
    if window.direct_recent >= thresholds.flaky_direct or isolated >= thresholds.flaky_isolated:
        return FlakeState.FLAKY
    if isolated >= thresholds.likely_isolated:
        return FlakeState.LIKELY_FLAKY
    if isolated >= thresholds.suspect_isolated:
        return FlakeState.SUSPECT
    return FlakeState.HEALTHY


def _is_settled(
    remembered: FlakeVerdict | None, last_evidence_at: datetime | None, thresholds: FlakeThresholds
) -> bool:
    """Whether it had recovered from the last evidence: a failure that proves nothing does not undo that."""
    return (
        remembered is not None
        and remembered.state is FlakeState.HEALTHY
        and remembered.thresholds == thresholds
        and remembered.last_evidence_at == last_evidence_at
    )


def _is_recovered(
    rows: Sequence[CaseRun],
    passing: int,
    last_evidence_at: datetime,
    now: datetime,
    thresholds: FlakeThresholds,
) -> bool:
    if passing >= thresholds.recovery_passes:
        return True
    since = sum(1 for row in rows if row.at > last_evidence_at)
    rested = now - last_evidence_at >= timedelta(days=thresholds.recovery_days)
    return rested and since >= thresholds.recovery_executions
